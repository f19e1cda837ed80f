//! Records of runs: what a run made, written down before it makes it, so that a later command can remove it even if
//! the run was killed.

use crate::cluster::Cluster;
use crate::definitions;
use crate::place::write_private;
use crate::progress::{say, waiting};
use anyhow::Context;
use control_plane::stop_detached;
use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// What a run has to do away with.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Record {
    /// Its folder: logs, kubeconfigs, ids of what runs on.
    pub(crate) folder: PathBuf,
    /// Of a cluster of the user: what was made there. Our own goes as a whole.
    pub(crate) theirs: Option<Theirs>,
}

/// What a run made on a cluster of the user.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Theirs {
    kubectl: PathBuf,
    /// The value of `KUBECONFIG` at that time.
    kubeconfig: Option<OsString>,
    context: Option<String>,
    namespace: String,
    /// The names of the definitions that were absent before.
    definitions: Vec<String>,
}

impl Theirs {
    pub(crate) fn new(cluster: &Cluster, definitions: Vec<String>) -> Self {
        Self {
            kubectl: cluster.kubectl.clone(),
            kubeconfig: cluster.kubeconfig.clone(),
            context: cluster.context.clone(),
            namespace: cluster.namespace.clone(),
            definitions,
        }
    }

    /// Removes what the run made, and nothing else. What is gone already is as well.
    async fn remove(&self) -> anyhow::Result<()> {
        let Self { namespace, .. } = self;
        let cluster = Cluster {
            kubectl: self.kubectl.clone(),
            kubeconfig: self.kubeconfig.clone(),
            cache: None,
            context: self.context.clone(),
            namespace: namespace.clone(),
        };
        let arguments = ["delete", "namespace", namespace, "--ignore-not-found", "--timeout=120s"];
        waiting(
            &format!("the namespace {namespace} to be gone, with all in it"),
            cluster.run(&arguments),
        )
        .await
        .with_context(|| format!("the namespace {namespace} is not gone yet"))?;
        for name in definitions::remove(&cluster, &self.definitions).await? {
            say(&format!("  {name} stays: somebody made objects of this kind meanwhile"));
        }
        Ok(())
    }
}

/// A record in the folder of all records.
#[derive(Debug)]
pub(crate) struct Run {
    path: PathBuf,
    record: Record,
}

impl Run {
    /// Writes a record; `name` is nobody else's.
    pub(crate) fn record(runs: &Path, name: &str, record: Record) -> anyhow::Result<Self> {
        std::fs::create_dir_all(runs).with_context(|| format!("cannot create {}", runs.display()))?;
        let path = runs.join(format!("{name}.json"));
        write_private(&path, &serde_json::to_string_pretty(&record)?)?;
        Ok(Self { path, record })
    }

    /// All that are recorded.
    pub(crate) fn all(runs: &Path) -> anyhow::Result<Vec<Self>> {
        let mut all = Vec::new();
        let files = match std::fs::read_dir(runs) {
            Ok(files) => files,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(all),
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", runs.display())),
        };
        for file in files {
            let path = file?.path();
            if path.extension().is_some_and(|extension| extension == "json") {
                let record = serde_json::from_slice(&std::fs::read(&path)?)
                    .with_context(|| format!("{} is no record of a run", path.display()))?;
                all.push(Self { path, record });
            }
        }
        Ok(all)
    }

    /// Stops what runs on, removes what was made, and forgets the run. If something cannot be removed, the record
    /// stays, for another try.
    pub(crate) async fn undo(self) -> anyhow::Result<()> {
        let Record { folder, theirs } = &self.record;
        if folder.exists() {
            let state = folder.clone();
            let stop = async { tokio::task::spawn_blocking(move || stop_detached(&state)).await? };
            let names = waiting("all that runs to stop", stop).await?;
            if !names.is_empty() {
                say(&format!("  stopped: {}", names.join(", ")));
            }
        }
        if let Some(theirs) = theirs {
            theirs.remove().await.with_context(|| {
                format!(
                    "not all is removed that the demo made with the context {}; `make demo-stop` tries again. (If the \
                     cluster itself is gone, delete {})",
                    theirs.context.as_deref().unwrap_or_default(),
                    self.path.display()
                )
            })?;
        }
        if folder.exists() {
            std::fs::remove_dir_all(folder).with_context(|| format!("cannot remove {}", folder.display()))?;
        }
        std::fs::remove_file(&self.path).with_context(|| format!("cannot remove {}", self.path.display()))
    }
}
