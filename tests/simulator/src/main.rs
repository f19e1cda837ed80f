//! The simulator, as a program.

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::Parser;
use simulator::api::{Client, Settings, WebhookEndpoint};
use simulator::{Options, Simulator};
use tokio::signal::unix::{SignalKind, signal};

/// Plays the vendor and a webhook receiver on one port, until SIGTERM or ctrl-c.
#[derive(Parser)]
struct Arguments {
    /// Where to listen; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Seeds what is drawn: fault probabilities, token texts, request ids.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// A client that may ask for tokens, as id:secret; repeatable. Without any there is a default one.
    #[arg(long = "client", value_name = "ID:SECRET", value_parser = client)]
    clients: Vec<Client>,
    /// Life of a token, in seconds.
    #[arg(long, default_value_t = Settings::default().expires_in)]
    expires_in: u64,
    /// Guest calls that a token may make in a minute; 0 switches the limit off.
    #[arg(long, default_value_t = 300)]
    requests_per_minute: u32,
    /// An endpoint of the webhook receiver with its signing secret, as name=whsec_…; repeatable.
    #[arg(long = "webhook", value_name = "NAME=SECRET", value_parser = webhook)]
    webhooks: Vec<WebhookEndpoint>,
    /// A file to write the URL to once it is up.
    #[arg(long, value_name = "PATH")]
    ready_file: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> io::Result<()> {
    let arguments = Arguments::parse();
    // Taken before anybody can know that it is up: no signal finds it without a handler.
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let ready_file = arguments.ready_file.clone();
    let simulator = Simulator::start(options(arguments)).await?;
    writeln!(io::stdout(), "listening on {}", simulator.url())?;
    if let Some(path) = ready_file {
        announce(&path, simulator.url())?;
    }
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    simulator.stop().await;
    Ok(())
}

fn options(arguments: Arguments) -> Options {
    let defaults = Options::default();
    let requests_per_minute = Some(arguments.requests_per_minute).filter(|limit| *limit > 0);
    Options {
        listen: arguments.listen,
        seed: arguments.seed,
        clients: if arguments.clients.is_empty() {
            defaults.clients
        } else {
            arguments.clients
        },
        webhooks: merge(arguments.webhooks),
        settings: Settings {
            expires_in: arguments.expires_in,
            requests_per_minute,
            ..Settings::default()
        },
    }
}

/// An endpoint that is named twice has two secrets.
fn merge(endpoints: Vec<WebhookEndpoint>) -> Vec<WebhookEndpoint> {
    let mut merged: Vec<WebhookEndpoint> = Vec::new();
    for endpoint in endpoints {
        match merged.iter_mut().find(|known| known.name == endpoint.name) {
            Some(known) => known.secrets.extend(endpoint.secrets),
            None => merged.push(endpoint),
        }
    }
    merged
}

/// Written beside and renamed: who sees the file sees all of it.
fn announce(path: &Path, url: &str) -> io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".partial");
    std::fs::write(&beside, url)?;
    std::fs::rename(&beside, path)
}

fn client(text: &str) -> Result<Client, String> {
    let (id, secret) = text.split_once(':').ok_or("expected ID:SECRET")?;
    Ok(Client::new(id, secret))
}

fn webhook(text: &str) -> Result<WebhookEndpoint, String> {
    let (name, secret) = text.split_once('=').ok_or("expected NAME=SECRET")?;
    Ok(WebhookEndpoint::new(name, secret))
}
