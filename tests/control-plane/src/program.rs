//! The programs of a control plane: where each is found, and that it is built when it is first needed.

use crate::toolchain;
use anyhow::{Context, bail};
use sha2::{Digest, Sha256};
use std::fmt::Write as _;
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The pinned versions. Part of the program, so that it needs no checkout.
pub(crate) const GO_MOD: &str = include_str!("../go.mod");
/// The checksums of all that `go.mod` names.
pub(crate) const GO_SUM: &str = include_str!("../go.sum");

/// The folder, set by the user, that holds ready programs instead of those that we build. Every operator developer
/// knows it from envtest (<https://book.kubebuilder.io/reference/envtest>).
const ASSETS: &str = "KUBEBUILDER_ASSETS";
/// The folder, set by the user, that holds what we build.
const CACHE: &str = "GUEST_OPERATOR_CACHE";

/// A program of the control plane, or one that is used against it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    /// The API server.
    KubeApiserver,
    /// The store of the API server.
    Etcd,
    /// The command line of Kubernetes.
    Kubectl,
    /// The controllers of Kubernetes: namespaces with objects go away, and objects whose owner is gone.
    KubeControllerManager,
    /// The package manager.
    Helm,
}

impl Program {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::KubeApiserver,
        Self::Etcd,
        Self::Kubectl,
        Self::KubeControllerManager,
        Self::Helm,
    ];
    /// Those that every [`ControlPlane`](crate::ControlPlane) uses.
    pub const BASE: [Self; 3] = [Self::Etcd, Self::Kubectl, Self::KubeApiserver];

    /// The name of its file.
    pub fn name(self) -> &'static str {
        match self {
            Self::KubeApiserver => "kube-apiserver",
            Self::Etcd => "etcd",
            Self::Kubectl => "kubectl",
            Self::KubeControllerManager => "kube-controller-manager",
            Self::Helm => "helm",
        }
    }

    /// The Go package that it is built from, a `tool` of `go.mod`.
    pub(crate) fn package(self) -> &'static str {
        match self {
            Self::KubeApiserver => "k8s.io/kubernetes/cmd/kube-apiserver",
            Self::Etcd => "go.etcd.io/etcd/server/v3",
            Self::Kubectl => "k8s.io/kubernetes/cmd/kubectl",
            Self::KubeControllerManager => "k8s.io/kubernetes/cmd/kube-controller-manager",
            Self::Helm => "helm.sh/helm/v4/cmd/helm",
        }
    }

    /// How long the build takes on two cores with nothing built before, as measured.
    pub(crate) fn usual_build(self) -> &'static str {
        match self {
            Self::KubeApiserver => "4 minutes",
            Self::Etcd | Self::Kubectl | Self::Helm => "1 minute",
            Self::KubeControllerManager => "2 minutes",
        }
    }

    /// The program with this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|program| program.name() == name)
    }

    /// Where the program is, after it was built if that was needed. Blocks while it is built, here or by another
    /// process, and says on standard error how that goes.
    ///
    /// An error if there is no Go to build it with, if the build fails, or if `KUBEBUILDER_ASSETS` is set and does
    /// not hold it. (The controller manager and helm are never in it as envtest fills it: they are built then.)
    pub fn path(self) -> anyhow::Result<PathBuf> {
        if let Some(assets) = folder_from(ASSETS) {
            let path = assets.join(self.name());
            if path.is_file() {
                return Ok(path);
            }
            if Self::BASE.contains(&self) {
                bail!(
                    "{ASSETS} is set to {}, which holds no {}: add it, or unset {ASSETS} to have it built",
                    assets.display(),
                    self.name()
                );
            }
        }
        let folder = cache()?.join("programs").join(key());
        let path = folder.join(self.name());
        if path.is_file() {
            return Ok(path);
        }
        std::fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
        let _lock = lock(self, &folder.join(format!("{}.lock", self.name())))?;
        // Another process may have built it while we waited for the lock.
        if !path.is_file() {
            toolchain::build(self, &folder, &path)?;
        }
        Ok(path)
    }
}

/// A folder named by the environment; an empty name is none.
fn folder_from(variable: &str) -> Option<PathBuf> {
    std::env::var_os(variable)
        .filter(|value| !value.is_empty())
        .map(PathBuf::from)
}

fn cache() -> anyhow::Result<PathBuf> {
    const NAME: &str = "guest-termination-operator";
    folder_from(CACHE)
        .or_else(|| folder_from("XDG_CACHE_HOME").map(|folder| folder.join(NAME)))
        .or_else(|| folder_from("HOME").map(|folder| folder.join(".cache").join(NAME)))
        .with_context(|| format!("no place for the programs that are built: set {CACHE} to a folder"))
}

/// Names what the programs are built from, so that a change of it builds them anew.
fn key() -> String {
    let mut hash = Sha256::new();
    let platform = format!("{}-{}", std::env::consts::OS, std::env::consts::ARCH);
    for part in [GO_MOD, GO_SUM, &toolchain::linker_flags(), &platform] {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().iter().take(8).fold(String::new(), |mut text, byte| {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Holds the lock of one program until the file is dropped; the system lets it go when its holder dies.
fn lock(program: Program, path: &Path) -> anyhow::Result<File> {
    let file = File::create(path).with_context(|| format!("cannot create {}", path.display()))?;
    let mut heartbeat: Option<Heartbeat> = None;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) => heartbeat
                .get_or_insert_with(|| Heartbeat::start(format!("another process is building {}", program.name())))
                .beat(),
            Err(TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("cannot lock {}", path.display()));
            }
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// Says now and then that something long is still under way.
pub(crate) struct Heartbeat {
    what: String,
    since: Instant,
    last: Instant,
}

impl Heartbeat {
    const EVERY: Duration = Duration::from_secs(20);

    /// Says what begins.
    pub(crate) fn start(what: String) -> Self {
        say(&what);
        Self {
            what,
            since: Instant::now(),
            last: Instant::now(),
        }
    }

    /// Says that it goes on, if that was not said lately.
    pub(crate) fn beat(&mut self) {
        if self.last.elapsed() >= Self::EVERY {
            self.last = Instant::now();
            say(&format!("{}: {} s so far", self.what, self.since.elapsed().as_secs()));
        }
    }

    /// For how long it goes on, in seconds.
    pub(crate) fn seconds(&self) -> u64 {
        self.since.elapsed().as_secs()
    }
}

/// A line of progress. Written to the stream itself: what `eprintln!` writes, `cargo test` keeps until a test fails.
pub(crate) fn say(line: &str) {
    // Nobody who reads it is no reason to stop.
    let _ = std::io::Write::write_all(&mut std::io::stderr(), format!("control-plane: {line}\n").as_bytes());
}
