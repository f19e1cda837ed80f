//! Kubernetes' own controllers, for tests that need some of them.

use crate::control_plane::ControlPlane;
use crate::process::Process;
use crate::program::Program;
use std::process::Command;

impl ControlPlane {
    /// Starts kube-controller-manager with these controllers and no others, such as `namespace-controller`, after
    /// building it if that is needed. They work until the process is dropped.
    pub async fn controllers(&self, names: &[&str]) -> anyhow::Result<Process> {
        let program = tokio::task::spawn_blocking(|| Program::KubeControllerManager.path()).await??;
        let mut command = Command::new(program);
        command
            .current_dir(self.data_dir())
            .arg("--kubeconfig")
            .arg(self.admin_kubeconfig())
            .arg(format!("--controllers={}", names.join(",")))
            // Nobody asks it anything, and it is alone.
            .args(["--secure-port=0", "--leader-elect=false"]);
        Process::spawn("kube-controller-manager", &command, self.data_dir())
    }
}
