//! A cluster that plays the user's: a second control plane, with a context in a kubeconfig.

use control_plane::{AuditEvent, ControlPlane, Process};
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, DeleteParams, ListParams};
use kube::{Client, ResourceExt as _};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;

/// The context in the control plane's kubeconfig.
const CONTEXT: &str = "control-plane";
/// What the demo's namespaces begin with.
pub(crate) const PREFIX: &str = "guest-termination-demo-";

/// The demo with these arguments, and its records in `folder`.
pub(crate) fn demo(folder: &Path, arguments: &[&str]) -> Command {
    let mut demo = Command::new(env!("CARGO_BIN_EXE_demo"));
    demo.arg("--runs").arg(folder.join("runs")).args(arguments);
    demo
}

pub(crate) struct TheirCluster {
    pub(crate) control_plane: ControlPlane,
    pub(crate) client: Client,
    pub(crate) folder: TempDir,
    controller: tokio::task::JoinHandle<()>,
}

impl TheirCluster {
    pub(crate) async fn start() -> Self {
        let control_plane = ControlPlane::start().await.unwrap();
        let client = control_plane.admin_client().await.unwrap();
        let controller = tokio::spawn(remove_namespaces(client.clone()));
        Self {
            control_plane,
            client,
            folder: tempfile::tempdir().unwrap(),
            controller,
        }
    }

    /// Starts the demo on this cluster.
    pub(crate) fn demo(&self, name: &str, more: &[&str]) -> Process {
        let arguments = [&["run", "--context", CONTEXT], more].concat();
        self.spawn(name, &arguments)
    }

    /// Starts the demo with any arguments, for a user who has this cluster in the kubeconfig.
    pub(crate) fn spawn(&self, name: &str, arguments: &[&str]) -> Process {
        let mut demo = demo(self.folder.path(), arguments);
        demo.env("KUBECONFIG", self.control_plane.admin_kubeconfig());
        Process::spawn(name, &demo, self.folder.path()).unwrap()
    }

    /// The records of runs that are left.
    pub(crate) fn records(&self) -> Vec<PathBuf> {
        let records = std::fs::read_dir(self.folder.path().join("runs"));
        let records = records.into_iter().flatten();
        records.map(|record| record.unwrap().path()).collect()
    }

    /// What is on the cluster that a run could have made or changed, with its spec or rules.
    pub(crate) async fn inventory(&self) -> BTreeSet<String> {
        let mut all = BTreeSet::new();
        let everything = ListParams::default();
        for namespace in Api::<Namespace>::all(self.client.clone())
            .list(&everything)
            .await
            .unwrap()
        {
            all.insert(format!("namespace {}", namespace.name_any()));
        }
        for role in Api::<ClusterRole>::all(self.client.clone())
            .list(&everything)
            .await
            .unwrap()
        {
            all.insert(format!("clusterrole {} {:?}", role.name_any(), role.rules));
        }
        for binding in Api::<ClusterRoleBinding>::all(self.client.clone())
            .list(&everything)
            .await
            .unwrap()
        {
            all.insert(format!(
                "clusterrolebinding {} {:?}",
                binding.name_any(),
                binding.subjects
            ));
        }
        for definition in self.definitions().await {
            let spec = serde_json::to_string(&definition.spec).unwrap();
            all.insert(format!("crd {} {spec}", definition.name_any()));
        }
        all
    }

    pub(crate) async fn definitions(&self) -> Vec<CustomResourceDefinition> {
        let api: Api<CustomResourceDefinition> = Api::all(self.client.clone());
        api.list(&ListParams::default()).await.unwrap().items
    }

    /// What the operators of all runs asked of the API server so far, with the namespace of each.
    pub(crate) fn asked_by_operators(&self) -> Vec<(String, AuditEvent)> {
        let events = self.control_plane.audit_events().unwrap();
        let of_operator = |event: AuditEvent| {
            let account = event.user.strip_prefix("system:serviceaccount:")?;
            let namespace = account.strip_suffix(":guest-termination-operator")?.to_owned();
            Some((namespace, event))
        };
        events.into_iter().filter_map(of_operator).collect()
    }
}

impl Drop for TheirCluster {
    fn drop(&mut self) {
        self.controller.abort();
    }
}

/// Does for the demo's namespaces what the namespace controller of a real cluster does for all: when one is deleted,
/// all in it goes, and then it goes.
async fn remove_namespaces(client: Client) {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    loop {
        tokio::time::sleep(Duration::from_millis(200)).await;
        let Ok(all) = namespaces.list(&ListParams::default()).await else {
            continue;
        };
        let mine = |namespace: &Namespace| namespace.name_any().starts_with(PREFIX);
        let deleted = |namespace: &Namespace| namespace.metadata.deletion_timestamp.is_some();
        for namespace in all.into_iter().filter(mine).filter(deleted) {
            empty_and_finish(&client, &namespace.name_any()).await;
        }
    }
}

async fn empty_and_finish(client: &Client, namespace: &str) {
    for path in [
        "apis/guestops.dev/v1alpha1/namespaces/{}/guestterminations",
        "apis/guestops.dev/v1alpha1/namespaces/{}/genesysconnections",
        "apis/events.k8s.io/v1/namespaces/{}/events",
        "apis/coordination.k8s.io/v1/namespaces/{}/leases",
        "apis/rbac.authorization.k8s.io/v1/namespaces/{}/rolebindings",
        "apis/rbac.authorization.k8s.io/v1/namespaces/{}/roles",
        "api/v1/namespaces/{}/serviceaccounts",
        "api/v1/namespaces/{}/secrets",
    ] {
        let collection = kube::core::Request::new(format!("/{}", path.replace("{}", namespace)));
        let delete = collection.delete_collection(&DeleteParams::default(), &ListParams::default());
        // A kind that is not served (any more) has no objects; whatever else fails is tried again.
        let _ = client.request::<Value>(delete.unwrap()).await;
    }
    let finalize =
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}, "spec": {"finalizers": []}});
    let request = http::Request::put(format!("/api/v1/namespaces/{namespace}/finalize"))
        .header("content-type", "application/json")
        .body(finalize.to_string().into_bytes());
    let _ = client.request::<Value>(request.unwrap()).await;
}
