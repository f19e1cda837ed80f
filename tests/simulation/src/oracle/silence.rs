//! I13, the second half: when everything is settled nothing is written and nothing is asked.

use std::time::Duration;

use serde_json::Value;

use super::{
    Invariant, Oracle, Verdict,
    books::Request,
    read::{at, text},
    violation,
};
use crate::history::Ordinal;

/// What follows from the last thing that happened may take so long: Events, the last status of a connection (at most one
/// a minute), the last token request.
const SETTLING: Duration = Duration::from_secs(90);
/// A suspended object with a call in doubt looks until 60 s after that call, in steps.
const RESTING: Duration = Duration::from_secs(300);

impl Oracle {
    /// A request leaves for the API server.
    pub(super) fn write_departs(&mut self, ordinal: Ordinal, sent: Request, line: &str) -> Verdict {
        let reads = ["GET ", "HEAD "];
        if reads.iter().any(|read| line.starts_with(read)) {
            return Ok(());
        }
        self.books.writes.insert(ordinal, sent);
        // Leases are renewed, connections are judged when they are stored, and what outlived its time is removed.
        let expected = ["/leases", "connections/"].iter().any(|path| line.contains(path))
            || (line.starts_with("DELETE ") && line.contains("/guestterminations/"));
        if expected {
            Ok(())
        } else {
            self.silent(ordinal, sent, line)
        }
    }

    /// A request that nothing asks for, once everything is settled and calm.
    pub(super) fn silent(&self, ordinal: Ordinal, sent: Request, line: &str) -> Verdict {
        if !self.is_silent(sent.at) {
            return Ok(());
        }
        let what = line.split_once('?').map_or(line, |(what, _)| what);
        let sentence = format!("#{ordinal} ({what}) leaves long after everything was settled");
        Err(violation(Invariant::I13, format!("process {}", sent.process), sentence))
    }

    /// A process wrote the status of a connection. Its conditions, its pause and its limit are news; nothing else is once
    /// everything is settled.
    pub(super) fn connection_noise(
        &self,
        now: Duration,
        ordinal: Option<Ordinal>,
        before: Option<&Value>,
        after: Option<&Value>,
    ) -> Verdict {
        let (Some(before), Some(after)) = (before, after) else {
            return Ok(());
        };
        let said = |object: &Value| -> Vec<(String, String)> {
            let conditions = at(object, &["status", "conditions"]).as_array();
            let all = conditions.into_iter().flatten();
            all.map(|one| (text(one, &["type"]).to_owned(), text(one, &["reason"]).to_owned()))
                .collect()
        };
        let limit = |object| at(object, &["status", "rateLimit"]).clone();
        // Two processes that lead all the time have a token each, and tell of it in turn, ever more slowly.
        let news = said(before) != said(after) || self.facts.leaders > 1;
        if self.is_silent(now) && !news && limit(before) == limit(after) {
            let name = text(after, &["metadata", "name"]);
            let sentence = format!(
                "#{} rewrites its status long after everything was settled",
                ordinal.unwrap_or_default()
            );
            return Err(violation(Invariant::I13, format!("connection {name}"), sentence));
        }
        Ok(())
    }

    /// Nothing is left to do, and nothing has happened for long.
    fn is_silent(&self, now: Duration) -> bool {
        let Some(calm) = self.books.calm else { return false };
        let mut settling = SETTLING;
        for object in self
            .books
            .objects
            .values()
            .filter(|object| object.deleted.is_none() && !object.settled)
        {
            if !object.suspended || object.end.is_some() {
                return false;
            }
            settling = RESTING;
        }
        now > self.books.stirred.max(calm) + settling
    }
}
