//! A stage: a namespace with service account, rights, simulator, Secrets and connection, and the operator's processes.

mod waits;

use std::{
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, bail, ensure};
use control_plane::{AuditEvent, ControlPlane, Identity};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use guest_termination_operator::api::{GenesysConnection, GuestTermination, crds};
use k8s_openapi::{
    api::{core::v1::Secret, events::v1::Event},
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api, Client, ResourceExt as _,
    api::{ListParams, Patch, PatchParams, PostParams},
    runtime::{conditions, wait::await_condition},
};
use serde_json::{Value, json};
use simulator::{
    Simulator,
    api::{GuestSpec, LedgerFilter, Operation, Return, ReturnWhen, WebhookEndpoint},
};

use crate::{
    judge::{Evidence, Rules, Verdict, judge},
    operator::{Launch, Life, Operator, Program},
};

/// The key that signs the webhooks of a stage.
const SIGNING_KEY: &str = "whsec_Y2FuYXJ5LXNpZ25pbmcta2V5LWNhbmFyeS1zaWduaW5nLWtleQ==";
/// What no log may tell, and a name for each.
const SECRETS: [(&str, &str); 6] = [
    ("the client secret", simulator::CLIENT_SECRET),
    ("a client secret after a rotation", "canary-rotated"),
    ("a client secret after a rotation", "canary-secret-after"),
    ("the signing key", "Y2FuYXJ5LXNpZ25pbmcta2V5LWNhbmFyeS1zaWduaW5nLWtleQ"),
    ("the signing key, decoded", "canary-signing-key"),
    ("a token", "simulated-token-"),
];
/// The name of the service account, its role and its binding.
pub const OPERATOR: &str = "guest-termination-operator";
/// Objects that are created at the same time.
const CREATORS: usize = 8;
const ROLE: &str = include_str!("../../../../docs/install/rbac-namespace.yaml");

/// A namespace with everything that the operator needs, and the operator's processes.
pub struct Stage<'a> {
    /// The API server and its store.
    pub cluster: &'a ControlPlane,
    /// A client for the user `admin`.
    pub client: Client,
    /// The namespace, which is nobody else's.
    pub namespace: String,
    /// The vendor and the webhook receiver.
    pub simulator: Simulator,
    /// Who the operator is.
    pub identity: Identity,
    /// How the operator is started, unless a caller says otherwise.
    pub launch: Launch,
    /// What a minute may hold, by the connection `default`.
    pub allowance: u32,
    logs: PathBuf,
    starts: AtomicUsize,
    created: AtomicUsize,
    lives: Mutex<Vec<Life>>,
    /// Where the API server's audit log was when the stage was set.
    began: u64,
}

/// A control plane whose audit log holds what the operator wrote, as the judge needs it.
pub fn control_plane() -> control_plane::Builder {
    ControlPlane::builder().log_content_of("guestops.dev", "guestterminations/status")
}

/// Installs the kinds, and waits until they are served.
pub async fn install(cluster: &ControlPlane) -> anyhow::Result<()> {
    for crd in crds() {
        install_one(cluster, &crd).await?;
    }
    Ok(())
}

/// Installs or changes one kind, and waits until it is served.
pub async fn install_one(cluster: &ControlPlane, crd: &CustomResourceDefinition) -> anyhow::Result<()> {
    let api: Api<CustomResourceDefinition> = Api::all(cluster.admin_client().await?);
    let name = crd.name_any();
    api.patch(&name, &PatchParams::apply("chaos").force(), &Patch::Apply(crd))
        .await?;
    let established = await_condition(api, &name, conditions::is_crd_established());
    tokio::time::timeout(Duration::from_secs(60), established)
        .await
        .with_context(|| format!("{name} is not served after 60 s"))??;
    Ok(())
}

impl<'a> Stage<'a> {
    /// A stage with the connection `default`, which allows so many calls a minute. The kinds are installed.
    pub async fn set(
        cluster: &'a ControlPlane,
        program: &Program,
        prefix: &str,
        allowance: u32,
    ) -> anyhow::Result<Self> {
        let stage = Self::bare(cluster, program, prefix, allowance).await?;
        stage.connect(stage.connection()).await?;
        Ok(stage)
    }

    /// A stage without a connection, for clusters whose kinds are still missing.
    pub async fn bare(
        cluster: &'a ControlPlane,
        program: &Program,
        prefix: &str,
        allowance: u32,
    ) -> anyhow::Result<Self> {
        let began = cluster.audit_position();
        let client = cluster.admin_client().await?;
        let namespace = cluster.namespace(prefix).await?;
        let simulator = Simulator::start(simulator::Options::default()).await?;
        simulator.set_settings(simulator::api::Settings {
            requests_per_minute: None,
            ..simulator.settings()
        });
        simulator.set_webhook(&WebhookEndpoint::new("analytics", SIGNING_KEY))?;
        let account = json!({"apiVersion": "v1", "kind": "ServiceAccount",
            "metadata": {"name": OPERATOR, "namespace": namespace}});
        let role = ROLE.replace(&format!("namespace: {OPERATOR}"), &format!("namespace: {namespace}"));
        cluster
            .apply_yaml(&format!("{account}\n---\n{role}"), &namespace)
            .await?;
        let identity = cluster.service_account(&namespace, OPERATOR).await?;
        cluster
            .wait_until_allowed(
                &identity,
                "update",
                "guestops.dev",
                "guestterminations/status",
                &namespace,
            )
            .await?;
        let launch = Launch {
            program: program.clone(),
            kubeconfig: cluster.kubeconfig(&identity, &namespace)?,
            namespace: Some(namespace.clone()),
            log_filter: "info".to_owned(),
            watch_timeout: None,
            flags: Vec::new(),
        };
        // The namespace is nobody else's, so the folder is neither.
        let logs = cluster.data_dir().join(&namespace);
        std::fs::create_dir(&logs)?;
        let stage = Self {
            cluster,
            client,
            namespace,
            simulator,
            identity,
            launch,
            allowance,
            logs,
            starts: AtomicUsize::new(0),
            created: AtomicUsize::new(0),
            lives: Mutex::new(Vec::new()),
            began,
        };
        let credentials = [
            ("clientId", simulator::CLIENT_ID),
            ("clientSecret", simulator::CLIENT_SECRET),
        ];
        stage.secret("genesys", &credentials).await?;
        stage.secret("signing", &[("key", SIGNING_KEY)]).await?;
        Ok(stage)
    }

    /// The manifest of the connection `default`, to the simulator and with one webhook.
    pub fn connection(&self) -> Value {
        json!({
            "apiVersion": "guestops.dev/v1alpha1", "kind": "GenesysConnection",
            "metadata": {"name": "default", "namespace": self.namespace},
            "spec": {
                "api": "WebMessagingGuests",
                "endpoints": {"apiUrl": self.simulator.url(), "loginUrl": self.simulator.url()},
                "credentialsSecretRef": {"name": "genesys"},
                "rateLimit": {"requestsPerMinute": self.allowance, "maxInFlight": 20},
                "webhooks": [{"name": "analytics", "url": self.simulator.webhook_url("analytics"),
                              "signingSecretRef": {"name": "signing", "key": "key"}}],
            },
        })
    }

    /// Makes a connection.
    pub async fn connect(&self, connection: Value) -> anyhow::Result<()> {
        let connections: Api<GenesysConnection> = Api::namespaced(self.client.clone(), &self.namespace);
        connections
            .create(&PostParams::default(), &serde_json::from_value(connection)?)
            .await?;
        Ok(())
    }

    /// Writes a Secret, whether it is there or not.
    pub async fn secret(&self, name: &str, data: &[(&str, &str)]) -> anyhow::Result<()> {
        let data: serde_json::Map<_, _> = data
            .iter()
            .map(|(key, value)| ((*key).to_owned(), json!(value)))
            .collect();
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": data});
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), &self.namespace);
        secrets
            .patch(name, &PatchParams::apply("chaos").force(), &Patch::Apply(&secret))
            .await?;
        Ok(())
    }

    /// The terminations of the stage.
    pub fn terminations(&self) -> Api<GuestTermination> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Creates so many more objects, each for an active guest of its own. Every tenth guest comes back the moment it was
    /// ended, and every tenth a little later: whoever ends it once more ends somebody else's session.
    pub async fn create(&self, count: usize) -> anyhow::Result<()> {
        let first = self.created.fetch_add(count, Ordering::Relaxed);
        stream::iter(first..first + count)
            .map(Ok)
            .try_for_each_concurrent(CREATORS, |index| self.create_one(index))
            .await
    }

    /// How many objects were created.
    pub fn created(&self) -> usize {
        self.created.load(Ordering::Relaxed)
    }

    /// The name of the object, and its guest's id, that was created as the `index`th from 0.
    pub fn name_of(index: usize) -> String {
        format!("guest-{index}")
    }

    async fn create_one(&self, index: usize) -> anyhow::Result<()> {
        const REASONS: [&str; 3] = ["customer_initiated", "timeout", "bot_handoff"];
        let name = Self::name_of(index);
        let when = match index % 10 {
            0 => Some(ReturnWhen::Immediately),
            1 => Some(ReturnWhen::AfterMillis(300)),
            _ => None,
        };
        self.simulator.add_guest(GuestSpec {
            returns: when.map(|when| Return { when, times: 1 }),
            ..GuestSpec::active(&name)
        });
        let object = json!({
            "apiVersion": "guestops.dev/v1alpha1", "kind": "GuestTermination",
            "metadata": {"name": name, "namespace": self.namespace},
            "spec": {"guestId": name, "reason": REASONS[index % REASONS.len()], "retainData": index.is_multiple_of(2),
                     "externalRef": format!("case {index} & more"), "backoffLimit": 50},
        });
        let object = serde_json::from_value(object)?;
        // The server may be the one that is disturbed: what it did not take, it is told again.
        let deadline = tokio::time::Instant::now() + Duration::from_secs(120);
        loop {
            let last = match self.terminations().create(&PostParams::default(), &object).await {
                Ok(_) => return Ok(()),
                Err(kube::Error::Api(status)) if status.code == 409 => return Ok(()),
                Err(error) => error,
            };
            ensure!(
                tokio::time::Instant::now() < deadline,
                "{name} cannot be created: {last}"
            );
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    }

    /// Starts the operator.
    pub fn operate(&self) -> anyhow::Result<Operator> {
        self.operate_as(&self.launch)
    }

    /// Starts the operator otherwise than usual.
    pub fn operate_as(&self, launch: &Launch) -> anyhow::Result<Operator> {
        let number = self.starts.fetch_add(1, Ordering::Relaxed) + 1;
        Operator::start(launch, number, &self.logs)
    }

    /// Kills an operator, as `kill -9` does.
    pub async fn kill(&self, operator: Operator) -> anyhow::Result<()> {
        let life = operator.kill(&SECRETS).await?;
        self.bury(life);
        Ok(())
    }

    /// Asks an operator to end. Gives how long that took.
    pub async fn stop(&self, operator: Operator) -> anyhow::Result<Duration> {
        let asked = tokio::time::Instant::now();
        let life = operator.stop(Duration::from_secs(30), &SECRETS).await?;
        ensure!(life.succeeded, "asked to stop, it ended with {}", life.ending);
        self.bury(life);
        Ok(asked.elapsed())
    }

    fn bury(&self, life: Life) {
        self.lives.lock().unwrap_or_else(PoisonError::into_inner).push(life);
    }

    /// The folder of the operator's logs. Others may write to it under names of their own.
    pub fn folder(&self) -> &Path {
        &self.logs
    }

    /// How many calls of that kind there were.
    pub fn calls(&self, operation: Operation) -> usize {
        let filter = LedgerFilter {
            guest: None,
            operation: Some(operation),
        };
        let ledger = self.simulator.ledger_of(&filter);
        ledger.calls.len() + ledger.webhooks.len()
    }

    /// Requests of the operator's user since a position in the audit log, or since the stage was set.
    pub fn requests_since(&self, position: Option<u64>) -> anyhow::Result<Vec<AuditEvent>> {
        let user = format!("system:serviceaccount:{}:{OPERATOR}", self.namespace);
        let events = self.cluster.audit_events_since(position.unwrap_or(self.began))?;
        Ok(events.into_iter().filter(|event| event.user == user).collect())
    }

    /// Everything that can be held against the operator, and what follows from it. Every operator must have ended.
    pub async fn judge(&self, rules: &Rules) -> anyhow::Result<Verdict> {
        let objects = self.terminations().list(&ListParams::default()).await?.items;
        let events: Api<Event> = Api::namespaced(self.client.clone(), &self.namespace);
        let connections: Api<GenesysConnection> = Api::namespaced(self.client.clone(), &self.namespace);
        let told = [
            ("an object", serde_json::to_string(&objects)?),
            (
                "an Event",
                serde_json::to_string(&events.list(&ListParams::default()).await?.items)?,
            ),
            (
                "the connection",
                serde_json::to_string(&connections.list(&ListParams::default()).await?.items)?,
            ),
        ];
        let mut leaks = Vec::new();
        for (place, text) in &told {
            let found = SECRETS.iter().filter(|(_, secret)| text.contains(secret));
            leaks.extend(found.map(|(name, _)| format!("{place} tells {name}")));
        }
        let lives = self.lives.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let evidence = Evidence {
            expected: self.created(),
            objects,
            ledger: self.simulator.ledger(),
            requests: self.requests_since(None)?,
            lives,
            leaks,
        };
        let rules = Rules {
            allowance: rules.allowance.or(Some(self.allowance.into())),
            ..rules.clone()
        };
        let verdict = judge(&evidence, &rules)?;
        if verdict.violations.is_empty() {
            return Ok(verdict);
        }
        let list: Vec<_> = verdict.violations.iter().take(20).map(ToString::to_string).collect();
        bail!(
            "{} promises were broken:\n{}",
            verdict.violations.len(),
            list.join("\n")
        )
    }
}
