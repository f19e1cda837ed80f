//! The API server of this process, with the kinds installed.

use std::time::Duration;

use control_plane::ControlPlane;
use guest_termination_operator::api::crds;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{
    Api, Client, ResourceExt as _,
    api::{Patch, PatchParams},
    runtime::{conditions, wait::await_condition},
};
use tokio::sync::OnceCell;

/// The API server of this process. Whoever asks first installs the kinds, and the rest wait for that.
pub(crate) async fn cluster() -> &'static ControlPlane {
    static INSTALLED: OnceCell<()> = OnceCell::const_new();
    let cluster = ControlPlane::shared().await.unwrap();
    INSTALLED
        .get_or_init(|| async {
            install(cluster.admin_client().await.unwrap()).await;
        })
        .await;
    cluster
}

/// A namespace of the test's own, and a client for the user `admin`.
pub(crate) async fn namespace(prefix: &str) -> (Client, String) {
    let cluster = cluster().await;
    (
        cluster.admin_client().await.unwrap(),
        cluster.namespace(prefix).await.unwrap(),
    )
}

/// Installs the kinds, and waits until they are served.
pub(crate) async fn install(client: Client) {
    let api: Api<CustomResourceDefinition> = Api::all(client);
    let owner = PatchParams::apply("cluster-tests").force();
    for crd in crds() {
        let name = crd.name_any();
        api.patch(&name, &owner, &Patch::Apply(&crd)).await.unwrap();
        let established = await_condition(api.clone(), &name, conditions::is_crd_established());
        tokio::time::timeout(Duration::from_secs(60), established)
            .await
            .unwrap()
            .unwrap();
    }
}
