//! The answers of the API server that are no objects: `Status` bodies, in the shape of the real ones.

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header::CONTENT_TYPE};
use serde_json::{Map, Value, json};

use super::kind::Kind;

/// One field that an object was refused for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cause {
    /// The machine-readable reason, such as `FieldValueRequired`.
    pub(super) reason: &'static str,
    /// The field's path.
    pub(super) field: String,
    /// The words.
    pub(super) message: String,
}

impl Cause {
    pub(super) fn required(field: impl Into<String>) -> Self {
        Self {
            reason: "FieldValueRequired",
            field: field.into(),
            message: "Required value".to_owned(),
        }
    }

    pub(super) fn invalid(field: impl Into<String>, words: impl std::fmt::Display) -> Self {
        Self {
            reason: "FieldValueInvalid",
            field: field.into(),
            message: format!("Invalid value: {words}"),
        }
    }
}

/// An answer that says no.
#[derive(Clone, Debug)]
pub(super) struct Failure(Box<Body>);

#[derive(Clone, Debug)]
struct Body {
    code: u16,
    /// `None`: a bare error of the server's, which has no reason.
    reason: Option<&'static str>,
    message: String,
    details: Option<Value>,
    /// A new continue token, of a listing that came too late.
    next: Option<String>,
}

impl Failure {
    pub(super) fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Self(Box::new(Body {
            code,
            reason: Some(reason),
            message: message.into(),
            details: None,
            next: None,
        }))
    }

    fn with(mut self, details: Value) -> Self {
        self.0.details = Some(details);
        self
    }

    pub(super) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message)
    }

    /// An error that the server did not foresee: it has no reason.
    pub(super) fn internal(message: impl Into<String>) -> Self {
        let mut failure = Self::new(500, "", message);
        failure.0.reason = None;
        failure
    }

    pub(super) fn not_found(kind: &Kind, name: &str) -> Self {
        let message = format!("{} \"{name}\" not found", kind.qualified());
        Self::new(404, "NotFound", message).with(kind.details(name))
    }

    pub(super) fn already_exists(kind: &Kind, name: &str, being_deleted: bool) -> Self {
        let prefix = if being_deleted { "object is being deleted: " } else { "" };
        let message = format!("{prefix}{} \"{name}\" already exists", kind.qualified());
        Self::new(409, "AlreadyExists", message).with(kind.details(name))
    }

    /// Somebody wrote since the object was read.
    pub(super) fn modified(kind: &Kind, name: &str) -> Self {
        Self::conflict(
            kind,
            name,
            "the object has been modified; please apply your changes to the latest version and try again",
        )
    }

    pub(super) fn conflict(kind: &Kind, name: &str, why: &str) -> Self {
        let message = format!(
            "Operation cannot be fulfilled on {} \"{name}\": {why}",
            kind.qualified()
        );
        Self::new(409, "Conflict", message).with(kind.details(name))
    }

    /// A precondition of a deletion that does not hold: the server speaks of the kind there.
    pub(super) fn precondition(kind: &Kind, name: &str, why: &str) -> Self {
        let group = kind.error_group();
        let qualified = qualified(&kind.name, group);
        let message = format!("Operation cannot be fulfilled on {qualified} \"{name}\": {why}");
        Self::new(409, "Conflict", message).with(details(name, group, &kind.name))
    }

    /// 422 for an object's content.
    pub(super) fn invalid(kind: &Kind, name: &str, causes: &[Cause]) -> Self {
        let (named, group) = (&kind.name, kind.error_group());
        Self::invalid_as(named, group, name, causes)
    }

    /// 422 that speaks of the resource instead of the kind, as the store does.
    pub(super) fn invalid_resource(kind: &Kind, name: &str, causes: &[Cause]) -> Self {
        Self::invalid_as(&kind.plural, &kind.group, name, causes)
    }

    pub(super) fn invalid_as(named: &str, group: &str, name: &str, causes: &[Cause]) -> Self {
        let words: Vec<String> = causes
            .iter()
            .map(|cause| format!("{}: {}", cause.field, cause.message))
            .collect();
        let words = match words.as_slice() {
            [one] => one.clone(),
            many => format!("[{}]", many.join(", ")),
        };
        let qualified = qualified(named, group);
        let causes: Vec<Value> = causes
            .iter()
            .map(|cause| json!({"reason": cause.reason, "message": cause.message, "field": cause.field}))
            .collect();
        let mut details = details(name, group, named);
        details["causes"] = Value::from(causes);
        Self::new(422, "Invalid", format!("{qualified} \"{name}\" is invalid: {words}")).with(details)
    }

    /// Nothing can be created in a namespace that is being deleted.
    pub(super) fn terminating(kind: &Kind, name: &str, namespace: &str) -> Self {
        let message = format!(
            "{} \"{name}\" is forbidden: unable to create new content in namespace {namespace} because it is being \
             terminated",
            kind.qualified()
        );
        let mut details = kind.details(name);
        details["causes"] = json!([{
            "reason": "NamespaceTerminating",
            "message": format!("namespace {namespace} is being terminated"),
            "field": "metadata.namespace",
        }]);
        Self::new(403, "Forbidden", message).with(details)
    }

    /// Nothing can be created of a kind whose definition is being deleted.
    pub(super) fn kind_terminating(kind: &Kind, name: &str) -> Self {
        let message = format!(
            "{} \"{name}\" is forbidden: create not allowed while custom resource definition is terminating",
            kind.qualified()
        );
        Self::new(403, "Forbidden", message).with(kind.details(name))
    }

    /// RBAC says no.
    pub(super) fn forbidden(kind: &Kind, verb: &str, resource: &str, namespace: &str, name: &str) -> Self {
        let named = if name.is_empty() {
            String::new()
        } else {
            format!(" \"{name}\"")
        };
        let place = if namespace.is_empty() {
            "at the cluster scope".to_owned()
        } else {
            format!("in the namespace \"{namespace}\"")
        };
        let message = format!(
            "{}{named} is forbidden: User \"operator\" cannot {verb} resource \"{resource}\" in API group \"{}\" {place}",
            kind.qualified(),
            kind.group
        );
        Self::new(403, "Forbidden", message).with(kind.details(name))
    }

    pub(super) fn not_allowed(kind: &Kind, message: impl Into<String>) -> Self {
        Self::new(405, "MethodNotAllowed", message).with(details("", &kind.group, &kind.plural))
    }

    /// A version that the server has not reached.
    pub(super) fn too_large(wanted: u64, current: u64) -> Self {
        let message = format!("Timeout: Too large resource version: {wanted}, current: {current}");
        Self::new(504, "Timeout", message).with(json!({
            "causes": [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}],
            "retryAfterSeconds": 1,
        }))
    }

    /// A version that was compacted.
    pub(super) fn expired(wanted: u64, oldest: u64) -> Self {
        Self::new(410, "Expired", format!("too old resource version: {wanted} ({oldest})"))
    }

    /// A continue token whose version was compacted. `next` goes on from there, at the newest version.
    pub(super) fn continue_expired(next: String) -> Self {
        let mut failure = Self::new(
            410,
            "Expired",
            "The provided continue parameter is too old to display a consistent list result. You can start a new list \
             without the continue parameter, or use the continue token in this response to retrieve the remainder of \
             the results. Continuing with the provided token results in an inconsistent list - objects that were \
             created, modified, or deleted between the time the first chunk was returned and now may show up in the \
             list.",
        );
        failure.0.next = Some(next);
        failure
    }

    /// The body.
    pub(super) fn body(&self) -> Value {
        let Body {
            code,
            reason,
            message,
            details,
            next,
        } = &*self.0;
        let mut body = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message, "code": code,
        });
        if let Some(reason) = reason {
            body["reason"] = Value::from(*reason);
        }
        if let Some(details) = details {
            body["details"] = details.clone();
        }
        if let Some(next) = next {
            body["metadata"]["continue"] = Value::from(next.clone());
        }
        body
    }

    /// The path is in the core group, and names nothing there.
    pub(super) fn unknown_resource() -> Self {
        Self::new(404, "NotFound", "the server could not find the requested resource").with(json!({}))
    }

    /// The answer.
    pub(super) fn into_response(self) -> Response<Bytes> {
        answer(self.0.code, self.body().to_string().into())
    }
}

/// A group that has no name is left out, as in the core group.
pub(super) fn details(name: &str, group: &str, kind: &str) -> Value {
    let filled = [("name", name), ("group", group), ("kind", kind)]
        .into_iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(key, value)| (key.to_owned(), Value::from(value)));
    Value::Object(filled.collect::<Map<_, _>>())
}

/// `guestterminations.guestops.dev`, or `secrets` in the core group.
pub(super) fn qualified(named: &str, group: &str) -> String {
    if group.is_empty() {
        named.to_owned()
    } else {
        format!("{named}.{group}")
    }
}

/// A JSON answer.
pub(super) fn answer(code: u16, body: Bytes) -> Response<Bytes> {
    respond(code, "application/json", body)
}

/// What the server says of a path that it does not know at all.
pub(super) fn unknown_path() -> Response<Bytes> {
    respond(
        404,
        "text/plain; charset=utf-8",
        Bytes::from_static(b"404 page not found\n"),
    )
}

fn respond(code: u16, content_type: &'static str, body: Bytes) -> Response<Bytes> {
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// What a deletion is answered with.
pub(super) fn deleted(kind: &Kind, name: &str, uid: &str) -> Response<Bytes> {
    let mut details = kind.details(name);
    details["uid"] = Value::from(uid);
    let body = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details});
    answer(200, body.to_string().into())
}
