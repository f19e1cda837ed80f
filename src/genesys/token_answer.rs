//! What the token endpoint answered: a pure function of what came over the wire.

use std::time::Duration;

use http::StatusCode;
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::Value;

use super::classify::is_code;
use crate::{
    termination::answer::Unreachable,
    transport::{BodyEnd, CallError, CallErrorKind, Received},
};

/// Bounds of a token's lifetime, whatever the endpoint says: below, every call would wait for a new token; above, a
/// token that was withdrawn would live for long.
const SHORTEST: Duration = Duration::from_secs(30);
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);
/// The lifetime of a token of which nothing is said: the shortest that the vendor lets a client have.
const UNTOLD: Duration = Duration::from_secs(5 * 60);
/// The longest token, in bytes: servers refuse longer headers.
const LONGEST_TOKEN: usize = 8 * 1024;

/// There is no token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{failure}")]
pub struct TokenError {
    /// Why.
    pub failure: TokenFailure,
    /// The monotonic time before which the endpoint is not asked again.
    pub retry_at: Duration,
}

/// Why there is no token. Displays as a sentence for the user, without any text of the endpoint but its error code.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenFailure {
    /// The credentials were refused.
    #[error(
        "the token endpoint refused the client's credentials (HTTP {http_status}{}); check the Secret",
        and(code)
    )]
    Invalid {
        /// The OAuth error code, if there was one.
        code: Option<String>,
        /// The HTTP status.
        http_status: u16,
    },
    /// Too many token requests.
    #[error("the token endpoint asks for a pause (HTTP {http_status})")]
    Throttled {
        /// The HTTP status: 429, or the vendor's 400.
        http_status: u16,
    },
    /// No answer, or none now.
    #[error("the token endpoint cannot be used now: {0}")]
    Unavailable(Unavailable),
    /// An answer that cannot have come from a token endpoint.
    #[error(
        "the token endpoint's answer (HTTP {http_status}) is not one that a token endpoint gives; check the address"
    )]
    Malformed {
        /// The HTTP status.
        http_status: u16,
    },
}

fn and(code: &Option<String>) -> String {
    code.as_ref().map(|code| format!(", {code}")).unwrap_or_default()
}

/// How the token endpoint is unavailable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unavailable {
    /// 408, 425, 5xx.
    #[error("it answered HTTP {0}")]
    Status(u16),
    /// No connection.
    #[error("no connection could be made")]
    Connect,
    /// No trusted connection.
    #[error("the TLS handshake failed, or its certificate is not trusted")]
    Tls,
    /// Timeout, or the connection broke.
    #[error("its answer did not come")]
    Unanswered,
}

/// A token, as granted.
#[derive(Debug)]
pub(super) struct Granted {
    pub(super) secret: SecretString,
    pub(super) lifetime: Duration,
}

/// A refusal, and the pause that the endpoint asked for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) failure: TokenFailure,
    pub(super) retry_after: Option<Duration>,
}

/// Reads what came of a token request.
pub(super) fn read(answer: Result<&Received, &CallError>) -> Result<Granted, Refusal> {
    let received = answer.map_err(|error| Refusal {
        failure: TokenFailure::Unavailable(match error.kind {
            CallErrorKind::Unreachable(Unreachable::Tls) => Unavailable::Tls,
            CallErrorKind::Unreachable(Unreachable::Connect) | CallErrorKind::Blocked => Unavailable::Connect,
            CallErrorKind::Unanswered(_) => Unavailable::Unanswered,
        }),
        retry_after: None,
    })?;
    let refusal = |failure| Refusal {
        failure,
        retry_after: received.retry_after(),
    };
    let broken = matches!(received.body_end, BodyEnd::Interrupted | BodyEnd::TimedOut);
    match received.status {
        StatusCode::OK if broken => Err(refusal(TokenFailure::Unavailable(Unavailable::Unanswered))),
        StatusCode::OK => granted(received).ok_or_else(|| refusal(TokenFailure::Malformed { http_status: 200 })),
        status => Err(refusal(refused(status.as_u16(), &received.body))),
    }
}

/// The vendor's OAuth errors, in the shape of RFC 6749 with a second spelling of the description.
#[derive(Default, Deserialize)]
struct OAuthError {
    error: String,
    #[serde(default)]
    description: Option<String>,
    #[serde(default)]
    error_description: Option<String>,
}

fn refused(http_status: u16, body: &[u8]) -> TokenFailure {
    let error = serde_json::from_slice::<OAuthError>(body).ok();
    let code = error
        .as_ref()
        .map(|error| error.error.clone())
        .filter(|code| is_code(code));
    match http_status {
        429 => TokenFailure::Throttled { http_status },
        400 if error.as_ref().is_some_and(is_throttle) => TokenFailure::Throttled { http_status },
        // Any 401 of a token endpoint is about the credentials; other refusals only in the protocol's own shape.
        401 => TokenFailure::Invalid { code, http_status },
        400 | 403 if code.is_some() => TokenFailure::Invalid { code, http_status },
        408 | 425 | 500.. => TokenFailure::Unavailable(Unavailable::Status(http_status)),
        _ => TokenFailure::Malformed { http_status },
    }
}

/// The vendor throttles with 400, `invalid_request` and a description that starts `rate limit exceeded;`.
fn is_throttle(error: &OAuthError) -> bool {
    let descriptions = [&error.description, &error.error_description];
    error.error == "invalid_request"
        && descriptions
            .into_iter()
            .flatten()
            .any(|text| text.to_ascii_lowercase().starts_with("rate limit exceeded"))
}

/// RFC 6749, 5.1. The values are read leniently where a wrong type does no harm, and the token itself strictly: it goes
/// into a header.
#[derive(Deserialize)]
struct TokenResponse {
    access_token: String,
    #[serde(default)]
    token_type: Option<String>,
    #[serde(default)]
    expires_in: Option<Value>,
}

fn granted(received: &Received) -> Option<Granted> {
    if received.body_end != BodyEnd::Complete {
        return None;
    }
    let response: TokenResponse = serde_json::from_slice(&received.body).ok()?;
    let bearer = response
        .token_type
        .is_none_or(|kind| kind.eq_ignore_ascii_case("bearer"));
    (bearer && is_token(&response.access_token)).then(|| Granted {
        secret: response.access_token.into(),
        lifetime: lifetime(response.expires_in.as_ref()),
    })
}

/// The token alphabet of RFC 6750, 2.1: letters, digits and `-._~+/`, then `=`.
fn is_token(text: &str) -> bool {
    let body = text.trim_end_matches('=');
    let alphabet = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'+' | b'/');
    !body.is_empty() && text.len() <= LONGEST_TOKEN && body.bytes().all(alphabet)
}

fn lifetime(expires_in: Option<&Value>) -> Duration {
    let seconds = match expires_in {
        Some(Value::Number(number)) => number.as_f64(),
        Some(Value::String(text)) => text.trim().parse().ok(),
        _ => None,
    };
    match seconds.filter(|seconds: &f64| !seconds.is_nan()) {
        Some(seconds) => Duration::try_from_secs_f64(seconds.clamp(SHORTEST.as_secs_f64(), LONGEST.as_secs_f64()))
            .unwrap_or(SHORTEST),
        None => UNTOLD,
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::HeaderMap;
    use k8s_openapi::jiff::Timestamp;
    use proptest::prelude::*;
    use rstest::rstest;
    use secrecy::ExposeSecret;

    use super::*;
    use crate::transport::Lost;

    fn received(status: u16, body: &str) -> Received {
        Received {
            status: StatusCode::from_u16(status).unwrap(),
            headers: HeaderMap::new(),
            body: Bytes::from(body.to_owned()),
            body_end: BodyEnd::Complete,
            received_at: Timestamp::UNIX_EPOCH,
            duration: Duration::from_millis(5),
        }
    }

    fn failure(status: u16, body: &str) -> TokenFailure {
        read(Ok(&received(status, body))).unwrap_err().failure
    }

    #[rstest]
    #[case("3600", 3600)]
    #[case("3599.5", 3599)]
    #[case("\"3600\"", 3600)]
    #[case("0", 30)]
    #[case("-5", 30)]
    #[case("1000000000000", 86400)]
    #[case("1e400", 300)]
    #[case("\"soon\"", 300)]
    #[case("\"NaN\"", 300)]
    #[case("\"inf\"", 86400)]
    #[case("null", 300)]
    #[case("[]", 300)]
    fn a_lifetime_is_kept_within_bounds(#[case] expires_in: &str, #[case] seconds: u64) {
        let body = format!(r#"{{"access_token":"abc","token_type":"bearer","expires_in":{expires_in}}}"#);
        match read(Ok(&received(200, &body))) {
            Ok(granted) => assert_eq!(granted.lifetime.as_secs(), seconds),
            // A number that JSON readers refuse is no JSON.
            Err(refusal) => {
                assert_eq!(expires_in, "1e400");
                assert_eq!(refusal.failure, TokenFailure::Malformed { http_status: 200 });
            }
        }
    }

    #[rstest]
    #[case(r#"{"access_token":"a-b._~+/9=="}"#, true)]
    #[case(r#"{"access_token":"abc","token_type":"Bearer"}"#, true)]
    #[case(r#"{"access_token":"abc","token_type":"mac"}"#, false)]
    #[case(r#"{"access_token":""}"#, false)]
    #[case(r#"{"access_token":"=="}"#, false)]
    #[case(r#"{"access_token":"a b"}"#, false)]
    #[case(r#"{"access_token":"a\r\nX-Evil: 1"}"#, false)]
    #[case(r#"{"access_token":"tökén"}"#, false)]
    #[case(r#"{"access_token":5}"#, false)]
    #[case("<html>", false)]
    #[case("", false)]
    fn only_a_bearer_token_that_fits_into_a_header_is_taken(#[case] body: &str, #[case] taken: bool) {
        match read(Ok(&received(200, body))) {
            Ok(_) => assert!(taken),
            Err(refusal) => {
                assert!(!taken);
                assert_eq!(refusal.failure, TokenFailure::Malformed { http_status: 200 });
            }
        }
    }

    fn invalid(code: Option<&str>, http_status: u16) -> TokenFailure {
        TokenFailure::Invalid {
            code: code.map(str::to_owned),
            http_status,
        }
    }

    const THROTTLED: TokenFailure = TokenFailure::Throttled { http_status: 400 };

    #[rstest]
    #[case(400, r#"{"error":"invalid_client"}"#, invalid(Some("invalid_client"), 400))]
    #[case(401, r#"{"error":"invalid_client"}"#, invalid(Some("invalid_client"), 401))]
    #[case(401, "", invalid(None, 401))]
    #[case(401, r#"{"error":"<script>"}"#, invalid(None, 401))]
    #[case(400, "<html>", TokenFailure::Malformed { http_status: 400 })]
    #[case(
        400,
        r#"{"error":"invalid_request","description":"rate limit exceeded; wait"}"#,
        THROTTLED
    )]
    #[case(
        400,
        r#"{"error":"invalid_request","error_description":"rate limit exceeded; wait"}"#,
        THROTTLED
    )]
    #[case(
        400,
        r#"{"error":"invalid_request","description":"no grant"}"#,
        invalid(Some("invalid_request"), 400)
    )]
    #[case(429, "", TokenFailure::Throttled { http_status: 429 })]
    #[case(503, "", TokenFailure::Unavailable(Unavailable::Status(503)))]
    #[case(302, "", TokenFailure::Malformed { http_status: 302 })]
    #[case(404, "", TokenFailure::Malformed { http_status: 404 })]
    #[case(204, "", TokenFailure::Malformed { http_status: 204 })]
    fn a_refusal_has_its_kind(#[case] status: u16, #[case] body: &str, #[case] expected: TokenFailure) {
        assert_eq!(failure(status, body), expected);
    }

    #[test]
    fn no_answer_is_unavailable() {
        for (kind, expected) in [
            (CallErrorKind::Unreachable(Unreachable::Connect), Unavailable::Connect),
            (CallErrorKind::Unreachable(Unreachable::Tls), Unavailable::Tls),
            (CallErrorKind::Unanswered(Lost::Timeout), Unavailable::Unanswered),
        ] {
            let error = CallError {
                kind,
                duration: Duration::ZERO,
            };
            assert_eq!(
                read(Err(&error)).unwrap_err().failure,
                TokenFailure::Unavailable(expected)
            );
        }
    }

    #[test]
    fn a_pause_is_handed_on() {
        let mut answer = received(429, "");
        answer.headers.insert("retry-after", "7".parse().unwrap());
        assert_eq!(read(Ok(&answer)).unwrap_err().retry_after, Some(Duration::from_secs(7)));
    }

    proptest! {
        #[test]
        fn whatever_is_answered_a_token_is_safe_in_a_header(token in ".*", status in 100u16..700, body in ".*") {
            let json = serde_json::json!({"access_token": token, "expires_in": body}).to_string();
            if let Ok(granted) = read(Ok(&received(200, &json))) {
                prop_assert!(http::HeaderValue::from_str(granted.secret.expose_secret()).is_ok());
                prop_assert!(granted.lifetime >= SHORTEST && granted.lifetime <= LONGEST);
            }
            if let Err(refusal) = read(Ok(&received(status, &body))) {
                prop_assert!(body.len() < 20 || !refusal.failure.to_string().contains(&body));
            }
        }
    }
}
