//! A running simulator.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::Deref;

use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::api::{Client, Settings, WebhookEndpoint};
use crate::control_api;
use crate::controls::Controls;
use crate::line;
use crate::pipeline;
use crate::state::State;

/// The client that a simulator knows unless it is told others.
pub const CLIENT_ID: &str = "simulated-client";

/// Its secret: recognisable, should it ever turn up where it must not.
pub const CLIENT_SECRET: &str = "simulated-client-secret-canary";

/// How a simulator starts.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where it listens; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Seeds what is drawn: probabilities, token texts, request ids.
    pub seed: u64,
    /// Clients that may ask for tokens.
    pub clients: Vec<Client>,
    /// Endpoints of the webhook receiver.
    pub webhooks: Vec<WebhookEndpoint>,
    /// What holds for the whole vendor.
    pub settings: Settings,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            seed: 0,
            clients: vec![Client::new(CLIENT_ID, CLIENT_SECRET)],
            webhooks: Vec::new(),
            settings: Settings::default(),
        }
    }
}

/// A simulator that listens; dropping it stops it. It derefs to its [`Controls`].
pub struct Simulator {
    controls: Controls,
    url: String,
    stop: CancellationToken,
    accepting: JoinHandle<()>,
}

impl Simulator {
    /// Starts on the current tokio runtime. Fails if the address cannot be bound, or a webhook secret is no base64.
    pub async fn start(options: Options) -> io::Result<Self> {
        let listener = TcpListener::bind(options.listen).await?;
        let url = format!("http://{}", listener.local_addr()?);
        let stop = CancellationToken::new();
        let controls = Controls::new(
            State::new(options.seed, options.settings, options.clients),
            stop.clone(),
        );
        for webhook in &options.webhooks {
            controls
                .set_webhook(webhook)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        }
        let router = control_api::routes()
            .fallback(pipeline::answer)
            .with_state(controls.clone());
        let accepting = tokio::spawn(line::accept(listener, router, stop.clone()));
        Ok(Self {
            controls,
            url,
            stop,
            accepting,
        })
    }

    /// The base URL of the vendor, its token endpoint and the control API: `http://address:port`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The URL of an endpoint of the webhook receiver.
    pub fn webhook_url(&self, endpoint: &str) -> String {
        format!("{}/webhooks/{endpoint}", self.url)
    }

    /// The controls, to be kept and cloned.
    pub fn controls(&self) -> &Controls {
        &self.controls
    }

    /// Stops, and returns when the port is free.
    pub async fn stop(mut self) {
        self.stop.cancel();
        // It only fails if it panicked, and then the port is free too.
        let _ = (&mut self.accepting).await;
    }
}

impl Deref for Simulator {
    type Target = Controls;

    fn deref(&self) -> &Controls {
        &self.controls
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        self.stop.cancel();
        self.accepting.abort();
    }
}
