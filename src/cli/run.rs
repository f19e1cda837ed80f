//! `guest-termination-operator run`: the flags, and the real world behind the three seams.

use std::{net::SocketAddr, path::PathBuf, sync::Arc};

use anyhow::Context;
use clap::Args;
use ipnet::IpNet;
use rand::{TryRng, rngs::SysRng};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::{
    app::{self, Seams, Telemetry},
    clock::SystemClock,
    cluster::{ClientOptions, connect},
    controller::settings::{Leadership, Settings},
    telemetry::{
        audit::AuditLog,
        health::Health,
        logs::{self, LogFormat},
        metrics::Metrics,
    },
    transport,
    webhook::guard::GuardPolicy,
};

/// The flags of `run`.
#[derive(Args, Debug)]
pub struct Options {
    /// A kubeconfig file. Unset: KUBECONFIG, else the pod's service account, else ~/.kube/config.
    #[arg(long)]
    kubeconfig: Option<PathBuf>,
    /// A context of the kubeconfig. Unset: its current context.
    #[arg(long)]
    context: Option<String>,
    /// Watch this namespace only. Unset: all namespaces.
    #[arg(long, env = "WATCH_NAMESPACE")]
    namespace: Option<String>,
    /// Where /livez, /readyz and /metrics are answered.
    #[arg(long, env = "HEALTH_ADDRESS", default_value = "0.0.0.0:8080")]
    health_address: SocketAddr,
    /// The format of the logs: json or text. Audit lines are always JSON.
    #[arg(long, env = "LOG_FORMAT", default_value_t = LogFormat::Json)]
    log_format: LogFormat,
    /// Which logs are written, for example info or debug,hyper=warn.
    #[arg(long, env = "LOG_FILTER", default_value = logs::DEFAULT_FILTER)]
    log_filter: String,
    /// Terminations that are worked on at the same time.
    #[arg(long, env = "WORKERS", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=1024))]
    workers: u16,
    /// Allow connections that use http, to loopback addresses and Services of the cluster.
    #[arg(long, env = "ALLOW_INSECURE_ENDPOINTS")]
    allow_insecure_endpoints: bool,
    /// Allow webhooks that use http.
    #[arg(long, env = "WEBHOOK_ALLOW_HTTP")]
    webhook_allow_http: bool,
    /// Allow webhooks to addresses of this network that are not public. May be given several times.
    #[arg(long = "webhook-allow-cidr", env = "WEBHOOK_ALLOW_CIDR", value_delimiter = ',')]
    webhook_allow_cidrs: Vec<IpNet>,
}

impl Options {
    fn settings(&self) -> Settings {
        Settings {
            namespace: self.namespace.clone().filter(|namespace| !namespace.is_empty()),
            workers: self.workers.into(),
            allow_insecure_endpoints: self.allow_insecure_endpoints,
            guard: GuardPolicy::new(self.webhook_allow_cidrs.clone(), self.webhook_allow_http),
            ..Settings::default()
        }
    }
}

/// Runs the operator until SIGTERM or SIGINT.
///
/// # Errors
/// What kept it from starting, or made it end, as a sentence with what to do.
pub fn run(options: &Options) -> anyhow::Result<()> {
    // One provider for the whole process, chosen before anybody else could choose another.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("the runtime cannot be started")?
        .block_on(serve(options))
}

async fn serve(options: &Options) -> anyhow::Result<()> {
    let clock = SystemClock::shared();
    let (metrics, registry) = Metrics::new(&clock);
    let _logs = logs::init(options.log_format, &options.log_filter, metrics.log_lines_dropped())?;
    let health = Health::new();
    // Up before anything else: whoever probes must see why the operator is not ready.
    let server = health.serve(options.health_address, Arc::new(registry))?;
    tracing::info!(version = env!("CARGO_PKG_VERSION"), health = %server.local_address(), "starting");
    let stopping = CancellationToken::new();
    stop_on_signals(stopping.clone())?;
    let client = ClientOptions {
        kubeconfig: options.kubeconfig.clone(),
        context: options.context.clone(),
    };
    let seams = Seams {
        kube: connect(&client, clock.clone()).await?,
        http: transport::reqwest::service(),
        seed: SysRng
            .try_next_u64()
            .context("the machine's random numbers cannot be had")?,
        clock,
    };
    let telemetry = Telemetry {
        audit: AuditLog::stdout(),
        metrics,
        health,
    };
    let instance = instance();
    let ended = app::run(
        options.settings(),
        seams,
        telemetry,
        Leadership::alone(),
        &instance,
        stopping,
    )
    .await;
    match &ended {
        Ok(()) => tracing::info!("stopped"),
        Err(error) => tracing::error!(%error, "ended"),
    }
    Ok(ended?)
}

fn stop_on_signals(stopping: CancellationToken) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM cannot be listened for")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT cannot be listened for")?;
    tokio::spawn(async move {
        tokio::select! {
            biased;
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("asked to stop");
        stopping.cancel();
    });
    Ok(())
}

/// The pod's name, which Kubernetes gives as the host's name, too.
fn instance() -> String {
    ["POD_NAME", "HOSTNAME"]
        .iter()
        .find_map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
        .unwrap_or_else(|| "local".to_owned())
}
