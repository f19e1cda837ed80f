//! Writing the status of an object, and what the answer means.

use std::time::Duration;

use k8s_openapi::NamespaceResourceScope;
use kube::{
    Resource,
    api::PostParams,
    core::{Request, object::HasStatus},
};
use serde::{Serialize, de::DeserializeOwned};

use super::{Cluster, call::CallError, text::clean};
use crate::telemetry::metrics::WriteOutcome;

/// What came of a status write.
#[derive(Clone, Debug, PartialEq)]
pub enum StatusWrite<K> {
    /// It is durable. The object as the server stored it, with its new resourceVersion: a field that the served schema
    /// does not know is missing in it.
    Written(Box<K>),
    /// 409: the object changed since it was read, or is another one of the same name by now (a foreign uid is a
    /// conflict to the server). Nothing was written.
    Conflict,
    /// The server says that there is no such object. Nothing was written.
    Gone,
    /// 429: nothing was written, and the server wants this pause before the next try. It can be absurdly long.
    Throttled(Duration),
    /// The server said no: 422 by a rule of the schema, 403, 401, or a 404 that does not name the object.
    Refused {
        /// The HTTP status.
        code: u16,
        /// The server's words, without control characters, cut.
        message: String,
    },
    /// No usable answer: the write may have been applied. Only a read can tell.
    Unanswered(String),
}

impl<K> From<&StatusWrite<K>> for WriteOutcome {
    fn from(write: &StatusWrite<K>) -> Self {
        match write {
            StatusWrite::Written(_) => Self::Written,
            StatusWrite::Conflict => Self::Conflict,
            StatusWrite::Gone => Self::Gone,
            StatusWrite::Throttled(_) => Self::Throttled,
            StatusWrite::Refused { .. } => Self::Refused,
            StatusWrite::Unanswered(_) => Self::Unanswered,
        }
    }
}

impl Cluster {
    /// Replaces the status of `object`: one PUT on the status subresource.
    ///
    /// The body carries the uid and resourceVersion of `object`, so that the server refuses it if somebody wrote since;
    /// an object without them is refused here, because that PUT would be unconditional. Not writing what would change
    /// nothing is the caller's affair.
    pub async fn replace_status<K>(&self, object: &K, status: K::Status) -> StatusWrite<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + HasStatus
            + Clone
            + Serialize
            + DeserializeOwned,
    {
        let meta = object.meta();
        let (Some(name), Some(namespace), Some(_), Some(_)) =
            (&meta.name, &meta.namespace, &meta.uid, &meta.resource_version)
        else {
            return refused("the object has no name, namespace, uid or resourceVersion");
        };
        let mut body = object.clone();
        *body.status_mut() = Some(status);
        // The server keeps its own when a request brings none.
        body.meta_mut().managed_fields = None;
        let body = match serde_json::to_vec(&body) {
            Ok(body) => body,
            Err(error) => return refused(&error.to_string()),
        };
        let request = Request::new(K::url_path(&(), Some(namespace))).replace_subresource(
            "status",
            name,
            &PostParams::default(),
            body,
        );
        let answer = match request {
            Ok(request) => self.call(request).await,
            Err(error) => return refused(&error.to_string()),
        };
        match answer {
            Ok(stored) => match serde_json::from_slice(&stored) {
                Ok(stored) => StatusWrite::Written(Box::new(stored)),
                Err(error) => StatusWrite::Unanswered(clean(&error.to_string(), 512)),
            },
            Err(CallError::Throttled(pause)) => StatusWrite::Throttled(pause),
            Err(CallError::Refused(refusal)) if refusal.code == 409 => StatusWrite::Conflict,
            Err(CallError::Refused(refusal)) if refusal.is_absence_of(name) => StatusWrite::Gone,
            Err(CallError::Refused(refusal)) => StatusWrite::Refused {
                code: refusal.code,
                message: refusal.message,
            },
            Err(CallError::Unanswered(why)) => StatusWrite::Unanswered(why),
        }
    }
}

/// A write that never left.
fn refused<K>(why: &str) -> StatusWrite<K> {
    StatusWrite::Refused {
        code: 400,
        message: clean(why, 512),
    }
}
