//! Running kubectl, and other short commands, to their end.

use crate::control_plane::ControlPlane;
use crate::program::Program;
use anyhow::{Context, bail};
use std::path::Path;
use std::process::Stdio;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

impl ControlPlane {
    /// kubectl as the user `admin`.
    pub fn kubectl(&self) -> Command {
        self.kubectl_with(self.admin_kubeconfig())
    }

    /// kubectl with a kubeconfig, such as one from [`ControlPlane::kubeconfig`]. It reads none of the user's own
    /// settings, and ends when the command is dropped.
    pub fn kubectl_with(&self, kubeconfig: &Path) -> Command {
        let mut kubectl = Command::new(self.program(Program::Kubectl));
        kubectl
            .env("KUBECONFIG", kubeconfig)
            // Its cache of what the server serves, and its preferences, would be those of the user's home.
            .env("KUBECACHEDIR", self.data_dir().join("kubectl-cache"))
            .env("KUBERC", "off")
            .stdin(Stdio::null())
            .kill_on_drop(true);
        kubectl
    }

    /// Applies YAML of one or more documents as the user `admin`, on the server's side. `namespace` is for the objects
    /// that name none. Gives kubectl's words on each object.
    pub async fn apply_yaml(&self, yaml: &str, namespace: &str) -> anyhow::Result<String> {
        let mut kubectl = self.kubectl();
        kubectl.args(["apply", "--server-side", "--namespace", namespace, "-f", "-"]);
        run_with_input(&mut kubectl, Some(yaml)).await
    }

    /// As [`ControlPlane::apply_yaml`], from a file, or from all files of a folder.
    pub async fn apply_path(&self, path: &Path, namespace: &str) -> anyhow::Result<String> {
        let mut kubectl = self.kubectl();
        kubectl
            .args(["apply", "--server-side", "--namespace", namespace, "-f"])
            .arg(path);
        run(&mut kubectl).await
    }
}

/// Runs a command to its end and gives its standard output. An error, with what it wrote to standard error, if it
/// fails.
pub async fn run(command: &mut Command) -> anyhow::Result<String> {
    run_with_input(command, None).await
}

async fn run_with_input(command: &mut Command, input: Option<&str>) -> anyhow::Result<String> {
    let program = command.as_std().get_program().to_string_lossy().into_owned();
    if input.is_some() {
        command.stdin(Stdio::piped());
    }
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run {program}"))?;
    let stdin = child.stdin.take();
    let write = async {
        if let (Some(mut stdin), Some(input)) = (stdin, input) {
            // A command that ends before it read all says so by its status.
            let _ = stdin.write_all(input.as_bytes()).await;
        }
    };
    // Both at once: a command whose output is not read may stop reading.
    let ((), output) = tokio::join!(write, child.wait_with_output());
    let output = output?;
    if !output.status.success() {
        let arguments: Vec<_> = command
            .as_std()
            .get_args()
            .map(|argument| argument.to_string_lossy())
            .collect();
        bail!(
            "{program} {} failed ({}): {}",
            arguments.join(" "),
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
