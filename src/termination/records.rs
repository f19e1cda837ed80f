//! What the world is told of a step: audit lines and Events, both drawn from the difference of two statuses.

use k8s_openapi::jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::{answered::answered, deadline::is_unsure, end::reason_of, fact::Fact};
use crate::api::{
    AttemptRecord, AttemptResult, ConfirmedBy, CurrentAttempt, GuestTermination, GuestTerminationStatus as Status,
    Outcome, WebhookState,
    conditions::{ConditionReason as Reason, ConditionStatus as Is, ConditionType as Type, find, has_status},
};

/// Something to tell.
#[derive(Clone, Debug, PartialEq)]
pub enum Record {
    /// A line of the audit log.
    Audit(Map<String, Value>),
    /// A Kubernetes Event.
    Event(Note),
}

/// A Kubernetes Event about one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// A Warning rather than Normal.
    pub warning: bool,
    /// The Event's reason.
    pub reason: &'static str,
    /// The Event's note.
    pub note: String,
    /// Tells this Event from others with the same reason on the same object; the same for the same occurrence.
    pub discriminator: String,
}

/// The kinds of audit line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuditKind {
    /// A terminate call is about to leave.
    AttemptStarted,
    /// A terminate call is over.
    AttemptResult,
    /// The termination is over.
    Outcome,
    /// A webhook was given up because its object is gone.
    WebhookAbandoned,
}

impl AuditKind {
    const fn as_str(self) -> &'static str {
        match self {
            Self::AttemptStarted => "attempt_started",
            Self::AttemptResult => "attempt_result",
            Self::Outcome => "outcome",
            Self::WebhookAbandoned => "webhook_abandoned",
        }
    }
}

/// What happened between two statuses of one object, in the order to be told.
pub fn between(object: &GuestTermination, old: &Status, new: &Status, now: Timestamp) -> Vec<Record> {
    let mut records = Vec::new();
    for entry in new.history.iter().rev().filter(|entry| is_news(old, entry)) {
        records.push(Record::Audit(attempt_result(object, new, entry, now)));
    }
    if let Some(open) = &new.current_attempt
        && old.current_attempt.as_ref().is_none_or(|before| before.id != open.id)
    {
        records.push(Record::Audit(attempt_started(object, new, open, now)));
    }
    if new.is_finished() && !old.is_finished() {
        records.push(Record::Audit(outcome(object, new, now)));
    }
    records.extend(notes(object, old, new).into_iter().map(Record::Event));
    records
}

/// What makes an audit line the same as another one of its object.
pub fn key(line: &Map<String, Value>) -> String {
    ["kind", "attempt_id", "result", "outcome"]
        .map(|field| line.get(field).unwrap_or(&Value::Null).to_string())
        .join("/")
}

/// The line that says that a webhook was given up because its object is gone.
pub fn webhook_abandoned(
    object: &GuestTermination,
    status: &Status,
    webhook: &str,
    now: Timestamp,
) -> Map<String, Value> {
    let mut line = base(AuditKind::WebhookAbandoned, object, status, now);
    line.insert("webhook".to_owned(), json!(webhook));
    line.insert(
        "error".to_owned(),
        json!("The object was deleted before this webhook was delivered."),
    );
    line
}

/// The line that says that an object was deleted before it was finished.
pub fn deleted(object: &GuestTermination, status: &Status, now: Timestamp) -> Map<String, Value> {
    let mut line = base(AuditKind::Outcome, object, status, now);
    let error = if is_unsure(status) {
        "The object was deleted before its termination was finished; whether a call took effect was not found out."
    } else {
        "The object was deleted before its termination was finished; no call took effect."
    };
    line.insert("success".to_owned(), json!(false));
    line.insert("attempt".to_owned(), json!(status.attempts));
    line.insert("duplicate_termination".to_owned(), json!(false));
    line.insert("retention_applied".to_owned(), json!("Unknown"));
    line.insert("error".to_owned(), json!(error));
    line
}

/// The line that says how a call was answered of which the status will never tell: the termination was over by then.
/// Nothing if the status tells the same already, or if the fact is no such answer.
pub fn late_answer(
    object: &GuestTermination,
    status: &Status,
    fact: &Fact,
    now: Timestamp,
) -> Option<Map<String, Value>> {
    let Fact::Called {
        attempt,
        answer,
        context,
    } = fact
    else {
        return None;
    };
    let entry = answered(attempt, answer, &context.connection);
    (status.is_finished() && is_news(status, &entry)).then(|| attempt_result(object, status, &entry, now))
}

/// Whether the result of an attempt was not told yet, or another one was.
fn is_news(old: &Status, entry: &AttemptRecord) -> bool {
    let before = old.history.iter().find(|before| before.id == entry.id);
    before.is_none_or(|before| before.result != entry.result)
}

fn base(kind: AuditKind, object: &GuestTermination, status: &Status, now: Timestamp) -> Map<String, Value> {
    let spec = &object.spec;
    let metadata = &object.metadata;
    let fields = json!({
        "timestamp": format!("{now:.3}"),
        "kind": kind.as_str(),
        "uid": metadata.uid,
        "namespace": metadata.namespace,
        "name": metadata.name,
        "connection": status.connection.as_ref().map(|pinned| &pinned.name),
        "guest_id": spec.guest_id,
        "reason": spec.reason.as_str(),
        "retain_data": spec.retain_data,
        "external_ref": spec.external_ref,
        "success": null,
        "latency_ms": null,
        "error": null,
        "outcome": status.outcome,
        "duplicate_termination": null,
        "retention_applied": null,
        "attempt": null,
        "attempt_id": null,
        "http_status": null,
        "correlation_id": null,
    });
    match fields {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

fn attempt_started(
    object: &GuestTermination,
    status: &Status,
    open: &CurrentAttempt,
    now: Timestamp,
) -> Map<String, Value> {
    let mut line = base(AuditKind::AttemptStarted, object, status, now);
    line.insert("attempt".to_owned(), json!(open.number));
    line.insert("attempt_id".to_owned(), json!(open.id));
    line
}

fn attempt_result(
    object: &GuestTermination,
    status: &Status,
    entry: &AttemptRecord,
    now: Timestamp,
) -> Map<String, Value> {
    let mut line = base(AuditKind::AttemptResult, object, status, now);
    line.insert("attempt".to_owned(), json!(entry.number));
    line.insert("attempt_id".to_owned(), json!(entry.id));
    line.insert("result".to_owned(), json!(entry.result));
    line.insert("success".to_owned(), json!(entry.result == AttemptResult::Applied));
    line.insert("latency_ms".to_owned(), json!(entry.duration_millis));
    line.insert("http_status".to_owned(), json!(entry.http_status));
    line.insert("error_code".to_owned(), json!(entry.error_code));
    line.insert("correlation_id".to_owned(), json!(entry.correlation_id));
    line.insert("error".to_owned(), json!(entry.message));
    line
}

fn outcome(object: &GuestTermination, status: &Status, now: Timestamp) -> Map<String, Value> {
    let mut line = base(AuditKind::Outcome, object, status, now);
    let audit = status.audit.as_ref();
    let success = audit.is_some_and(|audit| audit.success);
    line.insert("success".to_owned(), json!(success));
    line.insert("attempt".to_owned(), json!(status.attempts));
    // The call that decided it, where it was decided by a call's answer.
    if audit.is_some_and(|audit| audit.confirmed_by == Some(ConfirmedBy::Response))
        && let Some(call) = status
            .history
            .iter()
            .find(|entry| entry.result == AttemptResult::Applied)
    {
        line.insert("attempt".to_owned(), json!(call.number));
        line.insert("attempt_id".to_owned(), json!(call.id));
        line.insert("http_status".to_owned(), json!(call.http_status));
    }
    line.insert(
        "latency_ms".to_owned(),
        json!(audit.and_then(|audit| audit.latency_millis)),
    );
    line.insert(
        "duplicate_termination".to_owned(),
        json!(audit.is_some_and(|audit| audit.duplicate_termination)),
    );
    line.insert("retention_applied".to_owned(), json!(retention(status)));
    line.insert(
        "correlation_id".to_owned(),
        json!(audit.and_then(|audit| audit.correlation_id.as_ref())),
    );
    if !success {
        let message = find(&status.conditions, Type::Finished).map(|finished| finished.message.as_str());
        line.insert("error".to_owned(), json!(message));
    }
    line
}

/// The status of `RetentionApplied`: `True`, `False` or `Unknown`.
fn retention(status: &Status) -> &str {
    find(&status.conditions, Type::RetentionApplied).map_or("Unknown", |condition| condition.status.as_str())
}

/// One Event per outcome on the happy path, one per change of cause otherwise.
fn notes(object: &GuestTermination, old: &Status, new: &Status) -> Vec<Note> {
    let mut notes = Vec::new();
    let count = format!("{}-{}", new.attempts, new.retries);
    let mut tell = |warning, reason, note: &str, discriminator: &str| {
        notes.push(Note {
            warning,
            reason,
            note: note.to_owned(),
            discriminator: discriminator.to_owned(),
        });
    };
    let reason_and_message = |status: &Status, type_| {
        find(&status.conditions, type_).map(|condition| (condition.reason.clone(), condition.message.clone()))
    };
    if new.is_finished() && !old.is_finished() {
        let message = reason_and_message(new, Type::Finished)
            .map(|(_, message)| message)
            .unwrap_or_default();
        if let Some(outcome) = new.outcome {
            let good = matches!(outcome, Outcome::Terminated | Outcome::AlreadyTerminated);
            tell(!good, reason_of(outcome).as_str(), &message, "");
        }
        if !object.spec.retain_data && !has_status(&new.conditions, Type::RetentionApplied, Is::True) {
            let claim = reason_and_message(new, Type::RetentionApplied)
                .map(|(_, message)| message)
                .unwrap_or_default();
            let note = format!("spec.retainData is false, and it is not known to have been applied: {claim}");
            tell(true, "RetentionNotApplied", &note, "");
        }
    } else if let Some((reason, message)) = reason_and_message(new, Type::Ready)
        && reason_and_message(old, Type::Ready).is_none_or(|(before, _)| before != reason)
        && !as_the_attempt_before(old, new)
        && let Some(event) = cause(&reason)
    {
        tell(true, event, &message, &count);
    }
    let suspended = |status: &Status| has_status(&status.conditions, Type::Suspended, Is::True);
    match (suspended(old), suspended(new)) {
        (false, true) => tell(
            false,
            "Suspended",
            "spec.suspend is true: nothing is sent.",
            &new.suspended_seconds.to_string(),
        ),
        (true, false) => tell(
            false,
            "Resumed",
            "spec.suspend is false again.",
            &new.suspended_seconds.to_string(),
        ),
        _ => {}
    }
    for webhook in new
        .webhooks
        .iter()
        .filter(|webhook| webhook.state == WebhookState::Failed)
    {
        let before = old.webhooks.iter().find(|before| before.name == webhook.name);
        if before.is_some_and(|before| before.state == WebhookState::Pending) {
            let note = format!(
                "Webhook {} was given up; see the condition WebhookDelivered.",
                webhook.name
            );
            tell(true, "WebhookFailed", &note, &webhook.name);
        }
    }
    notes
}

/// Whether what happened is an attempt that came to the same as the one before: `Progressing` between two attempts is no
/// change of cause.
fn as_the_attempt_before(old: &Status, new: &Status) -> bool {
    match new.history.as_slice() {
        [last, before, ..] => is_news(old, last) && last.message == before.message,
        _ => false,
    }
}

/// The Event that a cause of waiting is told by.
fn cause(reason: &str) -> Option<&'static str> {
    match Reason::parse(reason)? {
        Reason::RateLimited => Some("RateLimited"),
        Reason::RetryScheduled | Reason::SuspiciousAnswer => Some("AttemptFailed"),
        Reason::CredentialsInvalid => Some("CredentialsInvalid"),
        Reason::PermissionDenied => Some("PermissionDenied"),
        Reason::WaitingForConnection => Some("ConnectionNotFound"),
        Reason::InternalError => Some("InternalError"),
        _ => None,
    }
}
