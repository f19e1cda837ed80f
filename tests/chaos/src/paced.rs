//! The operator with watches that end sooner than in production, so that a test need not wait for a minute. Everything
//! else is as `main` builds it.

use std::{net::SocketAddr, path::PathBuf, sync::Arc};

use clap::Args;
use guest_termination_operator::{
    app::{self, Seams, Telemetry},
    clock::SystemClock,
    cluster::{ClientOptions, connect},
    controller::settings::{Leadership, Pacing, Settings},
    telemetry::{
        audit::AuditLog,
        health::Health,
        logs::{self, LogFormat},
        metrics::Metrics,
    },
    transport,
    webhook::guard::GuardPolicy,
};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

#[derive(Debug, Args)]
pub(crate) struct Options {
    #[arg(long)]
    kubeconfig: PathBuf,
    #[arg(long)]
    namespace: Option<String>,
    /// In seconds.
    #[arg(long)]
    watch_timeout: u32,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    // An error means that there is one already, which is as well.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    crate::runtime()?.block_on(serve(options))
}

async fn serve(options: &Options) -> anyhow::Result<()> {
    let clock = SystemClock::shared();
    let (metrics, registry) = Metrics::new(&clock);
    let _logs = logs::init(LogFormat::Json, logs::DEFAULT_FILTER, metrics.log_lines_dropped())?;
    let health = Health::new();
    let server = health.serve(SocketAddr::from(([127, 0, 0, 1], 0)), Arc::new(registry))?;
    tracing::info!(health = %server.local_address(), "starting");
    let stopping = CancellationToken::new();
    let (mut terminate, asked) = (signal(SignalKind::terminate())?, stopping.clone());
    tokio::spawn(async move {
        terminate.recv().await;
        asked.cancel();
    });
    let client = ClientOptions {
        kubeconfig: Some(options.kubeconfig.clone()),
        context: None,
    };
    let settings = Settings {
        namespace: options.namespace.clone(),
        allow_insecure_endpoints: true,
        guard: GuardPolicy::new(vec!["127.0.0.0/8".parse()?], true),
        pacing: Pacing {
            watch_timeout_seconds: options.watch_timeout,
            ..Pacing::default()
        },
        ..Settings::default()
    };
    let seams = Seams {
        kube: connect(&client, clock.clone()).await?,
        http: transport::reqwest::service(),
        seed: std::process::id().into(),
        clock,
    };
    let telemetry = Telemetry {
        audit: AuditLog::stdout(),
        metrics,
        health,
    };
    Ok(app::run(settings, seams, telemetry, Leadership::alone(), "paced", stopping).await?)
}
