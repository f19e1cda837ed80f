//! The next step of one termination.
//!
//! # What holds back a look
//!
//! * Ordinary work waits for `nextAttemptTime`, and for the last call to be over.
//! * An intent that is open (another process's, or accepted by a 202) is looked after by its own times; it carries no
//!   `nextAttemptTime`.
//! * The last look of an unsuccessful end, and the look of a suspended object, go by the last send alone, and one before
//!   them by what the status says of it. They ignore `nextAttemptTime`, which spaces out *attempts*: no attempt follows
//!   them. Those that fail are repeated with the backoff's steps, from memory.
//! * A look that says nothing while the connection is out of order leaves the status as it is, but for the first word on
//!   the cause: whose turn comes next is the lane's word, not this module's.

use std::time::Duration;

use k8s_openapi::jiff::Timestamp;

use super::{
    answer::{Look, SessionSeen},
    deadline::{deadline, decisive_from, ending, is_suspended, is_unsure, patience_ends},
    fact::{End, Fact, Hold},
    instants,
    policy::Policy,
    request::Request,
};
use crate::api::{
    CurrentAttempt, GuestTerminationStatus as Status, Outcome,
    conditions::{ConditionType, find},
};

/// What is to be done next. One effect a step: its answer comes back as a [`Fact`].
#[derive(Clone, Debug, PartialEq)]
#[expect(
    clippy::large_enum_variant,
    reason = "a step is made once and consumed at once, never stored"
)]
pub enum Step {
    /// Nothing, until the object changes.
    Rest,
    /// Nothing before then.
    Wait(Wake),
    /// Write what the fact makes of the status.
    Record(Fact),
    /// Ask the vendor for the session's state.
    Look,
    /// Write the intent of a terminate call.
    Intend(SessionSeen),
    /// Send the terminate call of the own, just written intent.
    Call,
}

/// What ends a wait. A change of the object always does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wake {
    /// The time, if time does.
    pub at: Option<Timestamp>,
    /// A change of the connection does.
    pub on_connection: bool,
}

/// What the process knows beside the status.
#[derive(Clone, Debug)]
pub struct Observed<'a> {
    /// What happened and is not in the status yet, because a write did not succeed.
    pub kept: Option<&'a Fact>,
    /// Why nothing can be asked of the vendor, if so.
    pub held: Option<&'a Hold>,
    /// Whose the open intent is, where the status has one.
    pub intent: Intent<'a>,
    /// The last look that this process made at the session, through the connection that is asked now.
    pub look: Option<&'a LastLook>,
    /// From when a look decides by the word of the status alone. It may be another clock's word, so it decides nothing: but
    /// a look is made then already, since the session may be over.
    pub look_from: Timestamp,
    /// This pass's share of chance, 0 to 1.
    pub jitter: f64,
}

/// Whose an open intent is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Intent<'a> {
    /// Another process's, or an older self's; seen unchanged for so long.
    Foreign {
        /// Time since this process first saw it.
        unchanged_for: Duration,
    },
    /// This process's; its write was answered and its call has not left.
    Written,
    /// This process's, and its call will not leave.
    Withheld {
        /// Why, in a sentence.
        why: &'a str,
    },
    /// This process's; its call is on its way.
    InFlight,
}

/// A look that this process made.
#[derive(Clone, Debug, PartialEq)]
pub struct LastLook {
    /// What it saw.
    pub verdict: Look,
    /// When it was asked for: it tells of no later time.
    pub at: Timestamp,
    /// Monotonic time since then.
    pub age: Duration,
    /// Monotonic time since it was answered.
    pub since_answered: Duration,
    /// Looks in a row that said neither that the session is active nor that it is over, this one included.
    pub failures: u32,
    /// Its share of chance, 0 to 1.
    pub jitter: f64,
}

impl LastLook {
    fn active(&self) -> Option<&SessionSeen> {
        match &self.verdict {
            Look::Active(seen) => Some(seen),
            _ => None,
        }
    }
}

/// The next step. `status` is the newest that this process knows.
pub fn decide(request: &Request, status: &Status, seen: &Observed<'_>, now: Timestamp, policy: &Policy) -> Step {
    if let Some(fact) = seen.kept {
        return Step::Record(fact.clone());
    }
    if status.is_finished() {
        return Step::Rest;
    }
    if let Some(open) = status
        .current_attempt
        .as_ref()
        .filter(|open| open.accepted_time.is_none())
    {
        match seen.intent {
            Intent::InFlight => return Step::Rest,
            Intent::Written => return Step::Call,
            Intent::Withheld { why } => return Step::Record(Fact::NotSent { why: why.to_owned() }),
            Intent::Foreign { unchanged_for } => {
                let late = |look: &LastLook| unchanged_for.saturating_sub(look.age) >= policy.foreign_intent_patience;
                if seen.look.is_some_and(|look| look.active().is_some() && late(look)) {
                    return Step::Record(Fact::Abandoned {
                        id: open.id.clone(),
                        jitter: seen.jitter,
                    });
                }
            }
        }
    }
    if let Some((open, accepted)) = accepted(status) {
        let late = |look: &LastLook| look.at >= instants::later(accepted, policy.accepted_patience);
        if seen.look.is_some_and(|look| look.active().is_some() && late(look)) {
            return Step::Record(Fact::NotConfirmed {
                id: open.id.clone(),
                jitter: seen.jitter,
            });
        }
    }
    match (request.suspend, is_suspended(status)) {
        (true, false) => return Step::Record(Fact::Suspended),
        (false, true) => return Step::Record(Fact::Resumed),
        _ => {}
    }
    if status.start_time.is_some() && status.observed_generation != Some(request.generation) {
        return Step::Record(Fact::SpecChanged);
    }
    let decided = || {
        let from = decisive_from(status, policy);
        seen.look.is_some_and(|look| look.active().is_some() && look.at >= from)
    };
    match ending(request, status, now, policy) {
        Some(end) if !is_unsure(status) || decided() => Step::Record(Fact::Ended(end)),
        Some(_) if now >= patience_ends(request, status, policy) => {
            // At least one look is tried, also by a process that begins to lead when the patience is long over.
            let tried = seen.look.is_some_and(|look| look.at >= decisive_from(status, policy));
            if tried || seen.held.is_some() {
                Step::Record(Fact::Ended(unconfirmed()))
            } else {
                Step::Look
            }
        }
        Some(_) => {
            let due = due(status, seen, now, policy, last_look(status, seen, policy));
            look(status, seen, now, due, Some(patience_ends(request, status, policy)))
        }
        None if request.suspend => {
            let limit = next_limit(request, status, policy);
            if !is_unsure(status) || decided() {
                return Step::Wait(Wake {
                    at: limit,
                    on_connection: false,
                });
            }
            let due = due(status, seen, now, policy, last_look(status, seen, policy));
            look(status, seen, now, due, limit)
        }
        None => {
            let attempt = status.next_attempt_time.as_ref().map_or(Timestamp::MIN, |time| time.0);
            let sent = status.last_send_time.as_ref().map_or(Timestamp::MIN, |time| time.0);
            let open = status.current_attempt.is_some();
            let due = if open {
                due(status, seen, now, policy, attempt)
            } else {
                attempt.max(instants::later(sent, Duration::from_millis(1)))
            };
            // A look from before the last call says nothing of what that call did.
            let supports = |look: &&LastLook| !open && look.since_answered < policy.look_validity && look.at > sent;
            let fresh = seen.look.filter(supports);
            match (
                look(status, seen, now, due, next_limit(request, status, policy)),
                fresh.and_then(LastLook::active),
            ) {
                (Step::Look, Some(session)) => Step::Intend(session.clone()),
                (step, _) => step,
            }
        }
    }
}

/// The webhooks of a finished termination that are to be tried, and when.
pub fn pending_webhooks(status: &Status) -> impl Iterator<Item = (&str, Option<Timestamp>)> {
    let finished = status.is_finished() && !status.is_settled();
    let pending = |webhook: &&crate::api::WebhookDelivery| webhook.state == crate::api::WebhookState::Pending;
    status
        .webhooks
        .iter()
        .filter(move |webhook| finished && pending(webhook))
        .map(|webhook| {
            (
                webhook.name.as_str(),
                webhook.next_attempt_time.as_ref().map(|time| time.0),
            )
        })
}

/// A look, when it is due and the connection can be asked.
fn look(status: &Status, seen: &Observed<'_>, now: Timestamp, due: Timestamp, limit: Option<Timestamp>) -> Step {
    if now < due {
        let at = limit.map_or(due, |limit| limit.min(due));
        return Step::Wait(Wake {
            at: Some(at),
            on_connection: false,
        });
    }
    match seen.held {
        None => Step::Look,
        Some(hold) if says(status, hold) || is_suspended(status) => Step::Wait(Wake {
            at: limit,
            on_connection: true,
        }),
        Some(hold) => Step::Record(Fact::Held(hold.clone())),
    }
}

/// When time itself changes what is to be done, whoever else is waited for: it ends the termination, or the patience
/// with the look that decides its end. Nothing if it does not any more: that look is still wanted then.
pub fn time_limit(request: &Request, status: &Status, now: Timestamp, policy: &Policy) -> Option<Timestamp> {
    let limit = match ending(request, status, now, policy) {
        Some(_) => Some(patience_ends(request, status, policy)),
        None => next_limit(request, status, policy),
    };
    limit.filter(|limit| *limit > now)
}

/// From when the look is made that decides an end; or, until one was answered, the one before it that may find the session
/// over.
fn last_look(status: &Status, seen: &Observed<'_>, policy: &Policy) -> Timestamp {
    let decisive = decisive_from(status, policy);
    let answered = |look: &LastLook| look.active().is_some() && look.at >= seen.look_from;
    if seen.look.is_some_and(answered) {
        decisive
    } else {
        decisive.min(seen.look_from)
    }
}

/// When the next look is due that decides an open intent, or else an end (`otherwise`).
fn due(status: &Status, seen: &Observed<'_>, now: Timestamp, policy: &Policy, otherwise: Timestamp) -> Timestamp {
    let due = match (accepted(status), &status.current_attempt, seen.intent) {
        (Some((_, accepted)), ..) => accepted_look(accepted, seen.look, policy),
        (None, Some(_), Intent::Foreign { unchanged_for }) => {
            let looked = seen.look.is_some_and(|look| look.age <= unchanged_for);
            if !looked {
                return Timestamp::MIN;
            }
            instants::later(now, policy.foreign_intent_patience.saturating_sub(unchanged_for))
        }
        _ => otherwise,
    };
    // A look that failed is repeated with the backoff's steps.
    let failed = seen.look.filter(|look| look.active().is_none());
    failed.map_or(due, |look| {
        let pause = policy.backoff(look.failures.saturating_sub(1), look.jitter, None);
        due.max(instants::later(now, pause.saturating_sub(look.since_answered)))
    })
}

/// The first of the looks after a 202 that has not been made yet.
fn accepted_look(accepted: Timestamp, look: Option<&LastLook>, policy: &Policy) -> Timestamp {
    let last = policy
        .accepted_looks
        .last()
        .copied()
        .unwrap_or(Duration::from_secs(1))
        .max(Duration::from_millis(1));
    let patience = instants::later(accepted, policy.accepted_patience);
    let mut due = accepted;
    let mut pauses = policy.accepted_looks.iter().copied();
    loop {
        due = instants::later(due, pauses.next().unwrap_or(last));
        if due >= patience {
            return patience;
        }
        if look.is_none_or(|look| look.at < due) {
            return due;
        }
    }
}

fn accepted(status: &Status) -> Option<(&CurrentAttempt, Timestamp)> {
    let open = status.current_attempt.as_ref()?;
    Some((open, open.accepted_time.as_ref()?.0))
}

/// Whether the status already tells of the hold.
fn says(status: &Status, hold: &Hold) -> bool {
    find(&status.conditions, ConditionType::Ready)
        .is_some_and(|ready| ready.reason == hold.reason.as_str() && ready.message == hold.message)
}

/// The next instant at which time itself ends the termination.
fn next_limit(request: &Request, status: &Status, policy: &Policy) -> Option<Timestamp> {
    let expiry = request
        .not_after
        .map(|limit| instants::later(limit, Duration::from_millis(1)));
    match (deadline(request, status, policy), expiry) {
        (Some(deadline), Some(expiry)) => Some(deadline.min(expiry)),
        (deadline, expiry) => deadline.or(expiry),
    }
}

fn unconfirmed() -> End {
    End {
        outcome: Outcome::Unconfirmed,
        message: "A terminate call may have taken effect, and no look at the session was answered afterwards. Ask the vendor whether the session is over.".to_owned(),
    }
}
