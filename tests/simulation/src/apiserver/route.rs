//! What a request asks for: its path and its query.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, header::ACCEPT};

use super::{selector::decode, status::Failure};

/// What a path names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// The OpenAPI document of a group.
    OpenApi { group: String, version: String },
    /// A collection, an object, or its subresource.
    Resource(Place),
    /// Nothing that is served.
    Unknown,
}

/// A place in the tree of resources.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) group: String,
    pub(super) version: String,
    pub(super) plural: String,
    /// Empty: all namespaces, or none.
    pub(super) namespace: String,
    /// Empty: the collection.
    pub(super) name: String,
    pub(super) subresource: String,
}

impl Place {
    /// The key of the object in its collection. The server lists in the order of these keys: `a-b/x` before `a/x`.
    pub(super) fn key(&self, name: &str) -> String {
        if self.namespace.is_empty() {
            name.to_owned()
        } else {
            format!("{}/{name}", self.namespace)
        }
    }

    /// The resource as RBAC names it.
    pub(super) fn resource(&self) -> String {
        if self.subresource.is_empty() {
            self.plural.clone()
        } else {
            format!("{}/{}", self.plural, self.subresource)
        }
    }
}

/// Finds what a path names.
pub(super) fn target(path: &str) -> Target {
    let mut parts: Vec<String> = path.trim_start_matches('/').split('/').map(decode).collect();
    if parts.last().is_some_and(String::is_empty) {
        parts.pop();
    }
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    match parts.as_slice() {
        ["openapi", "v3", "apis", group, version] => Target::OpenApi {
            group: (*group).to_owned(),
            version: (*version).to_owned(),
        },
        ["api", version, rest @ ..] => resource("", version, rest),
        ["apis", group, version, rest @ ..] => resource(group, version, rest),
        _ => Target::Unknown,
    }
}

fn resource(group: &str, version: &str, rest: &[&str]) -> Target {
    let (namespace, plural, rest) = match rest {
        // A namespace itself, and its own subresources.
        ["namespaces", _] | ["namespaces", _, "status" | "finalize"] => ("", "namespaces", &rest[1..]),
        ["namespaces", namespace, plural, rest @ ..] => (*namespace, *plural, rest),
        [plural, rest @ ..] => ("", *plural, rest),
        [] => return Target::Unknown,
    };
    let (name, subresource) = match rest {
        [] => ("", ""),
        [name] => (*name, ""),
        [name, subresource] => (*name, *subresource),
        _ => return Target::Unknown,
    };
    Target::Resource(Place {
        group: group.to_owned(),
        version: version.to_owned(),
        plural: plural.to_owned(),
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        subresource: subresource.to_owned(),
    })
}

/// What a query asks for.
#[derive(Clone, Debug, Default)]
pub(super) struct Query {
    pub(super) watch: bool,
    pub(super) field_selector: String,
    pub(super) label_selector: String,
    pub(super) resource_version: String,
    pub(super) version_match: String,
    pub(super) limit: String,
    pub(super) next: String,
    pub(super) bookmarks: bool,
    pub(super) initial_events: bool,
    timeout: String,
}

impl Query {
    /// Reads a query.
    pub(super) fn read(query: &str) -> Self {
        let mut read = Self::default();
        for pair in query.split('&') {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = decode(value);
            let yes = || matches!(value.as_str(), "true" | "1");
            match name {
                "watch" => read.watch = yes(),
                "fieldSelector" => read.field_selector = value,
                "labelSelector" => read.label_selector = value,
                "resourceVersion" => read.resource_version = value,
                "resourceVersionMatch" => read.version_match = value,
                "limit" => read.limit = value,
                "continue" => read.next = value,
                "allowWatchBookmarks" => read.bookmarks = yes(),
                "sendInitialEvents" => read.initial_events = yes(),
                "timeoutSeconds" => read.timeout = value,
                _ => {}
            }
        }
        read
    }

    /// The most objects that are listed; `None` for all.
    pub(super) fn limit(&self) -> Result<Option<usize>, Failure> {
        Ok(number(&self.limit)?
            .filter(|limit| *limit > 0)
            .and_then(|limit| usize::try_from(limit).ok()))
    }

    /// How long a watch stays open.
    pub(super) fn timeout(&self) -> Result<Option<Duration>, Failure> {
        Ok(number(&self.timeout)?
            .filter(|seconds| *seconds > 0)
            .map(Duration::from_secs))
    }
}

fn number(text: &str) -> Result<Option<u64>, Failure> {
    if text.is_empty() {
        return Ok(None);
    }
    text.parse()
        .map(Some)
        .map_err(|_| Failure::bad_request(format!("strconv.ParseInt: parsing \"{text}\": invalid syntax")))
}

/// The verb of RBAC that a request is.
pub(super) fn verb(method: &Method, place: &Place, query: &Query) -> &'static str {
    match *method {
        Method::GET if query.watch => "watch",
        Method::GET if place.name.is_empty() => "list",
        Method::GET => "get",
        Method::POST => "create",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE if place.name.is_empty() => "deletecollection",
        Method::DELETE => "delete",
        _ => "",
    }
}

/// Whether the client wants metadata alone.
pub(super) fn wants_metadata(request: &Request<Bytes>) -> bool {
    request
        .headers()
        .get(ACCEPT)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| value.contains("as=PartialObjectMetadata"))
}
