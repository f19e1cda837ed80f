//! What the API server's audit log says of each request that was answered.

use anyhow::Context;
use serde::Deserialize;
use serde_json::Value;

/// What is logged: every request once, when its answer is complete, without its content but for writes of `with_content`
/// (`resource/subresource` and its group; <https://kubernetes.io/docs/tasks/debug/debug-cluster/audit/>).
pub(crate) fn policy(with_content: Option<&(String, String)>) -> String {
    let content = with_content.map_or_else(String::new, |(group, resource)| {
        format!(
            "- level: Request\n  verbs: [update, patch]\n  resources: [{{group: {group}, resources: [{resource}]}}]\n"
        )
    });
    format!(
        "apiVersion: audit.k8s.io/v1\nkind: Policy\nomitStages: [RequestReceived, ResponseStarted]\nrules:\n\
         {content}- level: Metadata\n"
    )
}

/// A request that the API server has answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditEvent {
    /// Who asked: `admin`, or `system:serviceaccount:NAMESPACE:NAME`.
    pub user: String,
    /// What the client calls itself.
    pub user_agent: String,
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`.
    pub verb: String,
    /// The path and query that was asked for.
    pub uri: String,
    /// The API group; empty for the core group, and for what is no resource.
    pub group: String,
    /// The resource in plural, such as `guestterminations`; empty for what is no resource.
    pub resource: String,
    /// The subresource, such as `status`; empty for none.
    pub subresource: String,
    /// The namespace; empty for what is in none.
    pub namespace: String,
    /// The object's name; empty for a collection, and for a creation whose name the server was to find.
    pub name: String,
    /// The HTTP status of the answer.
    pub code: u16,
    /// When the request came, in the API server's words (RFC 3339, microseconds, UTC).
    pub received_at: String,
    /// When the answer was complete, in the same form.
    pub answered_at: String,
    /// What was sent to be stored, where [`Builder::log_content_of`](crate::Builder::log_content_of) asked for it.
    pub content: Option<Value>,
}

impl AuditEvent {
    /// Whether the request was to change something; `code` tells whether it did.
    pub fn is_write(&self) -> bool {
        matches!(
            self.verb.as_str(),
            "create" | "update" | "patch" | "delete" | "deletecollection"
        )
    }

    /// Whether the API server did what was asked.
    pub fn succeeded(&self) -> bool {
        (200..300).contains(&self.code)
    }

    /// Reads a line of the audit log; `None` for a stage other than the last.
    pub(crate) fn parse(line: &str) -> anyhow::Result<Option<Self>> {
        let logged: Logged = serde_json::from_str(line).context("the audit log has a line that is no audit event")?;
        if logged.stage != "ResponseComplete" {
            return Ok(None);
        }
        let object = logged.object_ref.unwrap_or_default();
        Ok(Some(Self {
            user: logged.user.username,
            user_agent: logged.user_agent,
            verb: logged.verb,
            uri: logged.request_uri,
            group: object.api_group,
            resource: object.resource,
            subresource: object.subresource,
            namespace: object.namespace,
            name: object.name,
            code: logged.response_status.unwrap_or_default().code,
            received_at: logged.request_received_timestamp,
            answered_at: logged.stage_timestamp,
            content: logged.request_object,
        }))
    }
}

/// The fields of `audit.k8s.io/v1` `Event` that are of use here.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Logged {
    stage: String,
    #[serde(rename = "requestURI")]
    request_uri: String,
    verb: String,
    user: LoggedUser,
    #[serde(default)]
    user_agent: String,
    object_ref: Option<ObjectRef>,
    response_status: Option<ResponseStatus>,
    request_received_timestamp: String,
    stage_timestamp: String,
    request_object: Option<Value>,
}

#[derive(Deserialize)]
struct LoggedUser {
    #[serde(default)]
    username: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ObjectRef {
    api_group: String,
    resource: String,
    subresource: String,
    namespace: String,
    name: String,
}

#[derive(Default, Deserialize)]
struct ResponseStatus {
    #[serde(default)]
    code: u16,
}
