//! What a webhook says: a pure function of a termination's status and its immutable fields, the same to the byte at
//! every try.

use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Time, jiff::Timestamp};
use kube::Resource;
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::api::{
    GROUP, GuestTermination, Outcome, Reason, VERSION, WebhookEvent, WebhookFormat, conditions::ConditionType,
};

/// The `Content-Type` of a body.
pub const fn content_type(format: WebhookFormat) -> &'static str {
    match format {
        WebhookFormat::Flat => "application/json",
        WebhookFormat::CloudEvents => "application/cloudevents+json",
    }
}

/// The id of the message that announces `event` of the object `uid`: `msg_` and 32 hexadecimal digits, the same at
/// every try and after every restart. It holds no dot, which separates the parts of what is signed.
pub fn message_id(uid: &str, event: WebhookEvent) -> String {
    let digest = Sha256::digest(format!("{uid}/{}", name(event)));
    let digits: String = digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    format!("msg_{digits}")
}

/// The body that announces `event` of a finished termination.
///
/// # Errors
/// [`Incomplete`] if the object lacks what the body says; the status of a finished termination does not.
pub fn body(object: &GuestTermination, event: WebhookEvent, format: WebhookFormat) -> Result<Vec<u8>, Incomplete> {
    let data = Data::of(object, event)?;
    let bytes = match format {
        WebhookFormat::Flat => serde_json::to_vec(&data),
        WebhookFormat::CloudEvents => serde_json::to_vec(&CloudEvent {
            specversion: "1.0",
            id: message_id(data.resource.uid, event),
            source: format!(
                "/apis/{}/namespaces/{}/guestterminations/{}",
                data.resource.api_version, data.resource.namespace, data.resource.name
            ),
            kind: format!("dev.guestops.{}", data.event),
            time: data.timestamp.clone(),
            datacontenttype: "application/json",
            data,
        }),
    };
    bytes.map_err(|_| Incomplete("JSON"))
}

/// What the body needs and the object does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the webhook's body cannot be written: {0} is missing")]
pub struct Incomplete(&'static str);

const fn name(event: WebhookEvent) -> &'static str {
    match event {
        WebhookEvent::SessionTerminated => "session.terminated",
    }
}

/// The flat body. The order of the fields is part of the format: signatures are over bytes.
#[derive(Serialize)]
struct Data<'a> {
    event: &'static str,
    guest_id: &'a str,
    reason: Reason,
    timestamp: String,
    retain_data: bool,
    retention_applied: bool,
    /// `null` where none was given: a field that is always there is one case less for receivers.
    external_ref: Option<&'a str>,
    outcome: Outcome,
    duplicate_termination: bool,
    resource: ResourceData<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ResourceData<'a> {
    api_version: String,
    kind: String,
    namespace: &'a str,
    name: &'a str,
    uid: &'a str,
}

/// A structured CloudEvent 1.0. `id` is the message id, so both layers de-duplicate alike.
#[derive(Serialize)]
struct CloudEvent<'a> {
    specversion: &'static str,
    id: String,
    source: String,
    #[serde(rename = "type")]
    kind: String,
    time: String,
    datacontenttype: &'static str,
    data: Data<'a>,
}

impl<'a> Data<'a> {
    fn of(object: &'a GuestTermination, event: WebhookEvent) -> Result<Self, Incomplete> {
        let metadata = &object.metadata;
        let spec = &object.spec;
        let status = object.status.as_ref().ok_or(Incomplete("status"))?;
        let Time(completed) = status
            .completion_time
            .as_ref()
            .ok_or(Incomplete("status.completionTime"))?;
        let audit = status.audit.as_ref().ok_or(Incomplete("status.audit"))?;
        let retention = ConditionType::RetentionApplied.to_string();
        Ok(Self {
            event: name(event),
            guest_id: &spec.guest_id,
            reason: spec.reason,
            timestamp: rfc3339(*completed),
            retain_data: spec.retain_data,
            retention_applied: status
                .conditions
                .iter()
                .any(|condition| condition.type_ == retention && condition.status == "True"),
            external_ref: spec.external_ref.as_deref(),
            outcome: status.outcome.ok_or(Incomplete("status.outcome"))?,
            duplicate_termination: audit.duplicate_termination,
            resource: ResourceData {
                api_version: format!("{GROUP}/{VERSION}"),
                kind: GuestTermination::kind(&()).into_owned(),
                namespace: metadata.namespace.as_deref().ok_or(Incomplete("metadata.namespace"))?,
                name: metadata.name.as_deref().ok_or(Incomplete("metadata.name"))?,
                uid: metadata.uid.as_deref().ok_or(Incomplete("metadata.uid"))?,
            },
        })
    }
}

/// RFC 3339 in UTC, to the second: what an API server keeps of a `Time`. So the body made before the status is written
/// is the body made of the status that was read back.
fn rfc3339(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn object() -> GuestTermination {
        serde_json::from_value(json!({
            "apiVersion": "guestops.dev/v1alpha1",
            "kind": "GuestTermination",
            "metadata": {"name": "one", "namespace": "care", "uid": "5a1d7c7e-0000-4000-8000-000000000001"},
            "spec": {"guestId": "guest-1", "reason": "bot_handoff", "retainData": false, "externalRef": "é&=\"😀"},
            "status": {
                "outcome": "Terminated",
                "completionTime": "2026-11-24T07:27:57.999999Z",
                "audit": {"success": true, "duplicateTermination": false},
                "conditions": [{
                    "type": "RetentionApplied", "status": "True", "reason": "SentWithTermination", "message": "",
                    "lastTransitionTime": "2026-11-24T07:27:57Z",
                }],
            },
        }))
        .unwrap()
    }

    fn flat(object: &GuestTermination) -> Value {
        let bytes = body(object, WebhookEvent::SessionTerminated, WebhookFormat::Flat).unwrap();
        serde_json::from_slice(&bytes).unwrap()
    }

    #[test]
    fn the_flat_body_is_this_to_the_byte() {
        let bytes = body(&object(), WebhookEvent::SessionTerminated, WebhookFormat::Flat).unwrap();
        assert_eq!(
            String::from_utf8(bytes).unwrap(),
            concat!(
                r#"{"event":"session.terminated","guest_id":"guest-1","reason":"bot_handoff","#,
                r#""timestamp":"2026-11-24T07:27:57Z","retain_data":false,"retention_applied":true,"#,
                r#""external_ref":"é&=\"😀","outcome":"Terminated","duplicate_termination":false,"#,
                r#""resource":{"apiVersion":"guestops.dev/v1alpha1","kind":"GuestTermination","namespace":"care","#,
                r#""name":"one","uid":"5a1d7c7e-0000-4000-8000-000000000001"}}"#,
            )
        );
    }

    #[test]
    fn the_cloud_event_holds_the_same_data() {
        let bytes = body(&object(), WebhookEvent::SessionTerminated, WebhookFormat::CloudEvents).unwrap();
        let event: Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(
            event,
            json!({
                "specversion": "1.0",
                "id": message_id("5a1d7c7e-0000-4000-8000-000000000001", WebhookEvent::SessionTerminated),
                "source": "/apis/guestops.dev/v1alpha1/namespaces/care/guestterminations/one",
                "type": "dev.guestops.session.terminated",
                "time": "2026-11-24T07:27:57Z",
                "datacontenttype": "application/json",
                "data": flat(&object()),
            })
        );
    }

    #[test]
    fn what_is_bookkeeping_does_not_change_the_body() {
        let mut later = object();
        later.metadata.resource_version = Some("99".into());
        later.metadata.labels = Some([("a".to_owned(), "b".to_owned())].into());
        later.spec.suspend = true;
        if let Some(status) = &mut later.status {
            status.retries = 3;
            status.observed_generation = Some(2);
            // The API server keeps whole seconds.
            status.completion_time = Some(Time("2026-11-24T07:27:57Z".parse().unwrap()));
        }
        for format in [WebhookFormat::Flat, WebhookFormat::CloudEvents] {
            let of = |object| body(object, WebhookEvent::SessionTerminated, format).unwrap();
            assert_eq!(of(&later), of(&object()));
        }
    }

    #[test]
    fn retention_counts_as_applied_only_where_the_condition_is_true() {
        let mut object = object();
        for status in ["False", "Unknown"] {
            object.status.as_mut().unwrap().conditions[0].status = status.into();
            assert_eq!(flat(&object)["retention_applied"], json!(false), "{status}");
        }
        object.status.as_mut().unwrap().conditions.clear();
        object.spec.external_ref = None;
        assert_eq!(flat(&object)["retention_applied"], json!(false));
        assert_eq!(flat(&object)["external_ref"], Value::Null);
    }

    #[test]
    fn an_unfinished_termination_has_no_body() {
        let mut object = object();
        object.status.as_mut().unwrap().completion_time = None;
        let missing = body(&object, WebhookEvent::SessionTerminated, WebhookFormat::Flat);
        assert_eq!(missing, Err(Incomplete("status.completionTime")));
    }

    #[test]
    fn a_message_id_is_fixed_by_uid_and_event() {
        let id = message_id("5a1d7c7e-0000-4000-8000-000000000001", WebhookEvent::SessionTerminated);
        assert_eq!(
            id,
            message_id("5a1d7c7e-0000-4000-8000-000000000001", WebhookEvent::SessionTerminated)
        );
        assert_ne!(
            id,
            message_id("5a1d7c7e-0000-4000-8000-000000000002", WebhookEvent::SessionTerminated)
        );
        assert!(id.len() == 36 && id.starts_with("msg_") && !id.contains('.'), "{id}");
    }
}
