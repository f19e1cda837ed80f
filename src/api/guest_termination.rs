//! The kind `GuestTermination`: one guest session to be ended.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{rules, status::GuestTerminationStatus};

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
    status = "GuestTerminationStatus",
    doc = "Ends one Genesys Cloud web-messaging guest session, once, and reports how that went.",
    validation = rules::short_name("GuestTermination"),
    validation = rules::settled_spec(),
    validation = rules::finished_spec(),
    validation = rules::outcome_is_final(),
    validation = rules::settled_is_final(),
    validation = rules::doubt_stays(),
    validation = rules::attempts_never_fall(),
    printcolumn(
        name = "Guest",
        type_ = "string",
        json_path = ".spec.guestId",
        description = "The guest whose session ends."
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".spec.reason",
        description = "Why the session ends."
    ),
    printcolumn(
        name = "Phase",
        type_ = "string",
        json_path = ".status.phase",
        description = "Where the termination stands."
    ),
    printcolumn(
        name = "Attempts",
        type_ = "integer",
        json_path = ".status.attempts",
        description = "Terminate calls that were announced."
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp",
        description = "Time since the object was created."
    ),
    printcolumn(
        name = "Outcome",
        type_ = "string",
        json_path = ".status.outcome", priority = 1,
        description = "How the termination ended."
    ),
    printcolumn(
        name = "Retain",
        type_ = "boolean",
        json_path = ".spec.retainData", priority = 1,
        description = "Whether the vendor keeps the data."
    ),
    printcolumn(
        name = "Connection",
        type_ = "string",
        json_path = ".status.connection.name", priority = 1,
        description = "The connection that the termination is bound to."
    ),
    printcolumn(
        name = "External-Ref",
        type_ = "string",
        json_path = ".spec.externalRef", priority = 1,
        description = "The requester's reference."
    ),
    printcolumn(
        name = "Next-Attempt",
        type_ = "string",
        json_path = ".status.nextAttemptTime", priority = 1,
        description = "No call is made before this instant."
    ),
    printcolumn(
        name = "Webhook",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="WebhookDelivered")].reason"#, priority = 1,
        description = "How far the webhooks are."
    ),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].message"#, priority = 1,
        description = "What happened, in a sentence."
    ),
    selectable = ".spec.guestId",
    selectable = ".spec.reason",
    selectable = ".status.phase",
    selectable = ".status.outcome",
    selectable = ".status.finished",
    selectable = ".status.settled"
)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = rules::termination_spec()))]
pub struct GuestTerminationSpec {
    /// The guest whose session ends.
    #[schemars(length(max = 1024), extend("x-kubernetes-validations" = rules::guest_id()))]
    pub guest_id: String,
    /// Why the session ends: `customer_initiated`, `agent_initiated`, `timeout`, `system_escalation` or `bot_handoff`.
    pub reason: Reason,
    /// Whether the vendor keeps the conversation's data.
    pub retain_data: bool,
    /// A ticket or analytics reference that goes to the vendor, the webhook and the audit log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4096), extend("x-kubernetes-validations" = rules::external_ref()))]
    pub external_ref: Option<String>,
    /// The connection to use. Unset: the connection `default` of the namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection_ref: Option<ConnectionReference>,
    /// No terminate call leaves after this instant (RFC 3339): a manifest that is applied again later ends nobody's session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", length(max = 256), extend("x-kubernetes-validations" = rules::not_after()))]
    pub not_after: Option<Time>,
    /// Holds the termination until it is set to false again; the deadline's clock stops meanwhile.
    #[serde(default)]
    pub suspend: bool,
    /// Retries that count before the termination has failed.
    #[serde(default = "default_backoff_limit")]
    #[schemars(extend("x-kubernetes-validations" = rules::backoff_limit()))]
    pub backoff_limit: i32,
    /// Seconds from creation, suspended time excluded, after which the termination has failed.
    #[serde(default = "default_active_deadline_seconds")]
    #[schemars(extend("x-kubernetes-validations" = rules::active_deadline_seconds()))]
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
    #[schemars(length(max = 1024), extend("x-kubernetes-validations" = rules::connection_name()))]
    pub name: String,
}

/// The kinds of connection that a termination can refer to.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, JsonSchema)]
pub enum ConnectionKind {
    /// A connection in the termination's own namespace.
    GenesysConnection,
}
