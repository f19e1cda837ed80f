//! The operator: the real program, as a process of its own and as its own service account.

use crate::place;
use anyhow::bail;
use control_plane::Process;
use serde_json::Value;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// How long the operator may take to say where its probes are, which it does first of all.
const START_WITHIN: Duration = Duration::from_secs(20);
/// How long it may take to be ready.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// How long it may take to end: it finishes the calls in flight first, which it gives 20 s.
pub(crate) const GRACE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(200);

/// A running operator.
#[derive(Debug)]
pub(crate) struct Operator {
    pub(crate) process: Process,
    /// Where its probes and metrics are.
    pub(crate) url: String,
}

impl Operator {
    /// Starts it with a kubeconfig; `namespace` is the only one to watch, `None` stands for all.
    pub(crate) async fn start(kubeconfig: &Path, namespace: Option<&str>, folder: &Path) -> anyhow::Result<Self> {
        let mut command = Command::new(place::program("guest-termination-operator")?);
        command.arg("run").arg("--kubeconfig").arg(kubeconfig);
        if let Some(namespace) = namespace {
            command.args(["--namespace", namespace]);
        }
        command
            .args(["--health-address", "127.0.0.1:0", "--log-format", "json"])
            // The simulator is on this machine and speaks plain http. No cluster needs any of these.
            .args(["--allow-insecure-endpoints", "--webhook-allow-http"])
            .args(["--webhook-allow-cidr", "127.0.0.0/8"])
            // What the user's environment sets is meant for another one.
            .env_remove("WATCH_NAMESPACE")
            .env_remove("POD_NAMESPACE");
        let process = Process::spawn("operator", &command, folder)?;
        let line = process
            .wait_for_line(|line| health_address(line).is_some(), START_WITHIN)
            .await?;
        let url = format!("http://{}", health_address(&line).unwrap_or_default());
        Ok(Self { process, url })
    }

    /// Waits until it says that it is ready.
    pub(crate) async fn ready(&self) -> anyhow::Result<()> {
        let http = reqwest::Client::builder()
            .no_proxy()
            .timeout(Duration::from_secs(5))
            .build()?;
        let url = format!("{}/readyz", self.url);
        let deadline = tokio::time::Instant::now() + READY_WITHIN;
        loop {
            let last = match http.get(&url).send().await {
                Ok(answer) if answer.status().is_success() => return Ok(()),
                Ok(answer) => format!("{} {}", answer.status(), answer.text().await.unwrap_or_default()),
                Err(error) => error.to_string(),
            };
            if let Some(status) = self.process.exit_status() {
                bail!("the operator ended ({status}) before it was ready");
            }
            if tokio::time::Instant::now() >= deadline {
                bail!("the operator is not ready after {READY_WITHIN:?} ({url}: {last})");
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Its audit lines.
    pub(crate) fn audit(&self) -> Vec<String> {
        let mut lines = self.process.stdout();
        lines.retain(|line| line.contains("session_termination_audit"));
        lines
    }
}

/// The address that the first line of its log tells: it took a free port.
fn health_address(line: &str) -> Option<String> {
    let line: Value = serde_json::from_str(line).ok()?;
    Some(line.pointer("/health")?.as_str()?.to_owned())
}
