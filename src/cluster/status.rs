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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rstest::rstest;
    use serde_json::json;

    use super::*;
    use crate::{
        api::{GuestTermination, GuestTerminationStatus, Phase},
        cluster::testing::{Answer, Then, cluster, termination, termination_json},
    };

    fn status() -> GuestTerminationStatus {
        GuestTerminationStatus {
            phase: Some(Phase::Terminating),
            attempts: 1,
            ..GuestTerminationStatus::default()
        }
    }

    async fn write(answer: impl Fn() -> Answer + Send + 'static) -> StatusWrite<String> {
        let (cluster, _) = cluster(move |_| answer());
        match cluster.replace_status(&termination("a", "7"), status()).await {
            StatusWrite::Written(object) => StatusWrite::Written(Box::new(format!("{object:?}"))),
            StatusWrite::Conflict => StatusWrite::Conflict,
            StatusWrite::Gone => StatusWrite::Gone,
            StatusWrite::Throttled(pause) => StatusWrite::Throttled(pause),
            StatusWrite::Refused { code, message } => StatusWrite::Refused { code, message },
            StatusWrite::Unanswered(why) => StatusWrite::Unanswered(why),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn is_one_put_with_the_preconditions_and_gives_what_the_server_stored() {
        let (cluster, log) = cluster(|asked| {
            let mut stored = asked.body.clone();
            stored["metadata"]["resourceVersion"] = json!("8");
            Answer::json(200, &stored)
        });
        let StatusWrite::Written(stored) = cluster.replace_status(&termination("a", "7"), status()).await else {
            panic!("not written");
        };
        assert_eq!(stored.metadata.resource_version.as_deref(), Some("8"));
        assert_eq!(stored.status, Some(status()));
        let log = log.lock().unwrap();
        assert_eq!(log.len(), 1);
        assert_eq!(log[0].method, http::Method::PUT);
        let path = log[0].target.split('?').next();
        assert_eq!(
            path,
            Some("/apis/guestops.dev/v1alpha1/namespaces/care/guestterminations/a/status")
        );
        let sent = &log[0].body;
        assert_eq!(
            (&sent["metadata"]["uid"], &sent["metadata"]["resourceVersion"]),
            (&json!("uid-a"), &json!("7"))
        );
        assert_eq!(sent["metadata"].get("managedFields"), None);
        assert_eq!(sent["status"], json!({"phase": "Terminating", "attempts": 1}));
    }

    #[rstest]
    #[case::uid(|object: &mut GuestTermination| object.metadata.uid = None)]
    #[case::version(|object: &mut GuestTermination| object.metadata.resource_version = None)]
    #[tokio::test(start_paused = true)]
    async fn an_unconditional_write_never_leaves(#[case] spoil: fn(&mut GuestTermination)) {
        let (cluster, log) = cluster(|_| Answer::json(200, &termination_json("a", "8")));
        let mut object = termination("a", "7");
        spoil(&mut object);
        let write = cluster.replace_status(&object, status()).await;
        assert!(matches!(write, StatusWrite::Refused { .. }), "{write:?}");
        assert!(log.lock().unwrap().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn answers_that_prove_that_nothing_was_written() {
        assert_eq!(
            write(|| Answer::status(409, "Conflict", &json!({"name": "a"}))).await,
            StatusWrite::Conflict
        );
        assert_eq!(
            write(|| Answer::status(404, "NotFound", &json!({"name": "a"}))).await,
            StatusWrite::Gone
        );
        let refused = |code| StatusWrite::Refused {
            code,
            message: "words of the server".to_owned(),
        };
        assert_eq!(write(|| Answer::status(422, "Invalid", &json!({}))).await, refused(422));
        assert_eq!(
            write(|| Answer::status(403, "Forbidden", &json!({}))).await,
            refused(403)
        );
        assert_eq!(
            write(|| Answer::status(401, "Unauthorized", &json!({}))).await,
            refused(401)
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_404_of_somebody_else_does_not_mean_gone() {
        for answer in [
            || Answer::text(404, "404 page not found"),
            || Answer::text(404, "<html>no route</html>"),
            || Answer::status(404, "NotFound", &json!({"name": "b"})),
            || Answer::empty(404),
        ] {
            let write = write(answer).await;
            assert!(matches!(write, StatusWrite::Refused { code: 404, .. }), "{write:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_pause_comes_from_the_header_the_body_or_the_default() {
        let plain = || Answer::text(429, "Too many requests, please try again later.");
        let pause = |seconds| StatusWrite::Throttled(Duration::from_secs(seconds));
        assert_eq!(
            write(move || plain().with_header("retry-after", "86400")).await,
            pause(86_400)
        );
        assert_eq!(write(plain).await, pause(1));
        assert_eq!(
            write(move || plain().with_header("retry-after", "soon")).await,
            pause(1)
        );
        let in_body = || Answer::status(429, "TooManyRequests", &json!({"retryAfterSeconds": 7}));
        assert_eq!(write(in_body).await, pause(7));
    }

    #[tokio::test(start_paused = true)]
    async fn whatever_may_have_been_applied_is_unanswered() {
        for answer in [
            || Answer::status(500, "InternalError", &json!({})),
            || Answer::status(504, "Timeout", &json!({})),
            || Answer::text(503, "upstream connect error"),
            || Answer::Broken,
            || Answer::Never,
            || Answer::text(200, "{\"kind\":"),
            || Answer::text(200, "<html>"),
            || Answer::chunks(vec!["{".to_owned()], Then::Break),
            || Answer::chunks(vec!["{".to_owned()], Then::Silence),
        ] {
            let started = tokio::time::Instant::now();
            let write = write(answer).await;
            assert!(matches!(write, StatusWrite::Unanswered(_)), "{write:?}");
            assert!(
                started.elapsed() <= Duration::from_millis(5_001),
                "{:?}",
                started.elapsed()
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_servers_words_are_cut_and_cleaned() {
        let words = format!("line one\nline two \u{1b}[31m{}", "x".repeat(5_000));
        let write = write(move || Answer::json(422, &json!({"message": words, "reason": "Invalid"}))).await;
        let StatusWrite::Refused { message, .. } = write else {
            panic!("{write:?}");
        };
        assert!(
            message.starts_with("line one line two  [31m") && message.len() <= 512,
            "{message}"
        );
    }
}
