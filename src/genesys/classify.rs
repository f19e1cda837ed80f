//! What an answer of the guests API says: a pure function of what came over the wire.
//!
//! The rows are those of the answer table. Two ideas run through it: only the vendor's own error shape is the vendor's
//! word, because a gateway answers too; and nothing but an explicit word is success.

use http::HeaderMap;
use serde::Deserialize;
use serde_json::Value;

use crate::{
    termination::{
        answer::{Answer, Call, Evidence, Failure, Look, SessionSeen, Suspicion},
        request::GuestId,
    },
    transport::{BodyEnd, CallError, CallErrorKind, Received},
};

/// States in which a session is over.
const ENDED: [&str; 5] = ["closed", "terminated", "ended", "expired", "disconnected"];
/// The state of a session that goes on.
const ACTIVE: &str = "active";
/// The vendor's code for anything that is not there, a path included.
const NOT_FOUND: &str = "not.found";
/// The vendor's code for a session that is not there.
const SESSION_NOT_FOUND: &str = "conversation.error.conversation.not.found";
/// Reads the answer to a look at `guest`. `codes`: the connection's own codes that only a missing session can have.
pub fn look(received: &Received, guest: &GuestId, codes: &[String]) -> Answer<Look> {
    let error = VendorError::of(received, codes);
    let verdict = match (received.status.as_u16(), received.body_end) {
        (200, BodyEnd::Complete) => seen(&received.body, guest),
        _ => Look::Failed(failure(received, error.as_ref(), codes)),
    };
    answer(received, error, verdict)
}

/// Reads the answer to a terminate of `guest`. `codes`: the connection's own codes that only a missing session can
/// have.
pub fn call(received: &Received, guest: &GuestId, codes: &[String]) -> Answer<Call> {
    let error = VendorError::of(received, codes);
    let verdict = match (received.status.as_u16(), received.body_end) {
        (204, _) => Call::Applied,
        (202, _) => Call::Accepted,
        (200, BodyEnd::Complete) => done(&received.body, guest),
        _ => Call::Failed(failure(received, error.as_ref(), codes)),
    };
    answer(received, error, verdict)
}

/// The answer that never came.
pub fn lost<V>(error: CallError, failed: impl FnOnce(Failure) -> V) -> Answer<V> {
    let failure = match error.kind {
        CallErrorKind::Unreachable(why) => Failure::Unreachable(why),
        // Vendor calls carry no address policy; were one refused, no byte would have been sent.
        CallErrorKind::Blocked => Failure::Unreachable(crate::termination::answer::Unreachable::Connect),
        CallErrorKind::Unanswered(_) => Failure::Unanswered,
    };
    Answer {
        verdict: failed(failure),
        evidence: Evidence {
            duration: error.duration,
            ..Evidence::default()
        },
    }
}

fn answer<V>(received: &Received, error: Option<VendorError>, verdict: V) -> Answer<V> {
    let headers = &received.headers;
    Answer {
        verdict,
        evidence: Evidence {
            http_status: Some(received.status.as_u16()),
            error_code: error.map(|error| error.code),
            correlation_id: correlation_id(headers),
            retry_after: received.retry_after(),
            allowed: allowed(headers),
            duration: received.duration,
        },
    }
}

/// A guest, as the vendor shows it. Other fields are ignored; a field twice is no JSON that can be trusted.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Guest {
    id: String,
    state: String,
    #[serde(default)]
    last_updated: Option<Value>,
}

fn seen(body: &[u8], guest: &GuestId) -> Look {
    let Ok(found) = serde_json::from_slice::<Guest>(body) else {
        return Look::Failed(Failure::Suspicious(Suspicion::WrongBody));
    };
    if found.id != guest.as_str() {
        return Look::Failed(Failure::Suspicious(Suspicion::OtherGuest));
    }
    if !is_word(&found.state) {
        return Look::Failed(Failure::Suspicious(Suspicion::WrongBody));
    }
    let last_updated = match found.last_updated {
        Some(Value::String(text)) if is_printable(&text, 64) => Some(text),
        _ => None,
    };
    let ended = ENDED.contains(&found.state.as_str());
    let active = found.state == ACTIVE;
    let session = SessionSeen {
        state: found.state,
        last_updated,
    };
    if active {
        Look::Active(session)
    } else if ended {
        Look::Ended(session)
    } else {
        Look::Unclear(session)
    }
}

/// Whether a 200 says that the session was ended: an empty body, or a JSON object that says nothing against it.
fn done(body: &[u8], guest: &GuestId) -> Call {
    const WRONG: Call = Call::Failed(Failure::Suspicious(Suspicion::WrongBody));
    if body.is_empty() {
        return Call::Applied;
    }
    let Ok(Value::Object(fields)) = serde_json::from_slice::<Value>(body) else {
        return WRONG;
    };
    // Marks of an error that came with the wrong status: the vendor's and gateways' shapes, a Kubernetes `Status`. To
    // take a success for an error costs one more look; the other way round, the truth.
    let told = |name: &str| fields.get(name).is_some_and(|value| !is_void(value));
    let differs = |name: &str, expected: Value| fields.get(name).is_some_and(|value| *value != expected);
    let marks = ["code", "error", "errors", "fault", "kind", "message", "statusCode"];
    if marks.into_iter().any(told) || differs("status", 200.into()) || differs("success", true.into()) {
        return WRONG;
    }
    match fields.get("id") {
        None => {}
        Some(Value::String(id)) if id == guest.as_str() => {}
        Some(_) => return Call::Failed(Failure::Suspicious(Suspicion::OtherGuest)),
    }
    match fields.get("state") {
        None => Call::Applied,
        Some(Value::String(state)) if ENDED.contains(&state.as_str()) => Call::Applied,
        // It was taken, and by its own word the session is not over yet.
        Some(_) => Call::Accepted,
    }
}

fn is_void(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::Bool(true) | Value::Number(_) | Value::String(_) => false,
    }
}

/// The rows of the table that look and call have in common.
fn failure(received: &Received, error: Option<&VendorError>, codes: &[String]) -> Failure {
    match received.status.as_u16() {
        // Rows that the status alone decides, whatever became of the body.
        300..=399 => Failure::Suspicious(Suspicion::Redirect),
        401 => Failure::Unauthorized,
        403 => Failure::Forbidden,
        407 => Failure::Suspicious(Suspicion::ProxyAuthentication),
        408 | 425 | 500.. => Failure::Transient,
        409 => Failure::Unanswered,
        429 => Failure::Throttled,
        _ if matches!(received.body_end, BodyEnd::Interrupted | BodyEnd::TimedOut) => Failure::Unanswered,
        200..=299 => Failure::Suspicious(Suspicion::WrongBody),
        404 | 410 => not_found(received, error, codes),
        400..=499 if error.is_some() => Failure::Refused,
        _ => Failure::Suspicious(Suspicion::ForeignError),
    }
}

/// The *shape* half of the rule on 404 and 410. The other half, whether the route is proven, is the connection's.
fn not_found(received: &Received, error: Option<&VendorError>, codes: &[String]) -> Failure {
    let empty = received.body.is_empty() && received.body_end == BodyEnd::Complete;
    match error {
        Some(error) if error.means_no_session(codes) => Failure::NotFound { conclusive: true },
        Some(error) if error.code == NOT_FOUND => Failure::NotFound { conclusive: false },
        None if empty && has_request_id(&received.headers) => Failure::NotFound { conclusive: false },
        _ => Failure::Suspicious(Suspicion::ForeignNotFound),
    }
}

/// The vendor's error shape: `{"message", "code", "status", …}`.
#[derive(Deserialize)]
struct VendorError {
    code: String,
    #[serde(default)]
    message: Option<String>,
    #[serde(default)]
    status: Option<Value>,
}

impl VendorError {
    /// The error that an answer holds, if it is one in the vendor's shape: a JSON object with a string `code` in the
    /// alphabet of codes and a string `message`; a `status`, where there is one, that is the answer's own. A code of
    /// the closed list of a 404 or 410 may come without a message: facades are asked for the code alone.
    fn of(received: &Received, codes: &[String]) -> Option<Self> {
        let status = received.status.as_u16();
        if status < 400 || received.body_end != BodyEnd::Complete {
            return None;
        }
        let error: Self = serde_json::from_slice(&received.body).ok()?;
        let listed = matches!(status, 404 | 410) && (error.code == NOT_FOUND || error.means_no_session(codes));
        let worded = error.message.is_some() || listed;
        let own = error
            .status
            .as_ref()
            .is_none_or(|value| value.as_u64() == Some(status.into()));
        (is_code(&error.code) && worded && own).then_some(error)
    }

    fn means_no_session(&self, codes: &[String]) -> bool {
        self.code == SESSION_NOT_FOUND || codes.contains(&self.code)
    }
}

/// `^[A-Za-z][A-Za-z0-9._-]{0,99}$`.
pub(super) fn is_code(text: &str) -> bool {
    let rest = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    text.len() <= 100 && text.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic()) && text.bytes().all(rest)
}

/// A state: 1 to 64 of `A-Z a-z 0-9 . _ -`.
fn is_word(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
}

fn is_printable(text: &str, longest: usize) -> bool {
    (1..=longest).contains(&text.len()) && text.bytes().all(|byte| (b' '..=b'~').contains(&byte))
}

const REQUEST_IDS: [&str; 2] = ["inin-correlation-id", "x-request-id"];

fn has_request_id(headers: &HeaderMap) -> bool {
    correlation_id(headers).is_some()
}

/// `ININ-Correlation-Id`, else `X-Request-Id`: printable ASCII, at most 128 characters, or none.
pub(super) fn correlation_id(headers: &HeaderMap) -> Option<String> {
    REQUEST_IDS.into_iter().find_map(|name| {
        let text = headers.get(name)?.to_str().ok()?.trim();
        is_printable(text, 128).then(|| text.to_owned())
    })
}

/// `inin-ratelimit-allowed`, if it is a number that can be meant.
fn allowed(headers: &HeaderMap) -> Option<u32> {
    let text = headers.get("inin-ratelimit-allowed")?.to_str().ok()?;
    text.trim()
        .parse()
        .ok()
        .filter(|allowed| (1..=100_000).contains(allowed))
}

#[cfg(test)]
mod tests;
