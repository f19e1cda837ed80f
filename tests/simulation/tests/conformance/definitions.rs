//! A definition that is installed, replaced by an older one, removed, and installed again. It has a group of its own:
//! the other tests go on.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use guest_termination_operator::{api::crds, clock::SystemClock, cluster::Cluster};
use http_body_util::Full;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{Api, Client};
use serde_json::{Value, json};
use simulation::apiserver::{
    ApiServer, Reply,
    requests::{self, DEFINITIONS, Preconditions, Resource, Side},
};

use crate::{
    pair::{Memory, Pair, cluster, now, wait_until_established},
    values,
};

const NAME: &str = "guestterminations.removed.example.com";
const RESOURCE: Resource = Resource {
    group: "removed.example.com",
    version: "v1alpha1",
    plural: "guestterminations",
};

fn definition() -> Value {
    let mut definition = serde_json::to_value(&crds()[0]).unwrap();
    definition["metadata"] = json!({"name": NAME});
    definition["spec"]["group"] = json!(RESOURCE.group);
    definition
}

fn object(name: &str) -> Value {
    let mut object = values::object(&requests::TERMINATIONS);
    object["apiVersion"] = json!("removed.example.com/v1alpha1");
    object["metadata"] = json!({"name": name});
    object
}

/// Installs the definition at both. What the server says of a definition is not compared: it is large, and nobody's.
async fn install(pair: &mut Pair) {
    let create = requests::create(&DEFINITIONS, "", &definition());
    assert_eq!(pair.send(&create).await.0, 201);
    let Reply::Answer(answer) = pair.model.handle(now(), None, &create) else {
        panic!("a watch");
    };
    assert_eq!(answer.status(), 201);
    let api: Api<CustomResourceDefinition> = Api::all(pair.client.clone());
    wait_until_established(&api, NAME).await;
    let list = requests::list(&RESOURCE, "", &[]);
    pair.wait_for(&list, |code, _| code == 200).await;
}

/// Sends a change of the definition to both.
async fn change(pair: &mut Pair, patch: &Value) {
    let patch = requests::merge_patch(&DEFINITIONS, "", NAME, Side::Main, patch);
    assert_eq!(pair.send(&patch).await.0, 200);
    let Reply::Answer(answer) = pair.model.handle(now(), None, &patch) else {
        panic!("a watch");
    };
    assert_eq!(answer.status(), 200);
}

#[tokio::test]
async fn a_definition_comes_and_goes_alike() {
    let mut pair = Pair::new("removed").await;
    let list = requests::list(&RESOURCE, "", &[]);
    pair.ask(&list).await.unwrap();
    install(&mut pair).await;
    pair.ask(&list).await.unwrap();

    let books = json!({"status": {"attempts": 1, "currentAttempt":
        {"id": "x", "number": 1, "holder": "one", "startedAt": "2026-03-01T10:00:00Z"}}});
    for name in ["a", "b"] {
        pair.ask(&requests::create(&RESOURCE, "removed", &object(name)))
            .await
            .unwrap();
        let write = requests::merge_patch(&RESOURCE, "removed", name, Side::Status, &books);
        pair.ask(&write).await.unwrap();
    }
    older_definition(&mut pair, &books).await;

    // Removed: the object that is held keeps the definition.
    let hold = json!({"metadata": {"finalizers": ["example.com/hold"]}});
    pair.ask(&requests::merge_patch(&RESOURCE, "removed", "a", Side::Main, &hold))
        .await
        .unwrap();
    let newest = |memory: &Memory| {
        let version = &memory.object("a", 0)?["metadata"]["resourceVersion"];
        version.as_str().map(str::to_owned)
    };
    let mut watches = pair.watch(&RESOURCE, "removed", &[], newest).await;
    let delete = requests::delete(&DEFINITIONS, "", NAME, &Preconditions::default());
    assert_eq!(pair.send(&delete).await.0, 200);
    pair.model.handle(now(), None, &delete);
    // Until the server's own controller has seen it, the object is there already.
    let create = requests::create(&RESOURCE, "removed", &object("a"));
    pair.ask_once(&create, |code, _| code == 403).await;
    pair.ask(&requests::create(&RESOURCE, "removed", &object("c")))
        .await
        .unwrap();
    let release = json!({"metadata": {"finalizers": null}});
    let release = requests::merge_patch(&RESOURCE, "removed", "a", Side::Main, &release);
    pair.wait_for(&release, |code, _| code != 409).await;
    pair.wait_for(&list, |code, _| code == 404).await;
    pair.model.remove_definition(NAME);
    for request in [&list, &create, &requests::get(&RESOURCE, "removed", "a")] {
        pair.ask(request).await.unwrap();
    }

    // Both watches tell that the objects went, and end.
    let mut left = Vec::new();
    while let Some(line) = watches.next_line().await {
        let event: Value = serde_json::from_slice(&line).unwrap();
        if event["type"] == "DELETED" {
            left.push(event["object"]["metadata"]["name"].as_str().unwrap().to_owned());
        }
    }
    left.sort();
    assert_eq!(left, ["a", "b"]);
    assert_eq!(pair.told_by_the_model(&mut watches), 2);
    assert!(watches.model_has_ended());

    install(&mut pair).await;
    pair.ask(&list).await.unwrap();
    pair.ask(&requests::create(&RESOURCE, "removed", &object("a")))
        .await
        .unwrap();
    println!("{} answers compared", pair.answers);
}

/// An older definition hides a field that it does not know, until the object is written over.
async fn older_definition(pair: &mut Pair, books: &Value) {
    let versions = definition()["spec"]["versions"].clone();
    let mut older = versions.clone();
    let status = &mut older[0]["schema"]["openAPIV3Schema"]["properties"]["status"]["properties"];
    status.as_object_mut().unwrap().remove("currentAttempt").unwrap();
    let mut watches = pair.watch(&RESOURCE, "removed", &[], |_| None).await;
    pair.compare_events(&mut watches).await.unwrap();
    change(pair, &json!({"spec": {"versions": older}})).await;
    assert_eq!(watches.next_line().await, None);
    assert_eq!(pair.told_by_the_model(&mut watches), 0);
    assert!(watches.model_has_ended());

    let get = |name| requests::get(&RESOURCE, "removed", name);
    let hidden = |code: u16, body: &Value| code == 200 && body["status"]["currentAttempt"].is_null();
    pair.ask_once(&get("a"), hidden).await;
    let mut books = books.clone();
    books["status"]["attempts"] = json!(2);
    let write = requests::merge_patch(&RESOURCE, "removed", "b", Side::Status, &books);
    pair.ask(&write).await.unwrap();
    change(pair, &json!({"spec": {"versions": versions}})).await;
    let shown = |code: u16, body: &Value| code == 200 && !body["status"]["currentAttempt"].is_null();
    pair.ask_once(&get("a"), shown).await;
    pair.ask(&get("b")).await.unwrap();
}

/// The operator's own look at the kinds finds the same at both.
#[tokio::test]
async fn the_operator_finds_the_kinds_alike() {
    let real = cluster().await.admin_client().await.unwrap();
    let real = Cluster::new(real, SystemClock::shared());
    let model = Arc::new(Mutex::new(ApiServer::new(now(), &[])));
    let service = tower::service_fn(move |request: http::Request<kube::client::Body>| {
        let model = Arc::clone(&model);
        async move {
            let (head, _) = request.into_parts();
            let request = http::Request::from_parts(head, bytes::Bytes::new());
            let Reply::Answer(answer) = model.lock().unwrap().handle(now(), None, &request) else {
                return Err(std::io::Error::other("a watch"));
            };
            Ok(answer.map(Full::new))
        }
    });
    let model = Cluster::new(Client::new(service, "default"), SystemClock::shared());
    let seen = model.compatibility().await.unwrap();
    // The document follows a new definition after a moment.
    for _ in 0..600 {
        if real.compatibility().await.as_ref() == Ok(&seen) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("{seen:?}, {:?}", real.compatibility().await);
}
