//! How a termination ends in its status: the outcome, what is claimed of it, and the outbox of its webhooks.

use std::time::Duration;

use k8s_openapi::jiff::Timestamp;

use super::{
    answer::Evidence,
    deadline::{is_unsure, last_send},
    evolve::{Draft, MAX_HISTORY, record, unless_accepted},
    fact::{Context, End, WebhookAnswer},
    instants,
    request::Invalid,
};
use crate::api::{
    AttemptResult, Audit, ConfirmedBy, GuestTerminationStatus as Status, Outcome, WebhookDelivery, WebhookState,
    conditions::{
        ConditionReason as Reason, ConditionStatus as Is, ConditionType as Type, find, has_status, remove_condition,
        set_condition,
    },
};

/// What a successful end rests on.
pub(super) struct Success<'a> {
    /// What showed it.
    pub(super) confirmed_by: ConfirmedBy,
    /// The session was over before this object's call.
    pub(super) duplicate: bool,
    /// The deciding answer is one to a terminate call.
    pub(super) call: bool,
    /// The deciding answer.
    pub(super) evidence: &'a Evidence,
}

impl Draft<'_> {
    pub(super) fn succeed(&mut self, success: &Success<'_>, context: &Context) {
        let outcome = if success.duplicate {
            Outcome::AlreadyTerminated
        } else {
            Outcome::Terminated
        };
        let (reason, message) = match (outcome, success.confirmed_by) {
            (Outcome::AlreadyTerminated, _) => (
                Reason::AlreadyTerminated,
                "The session was over before this object's call; nothing was sent that ended it.",
            ),
            (_, ConfirmedBy::Response) => (
                Reason::Terminated,
                "The vendor confirmed that the call ended the session.",
            ),
            (_, ConfirmedBy::Observation) => (
                Reason::Terminated,
                "A call of this object was left open, and the session was gone when it was looked at afterwards.",
            ),
        };
        self.pin(&context.connection);
        // An earlier attempt's answer came while a later one was open; whatever becomes of that one, it is over here.
        let why = "Another attempt's answer finished the termination before the answer to this call was known.";
        self.resolve_open(why);
        let latency = i64::try_from(success.evidence.duration.as_millis()).ok();
        self.status.audit = Some(Audit {
            success: true,
            duplicate_termination: success.duplicate,
            latency_millis: latency.filter(|_| success.call),
            confirmed_by: Some(success.confirmed_by),
            correlation_id: success.evidence.correlation_id.clone(),
            rest: Default::default(),
        });
        if !has_status(&self.status.conditions, Type::SessionValidated, Is::True) {
            let message = "The session was over when it was looked at.";
            self.condition(Type::SessionValidated, Is::True, Reason::SessionAlreadyClosed, message);
        }
        let (is, retention, claim) = if success.confirmed_by == ConfirmedBy::Response {
            (
                Is::True,
                Reason::SentWithTermination,
                "retainData went out with the call that ended the session.",
            )
        } else if success.duplicate {
            let claim = "The session was over before retainData could reach it; what happens to its data is not this object's doing.";
            (Is::Unknown, Reason::SessionAlreadyClosed, claim)
        } else {
            let claim = "retainData went out, but no answer tells whether that call ended the session.";
            (Is::Unknown, Reason::NotConfirmed, claim)
        };
        self.condition(Type::RetentionApplied, is, retention, claim);
        self.condition(Type::Ready, Is::True, reason, message);
        self.condition(Type::Finished, Is::True, reason, message);
        remove_condition(&mut self.status.conditions, Type::Stalled);
        self.finish(outcome);
        self.status.webhooks = context
            .webhooks
            .iter()
            .map(|webhook| WebhookDelivery {
                name: webhook.name.clone(),
                event: webhook.event,
                format: webhook.format,
                message_id: webhook.message_id.clone(),
                state: WebhookState::Pending,
                attempts: 0,
                last_status: None,
                next_attempt_time: None,
                delivered_time: None,
                rest: Default::default(),
            })
            .collect();
        self.settle("");
    }

    pub(super) fn fail(&mut self, end: &End) {
        let reason = reason_of(end.outcome);
        let unsure = is_unsure(&self.status);
        self.resolve_open(match end.outcome {
            Outcome::Unconfirmed => "No look could tell whether this call took effect.",
            _ => "The session was active when it was looked at after this call.",
        });
        if find(&self.status.conditions, Type::SessionValidated).is_none() {
            self.condition(Type::SessionValidated, Is::Unknown, Reason::NotChecked, "");
        }
        let (retention, claim) = if unsure {
            (
                Reason::NotConfirmed,
                "retainData went out with a call that is not known to have ended the session.",
            )
        } else {
            (Reason::NotSent, "No call that took effect carried retainData.")
        };
        self.condition(Type::RetentionApplied, Is::Unknown, retention, claim);
        self.condition(Type::Finished, Is::True, reason, &end.message);
        if end.outcome == Outcome::Expired && self.status.attempts == 0 {
            // An old manifest must not turn a sync red: nothing was tried, so there is nothing to be ready or stalled.
            remove_condition(&mut self.status.conditions, Type::Ready);
        } else {
            self.condition(Type::Ready, Is::False, reason, &end.message);
            self.condition(Type::Stalled, Is::True, reason, &end.message);
        }
        self.status.audit = Some(without_success());
        self.finish(end.outcome);
        self.settle("");
    }

    /// An end leaves no intent open: what became of its call is not known, and that is what is kept.
    fn resolve_open(&mut self, why: &str) {
        self.status.last_send_time = last_send(&self.status, self.policy).map(instants::ceiling);
        if let Some(open) = self.status.current_attempt.take() {
            self.status.may_have_applied = Some(true);
            self.remember(record(&open, unless_accepted(&open, AttemptResult::Unknown), why));
        }
    }

    fn finish(&mut self, outcome: Outcome) {
        remove_condition(&mut self.status.conditions, Type::Reconciling);
        self.status.outcome = Some(outcome);
        self.status.finished = Some(true);
        self.status.completion_time = Some(instants::floor(self.now));
        self.status.next_attempt_time = None;
    }

    pub(super) fn webhook_tried(&mut self, name: &str, answer: &WebhookAnswer, jitter: f64) {
        let (now, policy) = (self.now, self.policy);
        let mut trouble = String::new();
        let pending = |webhook: &&mut WebhookDelivery| webhook.name == name && webhook.state == WebhookState::Pending;
        let Some(webhook) = self.status.webhooks.iter_mut().find(pending) else {
            return;
        };
        let made = usize::try_from(webhook.attempts.saturating_add(1)).unwrap_or(usize::MAX);
        match answer {
            WebhookAnswer::Accepted { status } => {
                webhook.attempts = webhook.attempts.saturating_add(1);
                webhook.state = WebhookState::Delivered;
                webhook.last_status = Some(i32::from(*status));
                webhook.delivered_time = Some(instants::floor(now));
                webhook.next_attempt_time = None;
            }
            WebhookAnswer::Failed {
                status,
                retry_after,
                why,
            } => {
                webhook.last_status = status.map(i32::from);
                try_again(webhook, policy.webhook_delay(made, jitter, *retry_after), now);
                trouble = format!("{}: {}.", not_accepted(name), why.trim_end_matches('.'));
            }
            WebhookAnswer::Panicked => {
                let rest = policy.backoff(u32::MAX, jitter, None);
                webhook.last_status = None;
                try_again(webhook, policy.webhook_delay(made, jitter, Some(rest)), now);
                trouble = format!(
                    "{}: the operator failed on it. Please report this with the operator's logs.",
                    not_accepted(name)
                );
            }
            WebhookAnswer::Gone => {
                webhook.attempts = webhook.attempts.saturating_add(1);
                webhook.last_status = Some(410);
                give_up(webhook);
            }
            WebhookAnswer::Removed => give_up(webhook),
        }
        self.settle(&trouble);
        if *answer == WebhookAnswer::Panicked && !self.status.is_settled() {
            self.condition(Type::WebhookDelivered, Is::Unknown, Reason::InternalError, &trouble);
        }
    }

    /// Sums up the outbox: settled with the last webhook, and in the same write. `trouble`: what the last try ran into,
    /// while there is another one to come.
    fn settle(&mut self, trouble: &str) {
        if self.status.webhooks.is_empty() {
            self.status.settled = Some(true);
            return;
        }
        let mut pending = self
            .status
            .webhooks
            .iter()
            .filter(|webhook| webhook.state == WebhookState::Pending)
            .peekable();
        if pending.peek().is_some() {
            // What a failed try said stands until that webhook's next one.
            let said = find(&self.status.conditions, Type::WebhookDelivered).map_or("", |said| said.message.as_str());
            let stands = trouble.is_empty() && pending.any(|webhook| said.starts_with(&not_accepted(&webhook.name)));
            if !stands {
                self.condition(Type::WebhookDelivered, Is::Unknown, Reason::Pending, trouble);
            }
            return;
        }
        let failed = self
            .status
            .webhooks
            .iter()
            .filter(|webhook| webhook.state == WebhookState::Failed);
        let worst = failed
            .map(|webhook| (self.failure_of(webhook), webhook.name.clone()))
            .min();
        match worst {
            None => self.condition(Type::WebhookDelivered, Is::True, Reason::Delivered, ""),
            Some((reason, name)) => {
                let message = match reason {
                    Reason::EndpointGone => format!("The endpoint of webhook {name} answered 410: it wants no more."),
                    Reason::EndpointRemoved => {
                        format!("Webhook {name} was removed from the connection before it was delivered.")
                    }
                    _ => {
                        let said = find(&self.status.conditions, Type::WebhookDelivered);
                        let cause = said
                            .and_then(|said| said.message.strip_prefix(&format!("{}: ", not_accepted(&name))))
                            .map(|cause| format!(" Last cause: {cause}"))
                            .unwrap_or_default();
                        format!("Webhook {name} was not accepted in any try of its whole schedule.{cause}")
                    }
                };
                self.condition(Type::WebhookDelivered, Is::False, reason, &message);
            }
        }
        self.status.settled = Some(true);
    }

    fn failure_of(&self, webhook: &WebhookDelivery) -> Reason {
        if webhook.last_status == Some(410) {
            Reason::EndpointGone
        } else if usize::try_from(webhook.attempts).is_ok_and(|made| made >= self.policy.webhook_delays.len()) {
            Reason::DeliveryFailed
        } else {
            Reason::EndpointRemoved
        }
    }
}

fn without_success() -> Audit {
    Audit {
        success: false,
        duplicate_termination: false,
        latency_millis: None,
        confirmed_by: None,
        correlation_id: None,
        rest: Default::default(),
    }
}

fn not_accepted(name: &str) -> String {
    format!("Webhook {name} was not accepted yet")
}

/// A try failed: the next one comes after `delay`, if the schedule has one.
fn try_again(webhook: &mut WebhookDelivery, delay: Option<Duration>, now: Timestamp) {
    webhook.attempts = webhook.attempts.saturating_add(1);
    match delay {
        Some(delay) => webhook.next_attempt_time = Some(instants::ceiling(instants::later(now, delay))),
        None => give_up(webhook),
    }
}

fn give_up(webhook: &mut WebhookDelivery) {
    webhook.state = WebhookState::Failed;
    webhook.next_attempt_time = None;
}

/// The status of an object whose spec this version refuses: a definition that was replaced let it through.
pub fn refuse(generation: i64, status: &Status, invalid: Invalid, now: Timestamp) -> Status {
    let mut next = status.clone();
    if status.is_finished() {
        return next;
    }
    // A call of the spec as it was may be open; nobody will look after it.
    let (outcome, retention) = if is_unsure(status) {
        (Outcome::Unconfirmed, Reason::NotConfirmed)
    } else {
        (Outcome::Rejected, Reason::NotSent)
    };
    if let Some(open) = next.current_attempt.take() {
        next.may_have_applied = Some(true);
        let why = "The spec is not valid any more, so nobody looked whether this call took effect.";
        let record = record(&open, unless_accepted(&open, AttemptResult::Unknown), why);
        next.history.retain(|entry| entry.id != record.id);
        next.history.insert(0, record);
        next.history.truncate(MAX_HISTORY);
    }
    let reason = reason_of(outcome);
    let message = format!("{invalid}. Create a new object with a valid spec.");
    let mut set = |type_, is, reason, message: &str| {
        set_condition(&mut next.conditions, type_, is, reason, message, now, Some(generation));
    };
    set(Type::SessionValidated, Is::False, Reason::ValidationRejected, &message);
    set(Type::RetentionApplied, Is::Unknown, retention, "");
    set(Type::Ready, Is::False, reason, &message);
    set(Type::Finished, Is::True, reason, &message);
    set(Type::Stalled, Is::True, reason, &message);
    remove_condition(&mut next.conditions, Type::Reconciling);
    next.observed_generation = Some(generation);
    next.start_time.get_or_insert_with(|| instants::floor(now));
    next.completion_time = Some(instants::floor(now));
    next.next_attempt_time = None;
    next.audit = Some(without_success());
    next.outcome = Some(outcome);
    next.finished = Some(true);
    next.settled = Some(true);
    next.phase = Some(super::phase::of(&next));
    next
}

/// The condition reason of an outcome.
pub fn reason_of(outcome: Outcome) -> Reason {
    match outcome {
        Outcome::Terminated => Reason::Terminated,
        Outcome::AlreadyTerminated => Reason::AlreadyTerminated,
        Outcome::Rejected => Reason::Rejected,
        Outcome::RetriesExhausted => Reason::RetriesExhausted,
        Outcome::DeadlineExceeded => Reason::DeadlineExceeded,
        Outcome::Expired => Reason::Expired,
        Outcome::Unconfirmed => Reason::OutcomeUnknown,
    }
}
