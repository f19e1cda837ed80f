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
