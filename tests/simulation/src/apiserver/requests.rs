//! Requests as users and the operator send them.

use bytes::Bytes;
use http::{Method, Request, header::CONTENT_TYPE};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use super::Administrator;

/// A kind of object, by its place in the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resource {
    /// The group; empty for the core group.
    pub group: &'static str,
    /// The version.
    pub version: &'static str,
    /// The name in paths.
    pub plural: &'static str,
}

const fn resource(group: &'static str, version: &'static str, plural: &'static str) -> Resource {
    Resource { group, version, plural }
}

/// `GuestTermination`.
pub const TERMINATIONS: Resource = resource("guestops.dev", "v1alpha1", "guestterminations");
/// `GenesysConnection`.
pub const CONNECTIONS: Resource = resource("guestops.dev", "v1alpha1", "genesysconnections");
/// `Secret`.
pub const SECRETS: Resource = resource("", "v1", "secrets");
/// `Namespace`.
pub const NAMESPACES: Resource = resource("", "v1", "namespaces");
/// `Lease`.
pub const LEASES: Resource = resource("coordination.k8s.io", "v1", "leases");
/// `Event`.
pub const EVENTS: Resource = resource("events.k8s.io", "v1", "events");
/// `CustomResourceDefinition`.
pub const DEFINITIONS: Resource = resource("apiextensions.k8s.io", "v1", "customresourcedefinitions");

/// Which side of an object is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// All but the status.
    Main,
    /// The status alone.
    Status,
}

/// What must hold for a deletion.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Preconditions {
    /// The object's uid.
    pub uid: Option<String>,
    /// The object's version.
    pub resource_version: Option<String>,
}

impl Resource {
    /// The path of a collection. An empty namespace is all, or none.
    pub fn path(&self, namespace: &str) -> String {
        let root = if self.group.is_empty() {
            format!("/api/{}", self.version)
        } else {
            format!("/apis/{}/{}", self.group, self.version)
        };
        if namespace.is_empty() {
            format!("{root}/{}", self.plural)
        } else {
            format!("{root}/namespaces/{namespace}/{}", self.plural)
        }
    }

    fn object(&self, namespace: &str, name: &str, side: Side) -> String {
        let tail = match side {
            Side::Main => "",
            Side::Status => "/status",
        };
        format!("{}/{name}{tail}", self.path(namespace))
    }
}

/// Creates an object.
pub fn create(resource: &Resource, namespace: &str, object: &Value) -> Request<Bytes> {
    request(
        Method::POST,
        resource.path(namespace),
        "application/json",
        object.to_string(),
    )
}

/// Writes an object over: one side of it.
pub fn replace(resource: &Resource, namespace: &str, name: &str, side: Side, object: &Value) -> Request<Bytes> {
    let path = resource.object(namespace, name, side);
    request(Method::PUT, path, "application/json", object.to_string())
}

/// Changes some fields of one side of an object (RFC 7386).
pub fn merge_patch(resource: &Resource, namespace: &str, name: &str, side: Side, patch: &Value) -> Request<Bytes> {
    let path = resource.object(namespace, name, side);
    request(Method::PATCH, path, "application/merge-patch+json", patch.to_string())
}

/// Deletes an object.
pub fn delete(resource: &Resource, namespace: &str, name: &str, preconditions: &Preconditions) -> Request<Bytes> {
    let mut wanted = json!({});
    if let Some(uid) = &preconditions.uid {
        wanted["uid"] = json!(uid);
    }
    if let Some(version) = &preconditions.resource_version {
        wanted["resourceVersion"] = json!(version);
    }
    let options = json!({"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": wanted});
    let path = resource.object(namespace, name, Side::Main);
    request(Method::DELETE, path, "application/json", options.to_string())
}

/// Reads an object.
pub fn get(resource: &Resource, namespace: &str, name: &str) -> Request<Bytes> {
    let path = resource.object(namespace, name, Side::Main);
    request(Method::GET, path, "application/json", String::new())
}

/// Lists or watches a collection; each parameter is a name and a value, which is encoded here.
pub fn list(resource: &Resource, namespace: &str, parameters: &[(&str, &str)]) -> Request<Bytes> {
    let query: Vec<String> = parameters
        .iter()
        .map(|(name, value)| format!("{name}={}", utf8_percent_encode(value, NON_ALPHANUMERIC)))
        .collect();
    let path = format!("{}?{}", resource.path(namespace), query.join("&"));
    request(Method::GET, path, "application/json", String::new())
}

/// A user's request. A path that is none becomes the root's, which no server serves.
fn request(method: Method, path: String, content_type: &'static str, body: String) -> Request<Bytes> {
    let mut request = Request::new(Bytes::from(body));
    *request.method_mut() = method;
    *request.uri_mut() = path.parse().unwrap_or_default();
    let content_type = http::HeaderValue::from_static(content_type);
    request.headers_mut().insert(CONTENT_TYPE, content_type);
    request.extensions_mut().insert(Administrator);
    request
}

/// Changes an object as a JSON merge patch does (RFC 7386).
pub fn merge(target: &mut Value, patch: Value) {
    let Value::Object(patch) = patch else {
        *target = patch;
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    let Some(fields) = target.as_object_mut() else { return };
    for (name, value) in patch {
        if value.is_null() {
            fields.remove(&name);
        } else {
            merge(fields.entry(name).or_insert(Value::Null), value);
        }
    }
}
