//! How a status takes the vendor's answers in: what each row of the answer table makes of it.

use super::{
    answer::{Answer, Call, Evidence, Failure, Look, Proof, SessionSeen},
    deadline::{is_unsure, last_send, result_of},
    end::Success,
    evolve::{Draft, record, unless_accepted},
    fact::{AttemptSent, Context, End},
    instants, messages,
};
use crate::api::{
    AttemptRecord, AttemptResult, ConfirmedBy, Outcome, PinnedConnection,
    conditions::{ConditionReason as Reason, ConditionStatus as Is, ConditionType as Type},
};

/// What is kept of an attempt whose call was answered.
pub(super) fn answered(attempt: &AttemptSent, answer: &Answer<Call>, connection: &PinnedConnection) -> AttemptRecord {
    let (result, message) = match answer.verdict {
        Call::Accepted => (AttemptResult::Accepted, None),
        Call::Failed(Failure::NotFound { .. }) => (AttemptResult::Gone, None),
        Call::Applied => (result_of(answer.proves()), None),
        Call::Failed(failure) => {
            let message = messages::call_failed(failure, &answer.evidence, connection);
            (result_of(answer.proves()), Some(message))
        }
    };
    AttemptRecord {
        number: attempt.number,
        id: attempt.id.clone(),
        started_at: instants::floor(attempt.started_at),
        duration_millis: i64::try_from(answer.evidence.duration.as_millis()).ok(),
        result,
        http_status: answer.evidence.http_status.map(i32::from),
        error_code: answer.evidence.error_code.clone(),
        correlation_id: answer.evidence.correlation_id.clone(),
        message,
        rest: Default::default(),
    }
}

impl Draft<'_> {
    pub(super) fn looked(&mut self, answer: &Answer<Look>, route_proven: bool, context: &Context) {
        let pinned = self.status.connection.as_ref().map(|pinned| &pinned.uid);
        if pinned.is_some_and(|uid| *uid != context.connection.uid) {
            return; // No other connection's answer is evidence.
        }
        match &answer.verdict {
            Look::Active(_) => {}
            Look::Ended(seen) => self.gone(Some(seen), answer, context),
            Look::Failed(Failure::NotFound { conclusive }) if *conclusive || route_proven => {
                self.gone(None, answer, context);
            }
            // What is left is a look: it is repeated from memory, and nothing of it is news.
            Look::Unclear(_) | Look::Failed(_) if !self.is_at_work() => {}
            Look::Unclear(seen) if context.spends || !self.has_spoken() => {
                self.session(seen);
                self.setback(
                    Reason::RetryScheduled,
                    &messages::unclear(&seen.state),
                    context,
                    &answer.evidence,
                );
            }
            Look::Failed(failure) => self.look_failed(*failure, &answer.evidence, context),
            Look::Unclear(_) => {}
        }
    }

    fn look_failed(&mut self, failure: Failure, evidence: &Evidence, context: &Context) {
        let message = messages::look_failed(failure, evidence, &context.connection);
        let reason = messages::reason(failure);
        match failure {
            Failure::Refused if !self.status.may_have_applied() => {
                self.condition(Type::SessionValidated, Is::False, Reason::ValidationRejected, &message);
                self.pin(&context.connection);
                self.fail(&End {
                    outcome: Outcome::Rejected,
                    message,
                });
            }
            Failure::Forbidden => self.forbidden(&message),
            Failure::Unauthorized | Failure::TokenDied | Failure::Throttled | Failure::NotFound { .. } => {
                self.status.next_attempt_time = None;
                self.waiting(reason, &message);
            }
            // While the connection is out of order, its objects only wait: the connection says so, once for all. But
            // what the vendor asked of this one object is kept, and one that was asked about says why nothing came of it,
            // if it never said anything.
            _ if context.spends || evidence.retry_after.is_some() || !self.has_spoken() => {
                self.setback(reason, &message, context, evidence);
            }
            _ => {}
        }
    }

    pub(super) fn called(&mut self, attempt: &AttemptSent, answer: &Answer<Call>, context: &Context) {
        let open = self
            .status
            .current_attempt
            .as_ref()
            .is_some_and(|open| open.id == attempt.id);
        let unsure_before = self.status.may_have_applied();
        let sent = instants::ceiling(attempt.sent_at);
        self.status.last_send_time = self.status.last_send_time.take().max(Some(sent));
        let record = answered(attempt, answer, &context.connection);
        let failure = match answer.verdict {
            Call::Applied => {
                self.close(open);
                self.remember(record);
                let success = Success {
                    confirmed_by: ConfirmedBy::Response,
                    duplicate: false,
                    call: true,
                    evidence: &answer.evidence,
                };
                return self.succeed(&success, context);
            }
            Call::Accepted => {
                self.status.may_have_applied = Some(true);
                if let Some(current) = self.status.current_attempt.as_mut().filter(|_| open) {
                    current.accepted_time = Some(instants::floor(self.now));
                } else {
                    self.remember(record);
                }
                return;
            }
            Call::Failed(failure) => failure,
        };
        if let Failure::NotFound { .. } = failure {
            // The own intent has proven the route. Gone before this call: it ended nothing, unless an earlier one did.
            self.close(open);
            self.remember(record);
            self.session_gone(None);
            let success = Success {
                confirmed_by: ConfirmedBy::Observation,
                duplicate: !unsure_before,
                call: true,
                evidence: &answer.evidence,
            };
            return self.succeed(&success, context);
        }
        let message = record.message.clone().unwrap_or_default();
        self.remember(record);
        if answer.proves() == Proof::Unknown {
            self.status.may_have_applied = Some(true);
        }
        if !open {
            return; // A superseded attempt: its failure is history, and whoever holds the object goes on.
        }
        self.close(open);
        let reason = messages::reason(failure);
        match failure {
            Failure::Refused if !self.status.may_have_applied() => {
                self.fail(&End {
                    outcome: Outcome::Rejected,
                    message,
                });
            }
            Failure::Refused => self.waiting(reason, &message),
            Failure::Forbidden => self.forbidden(&message),
            Failure::Unauthorized | Failure::TokenDied | Failure::Throttled => self.waiting(reason, &message),
            _ => self.setback(reason, &message, context, &answer.evidence),
        }
    }

    /// The session is over, by a look.
    fn gone(&mut self, seen: Option<&SessionSeen>, answer: &Answer<Look>, context: &Context) {
        let unsure = is_unsure(&self.status);
        self.status.last_send_time = last_send(&self.status, self.policy).map(instants::ceiling);
        if let Some(open) = self.status.current_attempt.take() {
            let why = "The session was gone when it was looked at afterwards.";
            self.remember(record(&open, unless_accepted(&open, AttemptResult::Gone), why));
        }
        self.session_gone(seen);
        let success = Success {
            confirmed_by: ConfirmedBy::Observation,
            duplicate: !unsure,
            call: false,
            evidence: &answer.evidence,
        };
        self.succeed(&success, context);
    }

    fn session_gone(&mut self, seen: Option<&SessionSeen>) {
        match seen {
            Some(seen) => self.session(seen),
            None => {
                let session = self.status.session.get_or_insert_default();
                session.state = Some("notFound".to_owned());
            }
        }
    }
}
