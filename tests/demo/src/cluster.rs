//! The cluster that the demo runs on, through kubectl: our own, or one of the user's kubeconfig.

use crate::place::write_private;
use crate::progress::say;
use anyhow::{Context, bail, ensure};
use control_plane::{ControlPlane, Identity, Program};
use serde_json::{Value, json};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::process::Command;

/// How long any kubectl may take; those that wait have a shorter limit of their own.
const KUBECTL_WITHIN: Duration = Duration::from_secs(180);
/// How long the operator's token is valid: longer than anybody keeps a demo.
const TOKEN: &str = "24h";

/// A cluster, a user who may do what the demo does, and the demo's namespace in it.
#[derive(Debug, Clone)]
pub(crate) struct Cluster {
    pub(crate) kubectl: PathBuf,
    /// The environment variable `KUBECONFIG`, which may name several files; unset: the user's usual one.
    pub(crate) kubeconfig: Option<OsString>,
    /// Of our own cluster: a place for kubectl's cache, which otherwise is in the user's home.
    pub(crate) cache: Option<PathBuf>,
    pub(crate) context: Option<String>,
    pub(crate) namespace: String,
}

impl Cluster {
    /// Our own, as the user `admin`.
    pub(crate) fn own(control_plane: &ControlPlane, namespace: &str) -> anyhow::Result<Self> {
        let kubeconfig = control_plane.kubeconfig(&Identity::admin(), namespace)?;
        Ok(Self {
            kubectl: Program::Kubectl.path()?,
            kubeconfig: Some(kubeconfig.into_os_string()),
            cache: Some(control_plane.data_dir().join("kubectl-cache")),
            context: None,
            namespace: namespace.to_owned(),
        })
    }

    /// The one that a context of the user's kubeconfig names, through the user's kubectl if there is one.
    pub(crate) async fn of_context(context: &str, namespace: &str) -> anyhow::Result<Self> {
        let kubectl = match on_path("kubectl") {
            Some(kubectl) => kubectl,
            None => tokio::task::spawn_blocking(|| Program::Kubectl.path()).await??,
        };
        let cluster = Self {
            kubectl,
            kubeconfig: users_kubeconfig()?,
            cache: None,
            context: Some(context.to_owned()),
            namespace: namespace.to_owned(),
        };
        let contexts = cluster
            .without_context()
            .run(&["config", "get-contexts", "-o", "name"])
            .await?;
        let known: Vec<_> = contexts.lines().collect();
        ensure!(
            known.contains(&context),
            "your kubeconfig has no context {context:?}; it has: {}",
            if known.is_empty() {
                "none".to_owned()
            } else {
                known.join(", ")
            }
        );
        let version = cluster
            .run(&["get", "--raw", "/version", "--request-timeout=15s"])
            .await;
        version.with_context(|| format!("the cluster of the context {context:?} does not answer"))?;
        Ok(cluster)
    }

    fn without_context(&self) -> Self {
        Self {
            context: None,
            ..self.clone()
        }
    }

    /// Runs kubectl, in the folder of the checkout, and gives its output.
    pub(crate) async fn run(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let mut kubectl = Command::new(&self.kubectl);
        kubectl
            .current_dir(crate::place::checkout())
            .stdin(Stdio::null())
            .kill_on_drop(true);
        if let Some(kubeconfig) = &self.kubeconfig {
            kubectl.env("KUBECONFIG", kubeconfig);
        }
        if let Some(cache) = &self.cache {
            // Neither the user's cache of what is served nor the user's preferences are for this cluster.
            kubectl.env("KUBECACHEDIR", cache).env("KUBERC", "off");
        }
        if let Some(context) = &self.context {
            kubectl.arg(format!("--context={context}"));
        }
        kubectl.args(arguments);
        match tokio::time::timeout(KUBECTL_WITHIN, control_plane::run(&mut kubectl)).await {
            Ok(result) => result,
            Err(_) => bail!("kubectl {} did not end within {KUBECTL_WITHIN:?}", arguments.join(" ")),
        }
    }

    /// Runs kubectl in the demo's namespace as a user would: the command is shown, then its output.
    pub(crate) async fn show(&self, arguments: &[&str]) -> anyhow::Result<()> {
        let mut all = vec!["-n", self.namespace.as_str()];
        all.extend(arguments);
        self.show_global(&all).await
    }

    /// The same for what is in no namespace, or names its own.
    pub(crate) async fn show_global(&self, arguments: &[&str]) -> anyhow::Result<()> {
        say(&format!("$ kubectl {}", quoted(arguments)));
        let output = self.run(arguments).await?;
        for line in output.lines() {
            say(&format!("  {line}"));
        }
        Ok(())
    }

    /// What kubectl gives as JSON.
    pub(crate) async fn json(&self, arguments: &[&str]) -> anyhow::Result<Value> {
        let mut all = arguments.to_vec();
        all.extend(["-o", "json"]);
        let output = self.run(&all).await?;
        serde_json::from_str(&output).with_context(|| format!("kubectl {} gave no JSON", all.join(" ")))
    }

    /// The objects of one kind in the demo's namespace.
    pub(crate) async fn list(&self, kind: &str) -> anyhow::Result<Vec<Value>> {
        let mut list = self.json(&["get", kind, "-n", &self.namespace]).await?;
        match list["items"].take() {
            Value::Array(items) => Ok(items),
            _ => bail!("kubectl get {kind} gave no list"),
        }
    }

    /// A kubeconfig for a service account of this cluster, by a token from the API server (TokenRequest), and nothing
    /// of the rights of whoever runs the demo.
    pub(crate) async fn write_kubeconfig_of(&self, namespace: &str, account: &str, path: &Path) -> anyhow::Result<()> {
        let token = self
            .run(&[
                "create",
                "token",
                account,
                "-n",
                namespace,
                &format!("--duration={TOKEN}"),
            ])
            .await?;
        let ours = self.json(&["config", "view", "--minify", "--flatten", "--raw"]).await?;
        let cluster = &ours["clusters"][0]["cluster"];
        ensure!(cluster.is_object(), "the context names no cluster");
        let context = json!({ "cluster": "cluster", "user": account, "namespace": namespace });
        let kubeconfig = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{ "name": "cluster", "cluster": cluster }],
            "users": [{ "name": account, "user": { "token": token.trim() } }],
            "contexts": [{ "name": "operator", "context": context }],
            "current-context": "operator",
        });
        write_private(path, &kubeconfig.to_string())
    }
}

/// A command line that can be pasted into a shell.
fn quoted(arguments: &[&str]) -> String {
    let plain = |argument: &str| {
        !argument.is_empty()
            && argument
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "-_./=:,@".contains(c))
    };
    let words = arguments.iter().map(|argument| {
        if plain(argument) {
            (*argument).to_owned()
        } else {
            format!("'{}'", argument.replace('\'', r"'\''"))
        }
    });
    words.collect::<Vec<_>>().join(" ")
}

/// The user's `KUBECONFIG`, whose paths are relative to where the user is.
fn users_kubeconfig() -> anyhow::Result<Option<OsString>> {
    let Some(paths) = std::env::var_os("KUBECONFIG").filter(|paths| !paths.is_empty()) else {
        return Ok(None);
    };
    let named = std::env::split_paths(&paths).filter(|path| !path.as_os_str().is_empty());
    let paths = named.map(std::path::absolute);
    Ok(Some(std::env::join_paths(paths.collect::<Result<Vec<_>, _>>()?)?))
}

fn on_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|folder| folder.join(program))
        .find(|candidate| candidate.is_file())
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn a_shown_command_can_be_pasted() {
        let patch = r#"{"spec":{"suspend":false}}"#;
        assert_eq!(
            quoted(&["-n", "demo", "patch", "gterm/held", "-p", patch, "it's", ""]),
            r#"-n demo patch gterm/held -p '{"spec":{"suspend":false}}' 'it'\''s' ''"#
        );
    }
}
