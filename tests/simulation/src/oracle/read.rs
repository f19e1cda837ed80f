//! Reading JSON and request lines, without the operator's own types.

use k8s_openapi::jiff::Timestamp;
use memchr::memmem;
use serde_json::Value;
use url::{Url, form_urlencoded};

use crate::vendor::Operation;

/// A string at a path of fields; empty where there is none.
pub(super) fn text<'a>(value: &'a Value, path: &[&str]) -> &'a str {
    at(value, path).as_str().unwrap_or_default()
}

/// The value at a path of fields; null where there is none.
pub(super) fn at<'a>(value: &'a Value, path: &[&str]) -> &'a Value {
    path.iter().fold(value, |value, field| &value[*field])
}

pub(super) fn is_true(value: &Value, path: &[&str]) -> bool {
    at(value, path).as_bool() == Some(true)
}

pub(super) fn time(value: &Value) -> Option<Timestamp> {
    value.as_str()?.parse().ok()
}

/// The reason of a condition; empty where there is none.
pub(super) fn condition<'a>(object: &'a Value, kind: &str) -> &'a str {
    let conditions = at(object, &["status", "conditions"]).as_array();
    let found = conditions.and_then(|all| all.iter().find(|condition| condition["type"] == kind));
    found.map_or("", |condition| text(condition, &["reason"]))
}

pub(super) fn contains(bytes: &[u8], needle: &str) -> bool {
    memmem::find(bytes, needle.as_bytes()).is_some()
}

/// Whether any text in a value contains the needle.
pub(super) fn holds(value: &Value, needle: &str) -> bool {
    match value {
        Value::String(text) => contains(text.as_bytes(), needle),
        Value::Array(items) => items.iter().any(|item| holds(item, needle)),
        Value::Object(fields) => fields
            .iter()
            .any(|(key, value)| contains(key.as_bytes(), needle) || holds(value, needle)),
        _ => false,
    }
}

/// A guest call, as its request line says it.
pub(super) struct GuestLine {
    pub(super) operation: Operation,
    pub(super) host: String,
    pub(super) guest: String,
    /// The query, decoded, in order.
    pub(super) parameters: Vec<(String, String)>,
}

/// A guest call; nothing if the line is another one.
pub(super) fn guest_line(line: &str) -> Option<GuestLine> {
    let (method, uri) = line.split_once(' ')?;
    let operation = match method {
        "GET" => Operation::Observe,
        "DELETE" => Operation::Terminate,
        _ => return None,
    };
    let rest = uri.split_once("://")?.1;
    let (host, path) = rest.split_once('/')?;
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let (_, guest) = path.split_once("api/v2/webmessaging/guests/")?;
    let parameters = form_urlencoded::parse(query.as_bytes())
        .map(|(name, value)| (name.into_owned(), value.into_owned()))
        .collect();
    Some(GuestLine {
        operation,
        host: host.to_owned(),
        guest: guest.to_owned(),
        parameters,
    })
}

/// Host and port of a base URL, the port only where it is not the scheme's own.
pub(super) fn host_of(url: &str) -> String {
    let Ok(url) = Url::parse(url) else {
        return String::new();
    };
    match (url.host_str(), url.port()) {
        (Some(host), Some(port)) => format!("{host}:{port}"),
        (Some(host), None) => host.to_owned(),
        (None, _) => String::new(),
    }
}

/// A URL without its scheme, as endpoints are named.
pub(super) fn without_scheme(url: &str) -> &str {
    url.split_once("://").map_or(url, |(_, rest)| rest)
}
