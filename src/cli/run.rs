//! `guest-termination-operator run`: the flags, and the real world behind the three seams.

use std::{net::SocketAddr, path::PathBuf, process::ExitCode, sync::Arc, time::Duration};

use anyhow::{Context, anyhow};
use clap::Args;
use ipnet::IpNet;
use prometheus_client::registry::Registry;
use rand::{TryRng, rngs::SysRng};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::{
    app::{self, Seams, Telemetry},
    clock::{SharedClock, SystemClock},
    cluster::{ClientOptions, connect},
    controller::settings::Settings,
    leadership::spans::Spans,
    telemetry::{
        audit::AuditLog,
        health::Health,
        logs::{self, LogFormat},
        metrics::Metrics,
        panics,
    },
    transport,
    webhook::guard::GuardPolicy,
};

use super::election::ElectionOptions;
/// How long the end of the process waits for workers that are held up.
const SHUTDOWN: Duration = Duration::from_secs(1);

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
    #[arg(long, env = "ALLOW_INSECURE_ENDPOINTS", default_missing_value = "true", value_parser = switch, num_args = 0..=1, require_equals = true, default_value_t = false)]
    allow_insecure_endpoints: bool,
    /// Allow webhooks that use http.
    #[arg(long, env = "WEBHOOK_ALLOW_HTTP", default_missing_value = "true", value_parser = switch, num_args = 0..=1, require_equals = true, default_value_t = false)]
    webhook_allow_http: bool,
    /// Allow webhooks to addresses of this network that are not public. May be given several times.
    #[arg(long = "webhook-allow-cidr", env = "WEBHOOK_ALLOW_CIDR", value_parser = networks)]
    webhook_allow_cidrs: Vec<Networks>,
    #[command(flatten)]
    election: ElectionOptions,
}

/// Networks, separated by commas. None in an empty text: an empty value in a Deployment means unset.
#[derive(Clone, Debug)]
struct Networks(Vec<IpNet>);

fn networks(text: &str) -> Result<Networks, String> {
    let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
    let parse = |part: &str| {
        part.parse()
            .map_err(|_| format!("{part:?} is not a network such as 10.0.0.0/8 or fd00::/8"))
    };
    parts.map(parse).collect::<Result<_, _>>().map(Networks)
}

/// A switch, as people write it in a Deployment. Empty means off.
pub(super) fn switch(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Ok(true),
        "" | "false" | "0" | "no" | "off" => Ok(false),
        other => Err(format!("{other:?} is neither true nor false")),
    }
}

impl Options {
    fn settings(&self) -> Settings {
        Settings {
            namespace: self.namespace.clone().filter(|namespace| !namespace.is_empty()),
            workers: self.workers.into(),
            allow_insecure_endpoints: self.allow_insecure_endpoints,
            guard: GuardPolicy::new(
                self.webhook_allow_cidrs
                    .iter()
                    .flat_map(|networks| networks.0.clone())
                    .collect(),
                self.webhook_allow_http,
            ),
            ..Settings::default()
        }
    }
}

/// Runs the operator until SIGTERM or SIGINT, and says how the process is to exit.
///
/// # Errors
/// What kept it from starting before there were logs. Whatever ends it later is the last line of the logs.
pub fn run(options: &Options) -> anyhow::Result<ExitCode> {
    // One provider for the whole process, chosen before anybody else could choose another.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let spans = options.election.spans()?;
    let clock = SystemClock::shared();
    let (metrics, registry) = Metrics::new(&clock);
    let _logs = logs::init(options.log_format, &options.log_filter, metrics.log_lines_dropped())?;
    panics::install(metrics.clone());
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("the runtime cannot be started")?;
    let ended = runtime.block_on(serve(options, spans, clock, metrics, registry));
    let code = match ended {
        Ok(()) => {
            tracing::info!("stopped");
            ExitCode::SUCCESS
        }
        Err(error) => {
            tracing::error!(error = format!("{error:#}"), "ended");
            ExitCode::FAILURE
        }
    };
    // A worker that a blocked write holds must not hold the end of the process.
    runtime.shutdown_timeout(SHUTDOWN);
    Ok(code)
}

async fn serve(
    options: &Options,
    spans: Spans,
    clock: SharedClock,
    metrics: Metrics,
    registry: Registry,
) -> anyhow::Result<()> {
    let health = Health::new();
    // Up before anything else: whoever probes must see why the operator is not ready.
    let mut server = health.serve(options.health_address, Arc::new(registry))?;
    tracing::info!(version = env!("CARGO_PKG_VERSION"), health = %server.local_address(), "starting");
    let stopping = CancellationToken::new();
    let asked_again = stop_on_signals(stopping.clone())?;
    let work = async {
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
        let leadership = options.election.leadership(spans, seams.kube.default_namespace());
        let settings = options.settings();
        Ok(app::run(settings, seams, telemetry, leadership, &instance(), stopping).await?)
    };
    tokio::select! {
        biased;
        ended = work => ended,
        ended = server.ended() => Err(ended.into()),
        () = asked_again => Err(anyhow!("asked to stop a second time; what was in flight is found out by the next start")),
    }
}

/// Cancels `stopping` at the first signal, and completes at the second one. Part of the main task: there is no listener
/// that could end without the operator.
fn stop_on_signals(stopping: CancellationToken) -> anyhow::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM cannot be listened for")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT cannot be listened for")?;
    let mut asked = async move || {
        tokio::select! {
            biased;
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    Ok(async move {
        asked().await;
        tracing::info!("asked to stop");
        stopping.cancel();
        asked().await;
    })
}

/// The pod's name, which Kubernetes gives as the host's name, too.
fn instance() -> String {
    ["POD_NAME", "HOSTNAME"]
        .iter()
        .find_map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
        .unwrap_or_else(|| "local".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use crate::cli::{Cli, Command};

    fn allowed(arguments: &[&str]) -> Result<(bool, bool, usize), String> {
        let all = ["guest-termination-operator", "run"].iter().chain(arguments);
        match Cli::try_parse_from(all).map_err(|error| error.to_string())?.command {
            Command::Run(options) => Ok((
                options.allow_insecure_endpoints,
                options.webhook_allow_http,
                options
                    .webhook_allow_cidrs
                    .iter()
                    .map(|networks| networks.0.len())
                    .sum(),
            )),
            Command::Crd { .. } => Err("another command".to_owned()),
        }
    }

    #[test]
    fn switches_and_networks_are_read_as_people_write_them() {
        assert_eq!(allowed(&[]), Ok((false, false, 0)));
        assert_eq!(
            allowed(&["--allow-insecure-endpoints", "--webhook-allow-http"]),
            Ok((true, true, 0))
        );
        assert_eq!(
            allowed(&["--allow-insecure-endpoints=1", "--webhook-allow-http="]),
            Ok((true, false, 0))
        );
        assert_eq!(allowed(&["--webhook-allow-cidr", ""]), Ok((false, false, 0)));
        let networks = [
            "--webhook-allow-cidr",
            "10.0.0.0/8, fd00::/8",
            "--webhook-allow-cidr",
            "127.0.0.0/8",
        ];
        assert_eq!(allowed(&networks), Ok((false, false, 3)));
        assert!(
            allowed(&["--webhook-allow-cidr", "10.0.0.0/64"])
                .unwrap_err()
                .contains("is not a network")
        );
        assert!(allowed(&["--allow-insecure-endpoints=perhaps"]).is_err());
    }
}
