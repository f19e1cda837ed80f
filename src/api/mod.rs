//! The kinds of the group `guestops.dev`, version `v1alpha1`: what users declare and what the operator reports.
//!
//! Another controller that creates `GuestTermination` objects depends on this module alone: switch the crate's default
//! feature off, and no HTTP client or runtime comes with it.

pub mod conditions;
mod connection;
mod guest_termination;
mod status;

pub use connection::{
    Api, CredentialsReference, Endpoints, GenesysConnection, GenesysConnectionSpec, GenesysConnectionStatus, NotFound,
    NotFoundTrust, RateLimit, RateLimitStatus, SecretKeyReference, SigningSecretReference, WebhookEndpoint,
    WebhookEvent, WebhookFormat,
};
pub use guest_termination::{ConnectionKind, ConnectionReference, GuestTermination, GuestTerminationSpec, Reason};
pub use status::{
    AttemptRecord, AttemptResult, Audit, ConfirmedBy, CurrentAttempt, GuestTerminationStatus, Outcome, Phase,
    PinnedConnection, Session, WebhookDelivery, WebhookState,
};

/// The API group of every kind here.
pub const GROUP: &str = "guestops.dev";
/// The version of every kind here.
pub const VERSION: &str = "v1alpha1";

/// Fields that a newer version wrote and this one does not know: carried through every write, so that an old replica
/// that leads during a rollout does not drop a newer one's safety fields.
pub type Rest = std::collections::BTreeMap<String, serde_json::Value>;
