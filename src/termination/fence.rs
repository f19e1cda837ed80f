//! The send fence: the last word before a terminate call leaves the process.

use std::time::Duration;

use k8s_openapi::jiff::Timestamp;

use super::{deadline::deadline, fact::Hold, policy::Policy, request::Request};
use crate::api::GuestTerminationStatus as Status;

/// What the process knows at the moment of sending.
#[derive(Clone, Copy, Debug)]
pub struct AtTheSocket<'a> {
    /// Time since the write of the intent began, by the larger of the monotonic and the wall clock.
    pub since_intent: Duration,
    /// Whether this process leads.
    pub leading: bool,
    /// Whether the vendor asked for a pause that is not over.
    pub paused: bool,
    /// Whether the object was deleted.
    pub deleted: bool,
    /// Why nothing can be asked of the vendor, if so.
    pub held: Option<&'a Hold>,
    /// The id of the intent that was written.
    pub intent: &'a str,
}

/// Lets a call pass, or says why it must not leave.
///
/// `status` is the newest that this process knows, and `request` the newest spec.
///
/// # Errors
/// The reason, as a sentence.
pub fn fence(
    request: &Request,
    status: &Status,
    at: AtTheSocket<'_>,
    now: Timestamp,
    policy: &Policy,
) -> Result<(), &'static str> {
    let open = status
        .current_attempt
        .as_ref()
        .is_some_and(|open| open.id == at.intent && open.accepted_time.is_none());
    if !open || status.is_finished() {
        Err("The intent of this call is no longer the object's; the call was not sent.")
    } else if at.since_intent >= policy.send_window {
        Err("Too much time passed between the intent and the call; the call was not sent.")
    } else if !at.leading {
        Err("This replica no longer leads; the call was not sent.")
    } else if at.paused {
        Err("The vendor asked for a pause; the call was not sent.")
    } else if at.deleted {
        Err("The object was deleted; the call was not sent.")
    } else if request.suspend {
        Err("spec.suspend became true; the call was not sent.")
    } else if request.not_after.is_some_and(|limit| now > limit) {
        Err("spec.notAfter has passed; the call was not sent.")
    } else if deadline(request, status, policy).is_some_and(|limit| now >= limit) {
        Err("spec.activeDeadlineSeconds has passed; the call was not sent.")
    } else if at.held.is_some() {
        Err("The connection became unusable; the call was not sent.")
    } else {
        Ok(())
    }
}
