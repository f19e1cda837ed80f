//! Scripted faults and outages.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Operation;

/// `POST /_control/faults`: which calls go wrong, how often and how.
///
/// Faults are asked in the order of their registration; the first that applies acts, alone.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FaultSpec {
    /// Only this operation; absent: any.
    pub operation: Option<Operation>,
    /// Only this guest or path.
    pub target: Target,
    /// That many matching calls pass first.
    pub skip: u64,
    /// Ends after that many hits; absent: lasts until removed.
    pub count: Option<u64>,
    /// Hits a matching call with this probability, drawn from the simulator's seeded generator; absent: always.
    pub probability: Option<f64>,
    /// Waits that many ms before the effect.
    pub delay_before_ms: u64,
    /// Waits that many ms after the effect, before the answer.
    pub delay_after_ms: u64,
    /// What happens.
    pub action: FaultAction,
}

impl FaultSpec {
    /// A fault of one operation that does nothing yet.
    pub fn on(operation: Operation) -> Self {
        Self {
            operation: Some(operation),
            ..Self::default()
        }
    }

    /// Limits it to one guest.
    pub fn guest(mut self, id: impl Into<String>) -> Self {
        self.target = Target::Guest(id.into());
        self
    }

    /// Limits it to that many hits.
    pub fn times(mut self, count: u64) -> Self {
        self.count = Some(count);
        self
    }

    /// Sets what happens.
    pub fn action(mut self, action: FaultAction) -> Self {
        self.action = action;
        self
    }

    /// Answers instead of the effect.
    pub fn answer(self, answer: ScriptedAnswer) -> Self {
        self.action(FaultAction::Answer {
            answer,
            after_effect: false,
        })
    }
}

/// Which guest or path a fault is for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// Every one.
    #[default]
    Any,
    /// The guest with this id.
    Guest(String),
    /// Guests whose id begins so.
    GuestPrefix(String),
    /// Exactly this path, as sent, without the query.
    Path(String),
    /// Paths, as sent, that begin so.
    PathPrefix(String),
}

/// What a fault does with the call.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum FaultAction {
    /// The ordinary effect and answer: a fault that only delays.
    #[default]
    Pass,
    /// This answer, instead of the effect or after it.
    Answer {
        /// What is answered.
        answer: ScriptedAnswer,
        /// Whether the call takes effect first.
        #[serde(default)]
        after_effect: bool,
    },
    /// The connection is reset (TCP RST), with no answer.
    Reset {
        /// Whether the call takes effect first.
        #[serde(default)]
        after_effect: bool,
    },
    /// No answer, ever; the connection stays open.
    Hang {
        /// Whether the call takes effect first.
        #[serde(default)]
        after_effect: bool,
    },
}

/// An answer by script.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScriptedAnswer {
    /// HTTP status, 200 to 599.
    pub status: u16,
    /// The body and its content type.
    #[serde(default)]
    pub body: FaultBody,
    /// Further headers; they replace those of the same name.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// The `Retry-After` header.
    #[serde(default)]
    pub retry_after: Option<RetryAfter>,
    /// Whether the vendor's own headers come with it (request ids, rate limit). Absent: as the body suggests; a proxy's
    /// answer and an empty one have none.
    #[serde(default)]
    pub vendor_headers: Option<bool>,
    /// How far, in seconds, the answer's `Date` is ahead of the true time.
    #[serde(default)]
    pub date_offset_seconds: i64,
    /// The declared `Content-Length` is larger than what is sent before the connection closes.
    #[serde(default)]
    pub truncated: bool,
}

impl ScriptedAnswer {
    /// An answer with this status and body.
    pub fn new(status: u16, body: FaultBody) -> Self {
        Self {
            status,
            body,
            headers: BTreeMap::new(),
            retry_after: None,
            vendor_headers: None,
            date_offset_seconds: 0,
            truncated: false,
        }
    }

    /// An error in the vendor's shape, with the code that belongs to the status.
    pub fn vendor(status: u16) -> Self {
        Self::new(status, FaultBody::Vendor { code: None })
    }

    /// Adds `Retry-After`.
    pub fn retry_after(mut self, retry_after: RetryAfter) -> Self {
        self.retry_after = Some(retry_after);
        self
    }

    /// Adds a header.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.insert(name.into(), value.into());
        self
    }
}

/// The two forms of `Retry-After` (RFC 9110, 10.2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RetryAfter {
    /// Delay seconds.
    Seconds(u64),
    /// An HTTP date that many seconds after the answer's own `Date`.
    DateAfterSeconds(u64),
}

/// The body of a scripted answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum FaultBody {
    /// No body.
    #[default]
    Empty,
    /// The vendor's error shape.
    Vendor {
        /// The vendor's error code; absent: the one that belongs to the status.
        #[serde(default)]
        code: Option<String>,
    },
    /// The error shape of the token endpoint.
    Oauth {
        /// The `error` field, such as `invalid_client`.
        error: String,
        /// Both description fields.
        description: String,
    },
    /// A proxy's HTML page.
    Html,
    /// A Kubernetes `Status`, whose `code` is a number.
    KubernetesStatus,
    /// The JSON of a gateway without a route.
    Gateway,
    /// A guest.
    Guest {
        /// Its id; absent: the one that was asked for.
        #[serde(default)]
        id: Option<String>,
        /// Its state.
        state: String,
    },
    /// Any text.
    Text {
        /// The `Content-Type`.
        content_type: String,
        /// The text.
        text: String,
    },
    /// That many bytes of JSON: one long string.
    Large {
        /// Size in bytes, at least 2.
        bytes: usize,
    },
}

/// A registered fault.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fault {
    /// Its id, unique in this simulator.
    pub id: u64,
    /// The script.
    pub spec: FaultSpec,
    /// Calls that matched operation and target while it was not used up.
    pub matched: u64,
    /// Calls that it acted on.
    pub hits: u64,
}

/// `PUT /_control/outage`: which parts are down, and how. Replaces the outage before; all absent: everything works.
/// An outage comes before every fault.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Outage {
    /// The token endpoint.
    pub tokens: Option<OutageKind>,
    /// Looks at guests.
    pub reads: Option<OutageKind>,
    /// Terminations.
    pub writes: Option<OutageKind>,
    /// The webhook receiver.
    pub webhooks: Option<OutageKind>,
}

impl Outage {
    /// The whole vendor is down; the webhook receiver is not the vendor's.
    pub fn vendor(kind: OutageKind) -> Self {
        Self {
            tokens: Some(kind),
            reads: Some(kind),
            writes: Some(kind),
            webhooks: None,
        }
    }

    /// How this operation is down, if it is.
    pub(crate) fn of(&self, operation: Operation) -> Option<OutageKind> {
        match operation {
            Operation::Token => self.tokens,
            Operation::Observe => self.reads,
            Operation::Terminate => self.writes,
            Operation::Webhook => self.webhooks,
            Operation::Other => None,
        }
    }
}

/// How a part is down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OutageKind {
    /// 503 in the vendor's error shape.
    Unavailable,
    /// The connection is reset.
    Reset,
    /// No answer.
    Hang,
}
