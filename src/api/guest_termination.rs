//! The kind `GuestTermination`: one guest session to be ended.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::status::GuestTerminationStatus;

/// The spec of a `GuestTermination`: which session ends, why, and what happens to its data.
#[derive(CustomResource, Serialize, Deserialize, Clone, Debug, PartialEq, JsonSchema)]
#[kube(
    group = "guestops.dev",
    version = "v1alpha1",
    kind = "GuestTermination",
    plural = "guestterminations",
    singular = "guesttermination",
    shortname = "gterm",
    category = "genesys",
    namespaced,
    status = "GuestTerminationStatus"
)]
#[serde(rename_all = "camelCase")]
pub struct GuestTerminationSpec {
    /// The guest whose session ends.
    pub guest_id: String,
    /// Why the session ends.
    pub reason: Reason,
    /// Whether the vendor keeps the conversation's data.
    pub retain_data: bool,
    /// A ticket or analytics reference that goes to the vendor, the webhook and the audit log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_ref: Option<String>,
    /// The connection to use. Unset: the connection `default` of the namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection_ref: Option<ConnectionReference>,
    /// No terminate call leaves after this instant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_after: Option<Time>,
    /// Holds the termination until it is set to false again; the deadline's clock stops meanwhile.
    #[serde(default)]
    pub suspend: bool,
    /// Retries that count before the termination has failed.
    #[serde(default = "default_backoff_limit")]
    pub backoff_limit: i32,
    /// Seconds from creation, suspended time excluded, after which the termination has failed.
    #[serde(default = "default_active_deadline_seconds")]
    pub active_deadline_seconds: i64,
}

fn default_backoff_limit() -> i32 {
    6
}

fn default_active_deadline_seconds() -> i64 {
    21_600
}

/// The vendor's closure-reason matrix, in the vendor's spelling.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The customer ended the session.
    CustomerInitiated,
    /// An agent ended the session.
    AgentInitiated,
    /// The session was idle for too long.
    Timeout,
    /// A system escalated the session elsewhere.
    SystemEscalation,
    /// A bot handed the session over.
    BotHandoff,
}

impl Reason {
    /// The vendor's spelling.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::CustomerInitiated => "customer_initiated",
            Self::AgentInitiated => "agent_initiated",
            Self::Timeout => "timeout",
            Self::SystemEscalation => "system_escalation",
            Self::BotHandoff => "bot_handoff",
        }
    }
}

/// Which connection a termination goes through. Never in another namespace.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, JsonSchema)]
pub struct ConnectionReference {
    /// The kind of the connection.
    pub kind: ConnectionKind,
    /// The name of the connection.
    pub name: String,
}

/// The kinds of connection that a termination can refer to.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, JsonSchema)]
pub enum ConnectionKind {
    /// A connection in the termination's own namespace.
    GenesysConnection,
}
