//! The end of a run: what should have happened by now. I5, I9, I11, I13, I14.

use std::time::Duration;

use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::{
    Invariant, Oracle, Verdict,
    books::Object,
    read::{at, condition, text, time},
    violation,
};
use crate::clock::wall;

/// Long after an object's deadline the last look and the end must have been made: 120 s of patience, a look that lags, and
/// the write.
const AFTER_DEADLINE: SignedDuration = SignedDuration::from_mins(10);
/// How long after its time a webhook's try may come.
const AFTER_SLOT: SignedDuration = SignedDuration::from_mins(5);
/// Each of k busy namespaces gets at least this part of an equal share.
const SHARE: f64 = 0.8;

/// Reasons of `Ready` that name a cause that somebody else has to remove, or that passes.
const WAITING: [&str; 10] = [
    "RateLimited",
    "RouteNotProven",
    "WaitingForConnection",
    "ConnectionNotAllowed",
    "ConnectionSuspended",
    "CredentialsInvalid",
    "PermissionDenied",
    "InternalError",
    "Unavailable",
    "SuspiciousAnswer",
];

impl Oracle {
    pub(super) fn finale(&mut self, now: Duration) -> Verdict {
        for object in self.books.objects.values() {
            self.told_the_end(object)?;
            if object.deleted.is_some() {
                continue;
            }
            self.done_in_time(object, now)?;
            if object.settled {
                Self::announced(object)?;
            }
        }
        self.fair()
    }

    /// I9: every announced attempt has its call or its result, and every attempt of a finished object its result.
    ///
    /// Tolerated: the announcing process was killed, and its object was deleted or is not finished: nobody is left to tell.
    fn told_the_end(&self, object: &Object) -> Verdict {
        for (id, attempt) in &object.attempts {
            let Some(process) = attempt.announced else { continue };
            let told = !attempt.results.is_empty();
            if object.end.is_some() && !told {
                let sentence =
                    format!("attempt {id} was announced, the object is finished, and no line tells a result");
                return Err(violation(Invariant::I9, object, sentence));
            }
            let open = object.current_attempt.as_deref() == Some(id);
            if !told && attempt.calls.is_empty() && !open && self.books.is_alive(process) {
                let sentence =
                    format!("attempt {id} was announced by process {process}, and neither called nor resolved");
                return Err(violation(Invariant::I9, object, sentence));
            }
        }
        Ok(())
    }

    /// I13 and I14, of one object at the end of the run.
    fn done_in_time(&self, object: &Object, now: Duration) -> Verdict {
        let wall = wall(now);
        let status = &object.last["status"];
        if object.end.is_none() {
            self.in_time(object, now)?;
        } else if self.is_long_calm(object, now) {
            for webhook in at(status, &["webhooks"]).as_array().into_iter().flatten() {
                let due = time(&webhook["nextAttemptTime"]);
                let late = due.is_none_or(|due| wall > later(due, AFTER_SLOT + self.slack()));
                if text(webhook, &["state"]) == "Pending" && late {
                    let sentence = format!("webhook {} is pending, and its time is over", text(webhook, &["name"]));
                    return Err(violation(Invariant::I13, object, sentence));
                }
            }
        }
        Ok(())
    }

    /// I13 and I14, of one object that is not finished, or only now: it had its time since the calm began, since it was
    /// created, and since somebody last edited its spec.
    ///
    /// Tolerated until its deadline: an object whose trouble stays (the facts say so, or nothing ever proved the route that
    /// a 404 came by), and one that is suspended.
    pub(super) fn in_time(&self, object: &Object, now: Duration) -> Verdict {
        if object.suspended || !self.is_long_calm(object, now) {
            return Ok(());
        }
        let ready = condition(&object.last, "Ready");
        let deadline = time(at(&object.last, &["status", "deadlineTime"]));
        if deadline.is_some_and(|deadline| wall(now) > later(deadline, AFTER_DEADLINE + self.slack())) {
            let sentence = format!("its deadline is long over, and Ready still said {ready:?}");
            return Err(violation(Invariant::I13, object, sentence));
        }
        // The last write of such an object may meet a panic, too.
        let waits = ready == "RouteNotProven" || (ready == "InternalError" && self.facts.passes_panic);
        let unproven = waits && !self.books.connections.any_proven(&object.namespace);
        let stuck = unproven
            || self
                .facts
                .stuck
                .contains(&format!("{}/{}", object.namespace, object.name));
        if stuck {
            return Ok(());
        }
        let invariant = if WAITING.contains(&ready) {
            Invariant::I14
        } else {
            Invariant::I13
        };
        let since = now.saturating_sub(self.books.calm.unwrap_or_default());
        let sentence = format!("{since:?} after the calm began it was not finished; Ready said {ready:?}");
        Err(violation(invariant, object, sentence))
    }

    /// By how much what is due at an instant may come late: it is wall time, which a clock that jumps moves, and a leader that
    /// crashes over it is followed when its lease is over.
    fn slack(&self) -> SignedDuration {
        let slack = if self.facts.clocks_jump {
            self.facts.bound
        } else {
            self.facts.takeovers
        };
        SignedDuration::try_from(slack).unwrap_or(SignedDuration::MAX)
    }

    fn is_long_calm(&self, object: &Object, now: Duration) -> bool {
        let since = |calm: Duration| calm.max(object.created).max(object.edited);
        self.books.calm.is_some_and(|calm| now > since(calm) + self.facts.bound)
    }

    /// I11, in a scenario that is about it.
    fn fair(&self) -> Verdict {
        let Some(fairness) = &self.facts.fairness else {
            return Ok(());
        };
        let (from, to) = fairness.between;
        let within = |at: &Duration| (from..to).contains(at);
        let ends = |namespace: &String| {
            let all = self.books.ends.iter();
            all.filter(|(at, whose)| within(at) && whose == namespace).count()
        };
        let counts: Vec<usize> = fairness.namespaces.iter().map(ends).collect();
        let share = counts.iter().sum::<usize>() as f64 / counts.len().max(1) as f64;
        for (namespace, count) in fairness.namespaces.iter().zip(&counts) {
            // One object more or less is the grain of it.
            if ((count + 1) as f64) < SHARE * share {
                let sentence = format!("it got {count} ends of an equal share of {share:.1}");
                return Err(violation(Invariant::I11, format!("namespace {namespace}"), sentence));
            }
        }
        Ok(())
    }
}

fn later(time: Timestamp, span: SignedDuration) -> Timestamp {
    time.checked_add(span).unwrap_or(Timestamp::MAX)
}
