//! A stage for the operator: a namespace with its own service account, simulator, Secret and connection, and the
//! operator in this process, over the same composition as `main`.

use std::{
    io::{self, Write},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use control_plane::{AuditEvent, ControlPlane, Identity};
use guest_termination_operator::{
    api::{GenesysConnection, GuestTermination},
    app::{self, Seams, Telemetry},
    clock::SystemClock,
    controller::settings::{Leadership, Settings},
    telemetry::{audit::AuditLog, health::Health, metrics::Metrics},
    transport,
    webhook::guard::GuardPolicy,
};
use k8s_openapi::api::{core::v1::Secret, events::v1::Event};
use kube::{
    Api, Client,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};
use simulator::{
    Simulator,
    api::{Call, GuestSpec, Operation, WebhookEndpoint},
};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::fixture;

/// The signing key of the stage's webhook.
pub(crate) const SIGNING_KEY: &str = "whsec_Y2FuYXJ5LXNpZ25pbmcta2V5LWNhbmFyeS1zaWduaW5nLWtleQ==";

const ROLE: &str = include_str!("../../docs/install/rbac-namespace.yaml");
const LEASE_ROLE: &str = include_str!("../../docs/install/leader-election.yaml");

static SEED: AtomicU64 = AtomicU64::new(1);

/// Everything but the operator.
pub(crate) struct Stage<'a> {
    pub(crate) cluster: &'a ControlPlane,
    pub(crate) client: Client,
    pub(crate) namespace: String,
    pub(crate) simulator: Simulator,
    pub(crate) operator: Identity,
}

impl Stage<'static> {
    /// A stage without a connection: [`Stage::connect`] makes one.
    pub(crate) async fn bare(prefix: &str) -> Self {
        Stage::on(fixture::cluster().await, prefix).await
    }

    /// A stage with the connection `default`, whose route is proven.
    pub(crate) async fn set(prefix: &str) -> Self {
        let stage = Self::bare(prefix).await;
        stage.connect(stage.connection("default")).await;
        stage
    }
}

impl<'a> Stage<'a> {
    /// A stage without a connection, on a control plane of the caller's.
    pub(crate) async fn on(cluster: &'a ControlPlane, prefix: &str) -> Self {
        let client = cluster.admin_client().await.unwrap();
        let namespace = cluster.namespace(prefix).await.unwrap();
        let simulator = Simulator::start(simulator::Options::default()).await.unwrap();
        let settings = simulator::api::Settings {
            requests_per_minute: None,
            ..simulator.settings()
        };
        simulator.set_settings(settings);
        simulator
            .set_webhook(&WebhookEndpoint::new("analytics", SIGNING_KEY))
            .unwrap();
        let account = json!({"apiVersion": "v1", "kind": "ServiceAccount",
            "metadata": {"name": "guest-termination-operator", "namespace": namespace}});
        let roles = format!("{ROLE}\n---\n{LEASE_ROLE}").replace(
            "namespace: guest-termination-operator",
            &format!("namespace: {namespace}"),
        );
        cluster
            .apply_yaml(&format!("{account}\n---\n{roles}"), &namespace)
            .await
            .unwrap();
        let operator = cluster
            .service_account(&namespace, "guest-termination-operator")
            .await
            .unwrap();
        cluster
            .wait_until_allowed(
                &operator,
                "update",
                "guestops.dev",
                "guestterminations/status",
                &namespace,
            )
            .await
            .unwrap();
        let stage = Self {
            cluster,
            client,
            namespace,
            simulator,
            operator,
        };
        stage
            .secret(
                "genesys",
                &[
                    ("clientId", simulator::CLIENT_ID),
                    ("clientSecret", simulator::CLIENT_SECRET),
                ],
            )
            .await;
        stage.secret("signing", &[("key", SIGNING_KEY)]).await;
        stage
    }

    /// The manifest of a connection to the simulator, with one webhook and no limit that a test would feel.
    pub(crate) fn connection(&self, name: &str) -> Value {
        json!({
            "apiVersion": "guestops.dev/v1alpha1", "kind": "GenesysConnection",
            "metadata": {"name": name, "namespace": self.namespace},
            "spec": {
                "api": "WebMessagingGuests",
                "endpoints": {"apiUrl": self.simulator.url(), "loginUrl": self.simulator.url()},
                "credentialsSecretRef": {"name": "genesys"},
                "rateLimit": {"requestsPerMinute": 60_000, "maxInFlight": 10},
                "webhooks": [{"name": "analytics", "url": self.simulator.webhook_url("analytics"),
                              "signingSecretRef": {"name": "signing", "key": "key"}}],
            },
        })
    }

    pub(crate) async fn connect(&self, manifest: Value) {
        self.connections()
            .create(&PostParams::default(), &serde_json::from_value(manifest).unwrap())
            .await
            .unwrap();
    }

    pub(crate) async fn secret(&self, name: &str, data: &[(&str, &str)]) {
        let data: Value = data
            .iter()
            .map(|(key, value)| ((*key).to_owned(), json!(value)))
            .collect::<serde_json::Map<_, _>>()
            .into();
        let secret: Secret = serde_json::from_value(json!({"metadata": {"name": name}, "stringData": data})).unwrap();
        Api::namespaced(self.client.clone(), &self.namespace)
            .create(&PostParams::default(), &secret)
            .await
            .unwrap();
    }

    pub(crate) fn terminations(&self) -> Api<GuestTermination> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    pub(crate) fn connections(&self) -> Api<GenesysConnection> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Creates a termination of the guest of the same name; `spec` adds to its spec or changes it.
    pub(crate) async fn terminate(&self, guest: &str, spec: Value) -> GuestTermination {
        let mut manifest = json!({
            "apiVersion": "guestops.dev/v1alpha1", "kind": "GuestTermination",
            "metadata": {"name": guest, "namespace": self.namespace},
            "spec": {"guestId": guest, "reason": "customer_initiated", "retainData": true},
        });
        for (key, value) in spec.as_object().into_iter().flatten() {
            manifest["spec"][key] = value.clone();
        }
        self.terminations()
            .create(&PostParams::default(), &serde_json::from_value(manifest).unwrap())
            .await
            .unwrap()
    }

    /// The operator, with settings that reach the simulator.
    pub(crate) fn settings(&self) -> Settings {
        Settings {
            namespace: Some(self.namespace.clone()),
            allow_insecure_endpoints: true,
            guard: GuardPolicy::new(vec!["127.0.0.0/8".parse().unwrap()], true),
            ..Settings::default()
        }
    }

    pub(crate) async fn operate(&self) -> Operator {
        self.operate_with(self.settings()).await
    }

    pub(crate) async fn operate_with(&self, settings: Settings) -> Operator {
        let audit = Lines::default();
        self.operate_audited(settings, Box::new(audit.clone()), audit).await
    }

    /// The operator, whose audit log is `sink`, through which the lines come to `audit`.
    pub(crate) async fn operate_audited(
        &self,
        settings: Settings,
        sink: Box<dyn Write + Send>,
        audit: Lines,
    ) -> Operator {
        self.operate_led(settings, sink, audit, Leadership::alone()).await
    }

    /// The same, and a hand on whether it leads.
    pub(crate) async fn operate_led(
        &self,
        settings: Settings,
        sink: Box<dyn Write + Send>,
        audit: Lines,
        leadership: Leadership,
    ) -> Operator {
        let clock = SystemClock::shared();
        let (metrics, _registry) = Metrics::new(&clock);
        let health = Health::new();
        let telemetry = Telemetry {
            audit: AuditLog::new(sink),
            metrics,
            health,
        };
        let kubeconfig = self.cluster.kubeconfig(&self.operator, &self.namespace).unwrap();
        let options = guest_termination_operator::cluster::ClientOptions {
            kubeconfig: Some(kubeconfig),
            context: None,
        };
        let kube = guest_termination_operator::cluster::connect(&options, clock.clone())
            .await
            .unwrap();
        let seams = Seams {
            clock,
            kube,
            http: transport::reqwest::service(),
            // Two operators that follow each other are two processes: nothing that is random is the same in both.
            seed: SEED.fetch_add(1, Ordering::Relaxed),
        };
        let stopping = CancellationToken::new();
        let token = stopping.clone();
        let task = tokio::spawn(async move {
            app::run(settings, seams, telemetry, leadership, "test", token)
                .await
                .unwrap();
        });
        Operator {
            stopping,
            task: Some(task),
            audit,
        }
    }

    /// The object as it is, once `wanted` holds of it.
    pub(crate) async fn until(&self, name: &str, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let api = self.terminations();
        let mut last = Value::Null;
        for _ in 0..1200 {
            if let Some(object) = api.get_opt(name).await.unwrap() {
                last = serde_json::to_value(&object).unwrap();
                if wanted(&last) {
                    return last;
                }
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!(
            "{name} never came to: {what}. It is {last:#}\nThe vendor saw {:#?}",
            self.simulator.ledger().calls
        );
    }

    /// The object once it is settled.
    pub(crate) async fn settled(&self, name: &str) -> Value {
        self.until(name, "settled", |object| object["status"]["settled"] == true)
            .await
    }

    /// The connection, once `wanted` holds of it.
    pub(crate) async fn connection_until(&self, name: &str, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let mut last = Value::Null;
        for _ in 0..600 {
            last = serde_json::to_value(self.connections().get(name).await.unwrap()).unwrap();
            if wanted(&last) {
                return last;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("connection {name} never came to: {what}. It is {last:#}");
    }

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

    /// Changes fields of a connection's spec.
    pub(crate) async fn edit_connection(&self, name: &str, spec: Value) {
        self.connections()
            .patch(name, &PatchParams::default(), &Patch::Merge(json!({"spec": spec})))
            .await
            .unwrap();
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
    pub(crate) fn calls(&self, operation: Operation) -> usize {
        self.calls_about(operation, |_| true).len()
    }

    /// The calls of that kind that `wanted` holds of.
    pub(crate) fn calls_about(&self, operation: Operation, wanted: impl Fn(&Call) -> bool) -> Vec<Call> {
        let calls = self.simulator.ledger().calls.into_iter();
        calls
            .filter(|call| call.operation == operation && wanted(call))
            .collect()
    }

    /// Ends one guest's session, so that the route is proven and no breaker is half-open any more.
    pub(crate) async fn warm_up(&self) {
        self.simulator.add_guest(GuestSpec::active("warm-up"));
        self.terminate("warm-up", json!({})).await;
        self.settled("warm-up").await;
        self.simulator.reset_ledger();
    }

    /// How many writes of the operator's user there were of the status of that object since `position`.
    pub(crate) fn status_writes(&self, position: u64, resource: &str, name: &str) -> usize {
        let writes = self.writes_since(position).into_iter();
        writes
            .filter(|event| event.resource == resource && event.name == name && event.succeeded())
            .count()
    }

    /// The Events in the namespace.
    pub(crate) async fn event_objects(&self) -> Vec<Value> {
        let events: Api<Event> = Api::namespaced(self.client.clone(), &self.namespace);
        let events = events.list(&ListParams::default()).await.unwrap();
        events
            .iter()
            .map(|event| serde_json::to_value(event).unwrap())
            .collect()
    }

    /// The writes of the operator's user since `position`, that the server carried out.
    pub(crate) fn writes_since(&self, position: u64) -> Vec<AuditEvent> {
        let user = format!("system:serviceaccount:{}:guest-termination-operator", self.namespace);
        let events = self.cluster.audit_events_since(position).unwrap();
        events
            .into_iter()
            .filter(|event| event.user == user && event.is_write())
            .collect()
    }
}

/// The operator, in this process. Dropping it is a crash.
pub(crate) struct Operator {
    stopping: CancellationToken,
    task: Option<JoinHandle<()>>,
    pub(crate) audit: Lines,
}

impl Operator {
    /// Stops it as SIGTERM would.
    pub(crate) async fn stop(mut self) {
        self.stopping.cancel();
        self.task.take().unwrap().await.unwrap();
    }

    /// Ends it as `kill -9` would: whatever it was about to do is not done.
    pub(crate) async fn crash(mut self) {
        let task = self.task.take().unwrap();
        task.abort();
        assert!(task.await.unwrap_err().is_cancelled());
    }

    /// The audit lines, as JSON.
    pub(crate) fn lines(&self) -> Vec<Value> {
        self.audit.json()
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

/// Lines that were written.
#[derive(Clone, Default)]
pub(crate) struct Lines(Arc<Mutex<Vec<u8>>>);

impl Lines {
    pub(crate) fn json(&self) -> Vec<Value> {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        // After a line that could not be written, the next one begins on a line of its own.
        let lines = text.lines().filter(|line| !line.is_empty());
        lines.map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The condition of that type.
pub(crate) fn condition<'a>(object: &'a Value, type_: &str) -> &'a Value {
    let conditions = object["status"]["conditions"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    conditions
        .iter()
        .find(|condition| condition["type"] == type_)
        .unwrap_or(&Value::Null)
}

/// Status and reason of the condition of that type, as `True/Reason`.
pub(crate) fn verdict(object: &Value, type_: &str) -> String {
    let condition = condition(object, type_);
    match (condition["status"].as_str(), condition["reason"].as_str()) {
        (Some(status), Some(reason)) => format!("{status}/{reason}"),
        _ => "absent".to_owned(),
    }
}
