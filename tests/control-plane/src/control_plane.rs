//! A running etcd and kube-apiserver, and what is to be had from them.

use crate::audit::AuditEvent;
use crate::certificates::{Authority, write_private};
use crate::data_dir::DataDir;
use crate::identity::Identity;
use crate::output::Output;
use crate::process::Process;
use crate::program::Program;
use crate::start::{self, Wishes};
use anyhow::{Context, bail};
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec};
use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use kube::api::{Api, ObjectMeta, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use tokio::sync::OnceCell;

/// How long a token of a service account is valid: longer than any test or demo.
const TOKEN_SECONDS: i64 = 24 * 3600;
/// How long a new role may take to count; on a quiet machine it is some milliseconds.
const ALLOWED_WITHIN: Duration = Duration::from_secs(20);
/// How long a store may take to read what it left; it is milliseconds for the small ones that are here.
const STORE_WITHIN: Duration = Duration::from_secs(60);

/// A running etcd and kube-apiserver with their own ports, data and certificates; RBAC and the audit log are on.
///
/// There are no controllers: a namespace has no service accounts but those that are made, a deleted namespace stays,
/// and the roles that others are gathered into (`view`, `edit`, `admin`) are empty. A test gives its own roles.
///
/// It belongs to no async runtime. It ends, and its data is removed, when it is dropped or stopped, and when this
/// process ends, however that happens.
#[derive(Debug)]
pub struct ControlPlane {
    // In the order in which they have to go.
    apiserver: RwLock<Arc<Process>>,
    etcd: RwLock<Arc<Process>>,
    authority: Authority,
    port: u16,
    url: String,
    admin_kubeconfig: PathBuf,
    programs: Vec<(Program, PathBuf)>,
    wishes: Wishes,
    files: AtomicUsize,
    data: DataDir,
}

/// How a control plane is to be started.
#[derive(Debug, Default)]
pub struct Builder {
    data_dir: Option<PathBuf>,
    wishes: Wishes,
}

impl Builder {
    /// Keeps data, logs and kubeconfigs in this folder, which must be empty or not exist, and leaves it there at the
    /// end. Without it they are in a temporary folder that is removed. The API server's store listens at a socket in
    /// it, so its path must be shorter than 80 bytes.
    pub fn data_dir(mut self, folder: impl Into<PathBuf>) -> Self {
        self.data_dir = Some(folder.into());
        self
    }

    /// Writes of this resource (such as `guestterminations/status`; `group` is its API group) are in the audit log with
    /// what was to be stored: [`AuditEvent::content`].
    pub fn log_content_of(mut self, group: &str, resource: &str) -> Self {
        self.wishes.logged_content = Some((group.to_owned(), resource.to_owned()));
        self
    }

    /// The store waits for the disk with each write, as one must that is killed.
    pub fn durable(mut self) -> Self {
        self.wishes.durable = true;
        self
    }

    /// The store refuses writes once it has so many bytes, until it was compacted, defragmented and its alarm
    /// disarmed (<https://etcd.io/docs/v3.6/op-guide/maintenance/#space-quota>).
    pub fn quota_bytes(mut self, bytes: u64) -> Self {
        self.wishes.quota_bytes = Some(bytes);
        self
    }

    /// Starts it, after building the programs if that is needed, and waits until it is ready.
    pub async fn start(self) -> anyhow::Result<ControlPlane> {
        let programs = tokio::task::spawn_blocking(|| {
            Program::BASE
                .into_iter()
                .map(|program| Ok((program, program.path()?)))
                .collect::<anyhow::Result<Vec<_>>>()
        })
        .await??;
        let data = DataDir::new(self.data_dir)?;
        let started = start::start(&programs, data.path(), &self.wishes, start::free_port).await?;
        let url = start::url(started.port);
        let kubeconfig = Identity::admin().kubeconfig(&started.authority, &url, "default")?;
        let admin_kubeconfig = data.path().join("admin.kubeconfig");
        write_private(&admin_kubeconfig, &kubeconfig.to_string())?;
        Ok(ControlPlane {
            apiserver: RwLock::new(Arc::new(started.apiserver)),
            etcd: RwLock::new(Arc::new(started.etcd)),
            authority: started.authority,
            port: started.port,
            url,
            admin_kubeconfig,
            programs,
            wishes: self.wishes,
            files: AtomicUsize::new(0),
            data,
        })
    }
}

impl ControlPlane {
    /// A control plane that is to be started otherwise than [`ControlPlane::start`] does.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Starts one in a temporary folder.
    pub async fn start() -> anyhow::Result<Self> {
        Self::builder().start().await
    }

    /// The one of this process, started by whoever asks first. For tests that run beside each other, each with a
    /// runtime and a [`ControlPlane::namespace`] of its own. If it could not be started, everybody gets that error.
    pub async fn shared() -> anyhow::Result<&'static Self> {
        static SHARED: OnceCell<Result<ControlPlane, String>> = OnceCell::const_new();
        let shared = SHARED
            .get_or_init(|| async { Self::start().await.map_err(|error| format!("{error:#}")) })
            .await;
        shared
            .as_ref()
            .map_err(|error| anyhow::anyhow!("the control plane of the tests: {error}"))
    }

    /// The address of the API server.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The certificate by which the API server is known, as PEM.
    pub fn ca(&self) -> &str {
        self.authority.pem()
    }

    /// The folder of data, logs and kubeconfigs. Others may write to it under names that they make unique.
    pub fn data_dir(&self) -> &Path {
        self.data.path()
    }

    /// A kubeconfig for the user `admin`.
    pub fn admin_kubeconfig(&self) -> &Path {
        &self.admin_kubeconfig
    }

    /// Where a program is that every control plane uses ([`Program::BASE`]); the bare name of any other.
    pub(crate) fn program(&self, wanted: Program) -> &Path {
        let found = self.programs.iter().find(|(program, _)| *program == wanted);
        found.map_or(Path::new(wanted.name()), |(_, path)| path.as_path())
    }

    /// Writes a kubeconfig to a new file in the data folder, for programs that are started beside us.
    pub fn kubeconfig(&self, identity: &Identity, namespace: &str) -> anyhow::Result<PathBuf> {
        self.kubeconfig_for(&self.url, identity, namespace)
    }

    /// The same for another address, such as that of a proxy before the API server; `http://` too.
    pub fn kubeconfig_for(&self, url: &str, identity: &Identity, namespace: &str) -> anyhow::Result<PathBuf> {
        let kubeconfig = identity.kubeconfig(&self.authority, url, namespace)?;
        let number = self.files.fetch_add(1, Ordering::Relaxed);
        let path = self.data_dir().join(format!("{number}.kubeconfig"));
        write_private(&path, &kubeconfig.to_string())?;
        Ok(path)
    }

    /// A client that shows each answer as it was given: it does not try again by itself. It lives in the runtime that
    /// it is made in, so make one for each test.
    pub async fn client(&self, identity: &Identity) -> anyhow::Result<kube::Client> {
        client(&self.authority, &self.url, identity).await
    }

    /// A client for the user `admin`.
    pub async fn admin_client(&self) -> anyhow::Result<kube::Client> {
        self.client(&Identity::admin()).await
    }

    /// A token of an existing service account, valid for a day.
    pub async fn service_account_token(&self, namespace: &str, name: &str) -> anyhow::Result<String> {
        let spec = TokenRequestSpec {
            expiration_seconds: Some(TOKEN_SECONDS),
            ..TokenRequestSpec::default()
        };
        let request = TokenRequest {
            metadata: ObjectMeta::default(),
            spec,
            status: None,
        };
        let api: Api<ServiceAccount> = Api::namespaced(self.admin_client().await?, namespace);
        let answer = api
            .create_token_request(name, &PostParams::default(), &request)
            .await
            .with_context(|| format!("cannot get a token of the service account {namespace}/{name}"))?;
        Ok(answer
            .status
            .context("a token request was answered without a token")?
            .token)
    }

    /// An existing service account.
    pub async fn service_account(&self, namespace: &str, name: &str) -> anyhow::Result<Identity> {
        self.service_account_token(namespace, name).await.map(Identity::Token)
    }

    /// Waits until RBAC lets an identity do something. The API server learns of a new role or binding from its own
    /// watch, a moment after the role was applied. `group` is empty for the core group. An error after 20 s.
    pub async fn wait_until_allowed(
        &self,
        identity: &Identity,
        verb: &str,
        group: &str,
        resource: &str,
        namespace: &str,
    ) -> anyhow::Result<()> {
        let attributes = ResourceAttributes {
            verb: Some(verb.to_owned()),
            group: Some(group.to_owned()),
            resource: Some(resource.to_owned()),
            namespace: Some(namespace.to_owned()),
            ..ResourceAttributes::default()
        };
        let spec = SelfSubjectAccessReviewSpec {
            resource_attributes: Some(attributes),
            non_resource_attributes: None,
        };
        let review = SelfSubjectAccessReview {
            spec,
            ..SelfSubjectAccessReview::default()
        };
        let api: Api<SelfSubjectAccessReview> = Api::all(self.client(identity).await?);
        let deadline = tokio::time::Instant::now() + ALLOWED_WITHIN;
        loop {
            let answer = api.create(&PostParams::default(), &review).await?;
            if answer.status.is_some_and(|status| status.allowed) {
                return Ok(());
            }
            if tokio::time::Instant::now() >= deadline {
                bail!("RBAC does not let {identity:?} {verb} {resource} in {namespace}");
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Creates a namespace whose name begins with `prefix` and is nobody else's.
    pub async fn namespace(&self, prefix: &str) -> anyhow::Result<String> {
        let metadata = ObjectMeta {
            generate_name: Some(format!("{prefix}-")),
            ..ObjectMeta::default()
        };
        let namespace = Namespace {
            metadata,
            ..Namespace::default()
        };
        let api: Api<Namespace> = Api::all(self.admin_client().await?);
        let created = api.create(&PostParams::default(), &namespace).await?;
        created.metadata.name.context("a namespace was created without a name")
    }

    /// How far the audit log goes now, in bytes, for [`ControlPlane::audit_events_since`].
    pub fn audit_position(&self) -> u64 {
        self.audit_log(0).end()
    }

    /// All requests that were answered so far, in the order of their answers.
    pub fn audit_events(&self) -> anyhow::Result<Vec<AuditEvent>> {
        self.audit_events_since(0)
    }

    /// The requests whose answers were logged after `position`, which is from [`ControlPlane::audit_position`]. The
    /// log is written before a short answer leaves; a long answer, or a watch, is logged when it ends.
    pub fn audit_events_since(&self, position: u64) -> anyhow::Result<Vec<AuditEvent>> {
        self.audit_log(position)
            .next_lines()
            .iter()
            .filter_map(|line| AuditEvent::parse(line).transpose())
            .collect()
    }

    fn audit_log(&self, position: u64) -> Output {
        Output::from(&start::audit_log(self.data_dir()), position)
    }

    /// The API server, to look at its output or to disturb it. One that was ended can be
    /// [started again](ControlPlane::start_apiserver).
    pub fn apiserver(&self) -> Arc<Process> {
        Arc::clone(&self.apiserver.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The store of the API server. It is to be killed only if it is [durable](Builder::durable), and can be
    /// [started again](ControlPlane::start_etcd) then.
    pub fn etcd(&self) -> Arc<Process> {
        Arc::clone(&self.etcd.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Starts the API server again, at the same address and on the same data, after it was ended, and waits until it is
    /// ready.
    pub async fn start_apiserver(&self) -> anyhow::Result<()> {
        if self.apiserver().exit_status().is_none() {
            bail!("the API server still runs");
        }
        let started = Arc::new(start::spawn_apiserver(&self.programs, self.data_dir(), self.port)?);
        *self.apiserver.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&started);
        if !start::wait_until_ready(&started, &self.etcd(), &self.authority, &self.url).await? {
            bail!("somebody took the port {} of the API server meanwhile", self.port);
        }
        Ok(())
    }

    /// Starts the store again, on the same data, after it was ended, and waits until it answers. The API server finds it
    /// by itself.
    pub async fn start_etcd(&self) -> anyhow::Result<()> {
        if self.etcd().exit_status().is_none() {
            bail!("the store still runs");
        }
        let started = Arc::new(start::spawn_etcd(&self.programs, self.data_dir(), &self.wishes)?);
        *self.etcd.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&started);
        let deadline = tokio::time::Instant::now() + STORE_WITHIN;
        while let Err(error) = self.ask_etcd("/v3/maintenance/status", &serde_json::json!({})).await {
            if started.exit_status().is_some() || tokio::time::Instant::now() >= deadline {
                return Err(error.context(format!("etcd did not come back{}", started.tail())));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    /// Kills both and removes the data, unless it is in a folder that the caller chose.
    pub async fn stop(self) -> anyhow::Result<()> {
        // Nothing of it is kept, so neither needs the time to end in good order.
        self.apiserver().kill_9().await?;
        self.etcd().kill_9().await?;
        Ok(())
    }

    /// Lets both run on when this process ends. Their ids are written to the data folder, which stays:
    /// [`stop_detached`](crate::stop_detached) with that folder ends them. Gives the folder.
    pub fn detach(self) -> anyhow::Result<PathBuf> {
        let folder = self.data.keep();
        for process in [self.apiserver, self.etcd] {
            let process = process.into_inner().unwrap_or_else(PoisonError::into_inner);
            let process = Arc::into_inner(process).context("somebody else holds a program of the control plane")?;
            process.detach(&folder)?;
        }
        Ok(folder)
    }
}

pub(crate) async fn client(authority: &Authority, url: &str, identity: &Identity) -> anyhow::Result<kube::Client> {
    // An error means that somebody has installed one before, which is as well.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let kubeconfig: Kubeconfig = serde_json::from_value(identity.kubeconfig(authority, url, "default")?)?;
    let mut config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    config.default_retry = false;
    config.connect_timeout = Some(Duration::from_secs(10));
    Ok(kube::Client::try_from(config)?)
}
