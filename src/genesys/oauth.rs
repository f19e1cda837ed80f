//! The access token of one connection: cached, renewed ahead of its expiry, one renewal for any number of waiters.
//!
//! Nothing here sleeps: a wait is handed back as the instant when it ends.

use std::{
    fmt,
    mem::Discriminant,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use futures::{
    FutureExt,
    future::{BoxFuture, Shared},
};
use http::{Method, Request, header};
use k8s_openapi::jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;

use super::{
    client::{Target, VendorClient},
    token_answer::{self, Refusal, TokenError, TokenFailure, Unavailable},
    web_messaging_guests::JSON,
};
use crate::transport::{Limits, USER_AGENT};

/// The scopes of the `WebMessagingGuests` API.
const SCOPES: &str = "webchat:guest:manage webchat:guest:read conversation:messaging:read";
/// A renewal that has not ended by then lost its last waiter, and with it whoever would drive it on.
const ABANDONED: Duration = Limits::VENDOR.timeout.saturating_add(Duration::from_secs(1));

/// The credentials of an OAuth client, checked.
#[derive(Clone, Debug)]
pub struct Credentials {
    client_id: String,
    client_secret: SecretString,
    version: String,
}

impl Credentials {
    /// What changes whenever the values may have changed.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The longest id or secret, in bytes.
    pub const MAX_LENGTH: usize = 4096;

    /// Reads credentials as they stand in a Secret. `version` changes whenever the values may have changed.
    ///
    /// # Errors
    /// [`InvalidCredentials`], which names the rule that a value breaks and never repeats the value.
    pub fn parse(client_id: &[u8], client_secret: &[u8], version: String) -> Result<Self, InvalidCredentials> {
        Ok(Self {
            client_id: value("client id", client_id)?.to_owned(),
            client_secret: value("client secret", client_secret)?.into(),
            version,
        })
    }
}

fn value<'a>(what: &'static str, bytes: &'a [u8]) -> Result<&'a str, InvalidCredentials> {
    let wrong = |rule| InvalidCredentials { what, rule };
    if bytes.is_empty() {
        return Err(wrong("is empty"));
    }
    if bytes.len() > Credentials::MAX_LENGTH {
        return Err(wrong("is longer than 4096 bytes"));
    }
    let text = std::str::from_utf8(bytes).map_err(|_| wrong("is not UTF-8"))?;
    if text
        .chars()
        .any(|character| character.is_control() || character.is_whitespace())
    {
        return Err(wrong(
            "holds white space or a line break; was it made with `echo` instead of `echo -n`?",
        ));
    }
    Ok(text)
}

/// A value in a Secret cannot be a credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the {what} in the Secret {rule}")]
pub struct InvalidCredentials {
    what: &'static str,
    rule: &'static str,
}

/// A bearer token. Cheap to clone.
#[derive(Clone)]
pub struct AccessToken(Arc<Inner>);

struct Inner {
    id: u64,
    secret: SecretString,
    /// Monotonic time from which a call that wants a token renews it first.
    renew_from: Duration,
    /// Monotonic time from which it is not used any more.
    expires: Duration,
    expires_at: Timestamp,
}

impl AccessToken {
    /// Tells this token from the connection's other ones, and nothing of its value.
    pub fn id(&self) -> u64 {
        self.0.id
    }

    /// When it expires, by the wall clock.
    pub fn expires_at(&self) -> Timestamp {
        self.0.expires_at
    }

    pub(super) fn secret(&self) -> &SecretString {
        &self.0.secret
    }

    #[cfg(test)]
    pub(super) fn for_test(secret: &str) -> Self {
        Self(Arc::new(Inner {
            id: 0,
            secret: secret.into(),
            renew_from: Duration::MAX,
            expires: Duration::MAX,
            expires_at: Timestamp::MAX,
        }))
    }
}

impl fmt::Debug for AccessToken {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "AccessToken({})", self.id())
    }
}

/// The token of one connection.
#[derive(Debug, Default)]
pub struct Tokens {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The version of the credentials that all of this belongs to.
    version: Option<String>,
    cached: Option<AccessToken>,
    renewal: Option<Renewal>,
    failure: Option<Failed>,
    last_id: u64,
}

impl fmt::Debug for State {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("State")
            .field("cached", &self.cached)
            .field("failure", &self.failure)
            .finish_non_exhaustive()
    }
}

/// A token request under way. It lives here and not in whoever began it: a waiter that is dropped takes nothing along,
/// and any other waiter drives it on.
#[derive(Clone)]
struct Renewal {
    id: u64,
    begun: Duration,
    answer: Shared<BoxFuture<'static, Result<AccessToken, Failed>>>,
}

/// A failed renewal, and how many of its kind came in a row.
#[derive(Clone, Debug)]
struct Failed {
    error: TokenError,
    row: u32,
}

enum Step {
    Use(AccessToken),
    Wait(Renewal),
    Fail(TokenError),
}

impl Tokens {
    /// A token that can be used now: the cached one, or a new one where there is none or it is near its expiry. While
    /// no new one can be had, the old one is used until it expires.
    ///
    /// Credentials of another version than the last call's drop whatever was known by the old ones.
    ///
    /// # Errors
    /// [`TokenError`], with the instant before which the endpoint is not asked again.
    pub async fn token(
        &self,
        vendor: &VendorClient,
        target: &Target,
        credentials: &Credentials,
    ) -> Result<AccessToken, TokenError> {
        match self.step(vendor, target, credentials) {
            Step::Use(token) => Ok(token),
            Step::Fail(error) => Err(error),
            Step::Wait(renewal) => {
                let answer = renewal.answer.await;
                self.settle(renewal.id, answer, vendor.clock().monotonic())
            }
        }
    }

    /// The vendor answered 401 to a call with `token`. The next call gets another one; a token that is not the cached
    /// one any more changes nothing.
    pub fn refused(&self, token: &AccessToken) {
        let mut state = self.lock();
        if state.cached.as_ref().is_some_and(|cached| cached.id() == token.id()) {
            state.cached = None;
        }
    }

    fn step(&self, vendor: &VendorClient, target: &Target, credentials: &Credentials) -> Step {
        let now = vendor.clock().monotonic();
        let mut state = self.lock();
        if state.version.as_deref() != Some(credentials.version.as_str()) {
            *state = State {
                version: Some(credentials.version.clone()),
                last_id: state.last_id,
                ..State::default()
            };
        }
        if let Some(token) = state.cached.as_ref().filter(|token| now < token.0.renew_from) {
            return Step::Use(token.clone());
        }
        let abandoned = |renewal: &&Renewal| now >= renewal.begun + ABANDONED && renewal.answer.peek().is_none();
        if let Some(renewal) = state.renewal.as_ref().filter(|renewal| !abandoned(renewal)) {
            return Step::Wait(renewal.clone());
        }
        if let Some(failed) = state.failure.as_ref().filter(|failed| now < failed.error.retry_at) {
            return match state.usable(now) {
                Some(token) => Step::Use(token),
                None => Step::Fail(failed.error.clone()),
            };
        }
        state.last_id += 1;
        let renewal = Renewal {
            id: state.last_id,
            begun: now,
            answer: renew(state.last_id, state.failure.clone(), vendor, target, credentials).shared(),
        };
        state.renewal = Some(renewal.clone());
        Step::Wait(renewal)
    }

    /// Keeps what a renewal brought, if it is still the current one, and gives a waiter its token.
    fn settle(&self, id: u64, answer: Result<AccessToken, Failed>, now: Duration) -> Result<AccessToken, TokenError> {
        let mut state = self.lock();
        if state.renewal.as_ref().is_some_and(|renewal| renewal.id == id) {
            state.renewal = None;
            match &answer {
                Ok(token) => {
                    state.cached = Some(token.clone());
                    state.failure = None;
                }
                Err(failed) => state.failure = Some(failed.clone()),
            }
        }
        answer.or_else(|failed| state.usable(now).ok_or(failed.error))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn usable(&self, now: Duration) -> Option<AccessToken> {
        self.cached.clone().filter(|token| now < token.0.expires)
    }
}

/// One token request.
fn renew(
    id: u64,
    before: Option<Failed>,
    vendor: &VendorClient,
    target: &Target,
    credentials: &Credentials,
) -> BoxFuture<'static, Result<AccessToken, Failed>> {
    let (vendor, target, credentials) = (vendor.clone(), target.clone(), credentials.clone());
    Box::pin(async move {
        let clock = vendor.clock();
        let departure = clock.monotonic();
        let departed_at = clock.now();
        let answer = match request(&target, &credentials) {
            Some(request) => token_answer::read(vendor.send(&target, request).await.as_ref()),
            // An address that makes no request leads nowhere.
            None => Err(Refusal {
                failure: TokenFailure::Unavailable(Unavailable::Connect),
                retry_after: None,
            }),
        };
        match answer {
            Ok(granted) => {
                let ahead = (granted.lifetime / 10).min(Duration::from_secs(60));
                Ok(AccessToken(Arc::new(Inner {
                    id,
                    secret: granted.secret,
                    renew_from: departure + granted.lifetime - ahead,
                    expires: departure + granted.lifetime,
                    expires_at: departed_at.saturating_add(granted.lifetime).unwrap_or(Timestamp::MAX),
                })))
            }
            Err(refusal) => Err(failed(refusal, before.as_ref(), clock.monotonic())),
        }
    })
}

fn request(target: &Target, credentials: &Credentials) -> Option<Request<Bytes>> {
    let mut url = target.endpoints.login.clone();
    url.set_path(&format!("{}/oauth/token", url.path().trim_end_matches('/')));
    let body = json!({
        "grant_type": "client_credentials",
        "client_id": credentials.client_id,
        "client_secret": credentials.client_secret.expose_secret(),
        "scope": SCOPES,
    });
    Request::builder()
        .method(Method::POST)
        .uri(url.as_str())
        .header(header::ACCEPT, JSON)
        .header(header::CONTENT_TYPE, JSON)
        .header(header::USER_AGENT, USER_AGENT)
        .body(Bytes::from(body.to_string()))
        .ok()
}

/// When to ask again: 30 s growing to 5 min after an answer that asking again does not change, 2 s growing to 30 s
/// after none, and never earlier than the endpoint said.
fn failed(refusal: Refusal, before: Option<&Failed>, now: Duration) -> Failed {
    let kind = |failure: &TokenFailure| -> Discriminant<TokenFailure> { std::mem::discriminant(failure) };
    let row = match before {
        Some(before) if kind(&before.error.failure) == kind(&refusal.failure) => before.row.saturating_add(1),
        _ => 1,
    };
    let (first, last) = match refusal.failure {
        TokenFailure::Unavailable(_) => (Duration::from_secs(2), Duration::from_secs(30)),
        TokenFailure::Invalid { .. } | TokenFailure::Throttled { .. } | TokenFailure::Malformed { .. } => {
            (Duration::from_secs(30), Duration::from_secs(300))
        }
    };
    let grown = (first * 2u32.pow((row - 1).min(8))).min(last);
    let pause = match (&refusal.failure, refusal.retry_after) {
        // The endpoint's own word replaces a guess at what it would like.
        (TokenFailure::Throttled { .. }, Some(asked)) => asked.max(Duration::from_secs(1)),
        (_, asked) => grown.max(asked.unwrap_or_default()),
    };
    Failed {
        error: TokenError {
            failure: refusal.failure,
            retry_at: now + pause,
        },
        row,
    }
}

#[cfg(test)]
mod tests;
