//! How the vendor and the webhook receiver are set up.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::AfterTermination;

/// What holds for the whole vendor. `PUT /_control/settings` replaces all of it; absent fields take their default.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Life of a token in seconds, told as `expires_in` and kept.
    pub expires_in: u64,
    /// Guest calls that one token may make in a window; `null` switches the limit and its headers off.
    pub requests_per_minute: Option<u32>,
    /// Length of that window in ms, which begins with the first call after the last one ended.
    pub rate_window_ms: u64,
    /// What a termination leaves behind unless the guest's script says otherwise.
    pub after: AfterTermination,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            expires_in: 86_400,
            requests_per_minute: Some(300),
            rate_window_ms: 60_000,
            after: AfterTermination::default(),
        }
    }
}

/// A client that may ask for tokens. `POST /_control/clients` adds it, or gives a known one a new secret.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Client {
    /// The client id.
    pub id: String,
    /// Its secret.
    pub secret: String,
}

impl Client {
    /// A client with its secret.
    pub fn new(id: impl Into<String>, secret: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            secret: secret.into(),
        }
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Client")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// `POST /_control/tokens/revoke`: which tokens die; both absent: all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RevokeTokens {
    /// Only the tokens of this client.
    pub client: Option<String>,
    /// Only the token with this id (as the ledger names it, never the token itself).
    pub token: Option<String>,
}

/// `POST /_control/webhooks`: an endpoint of the webhook receiver.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WebhookEndpoint {
    /// The last segment of its path.
    pub name: String,
    /// Signing secrets (`whsec_…`), any of which may have signed. None at all: everything is taken, as unverified.
    pub secrets: Vec<String>,
}

impl WebhookEndpoint {
    /// An endpoint with one signing secret.
    pub fn new(name: impl Into<String>, secret: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            secrets: vec![secret.into()],
        }
    }
}

impl fmt::Debug for WebhookEndpoint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("WebhookEndpoint")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
