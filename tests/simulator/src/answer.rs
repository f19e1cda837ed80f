//! Answers: the vendor's own, those by script, and how either goes onto the wire.

use std::io;
use std::time::{Duration, SystemTime};

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use futures::{StreamExt as _, stream};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use serde_json::{Value, json};

use crate::api::{FaultBody, RetryAfter, ScriptedAnswer};
use crate::call::Incoming;
use crate::sessions::Now;

/// What is declared beyond what a truncated answer sends.
const MISSING_BYTES: usize = 64;

/// How long a truncated answer keeps the connection, so that the bytes that it does send arrive.
const TRUNCATION_PAUSE: Duration = Duration::from_millis(20);

/// An answer before it is sent.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// Whether the vendor gave it, and so its request ids and rate limit belong to it.
    pub(crate) from_vendor: bool,
    pub(crate) truncated: bool,
}

impl Answer {
    pub(crate) fn empty(status: StatusCode) -> Self {
        Self {
            status,
            headers: HeaderMap::new(),
            body: Bytes::new(),
            from_vendor: true,
            truncated: false,
        }
    }

    pub(crate) fn json(status: StatusCode, body: &Value) -> Self {
        Self::empty(status).with_body("application/json", body.to_string())
    }

    /// An error in the vendor's shape (the published `ErrorBody` schema).
    pub(crate) fn vendor_error(status: StatusCode, code: &str, message: &str, context: &str) -> Self {
        let body = json!({
            "message": message, "code": code, "status": status.as_u16(), "contextId": context,
            "details": [], "errors": [],
        });
        Self::json(status, &body)
    }

    /// An error in the token endpoint's shape.
    pub(crate) fn oauth_error(error: &str, description: &str, status: StatusCode) -> Self {
        Self::json(
            status,
            &json!({"error": error, "description": description, "error_description": description}),
        )
    }

    pub(crate) fn with_header(mut self, name: HeaderName, value: impl Into<HeaderValue>) -> Self {
        self.headers.insert(name, value.into());
        self
    }

    fn with_body(mut self, content_type: &str, body: impl Into<Bytes>) -> Self {
        if let Ok(content_type) = HeaderValue::try_from(content_type) {
            self.headers.insert(header::CONTENT_TYPE, content_type);
        }
        self.body = body.into();
        self
    }

    /// An answer by script, to this call.
    pub(crate) fn scripted(script: &ScriptedAnswer, call: &Incoming, context: &str, now: Now) -> Self {
        let status = StatusCode::from_u16(script.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut answer = scripted_body(&script.body, status, call, context, now);
        let date = shifted(SystemTime::now(), script.date_offset_seconds);
        if script.date_offset_seconds != 0 {
            answer.headers.insert(header::DATE, http_date(date));
        }
        if let Some(retry_after) = script.retry_after {
            let value = match retry_after {
                RetryAfter::Seconds(seconds) => HeaderValue::from(seconds),
                RetryAfter::DateAfterSeconds(seconds) => http_date(date + Duration::from_secs(seconds)),
            };
            answer.headers.insert(header::RETRY_AFTER, value);
        }
        for (name, value) in &script.headers {
            if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
                answer.headers.insert(name, value);
            }
        }
        answer.from_vendor = script.vendor_headers.unwrap_or(answer.from_vendor);
        answer.truncated = script.truncated;
        answer
    }

    pub(crate) fn into_response(self) -> Response {
        let body = if self.truncated {
            Body::from_stream(broken_off(self.body.clone()))
        } else {
            self.body.clone().into()
        };
        let mut response = Response::new(body);
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers;
        if self.truncated {
            response.headers_mut().insert(
                header::CONTENT_LENGTH,
                HeaderValue::from(self.body.len() + MISSING_BYTES),
            );
        }
        response
    }
}

/// Half of the body, then an error, at which hyper closes the connection.
fn broken_off(body: Bytes) -> impl futures::Stream<Item = io::Result<Bytes>> + Send + 'static {
    let half = body.slice(..body.len() / 2);
    stream::iter([Ok(half)]).chain(stream::once(async {
        tokio::time::sleep(TRUNCATION_PAUSE).await;
        Err(io::Error::other("the answer is truncated by script"))
    }))
}

fn scripted_body(body: &FaultBody, status: StatusCode, call: &Incoming, context: &str, now: Now) -> Answer {
    let foreign = |answer: Answer| Answer {
        from_vendor: false,
        ..answer
    };
    match body {
        FaultBody::Empty => foreign(Answer::empty(status)),
        FaultBody::Vendor { code } => {
            let code = code.as_deref().unwrap_or_else(|| vendor_code(status));
            Answer::vendor_error(status, code, "The request could not be served.", context)
        }
        FaultBody::Oauth { error, description } => Answer::oauth_error(error, description, status),
        FaultBody::Html => {
            foreign(Answer::empty(status).with_body("text/html", "<html><body><h1>It is the proxy</h1></body></html>"))
        }
        FaultBody::KubernetesStatus => foreign(Answer::json(
            status,
            &json!({
                "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
                "message": "the server could not find the requested resource", "reason": "NotFound",
                "details": {}, "code": status.as_u16(),
            }),
        )),
        FaultBody::Gateway => foreign(Answer::json(
            status,
            &json!({"message": "no Route matched with those values"}),
        )),
        FaultBody::Guest { id, state } => Answer::json(
            status,
            &guest(
                id.as_deref().or(call.guest.as_deref()).unwrap_or_default(),
                state,
                now.wall,
            ),
        ),
        FaultBody::Text { content_type, text } => foreign(Answer::empty(status).with_body(content_type, text.clone())),
        FaultBody::Large { bytes } => {
            let text = format!("\"{}\"", "a".repeat(bytes.saturating_sub(2)));
            foreign(Answer::empty(status).with_body("application/json", text))
        }
    }
}

/// A guest as the vendor shows it.
pub(crate) fn guest(id: &str, state: &str, updated: jiff::Timestamp) -> Value {
    json!({"id": id, "state": state, "lastUpdated": rfc3339(updated)})
}

/// RFC 3339 in UTC with milliseconds.
pub(crate) fn rfc3339(time: jiff::Timestamp) -> String {
    format!("{time:.3}")
}

/// The vendor's error code that comes with a status.
fn vendor_code(status: StatusCode) -> &'static str {
    match status.as_u16() {
        400 => "bad.request",
        401 => "bad.credentials",
        403 => "missing.any.permissions",
        404 => "not.found",
        405 => "method.not.allowed",
        408 => "request.timeout",
        409 => "conflict",
        413 => "request.entity.too.large",
        415 => "unsupported.media.type",
        422 => "unprocessable.entity",
        429 => "too.many.requests.retry.after",
        503 => "service.unavailable",
        504 => "gateway.timeout",
        500.. => "internal.server.error",
        _ => "general.error",
    }
}

fn shifted(time: SystemTime, seconds: i64) -> SystemTime {
    let by = Duration::from_secs(seconds.unsigned_abs());
    if seconds < 0 { time - by } else { time + by }
}

fn http_date(time: SystemTime) -> HeaderValue {
    // An HTTP date is plain ASCII; the fallback cannot be reached.
    HeaderValue::try_from(httpdate::fmt_http_date(time)).unwrap_or(HeaderValue::from_static(""))
}
