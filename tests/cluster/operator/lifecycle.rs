//! What is not as it should be when the operator comes: kinds that are not there, and objects that do not fit.

use control_plane::ControlPlane;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{
    Api,
    api::{DeleteParams, DynamicObject, GroupVersionKind, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};
use simulator::api::GuestSpec;

use super::{lifecycle_stage::seconds, process::Program};
use crate::{
    fixture,
    stage::{Stage, verdict},
};

#[tokio::test(flavor = "multi_thread")]
async fn without_its_kinds_it_is_not_ready_and_waits() {
    let cluster = ControlPlane::start().await.unwrap();
    let stage = Stage::on(&cluster, "absent").await;
    let program = Program::start(&stage, "info");
    assert_eq!(program.get("/livez").await.0, 200);
    assert_eq!(program.get("/readyz").await.0, 503);
    tokio::time::sleep(seconds(7)).await;
    assert!(program.process.exit_status().is_none(), "{}", program.process.tail());
    let (status, body) = program.get("/readyz").await;
    assert_eq!(status, 503);
    assert!(body.contains("definitions"), "{body}");

    fixture::install(stage.client.clone()).await;
    program.ready().await;
    stage.connect(stage.connection("default")).await;
    stage.simulator.add_guest(GuestSpec::active("guest"));
    stage.terminate("guest", json!({})).await;
    let object = stage.settled("guest").await;
    assert_eq!(object["status"]["outcome"], "Terminated");
    assert!(program.process.stop(seconds(20)).await.unwrap().success());
    drop(program);
    drop(stage);
    cluster.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn kinds_that_are_deleted_under_it_are_picked_up_again() {
    let cluster = ControlPlane::start().await.unwrap();
    let stage = Stage::on(&cluster, "dropped").await;
    fixture::install(stage.client.clone()).await;
    let program = Program::start(&stage, "info");
    program.ready().await;
    stage.terminate("orphan", json!({})).await;
    stage
        .until("orphan", "waiting", |object| {
            verdict(object, "Ready") == "Unknown/WaitingForConnection"
        })
        .await;
    let definitions: Api<CustomResourceDefinition> = Api::all(stage.client.clone());
    for name in ["guestterminations.guestops.dev", "genesysconnections.guestops.dev"] {
        definitions.delete(name, &DeleteParams::default()).await.unwrap();
    }
    tokio::time::sleep(seconds(6)).await;
    assert!(program.process.exit_status().is_none(), "{}", program.process.tail());
    assert_eq!(program.get("/livez").await.0, 200);

    // Gone for good first: what is applied to a definition on its way out goes with it.
    for name in ["guestterminations.guestops.dev", "genesysconnections.guestops.dev"] {
        for _ in 0..200 {
            if definitions.get_opt(name).await.unwrap().is_none() {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    }
    fixture::install(stage.client.clone()).await;
    stage.connect(stage.connection("default")).await;
    stage.simulator.add_guest(GuestSpec::active("guest"));
    stage.terminate("guest", json!({})).await;
    assert_eq!(stage.settled("guest").await["status"]["outcome"], "Terminated");
    assert!(program.process.stop(seconds(20)).await.unwrap().success());
    drop(program);
    drop(stage);
    cluster.stop().await.unwrap();
}

/// Takes every rule on specs out of the definition of GuestTerminations.
async fn loosen(stage: &Stage<'_>) {
    let definitions: Api<CustomResourceDefinition> = Api::all(stage.client.clone());
    let name = "guestterminations.guestops.dev";
    let mut definition = serde_json::to_value(definitions.get(name).await.unwrap()).unwrap();
    let schema = &mut definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    schema.as_object_mut().unwrap().remove("x-kubernetes-validations");
    schema["properties"]["spec"] = json!({
        "type": "object", "x-kubernetes-preserve-unknown-fields": true,
        "properties": {"guestId": {"type": "string"}, "reason": {"type": "string"},
                       "ttlSecondsAfterFinished": {"type": "integer"}},
    });
    definition["metadata"]["managedFields"] = Value::Null;
    definitions
        .replace(
            name,
            &PostParams::default(),
            &serde_json::from_value(definition).unwrap(),
        )
        .await
        .unwrap();
}

/// Creates an object once the loosened definition is in force.
async fn create_loosely(stage: &Stage<'_>, name: &str, spec: Value) {
    let kind = GroupVersionKind::gvk("guestops.dev", "v1alpha1", "GuestTermination");
    let resource = kube::api::ApiResource::from_gvk_with_plural(&kind, "guestterminations");
    let api: Api<DynamicObject> = Api::namespaced_with(stage.client.clone(), &stage.namespace, &resource);
    let manifest = json!({
        "apiVersion": "guestops.dev/v1alpha1", "kind": "GuestTermination",
        "metadata": {"name": name}, "spec": spec,
    });
    let owner = PatchParams::apply("loose").force();
    let mut last = None;
    for _ in 0..200 {
        match api.patch(name, &owner, &Patch::Apply(&manifest)).await {
            Ok(_) => return,
            Err(error) => last = Some(error),
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("{name}: {last:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_fit_is_not_acted_on_and_stops_nothing_else() {
    let cluster = ControlPlane::start().await.unwrap();
    let stage = Stage::on(&cluster, "misfit").await;
    fixture::install(stage.client.clone()).await;
    stage.connect(stage.connection("default")).await;
    let operator = stage.operate().await;
    stage.warm_up().await;
    loosen(&stage).await;

    // It cannot be decoded: another version's word stands in it.
    let stranger = json!({"guestId": "stranger", "reason": "because", "retainData": true});
    create_loosely(&stage, "stranger", stranger).await;
    stage.events_until("stranger", &["InvalidObject"]).await;
    // It can, and breaks a rule that the API server would have held up.
    let invalid = json!({"guestId": "../users/me", "reason": "timeout", "retainData": true,
                         "backoffLimit": 6, "activeDeadlineSeconds": 60, "suspend": false});
    create_loosely(&stage, "invalid", invalid).await;
    let object = stage.settled("invalid").await;
    assert_eq!(object["status"]["outcome"], "Rejected");
    assert_eq!(verdict(&object, "SessionValidated"), "False/ValidationRejected");
    assert_eq!(verdict(&object, "Ready"), "False/Rejected");

    stage.simulator.add_guest(GuestSpec::active("stranger"));
    stage.simulator.add_guest(GuestSpec::active("guest"));
    stage.terminate("guest", json!({})).await;
    assert_eq!(stage.settled("guest").await["status"]["outcome"], "Terminated");
    operator.stop().await;

    // It is there when an operator starts, too.
    fixture::install(stage.client.clone()).await;
    let operator = stage.operate().await;
    stage.simulator.add_guest(GuestSpec::active("next"));
    stage.terminate("next", json!({})).await;
    assert_eq!(stage.settled("next").await["status"]["outcome"], "Terminated");
    assert_eq!(stage.calls_of("stranger"), (0, 0));
    stage.events_until("stranger", &["InvalidObject"]).await;
    let calls = stage.simulator.ledger().calls;
    assert!(calls.iter().all(|call| !call.path_and_query.contains("users")));
    operator.stop().await;
    drop(stage);
    cluster.stop().await.unwrap();
}
