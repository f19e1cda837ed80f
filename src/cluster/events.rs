//! Kubernetes Events (`events.k8s.io/v1`), written by ourselves.
//!
//! kube's `Recorder` repeats the *first* note for six minutes and fails on long names. Here the name says it all: the
//! same fact about the same object has the same name, so a repeat is a 409 and fine.
//!
//! Best effort: an Event is never the audit record and never fails a pass.

use k8s_openapi::{
    api::{core::v1::ObjectReference, events::v1::Event},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
};
use kube::{Resource, ResourceExt, api::PostParams, core::Request};
use sha2::{Digest, Sha256};

use super::{
    Cluster, Identity,
    call::CallError,
    text::{clean, is_object_name},
};
use crate::telemetry::metrics::{EventResult, Metrics};

/// Who reports, for every Event of this program.
pub const REPORTING_CONTROLLER: &str = "guestops.dev/guest-termination-operator";

/// The API server refuses longer notes.
const MAX_NOTE: usize = 1024;
/// The API server refuses longer instances, reasons and actions.
const MAX_WORD: usize = 128;
/// The longest name of an object.
const MAX_NAME: usize = 253;

/// Whether the news is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoticeKind {
    /// As it should be.
    Normal,
    /// Somebody should look.
    Warning,
}

/// The object that an Event is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Regarding {
    /// Its apiVersion.
    pub api_version: String,
    /// Its kind.
    pub kind: String,
    /// Which one. Without the uid `kubectl describe` does not show the Event; the resourceVersion may be empty.
    pub object: Identity,
}

impl Regarding {
    /// The object itself.
    pub fn of<K: Resource<DynamicType = ()>>(object: &K) -> Self {
        Self::undecoded::<K>(object.meta().clone().into())
    }

    /// An object of the kind `K` that could not be decoded, or is not at hand.
    pub fn undecoded<K: Resource<DynamicType = ()>>(object: Identity) -> Self {
        Self {
            api_version: K::api_version(&()).into_owned(),
            kind: K::kind(&()).into_owned(),
            object,
        }
    }
}

/// One Event to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// What it is about.
    pub regarding: Regarding,
    /// Whether the news is good.
    pub kind: NoticeKind,
    /// The reason, in one CamelCase word of a closed set.
    pub reason: String,
    /// What was done when it came up, in one CamelCase word, for example `Terminate`.
    pub action: String,
    /// What happened, for people. Cut at 1,024 bytes.
    pub note: String,
    /// Tells apart two facts of the same reason about the same object: the id of an attempt, a generation. The same
    /// discriminator is the same Event.
    pub discriminator: String,
}

/// Publishes Events. Holds no queue: a notice is sent by who has it, within one call's deadline.
#[derive(Clone, Debug)]
pub struct Publisher {
    cluster: Cluster,
    instance: String,
    metrics: Metrics,
}

impl Publisher {
    /// A publisher that reports as that instance: the pod's or the host's name.
    pub fn new(cluster: Cluster, instance: &str, metrics: Metrics) -> Self {
        let instance = match clean(instance, MAX_WORD) {
            // The API server wants one.
            empty if empty.is_empty() => "unknown".to_owned(),
            instance => instance,
        };
        Self {
            cluster,
            instance,
            metrics,
        }
    }

    /// Publishes the notice. What goes wrong is counted and logged, and is nobody else's trouble.
    pub async fn publish(&self, notice: &Notice) {
        let event = self.event(notice);
        let result = self.create(&event).await;
        if let Err((result, why)) = &result {
            let regarding = &notice.regarding.object;
            if *result == EventResult::Failed {
                tracing::warn!(object = %regarding, reason = notice.reason, why, "the Event could not be written");
            } else {
                tracing::debug!(object = %regarding, reason = notice.reason, why, "the Event was not written");
            }
        }
        self.metrics
            .event(result.err().map_or(EventResult::Written, |(result, _)| result));
    }

    async fn create(&self, event: &Event) -> Result<(), (EventResult, String)> {
        let failed = |why: String| (EventResult::Failed, why);
        let body = serde_json::to_vec(event).map_err(|error| failed(error.to_string()))?;
        let request = Request::new(Event::url_path(&(), event.namespace().as_deref()))
            .create(&PostParams::default(), body)
            .map_err(|error| failed(error.to_string()))?;
        match self.cluster.call(request).await {
            Ok(_) => Ok(()),
            Err(CallError::Refused(refusal)) if refusal.code == 409 => {
                Err((EventResult::AlreadyThere, "it exists".to_owned()))
            }
            Err(CallError::Refused(refusal)) if refusal.is_end_of_namespace() => {
                Err((EventResult::NamespaceGone, refusal.message))
            }
            Err(CallError::Refused(refusal)) => Err(failed(format!("{}: {}", refusal.code, refusal.message))),
            Err(CallError::Throttled(_)) => Err(failed("429".to_owned())),
            Err(CallError::Unanswered(why)) => Err(failed(why)),
        }
    }

    fn event(&self, notice: &Notice) -> Event {
        let Regarding {
            api_version,
            kind,
            object,
        } = &notice.regarding;
        // Events about cluster-wide objects live in `default`.
        let namespace = if object.namespace.is_empty() {
            "default"
        } else {
            &object.namespace
        };
        let filled = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
        Event {
            metadata: ObjectMeta {
                name: Some(event_name(notice)),
                namespace: Some(namespace.to_owned()),
                ..ObjectMeta::default()
            },
            event_time: Some(MicroTime(self.cluster.clock.now())),
            regarding: Some(ObjectReference {
                api_version: filled(api_version),
                kind: filled(kind),
                namespace: filled(&object.namespace),
                name: filled(&object.name),
                uid: filled(&object.uid),
                resource_version: filled(&object.resource_version),
                field_path: None,
            }),
            reporting_controller: Some(REPORTING_CONTROLLER.to_owned()),
            reporting_instance: Some(self.instance.clone()),
            type_: Some(
                match notice.kind {
                    NoticeKind::Normal => "Normal",
                    NoticeKind::Warning => "Warning",
                }
                .to_owned(),
            ),
            reason: Some(clean(&notice.reason, MAX_WORD)),
            action: Some(clean(&notice.action, MAX_WORD)),
            note: Some(clean(&notice.note, MAX_NOTE)),
            ..Event::default()
        }
    }
}

/// `<name of the object>.<hash of uid, reason and discriminator>`, the way client-go names Events.
fn event_name(notice: &Notice) -> String {
    let object = &notice.regarding.object;
    let mut hash = Sha256::new();
    for part in [
        &object.uid,
        &object.namespace,
        &object.name,
        &notice.reason,
        &notice.discriminator,
    ] {
        // The length keeps ("ab", "c") and ("a", "bc") apart.
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    let hash: String = hash
        .finalize()
        .iter()
        .take(10)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let room = MAX_NAME - hash.len() - 1;
    let stem = object.name.get(..room.min(object.name.len())).unwrap_or_default();
    let stem = stem.trim_end_matches(['.', '-']);
    if is_object_name(stem) {
        format!("{stem}.{hash}")
    } else {
        hash
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::{
        api::GuestTermination,
        cluster::testing::{Answer, Log, cluster, termination},
    };

    fn notice() -> Notice {
        Notice {
            regarding: Regarding::of(&termination("a", "7")),
            kind: NoticeKind::Warning,
            reason: "AttemptFailed".to_owned(),
            action: "Terminate".to_owned(),
            note: "the vendor answered 503".to_owned(),
            discriminator: "attempt-1".to_owned(),
        }
    }

    async fn publish(answer: impl Fn() -> Answer + Send + 'static, notice: &Notice) -> (Log, String) {
        let (cluster, log) = cluster(move |_| answer());
        let (metrics, registry) = Metrics::new(cluster.clock());
        Publisher::new(cluster, "pod-1", metrics).publish(notice).await;
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        (log, text)
    }

    fn counted(metrics: &str, result: &str) -> bool {
        metrics.contains(&format!("guest_termination_events_total{{result=\"{result}\"}} 1\n"))
    }

    #[tokio::test(start_paused = true)]
    async fn is_what_kubectl_describe_shows() {
        let (log, metrics) = publish(|| Answer::json(201, &json!({})), &notice()).await;
        let asked = log.lock().unwrap()[0].clone();
        let path = asked.target.split('?').next();
        assert_eq!(path, Some("/apis/events.k8s.io/v1/namespaces/care/events"));
        let mut event = asked.body;
        let time = event.as_object_mut().unwrap().remove("eventTime").unwrap();
        assert!(
            time.as_str().unwrap().len() >= "2026-01-01T00:00:00.000000Z".len(),
            "{time}"
        );
        let name = event["metadata"]["name"].as_str().unwrap().to_owned();
        assert!(name.starts_with("a.") && name.len() == 22, "{name}");
        let expected = json!({
            "apiVersion": "events.k8s.io/v1", "kind": "Event",
            "metadata": {"name": name, "namespace": "care"},
            "regarding": {"apiVersion": "guestops.dev/v1alpha1", "kind": "GuestTermination", "namespace": "care",
                "name": "a", "uid": "uid-a", "resourceVersion": "7"},
            "reportingController": "guestops.dev/guest-termination-operator", "reportingInstance": "pod-1",
            "type": "Warning", "reason": "AttemptFailed", "action": "Terminate", "note": "the vendor answered 503",
        });
        assert_eq!(event, expected);
        assert!(counted(&metrics, "written"), "{metrics}");
    }

    #[test]
    fn the_same_fact_has_the_same_name_and_another_one_has_not() {
        let name = |change: fn(&mut Notice)| {
            let mut notice = notice();
            change(&mut notice);
            event_name(&notice)
        };
        let same = name(|_| ());
        assert_eq!(same, name(|notice| notice.note = "other words".to_owned()));
        assert_eq!(
            same,
            name(|notice| notice.regarding.object.resource_version = "8".to_owned())
        );
        assert_ne!(same, name(|notice| notice.discriminator = "attempt-2".to_owned()));
        assert_ne!(same, name(|notice| notice.reason = "Rejected".to_owned()));
        assert_ne!(same, name(|notice| notice.regarding.object.uid = "uid-b".to_owned()));
    }

    #[test]
    fn names_and_notes_fit_whatever_comes() {
        for name in [
            "a".repeat(253),
            format!("{}.b", "a".repeat(231)),
            "Not a name ä".to_owned(),
            String::new(),
        ] {
            let mut notice = notice();
            notice.regarding.object.name = name;
            let name = event_name(&notice);
            assert!(is_object_name(&name), "{name}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_note_is_cut_on_a_character() {
        let mut notice = notice();
        notice.note = "ä\n".repeat(2_000);
        let (log, _) = publish(|| Answer::json(201, &json!({})), &notice).await;
        let note = log.lock().unwrap()[0].body["note"].as_str().unwrap().to_owned();
        assert!(
            note.len() <= 1_024 && note.len() > 1_000 && !note.contains('\n'),
            "{}",
            note.len()
        );
    }

    #[tokio::test(start_paused = true)]
    async fn failures_are_counted_and_nobodys_trouble() {
        let exists = || Answer::status(409, "AlreadyExists", &json!({}));
        let causes = json!({"causes": [{"reason": "NamespaceTerminating", "message": "being terminated"}]});
        let ends = move || Answer::status(403, "Forbidden", &causes);
        let no_namespace = || Answer::status(404, "NotFound", &json!({"name": "care"}));
        let forbidden = || Answer::status(403, "Forbidden", &json!({}));
        assert!(counted(&publish(exists, &notice()).await.1, "already_there"));
        assert!(counted(&publish(ends, &notice()).await.1, "namespace_gone"));
        assert!(counted(&publish(no_namespace, &notice()).await.1, "namespace_gone"));
        assert!(counted(&publish(forbidden, &notice()).await.1, "failed"));
        let started = tokio::time::Instant::now();
        assert!(counted(&publish(|| Answer::Never, &notice()).await.1, "failed"));
        assert_eq!(started.elapsed().as_secs(), 5);
    }

    #[tokio::test(start_paused = true)]
    async fn an_undecodable_object_can_be_spoken_of() {
        let mut notice = notice();
        notice.regarding = Regarding::undecoded::<GuestTermination>(Identity {
            namespace: "care".to_owned(),
            name: "bad".to_owned(),
            ..Identity::default()
        });
        let (log, _) = publish(|| Answer::json(201, &json!({})), &notice).await;
        let regarding: Value = log.lock().unwrap()[0].body["regarding"].clone();
        assert_eq!(regarding["name"], "bad");
        assert_eq!(regarding.get("uid"), None);
    }
}
