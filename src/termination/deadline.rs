//! When and why a termination must end without success.

use std::time::Duration;

use k8s_openapi::jiff::Timestamp;

use super::{answer::Proof, fact::End, instants, policy::Policy, request::Request};
use crate::api::{
    AttemptResult, GuestTerminationStatus as Status, Outcome,
    conditions::{ConditionReason, ConditionStatus, ConditionType, find, has_status},
};

/// Whether the status says that the user's hold is in force.
pub fn is_suspended(status: &Status) -> bool {
    has_status(&status.conditions, ConditionType::Suspended, ConditionStatus::True)
}

/// The instant at which the termination has failed: creation, the deadline's span and the suspensions that are over.
/// Nothing while it is suspended, because the clock stands.
pub fn deadline(request: &Request, status: &Status, policy: &Policy) -> Option<Timestamp> {
    if is_suspended(status) {
        return None;
    }
    let suspended = Duration::from_secs(u64::try_from(status.suspended_seconds).unwrap_or_default());
    let span = request.active_deadline.mul_f64(policy.deadline_scale);
    Some(instants::later(instants::later(request.created, span), suspended))
}

/// Whether a call of this uid may have taken effect and nobody knows: an answer left it open, or an intent is open.
pub fn is_unsure(status: &Status) -> bool {
    status.may_have_applied() || status.current_attempt.is_some()
}

/// Whether the object itself proves the route of the connection that it is bound to, so that a 404 to a look that is made
/// now can be believed: a call of it may be open, and an intent is only written after a look that said active.
pub fn proves_route(status: &Status) -> bool {
    status.connection.is_some() && is_unsure(status)
}

/// When the last call left or may have left. Never early: a written `startedAt` is cut to the second, so an open intent's
/// call may have left up to a second later than it alone says. When an accepted call left stands in `lastSendTime`.
pub fn last_send(status: &Status, policy: &Policy) -> Option<Timestamp> {
    let open = status
        .current_attempt
        .as_ref()
        .filter(|attempt| attempt.accepted_time.is_none())
        .map(|attempt| instants::later(attempt.started_at.0, policy.send_window + Duration::from_secs(1)));
    open.max(status.last_send_time.as_ref().map(|time| time.0))
}

/// Why the termination must end without success, if it must. In order of precedence: refused, `notAfter`, deadline,
/// budget.
pub fn ending(request: &Request, status: &Status, now: Timestamp, policy: &Policy) -> Option<End> {
    if let Some(message) = refused(status) {
        return Some(End {
            outcome: Outcome::Rejected,
            message,
        });
    }
    if request.not_after.is_some_and(|limit| now > limit) {
        let message = "spec.notAfter has passed; no terminate call leaves any more. Create a new object if the session is still to be ended.";
        return Some(End {
            outcome: Outcome::Expired,
            message: message.to_owned(),
        });
    }
    if deadline(request, status, policy).is_some_and(|limit| now >= limit) {
        let message = deadline_passed(last_cause(status));
        return Some(End {
            outcome: Outcome::DeadlineExceeded,
            message,
        });
    }
    if !is_suspended(status) && status.retries > request.backoff_limit {
        let message = with_cause("The retries of spec.backoffLimit are spent.", last_cause(status));
        return Some(End {
            outcome: Outcome::RetriesExhausted,
            message,
        });
    }
    None
}

/// Until when a look is tried for that decides an unsuccessful end; after it, nobody can tell.
pub fn patience_ends(request: &Request, status: &Status, policy: &Policy) -> Timestamp {
    // While suspended the deadline's clock stands, and only notAfter can have ended the termination.
    let limit = deadline(request, status, policy).or(request.not_after);
    let from = limit.max(last_send(status, policy)).unwrap_or(request.created);
    instants::later(from, policy.last_look_patience)
}

/// From when a look decides: before, the effect of the last call may still be on its way.
pub fn decisive_from(status: &Status, policy: &Policy) -> Timestamp {
    last_send(status, policy).map_or(Timestamp::MIN, |sent| instants::later(sent, policy.effect_lag))
}

/// The message of a refusal by the vendor that still waits for a deciding look: an earlier call may have applied.
fn refused(status: &Status) -> Option<String> {
    let last = status.history.first().filter(|_| status.current_attempt.is_none())?;
    let refusal = last
        .http_status
        .is_some_and(|code| is_refusal(u16::try_from(code).unwrap_or_default()));
    // Most refusals prove that nothing happened, some leave it open; all of them are final.
    let answered = matches!(last.result, AttemptResult::NotApplied | AttemptResult::Unknown);
    (answered && last.error_code.is_some() && refusal).then(|| last.message.clone().unwrap_or_default())
}

/// Whether an HTTP status, in the vendor's error shape, refuses a request for good.
pub fn is_refusal(status: u16) -> bool {
    matches!(status, 400..=499) && !matches!(status, 401 | 403 | 404 | 407 | 408 | 409 | 410 | 425 | 429)
}

/// The message of a termination that its deadline ends, with the last cause, where one is known.
pub fn deadline_passed(cause: Option<&str>) -> String {
    with_cause("spec.activeDeadlineSeconds has passed.", cause)
}

fn with_cause(sentence: &str, cause: Option<&str>) -> String {
    cause.map_or_else(
        || sentence.to_owned(),
        |cause| format!("{sentence} Last cause: {cause}"),
    )
}

/// What `Ready` last said about the cause.
fn last_cause(status: &Status) -> Option<&str> {
    find(&status.conditions, ConditionType::Ready)
        .filter(|ready| ready.reason != ConditionReason::Progressing.as_str() && !ready.message.is_empty())
        .map(|ready| ready.message.as_str())
}

/// What the status keeps of an answer's proof.
pub fn result_of(proof: Proof) -> AttemptResult {
    match proof {
        Proof::Applied => AttemptResult::Applied,
        Proof::NotApplied => AttemptResult::NotApplied,
        Proof::Unknown => AttemptResult::Unknown,
    }
}
