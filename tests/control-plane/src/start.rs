//! Starting etcd and kube-apiserver, and knowing when they are ready.

use crate::audit::policy;
use crate::certificates::{Authority, key_pair, write_private};
use crate::control_plane::client;
use crate::identity::Identity;
use crate::process::Process;
use crate::program::Program;
use anyhow::{Context, bail};
use k8s_openapi::api::core::v1::Namespace;
use kube::api::Api;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// The API server is ready in 3 s on a quiet machine with two cores; tests run on busy ones.
const READY_WITHIN: Duration = Duration::from_secs(120);
/// How often a port is chosen anew when somebody else took the last one.
const PORTS: usize = 5;
/// How long one question about readiness may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(100);

/// How both are to run, beyond what all have in common.
#[derive(Debug, Default)]
pub(crate) struct Wishes {
    /// Group and `resource/subresource` whose writes are in the audit log with their content.
    pub(crate) logged_content: Option<(String, String)>,
    /// The store waits for the disk.
    pub(crate) durable: bool,
    /// The store refuses writes once it has so many bytes.
    pub(crate) quota_bytes: Option<u64>,
}

/// What runs, and how to reach it.
pub(crate) struct Started {
    pub(crate) apiserver: Process,
    pub(crate) etcd: Process,
    pub(crate) authority: Authority,
    pub(crate) port: u16,
}

/// Where the audit log is.
pub(crate) fn audit_log(data: &Path) -> PathBuf {
    data.join("audit.log")
}

/// Starts both in an empty folder and waits until they are ready. `port` chooses a port for the API server, again for
/// as long as somebody else takes the last one before the API server has it.
pub(crate) async fn start(
    programs: &[(Program, PathBuf)],
    data: &Path,
    wishes: &Wishes,
    mut port: impl FnMut() -> anyhow::Result<u16>,
) -> anyhow::Result<Started> {
    let authority = Authority::new()?;
    let server = authority.server()?;
    write_private(&data.join("ca.crt"), authority.pem())?;
    write_private(&data.join("server.crt"), &server.certificate)?;
    write_private(&data.join("server.key"), &server.key)?;
    let (signing, checking) = key_pair()?;
    write_private(&data.join("service-accounts.key"), &signing)?;
    write_private(&data.join("service-accounts.pub"), &checking)?;
    write_private(&data.join("audit-policy.yaml"), &policy(wishes.logged_content.as_ref()))?;

    let etcd = spawn_etcd(programs, data, wishes)?;
    for _ in 0..PORTS {
        let port = port()?;
        let apiserver = spawn_apiserver(programs, data, port)?;
        if wait_until_ready(&apiserver, &etcd, &authority, &url(port)).await? {
            return Ok(Started {
                apiserver,
                etcd,
                authority,
                port,
            });
        }
    }
    bail!("no port stayed free for the API server in {PORTS} attempts")
}

/// The address of an API server on this port.
pub(crate) fn url(port: u16) -> String {
    format!("https://127.0.0.1:{port}")
}

/// Starts the store on the data that it left, if there is any.
pub(crate) fn spawn_etcd(programs: &[(Program, PathBuf)], data: &Path, wishes: &Wishes) -> anyhow::Result<Process> {
    Process::spawn(
        "etcd",
        &etcd_command(path(programs, Program::Etcd)?, data, wishes),
        data,
    )
}

/// Starts the API server. It is not ready yet.
pub(crate) fn spawn_apiserver(programs: &[(Program, PathBuf)], data: &Path, port: u16) -> anyhow::Result<Process> {
    let command = apiserver_command(path(programs, Program::KubeApiserver)?, data, port);
    Process::spawn("kube-apiserver", &command, data)
}

fn path(programs: &[(Program, PathBuf)], wanted: Program) -> anyhow::Result<&Path> {
    let found = programs.iter().find(|(program, _)| *program == wanted);
    found.map(|(_, path)| path.as_path()).context("a program is missing")
}

/// A port that is free now.
pub(crate) fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))
        .context("no free port at 127.0.0.1")?
        .local_addr()?
        .port())
}

fn etcd_command(etcd: &Path, data: &Path, wishes: &Wishes) -> Command {
    // Sockets and not ports: nobody else can take them.
    let (clients, peers) = (socket(data), format!("unix://{}", data.join("peers.sock").display()));
    let mut command = Command::new(etcd);
    command
        .current_dir(data)
        .arg("--data-dir")
        .arg(data.join("etcd"))
        .args(["--listen-client-urls", &clients, "--advertise-client-urls", &clients])
        .args(["--listen-peer-urls", &peers, "--initial-advertise-peer-urls", &peers])
        .args(["--initial-cluster", &format!("default={peers}")])
        .args(["--log-level", "warn"]);
    if !wishes.durable {
        // The data need not survive the machine, and waiting for the disk is most of the time of a write.
        command.arg("--unsafe-no-fsync");
    }
    if let Some(bytes) = wishes.quota_bytes {
        command.args(["--quota-backend-bytes", &bytes.to_string()]);
    }
    command
}

fn socket(data: &Path) -> String {
    format!("unix://{}", socket_file(data).display())
}

/// Where the store listens.
pub(crate) fn socket_file(data: &Path) -> PathBuf {
    data.join("etcd.sock")
}

fn apiserver_command(apiserver: &Path, data: &Path, port: u16) -> Command {
    let file = |flag: &str, name: &str| format!("--{flag}={}", data.join(name).display());
    let mut command = Command::new(apiserver);
    command
        .current_dir(data)
        .arg(format!("--etcd-servers={}", socket(data)))
        .args(["--bind-address=127.0.0.1", &format!("--secure-port={port}")])
        .args([
            file("cert-dir", ""),
            file("tls-cert-file", "server.crt"),
            file("tls-private-key-file", "server.key"),
        ])
        .arg(file("client-ca-file", "ca.crt"))
        .arg("--service-account-issuer=https://kubernetes.default.svc")
        .arg(file("service-account-key-file", "service-accounts.pub"))
        .arg(file("service-account-signing-key-file", "service-accounts.key"))
        .args(["--authorization-mode=RBAC", "--service-cluster-ip-range=10.0.0.0/24"])
        // There are no controllers that would make the service accounts that this plugin wants pods to have.
        .arg("--disable-admission-plugins=ServiceAccount")
        .args([
            file("audit-policy-file", "audit-policy.yaml"),
            file("audit-log-path", "audit.log"),
        ])
        // An answer is in the log before it leaves, and the log (limit in MB) is never rotated under its reader.
        .args(["--audit-log-mode=blocking", "--audit-log-maxsize=1000000"]);
    command
}

/// Waits until the API server serves; `false` if it could not have its port.
pub(crate) async fn wait_until_ready(
    apiserver: &Process,
    etcd: &Process,
    authority: &Authority,
    url: &str,
) -> anyhow::Result<bool> {
    let client = client(authority, url, &Identity::admin()).await?;
    let deadline = Instant::now() + READY_WITHIN;
    let mut last = String::from("nothing was answered");
    while Instant::now() < deadline {
        if let Some(status) = apiserver.exit_status() {
            if apiserver
                .stderr()
                .iter()
                .any(|line| line.contains("address already in use"))
            {
                return Ok(false);
            }
            bail!(
                "kube-apiserver ended ({status}) before it was ready:{}",
                apiserver.tail()
            );
        }
        if let Some(status) = etcd.exit_status() {
            bail!("etcd ended ({status}) before it was ready:{}", etcd.tail());
        }
        match tokio::time::timeout(ANSWER_WITHIN, ready(&client)).await {
            Ok(Ok(())) => return Ok(true),
            Ok(Err(error)) => last = error.to_string(),
            Err(_) => last = format!("no answer within {ANSWER_WITHIN:?}"),
        }
        tokio::time::sleep(POLL).await;
    }
    bail!(
        "kube-apiserver is not ready after {READY_WITHIN:?} ({last}):{}{}",
        apiserver.tail(),
        etcd.tail()
    )
}

/// Ready is: it says so (`/readyz` waits for the roles of RBAC), and the namespace `default` was made.
async fn ready(client: &kube::Client) -> anyhow::Result<()> {
    client
        .request_text(http::Request::get("/readyz").body(Vec::new())?)
        .await?;
    Api::<Namespace>::all(client.clone()).get("default").await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_port_that_somebody_took_is_chosen_anew() {
        let programs: Vec<_> = Program::BASE
            .iter()
            .map(|program| (*program, program.path().unwrap()))
            .collect();
        let data = tempfile::tempdir().unwrap();
        let taken = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let free = free_port().unwrap();
        let mut ports = vec![free, taken.local_addr().unwrap().port()];
        let next = || ports.pop().context("it was asked for a third port");
        let started = start(&programs, data.path(), &Wishes::default(), next).await.unwrap();
        assert_eq!(started.port, free);
    }
}
