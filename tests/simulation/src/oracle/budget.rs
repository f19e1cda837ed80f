//! Retries and their times: what spends one, and that none is spent, forgotten or begun early without a reason.

use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use serde_json::Value;

use super::{
    Invariant, Oracle, Verdict,
    books::{GuestCall, Heard, Object, Request},
    endings::write_of,
    read::{at, is_true, text, time},
    violation,
};
use crate::{
    history::{Ordinal, Process},
    vendor::{Operation, Told},
};

/// Failures in a row, without a success between, that open the breaker. The last of them still spends.
const ROW: u32 = 5;
/// By then every process has heard that a connection is gone, or another one: a watch may lag by 300 s.
const REPLACEMENT_HEARD: Duration = Duration::from_secs(400);
/// A suspension is told of later than it begins or ends: its writes can be held up and stored all the same.
const SUSPENSION_SLACK: Duration = Duration::from_secs(30);

/// The failures in a row that a process heard from a host, of one operation.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Row {
    failures: u32,
    /// Something decided anything before.
    started: bool,
    /// When the last success left, and when it was heard.
    success: Option<(Duration, Duration)>,
    /// When the failure was heard that filled it: of those that are heard at the same instant any may be that one.
    filled: Option<Duration>,
}

/// Whether an answer can have spent a retry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spends {
    /// It did not fail, or the breaker was open.
    No,
    /// It may have.
    Maybe,
    /// It has, if it was an attempt's: the one before had succeeded, and none is without an answer.
    Surely,
}

impl Row {
    /// Whether a success was heard at that instant.
    pub(super) fn is_decided(&self, at: Duration) -> bool {
        self.success.is_some_and(|(_, heard)| heard == at)
    }

    /// Takes an answer in, to a call that left then. `replaced`: when the connection was last replaced by another one, of
    /// which the process hears later, and which begins with a breaker of its own.
    pub(super) fn hear(
        &mut self,
        heard: &Heard,
        operation: Operation,
        all_answered: bool,
        left: Duration,
        replaced: Option<Duration>,
    ) -> Spends {
        let (last_left, last_heard) = self.success.unwrap_or_default();
        let adrift = replaced.is_some_and(|at| last_left < at + REPLACEMENT_HEARD);
        match heard.told {
            told if told.fails() => {
                self.failures += 1;
                if self.failures == ROW {
                    self.filled = Some(heard.at);
                }
                match (self.started, self.failures) {
                    _ if adrift => Spends::Maybe,
                    (true, 1) if all_answered && last_heard < heard.at => Spends::Surely,
                    (true, ..=ROW) => Spends::Maybe,
                    (true, _) if self.filled == Some(heard.at) => Spends::Maybe,
                    _ => Spends::No,
                }
            }
            Told::Unauthorized | Told::Throttled => Spends::No,
            // It ends the start, and is no success: one that is not believed leaves the row as it is.
            Told::NotFound if !heard.proven => {
                self.started = true;
                Spends::No
            }
            told => {
                *self = Self {
                    failures: 0,
                    started: true,
                    success: Some((left, heard.at)),
                    filled: None,
                };
                // A refused look fails no object that may have ended its session: it is spent and looked at again.
                match (operation, told) {
                    (Operation::Observe, Told::Refused) => Spends::Maybe,
                    _ => Spends::No,
                }
            }
        }
    }
}

impl Oracle {
    /// Retries, when a status is written.
    ///
    /// I4: `status.retries` is not more than what can have spent one: failures that were heard while no more than five came
    /// in a row, and not before the first success of the process; looks that were refused; calls that were not answered at
    /// all; attempts that another process gave up, or that were accepted and not confirmed.
    ///
    /// I3: a failure of an attempt that surely spends one is counted.
    ///
    /// I1 (a): no intent is begun before `nextAttemptTime`. Tolerated: wall clocks jump in this run.
    pub(super) fn budgeted(&self, ordinal: Option<Ordinal>, by: Option<Request>, after: &Value) -> Verdict {
        let object = self.books.objects.get(text(after, &["metadata", "uid"]));
        let Some((object, by)) = object.zip(by) else {
            return Ok(());
        };
        let fail = |invariant, sentence: String| {
            let sentence = format!("{}: {sentence}", write_of(ordinal));
            Err(violation(invariant, object, sentence))
        };
        let retries = |value: &Value| at(value, &["status", "retries"]).as_u64().unwrap_or(0);
        let (old, new) = (retries(&object.last), retries(after));
        // A pass that panicked knows no more of its call than another process would, and no breaker hears of it. A lead that
        // begins anew begins with breakers that are: from outside it cannot be told from which answer on.
        // What stands still may believe an answer that its own timeout has overtaken.
        let counted = !self.facts.passes_panic && !self.facts.leads_change && !self.facts.processes_freeze;
        if new > old && counted {
            let spent = self.spent(object, by.process);
            if new > spent {
                return fail(
                    Invariant::I4,
                    format!("status.retries is {new}, and {spent} answers can have spent one"),
                );
            }
        }
        let open = text(after, &["status", "currentAttempt", "id"]);
        let before = object.current_attempt.as_deref().unwrap_or_default();
        if counted && open.is_empty() && !before.is_empty() && new <= old && !is_true(after, &["status", "finished"]) {
            let calls = object.attempts.get(before).map(|attempt| attempt.calls.as_slice());
            let last = calls.and_then(|calls| self.books.calls.get(calls.last()?));
            if last.is_some_and(|call| call.sent.process == by.process && call.spends == Spends::Surely) {
                return fail(
                    Invariant::I3,
                    format!("the failure of attempt {before} is not counted as a retry"),
                );
            }
        }
        if !open.is_empty() && open != before && !self.facts.clocks_jump {
            let due = time(at(&object.last, &["status", "nextAttemptTime"]));
            if let Some(due) = due.filter(|due| by.wall < *due) {
                let early = due.duration_since(by.wall);
                return fail(
                    Invariant::I1a,
                    format!("attempt {open} begins {early:#} before status.nextAttemptTime"),
                );
            }
        }
        Ok(())
    }

    /// At most so many retries can have been spent for an object.
    fn spent(&self, object: &Object, by: Process) -> u64 {
        let counts = |call: &&GuestCall| {
            let about = match call.operation {
                Operation::Observe => call.guest == object.guest && call.sent.at >= object.created,
                Operation::Terminate => call.owner.as_ref().is_some_and(|(uid, _)| *uid == object.uid),
            };
            about && (call.heard.is_none() || call.spends != Spends::No)
        };
        let answers = self.books.calls.values().filter(counts).count();
        let given_up = object.attempts.values().filter(|attempt| {
            let writer = attempt.written.map(|written| written.process);
            let closer = attempt.cleared.map_or(Some(by), |(_, process)| process);
            let accepted = attempt.calls.iter().any(|call| {
                let heard = self.books.calls.get(call).and_then(|call| call.heard);
                heard.is_some_and(|heard| heard.told == Told::Accepted)
            });
            accepted || writer != closer
        });
        let spent = (answers + given_up.count()) as u64;
        // A write that was stored and not answered is found by a read, unless another leader has written over it since:
        // then its failure is counted again.
        if self.facts.leaders > 1 { 2 * spent } else { spent }
    }

    /// I4: what is said to have ended by its deadline has reached it, the time of its suspensions not counted.
    pub(super) fn overdue(&self, ordinal: Option<Ordinal>, by: Request, object: &Object, after: &Value) -> Verdict {
        if self.facts.clocks_jump {
            return Ok(());
        }
        let seconds = at(after, &["spec", "activeDeadlineSeconds"]).as_u64().unwrap_or(21_600);
        let limit = object.created + Duration::from_secs(seconds) + object.suspended_for;
        if by.at + SUSPENSION_SLACK < limit {
            let sentence = format!(
                "{}: it says DeadlineExceeded {:?} before its deadline",
                write_of(ordinal),
                limit - by.at
            );
            return Err(violation(Invariant::I4, object, sentence));
        }
        Ok(())
    }

    /// I8: what the connection's status says of a pause holds for the processes that start after it was written. Tolerated:
    /// wall clocks jump, or lists come from the past, in this run.
    pub(super) fn remembers_pauses(&self, ordinal: Ordinal, sent: Request, host: &str) -> Verdict {
        let Some((stored, until)) = self.books.pauses_told.get(host) else {
            return Ok(());
        };
        let started = self.books.processes.get(&sent.process).map(|life| life.started);
        let knows = started.is_some_and(|started| started > *stored) && self.books.connections.is_only_one(host);
        if knows && sent.wall < *until && !self.facts.clocks_jump && !self.facts.lists_lag {
            let sentence = format!("#{ordinal} leaves before the pause is over that its connection's status tells of");
            return Err(violation(Invariant::I8, host, sentence));
        }
        Ok(())
    }

    /// A connection's status was written: the pause that it tells of.
    pub(super) fn note_pause(&mut self, now: Duration, after: &Value) {
        let host = super::connections::host(after);
        match time(at(after, &["status", "rateLimit", "pausedUntil"])) {
            Some(until) => {
                let told = self.books.pauses_told.entry(host).or_insert((now, Timestamp::MIN));
                if told.1 != until {
                    *told = (now, until);
                }
            }
            None => {
                self.books.pauses_told.remove(&host);
            }
        }
    }
}

/// Time that a status says an object was suspended, as it is told: from the first version that says so to the first that
/// does not.
pub(super) fn suspensions(object: &mut Object, now: Duration, suspended: bool) {
    match (object.suspended_since, suspended) {
        (None, true) => object.suspended_since = Some(now),
        (Some(since), false) => {
            object.suspended_for += now.saturating_sub(since);
            object.suspended_since = None;
        }
        _ => {}
    }
}
