//! The token endpoint: clients, tokens, and how often one may be shown.

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use http::{Response, StatusCode};
use k8s_openapi::jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Arrival, CANARY, RetryAfter,
    answers::{empty, json_body, oauth_error, page, with_body, with_retry_after},
};

/// The scopes that a token request must name.
const SCOPES: [&str; 3] = [
    "webchat:guest:manage",
    "webchat:guest:read",
    "conversation:messaging:read",
];

/// The window that calls are counted in.
const WINDOW: Duration = Duration::from_secs(60);

/// What the token endpoint does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum TokenMode {
    /// It works.
    #[default]
    Works,
    /// It answers with this status and nothing else.
    Status(u16),
    /// It throttles as the vendor does: 400 with a description that says so.
    Throttles(Option<RetryAfter>),
    /// 429.
    TooMany(Option<RetryAfter>),
    /// 200 with a page.
    Page,
    /// 200 with a token that no header can hold.
    HostileToken,
}

/// Clients and their tokens.
#[derive(Clone, Debug)]
pub(super) struct Tokens {
    clients: BTreeMap<String, String>,
    issued: BTreeMap<String, Token>,
    count: u64,
    pub(super) mode: TokenMode,
    pub(super) lifetime: Duration,
    /// What is said of the lifetime, where that is not the truth in seconds.
    pub(super) expires_in: Option<Value>,
}

#[derive(Clone, Debug)]
struct Token {
    client: String,
    /// When it dies; nothing if it was revoked.
    dies: Option<Duration>,
    /// The current rate window: its end, and the calls in it.
    window: (Duration, u32),
}

/// Where a call stands in its token's rate window.
#[derive(Clone, Copy)]
pub(super) struct Rate {
    pub(super) count: u32,
    pub(super) allowed: u32,
    pub(super) reset_seconds: u64,
}

impl Default for Tokens {
    fn default() -> Self {
        Self {
            clients: BTreeMap::new(),
            issued: BTreeMap::new(),
            count: 0,
            mode: TokenMode::Works,
            lifetime: Duration::from_secs(24 * 3600),
            expires_in: None,
        }
    }
}

impl Tokens {
    /// Sets a client's secret. Tokens that were issued for another one are dead.
    pub(super) fn set_client(&mut self, client: &str, secret: &str) {
        let before = self.clients.insert(client.to_owned(), secret.to_owned());
        if before.is_some_and(|before| before != secret) {
            self.revoke_of(Some(client));
        }
    }

    /// Kills tokens: a client's, or all.
    pub(super) fn revoke_of(&mut self, client: Option<&str>) {
        let hit = |token: &&mut Token| client.is_none_or(|client| token.client == client);
        self.issued.values_mut().filter(hit).for_each(|token| token.dies = None);
    }

    /// The client of a token that was issued once, and whether the token is good still.
    pub(super) fn show(&self, token: &str, at: Duration) -> Option<(&str, bool)> {
        let token = self.issued.get(token)?;
        Some((&token.client, token.dies.is_some_and(|dies| at < dies)))
    }

    /// Counts a guest call.
    pub(super) fn count(&mut self, token: &str, allowed: u32, at: Duration) -> Option<Rate> {
        let token = self.issued.get_mut(token)?;
        let (end, before) = if at < token.window.0 {
            token.window
        } else {
            (at + WINDOW, 0)
        };
        token.window = (end, before + 1);
        Some(Rate {
            count: before + 1,
            allowed,
            // Rounded up: whoever waits as told must not come early.
            reset_seconds: u64::try_from((end - at).as_millis().div_ceil(1000)).unwrap_or(u64::MAX),
        })
    }

    pub(super) fn issue(&mut self, arrival: Arrival, body: &[u8]) -> Response<Bytes> {
        let now = arrival.now;
        let ok = |body: &Value| json_body(empty(StatusCode::OK, now), body);
        match &self.mode {
            TokenMode::Works => self.granted(arrival, body),
            TokenMode::Status(status) => empty(
                StatusCode::from_u16(*status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE),
                now,
            ),
            TokenMode::Throttles(retry_after) => {
                let answer = oauth_error(
                    StatusCode::BAD_REQUEST,
                    "invalid_request",
                    "rate limit exceeded; try later",
                    now,
                );
                with_retry_after(answer, retry_after.as_ref(), now)
            }
            TokenMode::TooMany(retry_after) => {
                with_retry_after(empty(StatusCode::TOO_MANY_REQUESTS, now), retry_after.as_ref(), now)
            }
            TokenMode::Page => with_body(empty(StatusCode::OK, now), "text/html", Bytes::from(page())),
            TokenMode::HostileToken => ok(&json!({
                "access_token": format!("{CANARY}\r\nHost: elsewhere"), "token_type": "bearer", "expires_in": 3600,
            })),
        }
    }

    fn granted(&mut self, arrival: Arrival, body: &[u8]) -> Response<Bytes> {
        #[derive(Deserialize)]
        struct Asked {
            grant_type: String,
            client_id: String,
            client_secret: String,
            #[serde(default)]
            scope: String,
        }
        let refuse = |status, error, now: Timestamp| oauth_error(status, error, "refused", now);
        let now = arrival.now;
        let Ok(asked) = serde_json::from_slice::<Asked>(body) else {
            return refuse(StatusCode::BAD_REQUEST, "invalid_request", now);
        };
        if asked.grant_type != "client_credentials" {
            return refuse(StatusCode::BAD_REQUEST, "unsupported_grant_type", now);
        }
        match self.clients.get(&asked.client_id) {
            None => return refuse(StatusCode::BAD_REQUEST, "invalid_client", now),
            Some(secret) if *secret != asked.client_secret => {
                return refuse(StatusCode::UNAUTHORIZED, "invalid_client", now);
            }
            Some(_) => {}
        }
        let named: Vec<&str> = asked.scope.split(' ').collect();
        if SCOPES.iter().any(|scope| !named.contains(scope)) {
            return refuse(StatusCode::BAD_REQUEST, "invalid_scope", now);
        }
        self.count += 1;
        let token = format!("{CANARY}-token-{}-{}", asked.client_id, self.count);
        let expires_in = self
            .expires_in
            .clone()
            .unwrap_or_else(|| self.lifetime.as_secs().into());
        let body = json!({"access_token": token, "token_type": "bearer", "expires_in": expires_in});
        self.issued.insert(
            token,
            Token {
                client: asked.client_id,
                dies: Some(arrival.at + self.lifetime),
                window: (Duration::ZERO, 0),
            },
        );
        json_body(empty(StatusCode::OK, now), &body)
    }
}
