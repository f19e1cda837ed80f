//! The simulator, which plays the vendor and receives the webhooks, as a process of its own.

use crate::cases::CASES;
use crate::place;
use anyhow::{Context, bail};
use control_plane::Process;
use serde::Serialize;
use serde::de::DeserializeOwned;
use simulator::api::{Call, GuestBatch, Ledger};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// How long the simulator may take to start, and to answer.
const WITHIN: Duration = Duration::from_secs(20);

/// A running simulator.
#[derive(Debug)]
pub(crate) struct Vendor {
    pub(crate) process: Process,
    /// The base URL of the vendor, of its token endpoint and of the webhook receiver.
    pub(crate) url: String,
    http: reqwest::Client,
}

/// Who may ask the vendor for tokens, and what signs the webhooks, as `manifests/secret.yaml` has them.
#[derive(Debug)]
pub(crate) struct Secrets {
    pub(crate) client_id: String,
    pub(crate) client_secret: String,
    pub(crate) signing_key: String,
}

impl Vendor {
    /// Starts it on a free port.
    pub(crate) async fn start(secrets: &Secrets, folder: &Path) -> anyhow::Result<Self> {
        let mut command = Command::new(place::program("simulator")?);
        command
            .args(["--client", &format!("{}:{}", secrets.client_id, secrets.client_secret)])
            .args(["--webhook", &format!("analytics={}", secrets.signing_key)]);
        let process = Process::spawn("simulator", &command, folder)?;
        let listening = process
            .wait_for_line(|line| line.starts_with("listening on "), WITHIN)
            .await?;
        let url = listening.trim_start_matches("listening on ").to_owned();
        // A proxy has no business between us and this machine itself.
        let http = reqwest::Client::builder().no_proxy().timeout(WITHIN).build()?;
        Ok(Self { process, url, http })
    }

    /// Makes the guests, and what is to go wrong with them.
    pub(crate) async fn script(&self) -> anyhow::Result<()> {
        let guests = CASES.iter().filter_map(|case| case.session()).collect();
        let batch = GuestBatch { guests, series: None };
        self.post("guests", &batch).await?;
        for fault in CASES.iter().filter_map(|case| case.fault()) {
            self.post("faults", &fault).await?;
        }
        Ok(())
    }

    /// All that it saw and did.
    pub(crate) async fn ledger(&self) -> anyhow::Result<Ledger> {
        self.get("ledger").await
    }

    /// The calls about one guest.
    pub(crate) async fn calls_about(&self, guest: &str) -> anyhow::Result<Vec<Call>> {
        let ledger: Ledger = self.get(&format!("ledger?guest={guest}")).await?;
        Ok(ledger.calls)
    }

    async fn post(&self, path: &str, body: &impl Serialize) -> anyhow::Result<()> {
        let request = self.http.post(self.control(path)).json(body);
        self.send(path, request).await.map(drop)
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        let answer = self.send(path, self.http.get(self.control(path))).await?;
        Ok(answer.json().await?)
    }

    fn control(&self, path: &str) -> String {
        format!("{}/_control/{path}", self.url)
    }

    async fn send(&self, path: &str, request: reqwest::RequestBuilder) -> anyhow::Result<reqwest::Response> {
        let answer = request
            .send()
            .await
            .with_context(|| format!("the simulator does not answer to {path}{}", self.process.tail()))?;
        if !answer.status().is_success() {
            let status = answer.status();
            bail!(
                "the simulator refuses {path}: {status} {}",
                answer.text().await.unwrap_or_default()
            );
        }
        Ok(answer)
    }
}
