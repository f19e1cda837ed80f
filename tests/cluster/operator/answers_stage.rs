//! What the tests of answers and connections ask the servers, and what they change.

use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams},
};
use serde_json::{Value, json};
use simulator::api::{Call, Operation};

use crate::stage::{Stage, verdict};

impl Stage<'_> {
    /// The object, once its status tells how it ended, webhooks or not.
    pub(crate) async fn finished(&self, name: &str) -> Value {
        self.until(name, "finished", |object| object["status"]["finished"] == true)
            .await
    }

    /// The object, once `Ready` says that, as `Unknown/Reason`.
    pub(crate) async fn waits(&self, name: &str, ready: &str) -> Value {
        self.until(name, ready, |object| verdict(object, "Ready") == ready)
            .await
    }

    /// The connection, once `Ready` says that.
    pub(crate) async fn connection_says(&self, name: &str, ready: &str) -> Value {
        self.connection_until(name, ready, |object| verdict(object, "Ready") == ready)
            .await
    }

    /// Deletes a connection, and waits until it is gone.
    pub(crate) async fn disconnect(&self, name: &str) {
        self.connections().delete(name, &DeleteParams::default()).await.unwrap();
        for _ in 0..200 {
            if self.connections().get_opt(name).await.unwrap().is_none() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("connection {name} is still there");
    }

    /// Changes keys of a Secret; `None` removes one.
    pub(crate) async fn edit_secret(&self, name: &str, data: &[(&str, Option<&str>)]) {
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), &self.namespace);
        for (key, value) in data {
            let patch = match value {
                Some(value) => json!({"stringData": {*key: value}}),
                None => json!({"data": {*key: null}}),
            };
            secrets
                .patch(name, &PatchParams::default(), &Patch::Merge(patch))
                .await
                .unwrap();
        }
    }

    /// The Events about the object of that name, as `(type, reason, note)`, once one has that reason.
    pub(crate) async fn events_with(&self, name: &str, reason: &str) -> Vec<(String, String, String)> {
        let mut last = Vec::new();
        for _ in 0..200 {
            last = self.events_of(name).await;
            if last.iter().any(|(_, found, _)| found == reason) {
                return last;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("there is no Event {reason} about {name}, but {last:?}");
    }

    /// The Events about the object of that name so far, as `(type, reason, note)`.
    pub(crate) async fn events_of(&self, name: &str) -> Vec<(String, String, String)> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let events = self.event_objects().await.into_iter();
        events
            .filter(|event| event["regarding"]["name"] == name)
            .map(|event| (text(&event["type"]), text(&event["reason"]), text(&event["note"])))
            .collect()
    }

    /// How many calls of that kind the vendor saw.
    pub(crate) fn count(&self, operation: Operation) -> usize {
        self.calls_about(operation, |_| true).len()
    }

    /// The calls of that kind that `wanted` holds of.
    pub(crate) fn calls_about(&self, operation: Operation, wanted: impl Fn(&Call) -> bool) -> Vec<Call> {
        let calls = self.simulator.ledger().calls.into_iter();
        calls
            .filter(|call| call.operation == operation && wanted(call))
            .collect()
    }

    /// Ends one guest's session, so that the route is proven and no breaker is half-open any more, and counts from here.
    pub(crate) async fn warmed_up(&self) {
        self.warm_up().await;
        self.simulator.reset_ledger();
    }

    /// How many writes of the operator's user there were of the status of that object since `position`.
    pub(crate) fn status_writes(&self, position: u64, resource: &str, name: &str) -> usize {
        let writes = self.writes_since(position).into_iter();
        writes
            .filter(|event| event.resource == resource && event.name == name && event.succeeded())
            .count()
    }
}
