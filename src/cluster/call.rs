//! One request to the API server: one deadline, one answer, its headers included.
//!
//! `kube::Api` throws the headers of an error away, and `Retry-After` of the server's flow control comes in a header
//! (its body is plain text); and it logs a body that it cannot decode, which a Secret's must not be.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode, header::RETRY_AFTER};
use http_body_util::{BodyExt, Limited};
use kube::{client::Body, core::Status};

use super::{Cluster, text::clean};

/// How long one call may take, from its start to the last byte of its answer.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(5);

/// The largest answer that is read. An object in etcd has at most 1.5 MiB; an OpenAPI document stays well below this.
const MAX_BODY: usize = 8 * 1024 * 1024;

/// The pause after a 429 that names none.
const DEFAULT_RETRY_AFTER: Duration = Duration::from_secs(1);

/// The longest text of the server's that is kept.
const MAX_MESSAGE: usize = 512;

/// Why the API server did not give what was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// 429: the server wants the pause that it names before the next try. It can be absurdly long.
    #[error("the API server asks for a pause (429)")]
    Throttled(Duration),
    /// The server answered and said no.
    #[error("the API server refused ({code}): {message}")]
    Refused {
        /// The HTTP status.
        code: u16,
        /// The server's words, without control characters, cut.
        message: String,
    },
    /// No answer within [`CALL_TIMEOUT`], a broken connection, or 5xx.
    #[error("the API server did not answer: {0}")]
    Unanswered(String),
    /// The object does not fit the types of this version; the text says where.
    #[error("the object cannot be decoded: {0}")]
    Undecodable(String),
}

/// Why a call gave no body.
#[derive(Debug)]
pub(super) enum CallError {
    /// 429.
    Throttled(Duration),
    /// Any other answer below 500 that is not a success.
    Refused(Refusal),
    /// Nothing is known of the effect: timeout, connection, 5xx.
    Unanswered(String),
}

/// An answer that says no.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) code: u16,
    /// The machine-readable reason of the `Status`, empty if the body was none.
    pub(super) reason: String,
    pub(super) message: String,
    /// The name of the object that the answer speaks of.
    subject: String,
    /// The reasons of the single causes.
    causes: Vec<String>,
}

impl Refusal {
    /// Whether the server itself says that the object `name` does not exist.
    ///
    /// A proxy's 404, and the server's own for a group that it does not serve (yet), do not name the object: they say
    /// nothing of it.
    pub(super) fn is_absence_of(&self, name: &str) -> bool {
        self.code == 404 && self.reason == "NotFound" && self.subject == name
    }

    /// Whether nothing can be created because the namespace is being deleted, or is gone.
    pub(super) fn is_end_of_namespace(&self) -> bool {
        (self.code == 403 && self.causes.iter().any(|cause| cause == "NamespaceTerminating")) || self.code == 404
    }
}

impl From<CallError> for ReadError {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Throttled(pause) => Self::Throttled(pause),
            CallError::Refused(refusal) => Self::Refused {
                code: refusal.code,
                message: refusal.message,
            },
            CallError::Unanswered(why) => Self::Unanswered(why),
        }
    }
}

impl Cluster {
    /// Sends `request` and reads the whole answer, within [`CALL_TIMEOUT`].
    pub(super) async fn call(&self, request: Request<Vec<u8>>) -> Result<Bytes, CallError> {
        tokio::select! {
            biased;
            answer = self.exchange(request) => answer,
            () = self.clock.sleep(CALL_TIMEOUT) => Err(CallError::Unanswered(format!("no answer within {} s", CALL_TIMEOUT.as_secs()))),
        }
    }

    async fn exchange(&self, request: Request<Vec<u8>>) -> Result<Bytes, CallError> {
        let asked = self.clock.monotonic();
        let answer = self
            .client
            .send(request.map(Body::from))
            .await
            .map_err(|error| CallError::Unanswered(describe(&error)))?;
        let (head, body) = answer.into_parts();
        let took = self.clock.monotonic().saturating_sub(asked);
        self.skew.note(&head.headers, self.clock.now(), took);
        let body = Limited::new(body, MAX_BODY).collect().await;
        if head.status.is_success() {
            // The status said that it was done; without the body it is not known what.
            return body
                .map(|body| body.to_bytes())
                .map_err(|error| CallError::Unanswered(clean(&error.to_string(), MAX_MESSAGE)));
        }
        let body = body.map(|body| body.to_bytes()).unwrap_or_default();
        Err(refusal(head.status, &head.headers, &body))
    }
}

fn refusal(code: StatusCode, headers: &HeaderMap, body: &[u8]) -> CallError {
    let status = serde_json::from_slice::<Status>(body).unwrap_or_default();
    if code == StatusCode::TOO_MANY_REQUESTS {
        return CallError::Throttled(retry_after(headers, &status));
    }
    let message = if status.message.is_empty() {
        code.canonical_reason().unwrap_or("no message").to_owned()
    } else {
        clean(&status.message, MAX_MESSAGE)
    };
    if code.is_server_error() {
        return CallError::Unanswered(format!("{}: {message}", code.as_u16()));
    }
    let (subject, causes) = status
        .details
        .map_or_else(Default::default, |details| (details.name, details.causes));
    CallError::Refused(Refusal {
        code: code.as_u16(),
        reason: status.reason,
        message,
        subject,
        causes: causes.into_iter().map(|cause| cause.reason).collect(),
    })
}

/// The API server's `Retry-After` is always in seconds; a `Status` may carry the same in its details.
fn retry_after(headers: &HeaderMap, status: &Status) -> Duration {
    let header = headers
        .get(RETRY_AFTER)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.trim().parse::<u32>().ok());
    let details = status.details.as_ref().map(|details| details.retry_after_seconds);
    header
        .or(details.filter(|seconds| *seconds > 0))
        .map_or(DEFAULT_RETRY_AFTER, |seconds| Duration::from_secs(seconds.into()))
}

/// A client's error in words that carry neither credentials nor bodies.
pub(super) fn describe(error: &kube::Error) -> String {
    match error {
        // An exec plugin's output, which may hold a token, is part of this error's text.
        kube::Error::Auth(_) => "the credentials for the API server could not be obtained".to_owned(),
        kube::Error::Api(status) => format!("{}: {}", status.code, clean(&status.message, MAX_MESSAGE)),
        other => {
            let mut words = other.to_string();
            let mut cause = std::error::Error::source(other);
            while let Some(error) = cause {
                let next = error.to_string();
                if !words.contains(&next) {
                    words = format!("{words}: {next}");
                }
                cause = error.source();
            }
            clean(&words, MAX_MESSAGE)
        }
    }
}
