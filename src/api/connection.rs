//! The kind `GenesysConnection`: one organisation behind one address.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Rest, rules};

/// The spec of a `GenesysConnection`: where the vendor is, who we are there, and how much we may ask of it.
#[derive(CustomResource, Serialize, Deserialize, Clone, Debug, PartialEq, JsonSchema)]
#[kube(
    group = "guestops.dev",
    version = "v1alpha1",
    kind = "GenesysConnection",
    plural = "genesysconnections",
    singular = "genesysconnection",
    shortname = "gconn",
    category = "genesys",
    namespaced,
    status = "GenesysConnectionStatus",
    doc = "One Genesys Cloud organisation behind one address, and how much may be asked of it.",
    validation = rules::short_name("GenesysConnection"),
    printcolumn(
        name = "API",
        type_ = "string",
        json_path = ".spec.api",
        description = "The vendor API that this connection speaks."
    ),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].status"#,
        description = "Whether calls can be made."
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].reason"#,
        description = "Why, in one word."
    ),
    printcolumn(
        name = "Proven",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="RouteProven")].status"#,
        description = "Whether a guest was read through it."
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp",
        description = "Time since the object was created."
    ),
    printcolumn(
        name = "Region",
        type_ = "string",
        json_path = ".spec.region", priority = 1,
        description = "The vendor's region."
    ),
    printcolumn(
        name = "API-URL",
        type_ = "string",
        json_path = ".spec.endpoints.apiUrl", priority = 1,
        description = "The address instead of a region."
    ),
    printcolumn(
        name = "Suspended",
        type_ = "boolean",
        json_path = ".spec.suspend", priority = 1,
        description = "Whether calls and webhooks are held."
    ),
    printcolumn(
        name = "Paused-Until",
        type_ = "string",
        json_path = ".status.rateLimit.pausedUntil", priority = 1,
        description = "No call is made before this instant."
    ),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].message"#, priority = 1,
        description = "What happened, in a sentence."
    )
)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = rules::connection_spec()))]
pub struct GenesysConnectionSpec {
    /// The vendor API that this connection speaks.
    pub api: Api,
    /// The vendor's region, for example `us-east-1`. Exactly one of `region` and `endpoints` is set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256), extend("x-kubernetes-validations" = rules::region()))]
    pub region: Option<String>,
    /// Addresses of a gateway or facade instead of a region.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoints: Option<Endpoints>,
    /// The Secret with the OAuth client's id and secret, in the same namespace.
    pub credentials_secret_ref: CredentialsReference,
    /// A Secret with PEM certificates that the vendor's TLS certificate is checked against, beside the system's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_bundle_secret_ref: Option<SecretKeyReference>,
    /// When an answer of 404 may mean that the session is gone.
    #[serde(default)]
    pub not_found: NotFound,
    /// How many calls this connection may make.
    #[serde(default)]
    pub rate_limit: RateLimit,
    /// Where ended sessions are announced.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 4), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub webhooks: Vec<WebhookEndpoint>,
    /// Stops calls and webhooks of every termination of this connection, not their clocks.
    #[serde(default)]
    pub suspend: bool,
}

/// The vendor APIs that a connection can speak.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, JsonSchema)]
pub enum Api {
    /// `/api/v2/webmessaging/guests/{guestId}`. Not part of the published Platform API.
    WebMessagingGuests,
}

/// Addresses of a gateway, a facade or a simulator.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Endpoints {
    /// The base URL of the API, without `/api/v2`.
    #[schemars(length(max = 2048), extend("x-kubernetes-validations" = rules::api_url()))]
    pub api_url: String,
    /// The base URL of the token endpoint, without `/oauth/token`.
    #[schemars(length(max = 2048), extend("x-kubernetes-validations" = rules::login_url()))]
    pub login_url: String,
}

/// A Secret with the OAuth client's credentials.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CredentialsReference {
    /// The name of the Secret.
    #[schemars(length(max = 1024), extend("x-kubernetes-validations" = rules::secret_name()))]
    pub name: String,
    /// The key that holds the client's id.
    #[serde(default = "default_client_id_key")]
    #[schemars(length(max = 1024), extend("x-kubernetes-validations" = rules::secret_key()))]
    pub client_id_key: String,
    /// The key that holds the client's secret.
    #[serde(default = "default_client_secret_key")]
    #[schemars(length(max = 1024), extend("x-kubernetes-validations" = rules::secret_key()))]
    pub client_secret_key: String,
}

fn default_client_id_key() -> String {
    "clientId".to_owned()
}

fn default_client_secret_key() -> String {
    "clientSecret".to_owned()
}

/// One key of a Secret in the same namespace.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, JsonSchema)]
pub struct SecretKeyReference {
    /// The name of the Secret.
    #[schemars(length(max = 1024), extend("x-kubernetes-validations" = rules::secret_name()))]
    pub name: String,
    /// The key in the Secret.
    #[schemars(length(max = 1024), extend("x-kubernetes-validations" = rules::secret_key()))]
    pub key: String,
}

/// The key that webhooks are signed with.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SigningSecretReference {
    /// The name of the Secret.
    #[schemars(length(max = 1024), extend("x-kubernetes-validations" = rules::secret_name()))]
    pub name: String,
    /// The key in the Secret that holds the current signing key, `whsec_` and base64.
    #[schemars(length(max = 1024), extend("x-kubernetes-validations" = rules::secret_key()))]
    pub key: String,
    /// The key in the Secret that holds the previous signing key while it is rotated: both sign then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024), extend("x-kubernetes-validations" = rules::secret_key()))]
    pub previous_key: Option<String>,
}

/// When an answer of 404 may mean that the session is gone.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq, JsonSchema)]
pub struct NotFound {
    /// `WhenProven`: once a guest was read through this connection. `Always`: the user's own word that the path is right.
    #[serde(default)]
    pub trust: NotFoundTrust,
    /// Error codes of a facade that only a missing session can have, beside the vendor's published ones.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(max = 1024)), extend("x-kubernetes-list-type" = "set", "x-kubernetes-validations" = rules::not_found_codes()))]
    pub codes: Vec<String>,
}

/// Whose word is needed before a 404 means that a session is gone.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema)]
pub enum NotFoundTrust {
    /// A guest was read through this connection before.
    #[default]
    WhenProven,
    /// The user says that the path is right.
    Always,
}

/// How many calls a connection may make.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RateLimit {
    /// Calls in any 60 seconds. The vendor allows 300 a token by default.
    #[serde(default = "default_requests_per_minute")]
    #[schemars(extend("x-kubernetes-validations" = rules::requests_per_minute()))]
    pub requests_per_minute: i32,
    /// Terminations that talk to the vendor at the same time.
    #[serde(default = "default_max_in_flight")]
    #[schemars(extend("x-kubernetes-validations" = rules::max_in_flight()))]
    pub max_in_flight: i32,
}

fn default_requests_per_minute() -> i32 {
    240
}

fn default_max_in_flight() -> i32 {
    5
}

impl Default for RateLimit {
    fn default() -> Self {
        Self {
            requests_per_minute: default_requests_per_minute(),
            max_in_flight: default_max_in_flight(),
        }
    }
}

/// One endpoint that ended sessions are announced to.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WebhookEndpoint {
    /// The name of this entry.
    #[schemars(length(max = 1024), extend("x-kubernetes-validations" = rules::webhook_name()))]
    pub name: String,
    /// The URL that receives the POST.
    #[schemars(length(max = 2048), extend("x-kubernetes-validations" = rules::webhook_url()))]
    pub url: String,
    /// The key that signs the messages.
    pub signing_secret_ref: SigningSecretReference,
    /// The events that are announced.
    #[serde(default = "default_events")]
    #[schemars(length(max = 8), extend("x-kubernetes-list-type" = "set", "x-kubernetes-validations" = rules::webhook_events()))]
    pub events: Vec<WebhookEvent>,
    /// The format of the body.
    #[serde(default)]
    pub format: WebhookFormat,
    /// Seconds after which a try without an answer has failed.
    #[serde(default = "default_webhook_timeout_seconds")]
    #[schemars(extend("x-kubernetes-validations" = rules::webhook_timeout()))]
    pub timeout_seconds: i32,
}

fn default_events() -> Vec<WebhookEvent> {
    vec![WebhookEvent::SessionTerminated]
}

fn default_webhook_timeout_seconds() -> i32 {
    15
}

/// What can be announced.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, JsonSchema)]
pub enum WebhookEvent {
    /// A termination reached the phase `Terminated`.
    #[serde(rename = "session.terminated")]
    SessionTerminated,
}

/// The format of a webhook's body.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema)]
pub enum WebhookFormat {
    /// One flat JSON object.
    #[default]
    Flat,
    /// A structured CloudEvent 1.0 with the same data.
    CloudEvents,
}

/// What the operator knows of a connection.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
// Without the default, kstatus calls an object "Current" that the operator has never seen.
#[schemars(extend("default" = serde_json::json!({"observedGeneration": -1})))]
pub struct GenesysConnectionStatus {
    /// The generation of the spec that this status speaks of; -1 until the operator has seen the object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The conditions, one of each type.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// When the access token in use expires.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_expiration_time: Option<Time>,
    /// What the vendor says of its limits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_limit: Option<RateLimitStatus>,
    /// See [`Rest`].
    #[serde(flatten)]
    #[schemars(skip)]
    pub rest: Rest,
}

/// What the vendor says of its limits.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RateLimitStatus {
    /// Calls a minute that the vendor said it allows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowed: Option<i32>,
    /// No call is made before this instant: the vendor asked for the pause.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused_until: Option<Time>,
    /// See [`Rest`].
    #[serde(flatten)]
    #[schemars(skip)]
    pub rest: Rest,
}
