//! What the vendor answered, as data, and what an answer to a terminate proves.

use std::time::Duration;

/// An answer of the vendor, or the reason why there is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer<V> {
    /// What it says.
    pub verdict: V,
    /// What came with it.
    pub evidence: Evidence,
}

/// The single values of an answer that may be kept. Never a body, never a header that is not named here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Evidence {
    /// The HTTP status, if an answer came.
    pub http_status: Option<u16>,
    /// The vendor's error code, only if the answer was in the vendor's error shape.
    pub error_code: Option<String>,
    /// `ININ-Correlation-Id`, else `X-Request-Id`.
    pub correlation_id: Option<String>,
    /// `Retry-After`, as a span from the answer's own `Date`.
    pub retry_after: Option<Duration>,
    /// `inin-ratelimit-allowed`: calls a minute that the vendor allows.
    pub allowed: Option<u32>,
    /// Time between the call's departure and its answer.
    pub duration: Duration,
}

/// The verdict of a look at a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Look {
    /// The session is active.
    Active(SessionSeen),
    /// The session is over: `closed`, `terminated`, `ended`, `expired`, `disconnected`.
    Ended(SessionSeen),
    /// A state that this version does not know: nothing is done about it, and it is never success.
    Unclear(SessionSeen),
    /// The look told nothing of the session, or that there is none.
    Failed(Failure),
}

/// What the vendor said of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionSeen {
    /// The state, in the vendor's word, at most 64 characters of `A-Z a-z 0-9 . _ -`.
    pub state: String,
    /// The vendor's time of the last change, as written, at most 64 characters, printable ASCII.
    pub last_updated: Option<String>,
}

/// The verdict of a terminate call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// 204, or 200 with an empty or JSON body.
    Applied,
    /// 202: to be confirmed by looking.
    Accepted,
    /// Anything else.
    Failed(Failure),
}

/// Why a call did not do what was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// 404 or 410 in a shape that the vendor itself could have sent. `conclusive`: with a code that only a missing
    /// session can have; without, the route must be proven before it means anything.
    NotFound {
        /// The code can only mean a missing session.
        conclusive: bool,
    },
    /// The vendor refused the request for good: 400, 405, 413 to 415, 422 and other 4xx in the vendor's error shape.
    Refused,
    /// The answer cannot have come from the API that was asked.
    Suspicious(Suspicion),
    /// 401 to a fresh token.
    Unauthorized,
    /// 401 to a token that may just have died; the call was not repeated with a fresh one.
    TokenDied,
    /// 403.
    Forbidden,
    /// 429.
    Throttled,
    /// 408, 425, 5xx.
    Transient,
    /// The connection failed before a byte of the request was sent.
    Unreachable(Unreachable),
    /// Timeout or reset after bytes may have been sent, or 409: whatever was asked may have been done.
    Unanswered,
}

/// Why an answer cannot have come from the API that was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Suspicion {
    /// 404 or 410 that is not in the vendor's shape: a gateway without a route, or a wrong address.
    ForeignNotFound,
    /// A 4xx that is not in the vendor's error shape.
    ForeignError,
    /// 3xx; never followed, because the bearer token leaves for no other host.
    Redirect,
    /// 407.
    ProxyAuthentication,
    /// A 2xx that cannot be what was asked: HTML, broken or truncated JSON, a body over the cap.
    WrongBody,
    /// A guest with another id than the one asked for.
    OtherGuest,
}

/// Why no connection came about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unreachable {
    /// The name did not resolve, the connection was refused or timed out.
    Connect,
    /// The TLS handshake or the certificate failed.
    Tls,
}

/// What an answer to a terminate proves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// The call took effect.
    Applied,
    /// The call took no effect.
    NotApplied,
    /// It is open whether the call took effect.
    Unknown,
}

impl Answer<Call> {
    /// What this answer proves of its own call.
    ///
    /// A refusal proves that nothing happened only in the vendor's own error shape, because a gateway that answers in
    /// the vendor's place may have passed the call on, and only with a status that is known to come before any effect:
    /// 400, 401, 403, 405, 413 to 415, 422, 429.
    pub fn proves(&self) -> Proof {
        let before_any_effect = matches!(
            self.evidence.http_status,
            Some(400 | 401 | 403 | 405 | 413..=415 | 422 | 429)
        );
        let vendors_word = before_any_effect && self.evidence.error_code.is_some();
        match &self.verdict {
            Call::Applied => Proof::Applied,
            Call::Accepted => Proof::Unknown,
            Call::Failed(failure) => match failure {
                Failure::Unreachable(_) => Proof::NotApplied,
                Failure::Refused
                | Failure::Unauthorized
                | Failure::TokenDied
                | Failure::Forbidden
                | Failure::Throttled
                    if vendors_word =>
                {
                    Proof::NotApplied
                }
                _ => Proof::Unknown,
            },
        }
    }
}
