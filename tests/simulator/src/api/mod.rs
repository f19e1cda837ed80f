//! The data of the control API: what a test hands in and what it gets back, the same in process and over HTTP.

mod faults;
mod guests;
mod ledger;
mod settings;
mod summary;

use serde::{Deserialize, Serialize};

pub use self::faults::{
    Fault, FaultAction, FaultBody, FaultSpec, Outage, OutageKind, RetryAfter, ScriptedAnswer, Target,
};
pub use self::guests::{Acceptance, ReturnGuest};
pub use self::guests::{AfterTermination, EndGuest, Guest, GuestBatch, GuestSeries, GuestSpec, Return, ReturnWhen};
pub use self::ledger::{Call, Ledger, LedgerFilter, Moment, Occurrence, Outcome, WaitFor, WebhookCall};
pub use self::settings::{Client, RevokeTokens, Settings, WebhookEndpoint};
pub use self::summary::{Summary, WebhookSummary};

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    /// `POST /oauth/token`.
    Token,
    /// `GET /api/v2/webmessaging/guests/{guestId}`.
    Observe,
    /// `DELETE /api/v2/webmessaging/guests/{guestId}`.
    Terminate,
    /// `POST /webhooks/{endpoint}`.
    Webhook,
    /// Any other method or path: what a wrong address produces.
    Other,
}

impl Operation {
    /// Whether it is a call about a guest, which the vendor's rate limit counts.
    pub fn is_guest_call(self) -> bool {
        matches!(self, Self::Observe | Self::Terminate)
    }
}
