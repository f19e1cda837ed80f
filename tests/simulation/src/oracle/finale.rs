//! The end of a run: what should have happened by now. I5, I9, I11, I13, I14.

use std::time::Duration;

use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::{
    Invariant, Oracle, Verdict,
    books::Object,
    read::{at, condition, text, time},
    violation,
};

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
    pub(super) fn finale(&mut self, now: Duration, wall: Timestamp) -> Verdict {
        for object in self.books.objects.values() {
            self.told_the_end(object)?;
            if object.deleted.is_some() {
                continue;
            }
            self.done_in_time(object, now, wall)?;
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

    /// I13 and I14, of one object.
    fn done_in_time(&self, object: &Object, now: Duration, wall: Timestamp) -> Verdict {
        let Some(calm) = self.books.calm else { return Ok(()) };
        let status = &object.last["status"];
        let ready = condition(&object.last, "Ready");
        if object.end.is_none() && !object.suspended {
            let over = time(&status["deadlineTime"]).is_some_and(|deadline| wall > later(deadline, AFTER_DEADLINE));
            let long_calm = now > calm.max(object.created) + self.facts.bound + self.facts.retry_after;
            if over && long_calm {
                return Err(violation(
                    Invariant::I13,
                    object,
                    format!("its deadline is long over, and it is not ({ready})"),
                ));
            }
            let stuck = self
                .facts
                .stuck
                .contains(&format!("{}/{}", object.namespace, object.name));
            if long_calm && !stuck {
                let invariant = if WAITING.contains(&ready) {
                    Invariant::I14
                } else {
                    Invariant::I13
                };
                let sentence = format!(
                    "it is not finished {:?} after the calm began; Ready says {ready:?}",
                    now.saturating_sub(calm)
                );
                return Err(violation(invariant, object, sentence));
            }
        }
        if object.end.is_some() && now > calm + self.facts.bound {
            for webhook in at(status, &["webhooks"]).as_array().into_iter().flatten() {
                let due = time(&webhook["nextAttemptTime"]);
                let late = due.is_none_or(|due| wall > later(due, AFTER_SLOT));
                if text(webhook, &["state"]) == "Pending" && late {
                    let sentence = format!("webhook {} is pending, and its time is over", text(webhook, &["name"]));
                    return Err(violation(Invariant::I13, object, sentence));
                }
            }
        }
        Ok(())
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
