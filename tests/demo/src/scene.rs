//! What the demo plays on: a cluster, a folder, and the processes, from the first to the last.

use crate::cluster::Cluster;
use crate::definitions::{self, Definition};
use crate::operator::{GRACE, Operator};
use crate::place;
use crate::progress::{say, waiting};
use crate::runs::{Record, Run, Theirs};
use crate::vendor::Vendor;
use anyhow::Context;
use control_plane::ControlPlane;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

/// The demo's namespace on our own cluster.
const NAMESPACE: &str = "demo";
/// What the demo's namespace on a cluster of the user begins with.
const PREFIX: &str = "guest-termination-demo";

/// Where and how to run.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    /// A context of the user's kubeconfig; `None`: a cluster of our own.
    pub(crate) context: Option<String>,
    /// Leave all of it running.
    pub(crate) keep: bool,
    /// The folder of the records of runs.
    pub(crate) runs: PathBuf,
}

/// The cluster, and what runs.
#[derive(Debug)]
pub(crate) struct Scene {
    pub(crate) cluster: Cluster,
    /// The definitions that the cluster does not have.
    pub(crate) absent: Vec<Definition>,
    // Stopped in this order when dropped: nobody is to see the cluster go.
    pub(crate) operator: OnceLock<Operator>,
    pub(crate) vendor: OnceLock<Vendor>,
    place: Place,
}

#[derive(Debug)]
enum Place {
    /// Goes as a whole, also when we are killed. The name is for its record, should it stay.
    Own(Box<ControlPlane>, String),
    /// The folder, and what was made on the user's cluster.
    Theirs(PathBuf, Run),
}

impl Scene {
    /// Starts a cluster, or looks whether the user's can be used. Nothing is made in the latter.
    pub(crate) async fn open(options: &Options) -> anyhow::Result<Self> {
        let name = unique_name();
        let Some(context) = &options.context else {
            let control_plane = waiting("etcd and kube-apiserver", ControlPlane::start()).await?;
            let cluster = Cluster::own(&control_plane, NAMESPACE)?;
            let absent = definitions::absent(&cluster).await?;
            return Ok(Self::new(cluster, absent, Place::Own(Box::new(control_plane), name)));
        };
        let cluster = Cluster::of_context(context, &name).await?;
        let absent = definitions::absent(&cluster).await?;
        let folder = tempfile::Builder::new().prefix("guest-termination-demo-").tempdir()?;
        let names = absent.iter().map(|definition| definition.name.clone()).collect();
        let record = Record {
            folder: folder.path().to_owned(),
            theirs: Some(Theirs::new(&cluster, names)),
        };
        let run = Run::record(&options.runs, &name, record)?;
        // From here on the record knows the folder.
        Ok(Self::new(cluster, absent, Place::Theirs(folder.keep(), run)))
    }

    fn new(cluster: Cluster, absent: Vec<Definition>, place: Place) -> Self {
        Self {
            cluster,
            absent,
            operator: OnceLock::new(),
            vendor: OnceLock::new(),
            place,
        }
    }

    /// Whether the cluster is one of the user's: the operator then watches the demo's namespace only.
    pub(crate) fn is_theirs(&self) -> bool {
        matches!(self.place, Place::Theirs(..))
    }

    /// The folder of logs and kubeconfigs.
    pub(crate) fn folder(&self) -> &Path {
        match &self.place {
            Place::Own(control_plane, _) => control_plane.data_dir(),
            Place::Theirs(folder, _) => folder,
        }
    }

    /// Stops all, and removes what was made.
    pub(crate) async fn close(self) -> anyhow::Result<()> {
        if let Some(operator) = self.operator.get() {
            operator.process.stop(GRACE).await?;
        }
        drop(self.vendor);
        match self.place {
            Place::Own(control_plane, _) => control_plane.stop().await,
            Place::Theirs(_, run) => run.undo().await,
        }
    }

    /// Leaves all of it running, and says how to use and how to stop it.
    pub(crate) fn keep(self, options: &Options) -> anyhow::Result<()> {
        let folder = self.folder().to_owned();
        if let Place::Own(_, name) = &self.place {
            // First of all: what is not written down could not be stopped.
            let record = Record {
                folder: folder.clone(),
                theirs: None,
            };
            Run::record(&options.runs, name, record)?;
        }
        let lines = usage(&self, &folder);
        let (operator, vendor) = (self.operator.into_inner(), self.vendor.into_inner());
        let processes = [operator.map(|it| it.process), vendor.map(|it| it.process)];
        for process in processes.into_iter().flatten() {
            // One that has ended is why the demo failed, perhaps.
            if process.exit_status().is_none() {
                process.detach(&folder)?;
            }
        }
        if let Place::Own(control_plane, _) = self.place {
            control_plane.detach()?;
        }
        lines.iter().for_each(|line| say(line));
        Ok(())
    }
}

/// How to use what was left running.
fn usage(scene: &Scene, folder: &Path) -> Vec<String> {
    let cluster = &scene.cluster;
    let (folder, namespace) = (folder.display(), &cluster.namespace);
    let context = cluster.context.as_ref().map(|context| format!(" --context {context}"));
    let kubectl = format!("{}{}", cluster.kubectl.display(), context.unwrap_or_default());
    let mut lines = vec![String::new(), "== All of it runs on. To use it:".to_owned()];
    if let (Some(kubeconfig), Some(_)) = (&cluster.kubeconfig, &cluster.cache) {
        lines.push(format!("  export KUBECONFIG={}", kubeconfig.display()));
    }
    lines.extend([
        format!("  alias k='{kubectl} -n {namespace}'"),
        "  k get gterm -o wide".to_owned(),
        "  k describe gterm retention-not-applied".to_owned(),
    ]);
    if let Some(Vendor { url, .. }) = scene.vendor.get() {
        let (body, manifests) = (r#"{"guests":[{"id":"guest-one-more"}]}"#, crate::play::TERMINATIONS);
        lines.extend([
            "To end one more session:".to_owned(),
            format!("  curl -sS {url}/_control/guests -H 'content-type: application/json' -d '{body}'"),
            format!("  sed 's/plain-success/one-more/' {manifests}/plain-success.yaml | k apply -f -"),
            format!("All that the vendor saw: {url}/_control/ledger"),
        ]);
    }
    if let Some(Operator { url, .. }) = scene.operator.get() {
        lines.extend([
            format!("The operator's log: {folder}/operator.err"),
            format!("Its audit lines:    {folder}/operator.out"),
            format!("Its metrics:        {url}/metrics"),
        ]);
    }
    lines.extend([
        "To stop all of it, and to remove what it made:".to_owned(),
        "  make demo-stop".to_owned(),
    ]);
    lines
}

/// A name that no other run has: of a namespace, and of a record.
fn unique_name() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("{PREFIX}-{}-{}", now.as_secs(), std::process::id())
}

/// Writes a manifest to the folder of the run after changes of its text, and gives its path.
pub(crate) fn rendered(folder: &Path, file: &str, changes: &[(&str, &str)]) -> anyhow::Result<String> {
    let source = place::checkout().join(file);
    let mut text = std::fs::read_to_string(&source).with_context(|| format!("cannot read {}", source.display()))?;
    for (from, to) in changes {
        anyhow::ensure!(text.contains(from), "{file} does not contain {from:?} any more");
        text = text.replace(from, to);
    }
    let name = source.file_name().context("a manifest has no name")?;
    let path = folder.join(name);
    place::write_private(&path, &text)?;
    Ok(path.display().to_string())
}
