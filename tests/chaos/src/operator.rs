//! The operator as a process of its own, and what is left of it when it has ended.

use std::{
    path::{Path, PathBuf},
    process::{Command, ExitStatus},
    time::Duration,
};

use anyhow::{Context, bail};
use control_plane::Process;
use k8s_openapi::jiff::Timestamp;
use serde_json::Value;

/// How long the operator may take to say where its probes are, which it does first of all.
const START_WITHIN: Duration = Duration::from_secs(60);

/// The program that is started as the operator.
#[derive(Clone, Debug)]
pub struct Program {
    path: PathBuf,
    /// It is this crate's own program, which holds the operator under a subcommand.
    own: bool,
}

impl Program {
    /// This crate's program at `path`: its subcommand `operator` is the operator's `main`, built from the same sources.
    pub fn own(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            own: true,
        }
    }

    /// A build of the operator itself, such as a released one.
    pub fn built(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            own: false,
        }
    }
}

/// How a process of the operator is started.
#[derive(Clone, Debug)]
pub struct Launch {
    /// What is started.
    pub program: Program,
    /// How it reaches the API server.
    pub kubeconfig: PathBuf,
    /// The namespace that it watches; all if `None`.
    pub namespace: Option<String>,
    /// Which logs it writes.
    pub log_filter: String,
    /// How long the server keeps its watches open, in seconds, if not as long as in production. Only this crate's own
    /// program can do that.
    pub watch_timeout: Option<u32>,
    /// Further flags. With a watch timeout there are none, and the operator is alone.
    pub flags: Vec<String>,
}

impl Launch {
    fn command(&self) -> anyhow::Result<Command> {
        let mut command = Command::new(&self.program.path);
        match (self.program.own, self.watch_timeout) {
            (true, None) => {
                command.args(["operator", "run"]);
            }
            (true, Some(seconds)) => {
                command.args(["paced", "--watch-timeout", &seconds.to_string()]);
            }
            (false, None) => {
                command.arg("run");
            }
            (false, Some(_)) => bail!("only chaos's own program takes a watch timeout"),
        }
        command.arg("--kubeconfig").arg(&self.kubeconfig);
        if let Some(namespace) = &self.namespace {
            command.args(["--namespace", namespace]);
        }
        if self.watch_timeout.is_none() {
            command
                .args(["--health-address", "127.0.0.1:0", "--log-filter", &self.log_filter])
                // The simulator is on this machine and speaks plain http.
                .args(["--allow-insecure-endpoints", "--webhook-allow-http"])
                .args(["--webhook-allow-cidr", "127.0.0.0/8"])
                .args(&self.flags);
        }
        // What the user's environment sets is meant for another one.
        command.env_remove("WATCH_NAMESPACE");
        Ok(command)
    }
}

/// A running operator.
#[derive(Debug)]
pub struct Operator {
    /// The process.
    pub process: Process,
    number: usize,
}

/// One process of the operator that has ended, and what it told.
#[derive(Clone, Debug)]
pub struct Life {
    /// Which, counted from 1.
    pub number: usize,
    /// Somebody killed it with SIGKILL.
    pub killed: bool,
    /// When it was certainly gone.
    pub gone: Timestamp,
    /// How it ended, in words.
    pub ending: String,
    /// Whether it ended with exit code 0.
    pub succeeded: bool,
    /// Its audit lines.
    pub audit: Vec<Value>,
    /// Lines of its standard output that are no audit lines. There should be none.
    pub strange: Vec<String>,
    /// The secrets that were found in anything that it wrote, by the names that were given to them.
    pub leaks: Vec<String>,
}

impl Operator {
    /// Starts the `number`th process of the operator; it writes to `folder`.
    pub fn start(launch: &Launch, number: usize, folder: &Path) -> anyhow::Result<Self> {
        let process = Process::spawn(&format!("operator-{number}"), &launch.command()?, folder)?;
        Ok(Self { process, number })
    }

    /// Its audit lines so far.
    pub fn audit(&self) -> Vec<Value> {
        parsed(&self.process.stdout()).0
    }

    /// Status and body of a path of its health port.
    pub async fn probe(&self, path: &str) -> anyhow::Result<(u16, String)> {
        let health = |line: &str| -> Option<String> {
            let line: Value = serde_json::from_str(line).ok()?;
            Some(line.pointer("/health")?.as_str()?.to_owned())
        };
        let line = self
            .process
            .wait_for_line(|line| health(line).is_some(), START_WITHIN)
            .await?;
        let url = format!("http://{}{path}", health(&line).unwrap_or_default());
        let http = reqwest::Client::builder()
            .no_proxy()
            .timeout(Duration::from_secs(10))
            .build()?;
        let answer = http.get(url).send().await?;
        Ok((answer.status().as_u16(), answer.text().await?))
    }

    /// Waits until `/readyz` answers as `wanted` says. Gives its last body; an error if the process ends before.
    pub async fn readiness(&self, wanted: impl Fn(u16, &str) -> bool, within: Duration) -> anyhow::Result<String> {
        let deadline = tokio::time::Instant::now() + within;
        loop {
            let (status, body) = self.probe("/readyz").await?;
            if wanted(status, &body) {
                return Ok(body);
            }
            if let Some(ended) = self.process.exit_status() {
                bail!("the operator ended ({ended}){}", self.process.tail());
            }
            if tokio::time::Instant::now() >= deadline {
                bail!("/readyz did not come to that within {within:?}; it answers {status} {body}");
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Waits until it says that it works.
    pub async fn ready(&self) -> anyhow::Result<()> {
        self.readiness(|status, _| status == 200, Duration::from_secs(60))
            .await
            .map(drop)
    }

    /// Waits for a line of its log.
    pub async fn says(&self, words: &str, within: Duration) -> anyhow::Result<String> {
        self.process.wait_for_line(|line| line.contains(words), within).await
    }

    /// Kills it as `kill -9` does.
    pub async fn kill(self, secrets: &[(&str, &str)]) -> anyhow::Result<Life> {
        // One that ended before by itself was not killed by us: it must not hide behind it.
        let by_itself = self.process.exit_status().is_some();
        let status = self.process.kill_9().await?;
        Ok(self.obituary(status, !by_itself, secrets))
    }

    /// Asks it to end, and waits until it has. An error if it takes longer than `within`.
    pub async fn stop(self, within: Duration, secrets: &[(&str, &str)]) -> anyhow::Result<Life> {
        self.process
            .signal(control_plane::Signal::TERM)
            .with_context(|| format!("the operator ended by itself{}", self.process.tail()))?;
        let status = self.process.wait_exit(within).await?;
        Ok(self.obituary(status, false, secrets))
    }

    fn obituary(self, status: ExitStatus, killed: bool, secrets: &[(&str, &str)]) -> Life {
        let gone = Timestamp::now();
        let (stdout, stderr) = (self.process.stdout(), self.process.stderr());
        let (audit, mut strange) = parsed(&stdout);
        if killed && stdout.last().map(String::as_str) == strange.last().map(String::as_str) {
            // The line that it was just writing.
            strange.pop();
        }
        let told = |secret: &str| stdout.iter().chain(&stderr).any(|line| line.contains(secret));
        let leaks = secrets.iter().filter(|(_, secret)| told(secret));
        Life {
            number: self.number,
            killed,
            gone,
            ending: format!("{status}{}", if killed { ", killed" } else { "" }),
            succeeded: status.success(),
            audit,
            strange,
            leaks: leaks.map(|(name, _)| (*name).to_owned()).collect(),
        }
    }
}

/// Audit lines, and lines that are none.
fn parsed(lines: &[String]) -> (Vec<Value>, Vec<String>) {
    let (mut audit, mut strange) = (Vec::new(), Vec::new());
    for line in lines {
        match serde_json::from_str::<Value>(line) {
            Ok(value) if value["message"] == "session_termination_audit" => audit.push(value),
            _ => strange.push(line.clone()),
        }
    }
    (audit, strange)
}
