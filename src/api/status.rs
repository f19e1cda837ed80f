//! The status of a `GuestTermination`: everything that the operator found and did.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Api, ConnectionKind, Rest, WebhookEvent, WebhookFormat,
    conditions::{self, ConditionType},
};

/// What the operator found and did. Conditions are authoritative; `phase` is derived from them for people.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
// Without the default, kstatus calls an object "Current" that the operator has never seen.
#[schemars(extend("default" = serde_json::json!({"observedGeneration": -1, "phase": Phase::Pending})))]
pub struct GuestTerminationStatus {
    /// The generation of the spec that this status speaks of; -1 until the operator has seen the object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Where the termination stands, in one word, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", length(max = 64))]
    pub phase: Option<Phase>,
    /// How the termination ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", length(max = 64))]
    pub outcome: Option<Outcome>,
    /// The outcome is final.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished: Option<bool>,
    /// The outcome is final and no webhook is pending: nothing will ever be written again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settled: Option<bool>,
    /// When the operator first wrote this object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_time: Option<Time>,
    /// When the outcome became final.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completion_time: Option<Time>,
    /// No call is made for this object before this instant. Rounded up to the second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_attempt_time: Option<Time>,
    /// When the termination has failed if it is not finished by then. Rounded up to the second; absent while suspended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline_time: Option<Time>,
    /// When the last terminate call left, or may have left. Rounded up to the second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_send_time: Option<Time>,
    /// Sum of the suspensions that have ended, in seconds.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub suspended_seconds: i64,
    /// The connection that this termination is bound to: no other connection's answer is evidence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection: Option<PinnedConnection>,
    /// What the vendor last said of the session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<Session>,
    /// Terminate calls that were announced by a write-ahead intent.
    #[serde(default)]
    pub attempts: i32,
    /// Retries spent of `spec.backoffLimit`.
    #[serde(default, skip_serializing_if = "is_zero_i32")]
    pub retries: i32,
    /// An answer left open whether a terminate call took effect. Once true, never cleared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub may_have_applied: Option<bool>,
    /// The write-ahead intent: a terminate call is about to leave, or may have left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current_attempt: Option<CurrentAttempt>,
    /// The last attempts, newest first, at most ten.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10), extend("x-kubernetes-list-type" = "atomic"))]
    pub history: Vec<AttemptRecord>,
    /// What is known of the successful end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audit: Option<Audit>,
    /// The outbox: each webhook of this termination and how far its delivery is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub webhooks: Vec<WebhookDelivery>,
    /// The conditions, one of each type.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// See [`Rest`].
    #[serde(flatten)]
    #[schemars(skip)]
    pub rest: Rest,
}

impl GuestTerminationStatus {
    /// Whether the outcome is final.
    pub fn is_finished(&self) -> bool {
        self.finished == Some(true)
    }

    /// Whether the outcome is final and no webhook is pending: nothing will ever be written again.
    pub fn is_settled(&self) -> bool {
        self.settled == Some(true)
    }

    /// Whether an answer left open whether a terminate call took effect.
    pub fn may_have_applied(&self) -> bool {
        self.may_have_applied == Some(true)
    }

    /// The condition of that type, if there is one.
    pub fn condition(&self, type_: ConditionType) -> Option<&Condition> {
        conditions::find(&self.conditions, type_)
    }
}

fn is_zero(value: &i64) -> bool {
    *value == 0
}

fn is_zero_i32(value: &i32) -> bool {
    *value == 0
}

/// Where a termination stands. An open set: the schema has no enum.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, JsonSchema)]
pub enum Phase {
    /// Nothing was done yet.
    Pending,
    /// `spec.suspend` holds it.
    Suspended,
    /// The first attempt is under way.
    Terminating,
    /// An attempt did not succeed; another one follows.
    Retrying,
    /// The session is gone.
    Terminated,
    /// It ended without success.
    Failed,
    /// `spec.notAfter` passed before it could be done.
    Expired,
}

/// How a termination ended. An open set: the schema has no enum.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, JsonSchema)]
pub enum Outcome {
    /// This object's call ended the session.
    Terminated,
    /// The session was over before this object's call.
    AlreadyTerminated,
    /// The vendor, or the operator's own validation, refused the request for good.
    Rejected,
    /// `spec.backoffLimit` was exhausted.
    RetriesExhausted,
    /// `spec.activeDeadlineSeconds` passed.
    DeadlineExceeded,
    /// `spec.notAfter` passed.
    Expired,
    /// A call may have taken effect and no look could tell.
    Unconfirmed,
}

/// The connection that a termination is bound to, by the first intent or, where there was none, by the result.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, JsonSchema)]
pub struct PinnedConnection {
    /// The kind of the connection.
    #[schemars(with = "String")]
    pub kind: ConnectionKind,
    /// The name of the connection.
    pub name: String,
    /// The uid of the connection.
    pub uid: String,
    /// The vendor API that it speaks.
    #[schemars(with = "String")]
    pub api: Api,
    /// The host that the calls go to.
    pub host: String,
    /// See [`Rest`].
    #[serde(flatten)]
    #[schemars(skip)]
    pub rest: Rest,
}

/// What the vendor said of the session: single values, never a body.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Session {
    /// The state in the vendor's word, or `notFound`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// The vendor's time of its last change, as the vendor wrote it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_updated: Option<String>,
    /// See [`Rest`].
    #[serde(flatten)]
    #[schemars(skip)]
    pub rest: Rest,
}

/// The write-ahead intent of one terminate call.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CurrentAttempt {
    /// Random id of the attempt; the audit lines carry it too.
    pub id: String,
    /// The number of the attempt, from 1.
    pub number: i32,
    /// The process that wrote the intent and alone may send its call.
    pub holder: String,
    /// When the intent was written.
    pub started_at: Time,
    /// When the vendor accepted the call without having carried it out yet (HTTP 202).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accepted_time: Option<Time>,
    /// See [`Rest`].
    #[serde(flatten)]
    #[schemars(skip)]
    pub rest: Rest,
}

/// One attempt that is over.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AttemptRecord {
    /// The number of the attempt, from 1.
    pub number: i32,
    /// Random id of the attempt; the audit lines carry it too.
    pub id: String,
    /// When its intent was written.
    pub started_at: Time,
    /// Milliseconds between the call's departure and its answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_millis: Option<i64>,
    /// What its answer proves.
    #[schemars(with = "String")]
    pub result: AttemptResult,
    /// The HTTP status of the answer, if there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http_status: Option<i32>,
    /// The vendor's error code, if the answer was in the vendor's shape.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_code: Option<String>,
    /// The vendor's correlation id, to be quoted to the vendor's support.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correlation_id: Option<String>,
    /// What happened, in a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// See [`Rest`].
    #[serde(flatten)]
    #[schemars(skip)]
    pub rest: Rest,
}

/// What the answer to a terminate call proves. An open set: the schema has no enum.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, JsonSchema)]
pub enum AttemptResult {
    /// The session ended by this call.
    Applied,
    /// The vendor accepted the call and did not confirm it in time.
    Accepted,
    /// The session was gone when the call came.
    Gone,
    /// The call never left.
    NotSent,
    /// The call did not take effect.
    NotApplied,
    /// The answer leaves open whether the call took effect.
    Unknown,
    /// The process that wrote the intent is gone; the session was seen active afterwards.
    Abandoned,
}

/// What is known of the successful end.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Audit {
    /// Whether the session is over.
    pub success: bool,
    /// Whether the session was over before this object's call.
    pub duplicate_termination: bool,
    /// Milliseconds between the terminate call's departure and its answer, where there was a call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency_millis: Option<i64>,
    /// What showed that the session is over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub confirmed_by: Option<ConfirmedBy>,
    /// The vendor's correlation id of the deciding answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correlation_id: Option<String>,
    /// See [`Rest`].
    #[serde(flatten)]
    #[schemars(skip)]
    pub rest: Rest,
}

/// What showed that a session is over. An open set: the schema has no enum.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, JsonSchema)]
pub enum ConfirmedBy {
    /// The answer to the terminate call.
    Response,
    /// A later look at the session.
    Observation,
}

/// One webhook of a termination and how far its delivery is.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WebhookDelivery {
    /// The name of the connection's webhook entry.
    pub name: String,
    /// The event that is announced.
    #[schemars(with = "String")]
    pub event: WebhookEvent,
    /// The format of the body, fixed when the event happened.
    #[schemars(with = "String")]
    pub format: WebhookFormat,
    /// The `webhook-id` that every try carries.
    pub message_id: String,
    /// How far the delivery is.
    #[schemars(with = "String")]
    pub state: WebhookState,
    /// Tries made.
    #[serde(default)]
    pub attempts: i32,
    /// The HTTP status of the last try's answer, if there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_status: Option<i32>,
    /// No try is made before this instant. Rounded up to the second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_attempt_time: Option<Time>,
    /// When the endpoint accepted it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivered_time: Option<Time>,
    /// See [`Rest`].
    #[serde(flatten)]
    #[schemars(skip)]
    pub rest: Rest,
}

/// How far a webhook's delivery is. An open set: the schema has no enum.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, JsonSchema)]
pub enum WebhookState {
    /// To be tried, or tried again.
    Pending,
    /// The endpoint answered 2xx.
    Delivered,
    /// Given up.
    Failed,
}
