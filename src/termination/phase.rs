//! The phase: one word for people, derived from the rest of the status.

use super::deadline::is_suspended;
use crate::api::{
    GuestTerminationStatus as Status, Outcome, Phase,
    conditions::{ConditionReason as Reason, ConditionType, find},
};

/// The phase of a status.
pub fn of(status: &Status) -> Phase {
    match status.outcome.filter(|_| status.is_finished()) {
        Some(Outcome::Terminated | Outcome::AlreadyTerminated) => return Phase::Terminated,
        Some(Outcome::Expired) => return Phase::Expired,
        Some(_) => return Phase::Failed,
        None if is_suspended(status) => return Phase::Suspended,
        None => {}
    }
    let reason = find(&status.conditions, ConditionType::Ready).and_then(|ready| Reason::parse(&ready.reason));
    match reason {
        None => Phase::Pending,
        Some(Reason::Progressing) if status.attempts <= 1 && status.retries == 0 => Phase::Terminating,
        Some(
            Reason::WaitingForConnection
            | Reason::ConnectionSuspended
            | Reason::CredentialsInvalid
            | Reason::RouteNotProven,
        ) if status.attempts == 0 && status.retries == 0 => Phase::Pending,
        Some(_) => Phase::Retrying,
    }
}
