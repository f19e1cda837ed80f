//! A control plane whose parts are ended and started again, and whose audit log holds contents.

use control_plane::ControlPlane;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, ListParams, Patch, PatchParams, VersionMatch};
use serde_json::json;

#[tokio::test]
async fn what_was_stored_outlives_the_api_server_and_the_store() {
    let control_plane = ControlPlane::builder()
        .durable()
        .log_content_of("", "configmaps")
        .start()
        .await
        .unwrap();
    let namespace = control_plane.namespace("kept").await.unwrap();
    let maps: Api<ConfigMap> = Api::namespaced(control_plane.admin_client().await.unwrap(), &namespace);
    let write = async |value: &str| {
        let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "map"}, "data": {"key": value}});
        let owner = PatchParams::apply("test");
        maps.patch("map", &owner, &Patch::Apply(&map)).await.unwrap()
    };
    let (first, second) = (write("one").await, write("two").await);
    assert!(control_plane.start_apiserver().await.is_err(), "it still runs");

    control_plane.apiserver().kill_9().await.unwrap();
    let ended = control_plane.etcd();
    ended.kill_9().await.unwrap();
    control_plane.start_etcd().await.unwrap();
    // Before the API server has it in its cache again.
    control_plane.compact().await.unwrap();
    control_plane.start_apiserver().await.unwrap();
    assert_eq!(maps.get("map").await.unwrap(), second);
    let version = first.metadata.resource_version.unwrap();
    let old = ListParams::default().at(&version).matching(VersionMatch::Exact);
    match maps.list(&old).await.unwrap_err() {
        kube::Error::Api(status) => assert_eq!(status.code, 410, "{status:?}"),
        other => panic!("no answer of the API server: {other}"),
    }

    let events = control_plane.audit_events().unwrap().into_iter();
    let contents: Vec<_> = events
        .filter(|event| event.resource == "configmaps" && event.verb == "patch" && event.namespace == namespace)
        .map(|event| event.content.unwrap()["data"]["key"].clone())
        .collect();
    assert_eq!(contents, ["one", "two"]);
    control_plane.stop().await.unwrap();
}

#[tokio::test]
async fn the_store_says_why_it_refuses() {
    let control_plane = ControlPlane::shared().await.unwrap();
    let refused = control_plane
        .ask_etcd("/v3/kv/put", &json!({"key": ""}))
        .await
        .unwrap_err();
    assert!(refused.to_string().contains("key is not provided"), "{refused}");
    assert!(control_plane.ask_etcd("/v3/nothing", &json!({})).await.is_err());
}
