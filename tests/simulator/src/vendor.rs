//! The vendor's side of a call: who may, how often, and what happens.

use std::time::Duration;

use http::{HeaderMap, HeaderValue, StatusCode, header};
use rand::RngExt as _;
use serde::Deserialize;
use serde_json::json;
use tokio::time::Instant;

use crate::answer::{self, Answer};
use crate::api::{Operation, Settings};
use crate::call::Incoming;
use crate::sessions::{Now, Termination};
use crate::state::State;

/// The scopes that a token request must name.
const SCOPES: [&str; 3] = [
    "webchat:guest:manage",
    "webchat:guest:read",
    "conversation:messaging:read",
];

/// The vendor's closure-reason matrix.
const REASONS: [&str; 5] = [
    "customer_initiated",
    "agent_initiated",
    "timeout",
    "system_escalation",
    "bot_handoff",
];

/// A token that was issued.
pub(crate) struct Token {
    pub(crate) id: String,
    pub(crate) client: String,
    pub(crate) expires: Instant,
    /// When the current rate window ends, and the calls in it.
    window: Option<(Instant, u32)>,
}

/// Where a call stands in its token's rate window.
#[derive(Clone, Copy)]
pub(crate) struct RateWindow {
    count: u32,
    allowed: u32,
    reset_seconds: u64,
}

impl RateWindow {
    /// The vendor's headers.
    pub(crate) fn write(self, headers: &mut HeaderMap) {
        headers.insert("inin-ratelimit-count", HeaderValue::from(self.count));
        headers.insert("inin-ratelimit-allowed", HeaderValue::from(self.allowed));
        headers.insert("inin-ratelimit-reset", HeaderValue::from(self.reset_seconds));
    }
}

impl Token {
    /// Counts a guest call; `None` where the limit is off.
    pub(crate) fn count(&mut self, settings: &Settings, now: Instant) -> Option<RateWindow> {
        let allowed = settings.requests_per_minute?;
        let fresh = (now + Duration::from_millis(settings.rate_window_ms), 0);
        let (end, before) = self.window.filter(|(end, _)| now < *end).unwrap_or(fresh);
        let count = before + 1;
        self.window = Some((end, count));
        // Rounded up: a caller that waits as told must not come early.
        let reset_seconds = (end - now).as_millis().div_ceil(1000) as u64;
        Some(RateWindow {
            count,
            allowed,
            reset_seconds,
        })
    }
}

/// What a call did, for the ledger, and its answer.
pub(crate) struct Done {
    pub(crate) answer: Answer,
    pub(crate) incarnation: Option<u32>,
    pub(crate) told_state: Option<String>,
    pub(crate) effective: bool,
    /// The termination takes effect that much later.
    pub(crate) ends_after: Option<Duration>,
    /// The id of the token that was issued.
    pub(crate) token: Option<String>,
    /// The client that asked for a token.
    pub(crate) client: Option<String>,
}

impl From<Answer> for Done {
    fn from(answer: Answer) -> Self {
        Self {
            answer,
            incarnation: None,
            told_state: None,
            effective: false,
            ends_after: None,
            token: None,
            client: None,
        }
    }
}

impl State {
    /// Does what an undisturbed vendor does with this call.
    pub(crate) fn serve(&mut self, call: &Incoming, rate: Option<RateWindow>, context: &str, now: Now) -> Done {
        let refuse = |status, code, message: &str| Answer::vendor_error(status, code, message, context);
        match call.operation {
            Operation::Token => return self.issue_token(call, now),
            Operation::Observe | Operation::Terminate => {}
            // The real vendor answers a path that it does not have in its own shape.
            Operation::Webhook | Operation::Other => {
                return refuse(
                    StatusCode::NOT_FOUND,
                    "not.found",
                    "The requested resource was not found.",
                )
                .into();
            }
        }
        let Some(bearer) = call.bearer() else {
            let message = "No authentication bearer token specified in authorization header.";
            return refuse(StatusCode::UNAUTHORIZED, "authentication.required", message).into();
        };
        if self.tokens.get(bearer).is_none_or(|token| now.instant >= token.expires) {
            return refuse(
                StatusCode::UNAUTHORIZED,
                "bad.credentials",
                "Invalid login credentials.",
            )
            .into();
        }
        if let Some(rate) = rate.filter(|rate| rate.count > rate.allowed) {
            let message = "Rate limit exceeded.";
            return refuse(StatusCode::TOO_MANY_REQUESTS, "too.many.requests.retry.after", message)
                .with_header(header::RETRY_AFTER, rate.reset_seconds)
                .into();
        }
        match call.operation {
            Operation::Observe => self.observe(call, context, now),
            _ => self.terminate(call, context, now),
        }
    }

    fn observe(&mut self, call: &Incoming, context: &str, now: Now) -> Done {
        let id = call.guest.as_deref().unwrap_or_default();
        let Some(session) = self.sessions.get_mut(id) else {
            return unknown_guest(context).into();
        };
        session.meet(now);
        let told = session.told(now);
        let answer = match told {
            Some((state, updated)) => Answer::json(StatusCode::OK, &answer::guest(id, state, updated)),
            None => unknown_guest(context),
        };
        let told_state = told.map(|(state, _)| state.to_owned());
        Done {
            incarnation: Some(session.incarnation()),
            told_state,
            ..answer.into()
        }
    }

    fn terminate(&mut self, call: &Incoming, context: &str, now: Now) -> Done {
        let bad_request =
            |message: &str| Answer::vendor_error(StatusCode::BAD_REQUEST, "bad.request", message, context).into();
        if !call.parameter("reason").is_some_and(|reason| REASONS.contains(&reason)) {
            return bad_request("The closure reason is not in the matrix.");
        }
        if !call
            .parameter("retainData")
            .is_some_and(|retain| retain == "true" || retain == "false")
        {
            return bad_request("retainData must be true or false.");
        }
        let default = self.settings.after;
        let Some(session) = call.guest.as_deref().and_then(|id| self.sessions.get_mut(id)) else {
            return unknown_guest(context).into();
        };
        session.meet(now);
        let incarnation = Some(session.incarnation());
        match session.terminate(default, now) {
            Termination::Ended => Done {
                incarnation,
                effective: true,
                ..Answer::empty(StatusCode::NO_CONTENT).into()
            },
            Termination::NotActive => Done {
                incarnation,
                ..unknown_guest(context).into()
            },
            Termination::Accepted { ends_after } => Done {
                incarnation,
                ends_after,
                ..Answer::empty(StatusCode::ACCEPTED).into()
            },
        }
    }

    fn issue_token(&mut self, call: &Incoming, now: Now) -> Done {
        #[derive(Deserialize)]
        struct TokenRequest {
            grant_type: String,
            client_id: String,
            client_secret: String,
            #[serde(default)]
            scope: String,
        }
        let refuse = |status, error, description| Done::from(Answer::oauth_error(error, description, status));
        let Ok(request) = serde_json::from_slice::<TokenRequest>(&call.body) else {
            return refuse(
                StatusCode::BAD_REQUEST,
                "invalid_request",
                "a JSON client-credentials request is expected",
            );
        };
        let asked_by = |done: Done| Done {
            client: Some(request.client_id.clone()),
            ..done
        };
        if request.grant_type != "client_credentials" {
            return asked_by(refuse(
                StatusCode::BAD_REQUEST,
                "unsupported_grant_type",
                "unknown grant type",
            ));
        }
        let Some(secret) = self.clients.get(&request.client_id) else {
            return asked_by(refuse(StatusCode::BAD_REQUEST, "invalid_client", "client not found"));
        };
        if *secret != request.client_secret {
            return asked_by(refuse(
                StatusCode::UNAUTHORIZED,
                "invalid_client",
                "authentication failed",
            ));
        }
        let scopes: Vec<&str> = request.scope.split_whitespace().collect();
        if SCOPES.iter().any(|scope| !scopes.contains(scope)) {
            return asked_by(refuse(StatusCode::BAD_REQUEST, "invalid_scope", "a scope is missing"));
        }
        self.last_token += 1;
        let id = format!("t{}", self.last_token);
        let token = format!("simulated-token-{:032x}", self.random.random::<u128>());
        let expires = now.instant + Duration::from_secs(self.settings.expires_in);
        let body = json!({"access_token": token, "token_type": "bearer", "expires_in": self.settings.expires_in});
        let client = request.client_id;
        self.tokens.insert(
            token,
            Token {
                id: id.clone(),
                client: client.clone(),
                expires,
                window: None,
            },
        );
        Done {
            token: Some(id),
            client: Some(client),
            ..Answer::json(StatusCode::OK, &body).into()
        }
    }
}

/// The vendor's 404: for a session that never was, and for one that is over.
fn unknown_guest(context: &str) -> Answer {
    Answer::vendor_error(
        StatusCode::NOT_FOUND,
        "not.found",
        "The requested resource was not found.",
        context,
    )
}
