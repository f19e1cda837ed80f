//! Answers: the vendor's shapes, and those of what stands in front of it.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Response, StatusCode, header};
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

use super::CANARY;
use crate::history::Ordinal;

/// Longer than any client reads.
const TOO_LONG: usize = 70_000;

/// A `Retry-After`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RetryAfter {
    /// Seconds.
    Seconds(u64),
    /// An HTTP date, so many seconds after the answer's own.
    Date(u64),
    /// Something that is neither.
    Garbage(&'static str),
}

impl RetryAfter {
    /// The pause that is meant, as far as one is.
    pub fn pause(&self) -> Option<Duration> {
        match self {
            Self::Seconds(seconds) | Self::Date(seconds) => Some(Duration::from_secs(*seconds)),
            Self::Garbage(_) => None,
        }
    }

    fn value(&self, now: Timestamp) -> Option<HeaderValue> {
        match self {
            Self::Seconds(seconds) => Some(HeaderValue::from(*seconds)),
            Self::Date(seconds) => http_date(now, *seconds),
            Self::Garbage(text) => Some(HeaderValue::from_static(text)),
        }
    }
}

/// An answer that somebody between the operator and a server gives: it proves nothing of what became of the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Canned {
    /// 408.
    RequestTimeout,
    /// 409.
    Conflict,
    /// 425.
    TooEarly,
    /// 500 with the vendor's error shape.
    InternalError,
    /// 502 with a page.
    BadGateway,
    /// 503 without a body.
    Unavailable,
    /// 504 with JSON of a gateway.
    GatewayTimeout,
    /// 404 without a body or a request id.
    NoRouteEmpty,
    /// 404 with a page.
    NoRoutePage,
    /// 404 with a Kubernetes `Status`.
    NoRouteStatus,
    /// 404 with JSON of a gateway.
    NoRouteJson,
    /// 401 of a gateway.
    GatewayUnauthorized,
    /// 403 of a gateway.
    GatewayForbidden,
    /// 429 of a gateway, with a `Retry-After` of seconds.
    GatewayThrottled(u64),
    /// 400 of a gateway.
    GatewayRefused,
    /// 407.
    ProxyAuthentication,
    /// 302 to another host.
    Redirect,
    /// 200 with a page.
    Page,
    /// 200 with JSON that breaks off.
    BrokenJson,
    /// 200 with the vendor's error shape.
    ErrorWithSuccess,
    /// 200 with a body over every cap.
    TooLong,
    /// 206 without a body: a 2xx that is none of those that mean something.
    OtherSuccess,
}

/// The answer of that kind.
pub fn canned(kind: Canned, now: Timestamp) -> Response<Bytes> {
    use Canned as Kind;
    let page = |status| with_body(empty(status, now), "text/html", Bytes::from(page()));
    let own = |status, value: Value| with_body(empty(status, now), "application/json", Bytes::from(value.to_string()));
    match kind {
        Kind::RequestTimeout => page(StatusCode::REQUEST_TIMEOUT),
        Kind::Conflict => empty(StatusCode::CONFLICT, now),
        Kind::TooEarly => empty(StatusCode::TOO_EARLY, now),
        Kind::InternalError => own(
            StatusCode::INTERNAL_SERVER_ERROR,
            json!({"message": CANARY, "code": "internal.server.error", "status": 500}),
        ),
        Kind::BadGateway => page(StatusCode::BAD_GATEWAY),
        Kind::Unavailable => empty(StatusCode::SERVICE_UNAVAILABLE, now),
        Kind::GatewayTimeout => own(StatusCode::GATEWAY_TIMEOUT, json!({"message": CANARY})),
        Kind::NoRouteEmpty => empty(StatusCode::NOT_FOUND, now),
        Kind::NoRoutePage => page(StatusCode::NOT_FOUND),
        Kind::NoRouteStatus => own(
            StatusCode::NOT_FOUND,
            json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": CANARY, "reason": "NotFound", "code": 404}),
        ),
        Kind::NoRouteJson => own(StatusCode::NOT_FOUND, json!({"message": CANARY})),
        Kind::GatewayUnauthorized => page(StatusCode::UNAUTHORIZED),
        Kind::GatewayForbidden => page(StatusCode::FORBIDDEN),
        Kind::GatewayThrottled(seconds) => with_header(
            page(StatusCode::TOO_MANY_REQUESTS),
            header::RETRY_AFTER,
            HeaderValue::from(seconds),
        ),
        Kind::GatewayRefused => page(StatusCode::BAD_REQUEST),
        Kind::ProxyAuthentication => page(StatusCode::PROXY_AUTHENTICATION_REQUIRED),
        Kind::Redirect => with_header(
            empty(StatusCode::FOUND, now),
            header::LOCATION,
            HeaderValue::from_static("https://elsewhere.example/"),
        ),
        Kind::Page => page(StatusCode::OK),
        Kind::BrokenJson => with_body(
            empty(StatusCode::OK, now),
            "application/json",
            Bytes::from_static(br#"{"id":"#),
        ),
        Kind::ErrorWithSuccess => own(
            StatusCode::OK,
            json!({"message": CANARY, "code": "internal.server.error", "status": 500}),
        ),
        Kind::TooLong => with_body(
            empty(StatusCode::OK, now),
            "application/json",
            Bytes::from(vec![b' '; TOO_LONG]),
        ),
        Kind::OtherSuccess => empty(StatusCode::PARTIAL_CONTENT, now),
    }
}

/// An answer without a body, of anybody: with a `Date` and no other header.
pub(super) fn empty(status: StatusCode, now: Timestamp) -> Response<Bytes> {
    let mut answer = Response::new(Bytes::new());
    *answer.status_mut() = status;
    if let Some(date) = http_date(now, 0) {
        answer.headers_mut().insert(header::DATE, date);
    }
    answer
}

/// An answer of the vendor's, without a body: it carries the vendor's request id.
pub(super) fn vendors(status: StatusCode, now: Timestamp, ordinal: Ordinal) -> Response<Bytes> {
    let id = HeaderValue::try_from(format!("correlation-{ordinal}"));
    let answer = empty(status, now);
    match id {
        Ok(id) => with_header(answer, HeaderName::from_static("inin-correlation-id"), id),
        Err(_) => answer,
    }
}

/// An error in the vendor's shape.
pub(super) fn vendors_error(status: StatusCode, code: &str, now: Timestamp, ordinal: Ordinal) -> Response<Bytes> {
    let body = json!({
        "message": format!("The request {ordinal} could not be served: {CANARY}"), "code": code,
        "status": status.as_u16(), "contextId": format!("{CANARY}-{ordinal}"), "details": [], "errors": [],
    });
    json_body(vendors(status, now, ordinal), &body)
}

/// An error in the token endpoint's shape.
pub(super) fn oauth_error(status: StatusCode, error: &str, description: &str, now: Timestamp) -> Response<Bytes> {
    let text = format!("{description} {CANARY}");
    let body = json!({"error": error, "description": text, "error_description": text});
    json_body(empty(status, now), &body)
}

pub(super) fn json_body(answer: Response<Bytes>, body: &Value) -> Response<Bytes> {
    with_body(answer, "application/json", Bytes::from(body.to_string()))
}

pub(super) fn with_body(mut answer: Response<Bytes>, kind: &'static str, body: Bytes) -> Response<Bytes> {
    answer
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    *answer.body_mut() = body;
    answer
}

pub(super) fn with_header(mut answer: Response<Bytes>, name: HeaderName, value: HeaderValue) -> Response<Bytes> {
    answer.headers_mut().insert(name, value);
    answer
}

pub(super) fn with_retry_after(
    answer: Response<Bytes>,
    retry_after: Option<&RetryAfter>,
    now: Timestamp,
) -> Response<Bytes> {
    match retry_after.and_then(|retry_after| retry_after.value(now)) {
        Some(value) => with_header(answer, header::RETRY_AFTER, value),
        None => answer,
    }
}

pub(super) fn page() -> String {
    format!("<html><body><h1>It is the proxy: {CANARY}</h1></body></html>")
}

/// That time and so many seconds, as HTTP writes it (RFC 9110, 5.6.7).
pub(crate) fn http_date(now: Timestamp, seconds_later: u64) -> Option<HeaderValue> {
    let later = Duration::from_secs(seconds_later);
    let time = now.checked_add(later).ok()?.strftime("%a, %d %b %Y %H:%M:%S GMT");
    HeaderValue::try_from(time.to_string()).ok()
}
