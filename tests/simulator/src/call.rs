//! A request as the simulator understands it.

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, Method, Uri, header};
use percent_encoding::percent_decode_str;
use url::form_urlencoded;

use crate::api::Operation;

/// Where the vendor keeps its guests.
const GUESTS: &str = "/api/v2/webmessaging/guests/";
const WEBHOOKS: &str = "/webhooks/";
const TOKEN: &str = "/oauth/token";

/// A request, read and classified.
pub(crate) struct Incoming {
    pub(crate) operation: Operation,
    pub(crate) method: Method,
    pub(crate) uri: Uri,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// The guest, or the endpoint of a webhook, decoded.
    pub(crate) guest: Option<String>,
    pub(crate) query: Vec<(String, String)>,
}

impl Incoming {
    pub(crate) fn new(parts: Parts, body: Bytes) -> Self {
        let (operation, guest) = classify(&parts.method, parts.uri.path());
        let query = form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes())
            .into_owned()
            .collect();
        Self {
            operation,
            method: parts.method,
            uri: parts.uri,
            headers: parts.headers,
            body,
            guest,
            query,
        }
    }

    /// The path as sent.
    pub(crate) fn path(&self) -> &str {
        self.uri.path()
    }

    /// The bearer token, if there is a well-formed one.
    pub(crate) fn bearer(&self) -> Option<&str> {
        self.header(header::AUTHORIZATION.as_str())?.strip_prefix("Bearer ")
    }

    /// A header as text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The only value of a query parameter; `None` if it is absent or repeated.
    pub(crate) fn parameter(&self, name: &str) -> Option<&str> {
        let mut values = self
            .query
            .iter()
            .filter(|(key, _)| key == name)
            .map(|(_, value)| value.as_str());
        values.next().filter(|_| values.next().is_none())
    }
}

fn classify(method: &Method, path: &str) -> (Operation, Option<String>) {
    if path == TOKEN && method == Method::POST {
        return (Operation::Token, None);
    }
    if let (Some(guest), true) = (
        last_segment(path, GUESTS),
        method == Method::GET || method == Method::DELETE,
    ) {
        let operation = if method == Method::GET {
            Operation::Observe
        } else {
            Operation::Terminate
        };
        return (operation, Some(guest));
    }
    match last_segment(path, WEBHOOKS) {
        Some(endpoint) if method == Method::POST => (Operation::Webhook, Some(endpoint)),
        _ => (Operation::Other, None),
    }
}

fn last_segment(path: &str, parent: &str) -> Option<String> {
    let segment = path
        .strip_prefix(parent)
        .filter(|rest| !rest.is_empty() && !rest.contains('/'))?;
    Some(percent_decode_str(segment).decode_utf8_lossy().into_owned())
}
