//! The ledger: what was seen and done.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Operation;

/// `GET /_control/ledger`: everything since the start or the last reset, in the order of arrival.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    /// Calls to the vendor.
    pub calls: Vec<Call>,
    /// Calls to the webhook receiver.
    pub webhooks: Vec<WebhookCall>,
}

/// One call to the vendor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    /// Order of arrival, shared with the webhooks, never reused.
    pub sequence: u64,
    /// Wall time of arrival, RFC 3339 with milliseconds.
    pub time: String,
    /// Arrival in ms since the simulator started, on a clock that never jumps.
    pub at_ms: u64,
    /// What was asked.
    pub operation: Operation,
    /// The HTTP method.
    pub method: String,
    /// Path and query exactly as sent.
    pub path_and_query: String,
    /// The guest id, decoded.
    pub guest: Option<String>,
    /// The query parameters, decoded, in order.
    pub query: Vec<(String, String)>,
    /// The id of the token that was shown, never the token; `None`: none or an unknown one. Of a token request: the id
    /// of the token that was issued.
    pub token: Option<String>,
    /// The client that the token belongs to, or that asked for one.
    pub client: Option<String>,
    /// The incarnation of the session that the call met, if it got as far as the session.
    pub incarnation: Option<u32>,
    /// The session's state as the vendor told it to this look.
    pub told_state: Option<String>,
    /// Whether this call ended a session.
    pub effective: bool,
    /// When it did, in ms since the simulator started.
    pub effective_at_ms: Option<u64>,
    /// How the call ended.
    pub outcome: Outcome,
    /// The HTTP status that was answered.
    pub status: Option<u16>,
    /// The `ININ-Correlation-Id` of the answer.
    pub correlation_id: Option<String>,
    /// When the answer was decided, in ms since the simulator started.
    pub answered_at_ms: Option<u64>,
    /// Whether the caller was gone before there was an answer.
    pub caller_gone: bool,
    /// The fault that acted.
    pub fault: Option<u64>,
    /// Whether an outage answered.
    pub outage: bool,
}

impl Call {
    /// The value of a query parameter; the first, if it was sent more than once.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.query
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }
}

/// One call to the webhook receiver.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WebhookCall {
    /// Order of arrival, shared with the vendor's calls, never reused.
    pub sequence: u64,
    /// Wall time of arrival, RFC 3339 with milliseconds.
    pub time: String,
    /// Arrival in ms since the simulator started.
    pub at_ms: u64,
    /// The last segment of the path.
    pub endpoint: String,
    /// The `webhook-id` header.
    pub id: Option<String>,
    /// The `webhook-timestamp` header.
    pub timestamp: Option<String>,
    /// All headers, in lower case.
    pub headers: BTreeMap<String, String>,
    /// The body, to the byte; base64 in JSON.
    #[serde(rename = "body_base64", with = "base64_bytes")]
    pub body: Vec<u8>,
    /// Whether a secret of the endpoint had signed it, less than five minutes ago.
    pub verified: bool,
    /// Why it was not verified.
    pub refusal: Option<String>,
    /// Whether the receiver took it: it got as far as the receiver and was not refused, whatever was answered then.
    pub taken: bool,
    /// How the call ended.
    pub outcome: Outcome,
    /// The HTTP status that was answered.
    pub status: Option<u16>,
    /// When the answer was decided, in ms since the simulator started.
    pub answered_at_ms: Option<u64>,
    /// Whether the caller was gone before there was an answer.
    pub caller_gone: bool,
    /// The fault that acted.
    pub fault: Option<u64>,
    /// Whether an outage answered.
    pub outage: bool,
}

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Not yet.
    InFlight,
    /// With a whole answer.
    Answered,
    /// With an answer that breaks off in its body.
    Truncated,
    /// With a reset connection.
    Reset,
    /// Never: it hangs.
    Hung,
}

/// `GET /_control/ledger?…`: which calls are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LedgerFilter {
    /// Only calls about this guest. Webhooks are about no guest: they are left out.
    pub guest: Option<String>,
    /// Only this operation.
    pub operation: Option<Operation>,
}

/// `GET /_control/wait?…`: wait until something occurred. What occurred before counts, unless `after` excludes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WaitFor {
    /// Of this operation.
    pub operation: Operation,
    /// About this guest (of a webhook: to this endpoint); absent: any.
    #[serde(default)]
    pub guest: Option<String>,
    /// The moment.
    pub moment: Moment,
    /// Only calls with a larger sequence number.
    #[serde(default)]
    pub after: u64,
    /// How long to wait, in ms.
    #[serde(default = "ten_seconds")]
    pub timeout_ms: u64,
}

impl WaitFor {
    /// Waits up to ten seconds for the first such moment.
    pub fn new(operation: Operation, moment: Moment) -> Self {
        Self {
            operation,
            guest: None,
            moment,
            after: 0,
            timeout_ms: ten_seconds(),
        }
    }

    /// Limits it to one guest.
    pub fn guest(mut self, id: impl Into<String>) -> Self {
        self.guest = Some(id.into());
        self
    }
}

fn ten_seconds() -> u64 {
    10_000
}

/// A moment in the life of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Moment {
    /// The request is there, nothing is done yet.
    Received,
    /// A session was ended, a webhook was taken.
    Effective,
    /// The answer (or reset) is decided, and about to be sent.
    Answered,
}

/// What a wait found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Occurrence {
    /// The call.
    pub sequence: u64,
}

mod base64_bytes {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        STANDARD
            .decode(String::deserialize(deserializer)?)
            .map_err(D::Error::custom)
    }
}
