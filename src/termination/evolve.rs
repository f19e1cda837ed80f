//! How a status goes on when something happened. Pure: the same status, fact and instant give the same status.

use std::time::Duration;

use k8s_openapi::jiff::Timestamp;

use super::{
    answer::{Evidence, SessionSeen},
    deadline::{deadline, ending, is_suspended, last_send},
    fact::{Context, Fact},
    instants,
    policy::Policy,
    request::Request,
};
use crate::api::{
    AttemptRecord, AttemptResult, CurrentAttempt, GuestTerminationStatus as Status, PinnedConnection, Session,
    conditions::{
        ConditionReason as Reason, ConditionStatus as Is, ConditionType as Type, find, remove_condition, set_condition,
    },
};

/// Attempts that the status remembers.
pub(super) const MAX_HISTORY: usize = 10;

/// The status after `fact` happened at `now`. Equal to `status` where the fact changes nothing: then there is nothing to
/// write.
pub fn evolve(request: &Request, status: &Status, fact: &Fact, now: Timestamp, policy: &Policy) -> Status {
    let webhook = matches!(fact, Fact::WebhookTried { .. });
    if status.is_settled() || (status.is_finished() && !webhook) {
        return status.clone();
    }
    let mut draft = Draft {
        request,
        status: status.clone(),
        now,
        policy,
    };
    draft.take(fact);
    let mut next = draft.status;
    if next == *status && !matches!(fact, Fact::SpecChanged) {
        return next;
    }
    next.observed_generation = Some(request.generation);
    next.start_time.get_or_insert_with(|| instants::floor(now));
    if !next.is_finished() {
        next.deadline_time = deadline(request, &next, policy).map(instants::ceiling);
    }
    next.phase = Some(super::phase::of(&next));
    next
}

/// A status on its way from one state to the next.
pub(super) struct Draft<'a> {
    pub(super) request: &'a Request,
    pub(super) status: Status,
    pub(super) now: Timestamp,
    pub(super) policy: &'a Policy,
}

impl Draft<'_> {
    fn take(&mut self, fact: &Fact) {
        match fact {
            Fact::SpecChanged => {}
            Fact::Suspended => self.suspend(),
            Fact::Resumed => self.resume(),
            Fact::Held(hold) => {
                self.status.next_attempt_time = None;
                self.waiting(hold.reason, &hold.message);
            }
            Fact::Intended {
                id,
                holder,
                session,
                connection,
            } if self.may_intend(connection) => {
                self.status.attempts = self.status.attempts.saturating_add(1);
                self.status.current_attempt = Some(CurrentAttempt {
                    id: id.clone(),
                    number: self.status.attempts,
                    holder: holder.clone(),
                    started_at: instants::floor(self.now),
                    accepted_time: None,
                    rest: Default::default(),
                });
                self.status.connection.get_or_insert_with(|| connection.clone());
                self.status.next_attempt_time = None;
                self.session(session);
                self.condition(
                    Type::SessionValidated,
                    Is::True,
                    Reason::SessionActive,
                    "The session was active.",
                );
                self.waiting(Reason::Progressing, "The session is being terminated.");
            }
            // Somebody else's intent is open, or another connection is bound: no call may leave under this one.
            Fact::Intended { .. } => {}
            Fact::NotSent { why } => {
                if let Some(open) = self.status.current_attempt.take() {
                    self.remember(record(&open, AttemptResult::NotSent, why));
                    self.status.next_attempt_time = Some(self.after(self.policy.not_sent_pause));
                    self.waiting(Reason::Progressing, why);
                }
            }
            Fact::Looked {
                answer,
                route_proven,
                context,
            } => self.looked(answer, *route_proven, context),
            Fact::Called {
                attempt,
                answer,
                context,
            } => self.called(attempt, answer, context),
            Fact::Abandoned { id, jitter } => {
                let why = "The process that announced this call is gone, and the session was active after the call must have been answered.";
                self.give_up(id, AttemptResult::Abandoned, why, *jitter);
            }
            Fact::NotConfirmed { id, jitter } => {
                let why = "The vendor accepted the call and the session was still active long afterwards.";
                self.give_up(id, AttemptResult::Accepted, why, *jitter);
            }
            Fact::Ended(end) => self.fail(end),
            Fact::WebhookTried { name, answer, jitter } => self.webhook_tried(name, answer, *jitter),
            Fact::Panicked { jitter } => {
                self.status.next_attempt_time = Some(self.after(self.policy.backoff(u32::MAX, *jitter, None)));
                let message = "The operator failed on this object; nothing else is affected. Please report this with the operator's logs.";
                self.waiting(Reason::InternalError, message);
            }
        }
    }

    fn suspend(&mut self) {
        self.initial_conditions();
        remove_condition(&mut self.status.conditions, Type::Ready);
        remove_condition(&mut self.status.conditions, Type::Reconciling);
        self.condition(Type::Suspended, Is::True, Reason::Requested, "spec.suspend is true.");
    }

    fn resume(&mut self) {
        let since = find(&self.status.conditions, Type::Suspended).map(|condition| condition.last_transition_time.0);
        if let Some(since) = since.filter(|_| is_suspended(&self.status)) {
            let held = instants::between(since, self.now);
            let held = i64::try_from(held.as_secs()).unwrap_or(i64::MAX);
            self.status.suspended_seconds = self.status.suspended_seconds.saturating_add(held);
        }
        self.condition(
            Type::Suspended,
            Is::False,
            Reason::NotSuspended,
            "spec.suspend is false.",
        );
        self.waiting(Reason::Progressing, "The termination was resumed.");
    }

    /// Closes an intent whose call may have been sent by another process, or was accepted and never confirmed.
    fn give_up(&mut self, id: &str, result: AttemptResult, why: &str, jitter: f64) {
        if self.status.current_attempt.as_ref().is_none_or(|open| open.id != id) {
            return;
        }
        self.status.last_send_time = last_send(&self.status, self.policy).map(instants::ceiling);
        if let Some(open) = self.status.current_attempt.take() {
            self.remember(record(&open, result, why));
        }
        self.status.may_have_applied = Some(true);
        self.spend(jitter, None);
        self.waiting(Reason::RetryScheduled, why);
    }

    /// Tried again later; whether that spends budget is the context's word.
    pub(super) fn setback(&mut self, reason: Reason, message: &str, context: &Context, evidence: &Evidence) {
        if context.spends {
            self.spend(context.jitter, evidence.retry_after);
        } else {
            // The connection's breaker decides when it is tried again, but never before the vendor's own word.
            self.status.next_attempt_time = evidence.retry_after.map(|pause| self.after(pause));
        }
        self.waiting(reason, message);
    }

    fn spend(&mut self, jitter: f64, floor: Option<Duration>) {
        let delay = self
            .policy
            .backoff(u32::try_from(self.status.retries).unwrap_or_default(), jitter, floor);
        self.status.retries = self.status.retries.saturating_add(1);
        self.status.next_attempt_time = Some(self.after(delay));
    }

    pub(super) fn forbidden(&mut self, message: &str) {
        self.status.next_attempt_time = Some(self.after(self.policy.permission_pause));
        self.waiting(Reason::PermissionDenied, message);
    }

    /// Not finished: `Ready=Unknown` with a reason, and the conditions that every started object has. A suspended
    /// object carries no `Ready`.
    pub(super) fn waiting(&mut self, reason: Reason, message: &str) {
        self.initial_conditions();
        if is_suspended(&self.status) {
            return;
        }
        self.condition(Type::Ready, Is::Unknown, reason, message);
        self.condition(
            Type::Reconciling,
            Is::True,
            Reason::Progressing,
            "The termination is being worked on.",
        );
    }

    fn initial_conditions(&mut self) {
        let absent = |status: &Status, type_| find(&status.conditions, type_).is_none();
        if absent(&self.status, Type::Finished) {
            self.condition(Type::Finished, Is::False, Reason::InProgress, "");
        }
        if absent(&self.status, Type::SessionValidated) {
            self.condition(Type::SessionValidated, Is::Unknown, Reason::NotChecked, "");
        }
        if absent(&self.status, Type::RetentionApplied) {
            self.condition(Type::RetentionApplied, Is::Unknown, Reason::NotSent, "");
        }
    }

    /// Whether the status says already what the termination waits for.
    pub(super) fn has_spoken(&self) -> bool {
        find(&self.status.conditions, Type::Ready).is_some()
    }

    /// Whether an attempt is what comes next, rather than a look that decides an end or somebody else's intent.
    pub(super) fn is_at_work(&self) -> bool {
        !self.request.suspend
            && self.status.current_attempt.is_none()
            && ending(self.request, &self.status, self.now, self.policy).is_none()
    }

    pub(super) fn close(&mut self, open: bool) {
        if open {
            self.status.current_attempt = None;
        }
        self.status.next_attempt_time = None;
    }

    pub(super) fn session(&mut self, seen: &SessionSeen) {
        let session: &mut Session = self.status.session.get_or_insert_default();
        session.state = Some(seen.state.clone());
        session.last_updated.clone_from(&seen.last_updated);
    }

    pub(super) fn pin(&mut self, connection: &PinnedConnection) {
        self.status.connection.get_or_insert_with(|| connection.clone());
    }

    /// Whether an intent may be written: no other one is open, and no other connection is bound.
    fn may_intend(&self, connection: &PinnedConnection) -> bool {
        let pinned = self.status.connection.as_ref();
        self.status.current_attempt.is_none() && pinned.is_none_or(|pinned| pinned.uid == connection.uid)
    }

    /// Puts a record in the history, newest attempt first, in place of an earlier word on the same attempt.
    pub(super) fn remember(&mut self, record: AttemptRecord) {
        let history = &mut self.status.history;
        history.retain(|entry| entry.id != record.id);
        let place = history.partition_point(|entry| entry.number > record.number);
        history.insert(place, record);
        history.truncate(MAX_HISTORY);
    }

    pub(super) fn condition(&mut self, type_: Type, is: Is, reason: Reason, message: &str) {
        let generation = Some(self.request.generation);
        set_condition(
            &mut self.status.conditions,
            type_,
            is,
            reason,
            message,
            self.now,
            generation,
        );
    }

    pub(super) fn after(&self, span: Duration) -> k8s_openapi::apimachinery::pkg::apis::meta::v1::Time {
        instants::ceiling(instants::later(self.now, span))
    }
}

/// What is kept of an attempt whose end nobody saw: that the vendor had accepted it, if it had.
pub(super) fn unless_accepted(open: &CurrentAttempt, result: AttemptResult) -> AttemptResult {
    if open.accepted_time.is_some() {
        AttemptResult::Accepted
    } else {
        result
    }
}

/// What is kept of an intent that is over. The only answer that an open intent can have had is a 202.
pub(super) fn record(open: &CurrentAttempt, result: AttemptResult, message: &str) -> AttemptRecord {
    AttemptRecord {
        number: open.number,
        id: open.id.clone(),
        started_at: open.started_at.clone(),
        duration_millis: None,
        result,
        http_status: open.accepted_time.as_ref().map(|_| 202),
        error_code: None,
        correlation_id: None,
        message: Some(message.to_owned()),
        rest: Default::default(),
    }
}
