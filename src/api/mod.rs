//! The kinds of the group `guestops.dev`, version `v1alpha1`: what users declare and what the operator reports.
//!
//! Another controller that creates `GuestTermination` objects depends on this module alone: switch the crate's default
//! feature off, and no HTTP client or runtime comes with it.
//!
//! ```
//! use guest_termination_operator::api::{GuestTermination, GuestTerminationSpec, Outcome, Reason};
//!
//! let termination = GuestTermination::new(
//!     "guest-12345-abcde",
//!     GuestTerminationSpec {
//!         guest_id: "guest-12345-abcde".to_owned(),
//!         reason: Reason::Timeout,
//!         retain_data: false,
//!         external_ref: None,
//!         connection_ref: None,
//!         not_after: None,
//!         suspend: false,
//!         backoff_limit: 6,
//!         active_deadline_seconds: 21_600,
//!     },
//! );
//! let status = termination.status.unwrap_or_default();
//! assert!(!status.is_finished() && status.outcome != Some(Outcome::Terminated));
//! ```

pub mod conditions;
mod connection;
mod definitions;
#[cfg(test)]
mod fuzz;
mod guest_termination;
mod rules;
mod status;

pub use connection::{
    Api, CredentialsReference, Endpoints, GenesysConnection, GenesysConnectionSpec, GenesysConnectionStatus, NotFound,
    NotFoundTrust, RateLimit, RateLimitStatus, SecretKeyReference, SigningSecretReference, WebhookEndpoint,
    WebhookEvent, WebhookFormat,
};
pub use definitions::crds;
pub use guest_termination::{ConnectionKind, ConnectionReference, GuestTermination, GuestTerminationSpec, Reason};
pub use status::{
    AttemptRecord, AttemptResult, Audit, ConfirmedBy, CurrentAttempt, GuestTerminationStatus, Outcome, Phase,
    PinnedConnection, Session, WebhookDelivery, WebhookState,
};

/// The API group of every kind here.
pub const GROUP: &str = "guestops.dev";
/// The version of every kind here.
pub const VERSION: &str = "v1alpha1";

/// The regions of Genesys Cloud, as its documentation names them.
pub const REGIONS: &[&str] = &[
    "us-east-1",
    "us-east-2",
    "us-west-2",
    "ca-central-1",
    "mx-central-1",
    "sa-east-1",
    "eu-west-1",
    "eu-west-2",
    "eu-central-1",
    "eu-central-2",
    "me-central-1",
    "ap-south-1",
    "ap-southeast-1",
    "ap-southeast-2",
    "ap-northeast-1",
    "ap-northeast-2",
    "ap-northeast-3",
    "eusc-de-east-1",
];

/// Fields that a newer version wrote and this one does not know: carried through every write, so that an old replica
/// that leads during a rollout does not drop a newer one's safety fields.
pub type Rest = std::collections::BTreeMap<String, serde_json::Value>;
