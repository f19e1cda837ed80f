//! What needs an order of its own: refused queries, namespaces that end, definitions that change and go.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request};
use serde_json::{Value, json};
use simulation::apiserver::requests::{
    self, CONNECTIONS, EVENTS, LEASES, NAMESPACES, Preconditions, Resource, SECRETS, Side, TERMINATIONS,
};

use crate::{
    pair::{Memory, Pair},
    values,
};

/// How long the real server may take to take something in.
const PATIENCE: Duration = Duration::from_secs(60);

impl Pair {
    /// Sends the request to the real server until its answer is as wanted, then to both.
    pub(crate) async fn ask_once(&mut self, request: &Request<Bytes>, wanted: impl Fn(u16, &Value) -> bool) {
        self.wait_for(request, wanted).await;
        self.ask(request).await.unwrap();
    }

    /// Sends the request to the real server until its answer is as wanted.
    pub(crate) async fn wait_for(&mut self, request: &Request<Bytes>, wanted: impl Fn(u16, &Value) -> bool) {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let (code, body) = self.send(request).await;
            let body = serde_json::from_slice(&body).unwrap_or_default();
            if wanted(code, &body) {
                return;
            }
            assert!(tokio::time::Instant::now() < deadline, "{request:?}: {code} {body:#}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn done(&mut self, request: &Request<Bytes>) -> Value {
        let answer = self.ask(request).await.unwrap();
        assert!(answer["code"].as_u64().unwrap() < 300, "{answer:#}");
        answer["body"].clone()
    }
}

fn named(resource: &Resource, name: &str) -> Value {
    let mut object = values::object(resource);
    object["metadata"]["name"] = json!(name);
    object
}

fn get(path: &str) -> Request<Bytes> {
    Request::get(path).body(Bytes::new()).unwrap()
}

#[tokio::test]
async fn queries_are_refused_alike() {
    let mut pair = Pair::new("queries").await;
    pair.done(&requests::create(&TERMINATIONS, "queries", &named(&TERMINATIONS, "a")))
        .await;
    let collection = TERMINATIONS.path("queries");
    for query in [
        "limit=x",
        "continue=x",
        "resourceVersion=x",
        "resourceVersion=0",
        "resourceVersion=1",
        "resourceVersion=999999999",
        "fieldSelector=spec.backoffLimit%3D6",
        "fieldSelector=status.settled",
        "fieldSelector=status.settled%3D%3Dtrue",
        "watch=true&resourceVersion=x",
        "watch=true&fieldSelector=spec.backoffLimit%3D6",
        "watch=true&sendInitialEvents=true",
        "watch=true&resourceVersionMatch=NotOlderThan",
    ] {
        pair.ask(&get(&format!("{collection}?{query}"))).await.unwrap();
    }
    for path in [
        "/apis/guestops.dev/v1alpha1/sessions",
        "/apis/guestops.dev/v1/guestterminations",
        "/apis/example.com/v1/guestterminations",
        "/api/v1/sessions",
        "/nowhere",
        &format!("{collection}/a/status"),
        &format!("{collection}/b/status"),
    ] {
        pair.ask(&get(path)).await.unwrap();
    }
    for (method, path, content_type) in [
        (Method::PATCH, format!("{collection}/a"), "application/json"),
        (Method::PATCH, format!("{collection}/a"), "text/plain"),
        (Method::POST, collection.clone(), "application/json"),
    ] {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("content-type", content_type);
        pair.ask(&request.body(Bytes::from_static(b"{nonsense")).unwrap())
            .await
            .unwrap();
    }
    println!("{} answers compared", pair.answers);
}

#[tokio::test]
async fn watches_begin_alike() {
    let mut pair = Pair::new("watches").await;
    for name in ["b", "a"] {
        pair.done(&requests::create(&TERMINATIONS, "watches", &named(&TERMINATIONS, name)))
            .await;
    }
    let initial = [
        ("sendInitialEvents", "true"),
        ("resourceVersionMatch", "NotOlderThan"),
        ("allowWatchBookmarks", "true"),
    ];
    let mut listing = pair.watch(&TERMINATIONS, "watches", &initial, |_| None).await;
    pair.compare_events(&mut listing).await.unwrap();
    let settled = json!({"status": {"settled": true}});
    pair.done(&requests::merge_patch(
        &TERMINATIONS,
        "watches",
        "a",
        Side::Status,
        &settled,
    ))
    .await;
    pair.compare_events(&mut listing).await.unwrap();

    // A version from before the kind was installed.
    pair.model.compact(pair.model.version());
    let mut old = pair
        .watch(&TERMINATIONS, "watches", &[], |_| Some("1".to_owned()))
        .await;
    pair.compare_events(&mut old).await.unwrap();
    assert!(old.model_has_ended());
    assert_eq!(old.next_line().await, None);

    // A version that the server has not reached is no error: the watch is silent and ends in its time.
    let brief = [("timeoutSeconds", "1")];
    let mut early = pair
        .watch(&TERMINATIONS, "watches", &brief, |_| Some("999999999".to_owned()))
        .await;
    pair.compare_events(&mut early).await.unwrap();
    assert_eq!(early.next_line().await, None);
    println!("{} answers and {} events compared", pair.answers, pair.events);
}

#[tokio::test]
async fn a_listing_shows_one_moment_in_the_order_of_the_store() {
    let mut pair = Pair::new("order").await;
    let namespaces = ["order", "order-two", "a-first"];
    for namespace in &namespaces[1..] {
        pair.done(&requests::create(
            &NAMESPACES,
            "",
            &json!({"metadata": {"name": namespace}}),
        ))
        .await;
    }
    let mut object = values::object(&TERMINATIONS);
    object["metadata"]["labels"] = json!({"team": "order"});
    for namespace in namespaces {
        for name in ["x", "x-2", "x.1"] {
            object["metadata"]["name"] = json!(name);
            pair.done(&requests::create(&TERMINATIONS, namespace, &object)).await;
        }
    }
    let page = |memory: &Memory| {
        let mut parameters = vec![("limit", "2"), ("labelSelector", "team=order")];
        parameters.extend(memory.next().map(|token| ("continue", token)));
        requests::list(&TERMINATIONS, "", &parameters)
    };
    let mut pages = 0;
    loop {
        pair.ask_each(page).await.unwrap();
        pages += 1;
        if pair.real_memory.next().is_none() {
            break;
        }
        // What changes now is in no page.
        if pages < 3 {
            let tokens = (pair.real_memory.take_next(), pair.model_memory.take_next());
            object["metadata"]["name"] = json!(format!("y-{pages}"));
            pair.done(&requests::create(&TERMINATIONS, "order-two", &object)).await;
            let delete = requests::delete(&TERMINATIONS, "order", "x-2", &Preconditions::default());
            pair.ask(&delete).await.unwrap();
            pair.real_memory.go_on_from(tokens.0);
            pair.model_memory.go_on_from(tokens.1);
        }
    }
    assert_eq!(pages, 5);
    println!("{} answers compared", pair.answers);
}

#[tokio::test]
async fn a_namespace_ends_alike() {
    let mut pair = Pair::new("ending").await;
    for resource in [TERMINATIONS, CONNECTIONS, SECRETS, LEASES, EVENTS] {
        pair.done(&requests::create(&resource, "ending", &named(&resource, "a")))
            .await;
    }
    let delete = requests::delete(&NAMESPACES, "", "ending", &Preconditions::default());
    pair.done(&delete).await;
    pair.done(&delete).await;
    pair.done(&requests::get(&NAMESPACES, "", "ending")).await;
    let in_another = |resource: &Resource| requests::create(resource, "ending", &named(resource, "b"));
    for resource in [TERMINATIONS, CONNECTIONS, SECRETS, LEASES, EVENTS] {
        // The server's admission hears of it a moment later.
        pair.ask_once(&in_another(&resource), |code, _| code == 403).await;
    }
    let lease = requests::replace(&LEASES, "ending", "b", Side::Main, &named(&LEASES, "b"));
    assert_eq!(pair.ask(&lease).await.unwrap()["code"], 403);
    let patch = json!({"status": {"attempts": 1}});
    pair.done(&requests::merge_patch(
        &TERMINATIONS,
        "ending",
        "a",
        Side::Status,
        &patch,
    ))
    .await;
    for resource in [TERMINATIONS, CONNECTIONS, SECRETS, LEASES, EVENTS] {
        pair.done(&requests::delete(&resource, "ending", "a", &Preconditions::default()))
            .await;
    }

    // What the controller of namespaces does, which is not there.
    let finalized = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "ending"},
        "spec": {"finalizers": []}});
    let finalize = Request::put("/api/v1/namespaces/ending/finalize")
        .header("content-type", "application/json")
        .body(finalized.to_string().into());
    assert_eq!(pair.send(&finalize.unwrap()).await.0, 200);
    pair.model.remove_namespace("ending");
    pair.ask(&requests::get(&NAMESPACES, "", "ending")).await.unwrap();
    pair.ask_once(&in_another(&TERMINATIONS), |code, _| code == 404).await;
    println!("{} answers compared", pair.answers);
}

#[tokio::test]
async fn there_are_namespaces_that_do_not_exist() {
    let mut pair = Pair::new("existing").await;
    for resource in [TERMINATIONS, SECRETS, LEASES, EVENTS] {
        for request in [
            requests::create(&resource, "missing", &named(&resource, "a")),
            requests::get(&resource, "missing", "a"),
            requests::list(&resource, "missing", &[("limit", "1")]),
            requests::replace(&resource, "missing", "a", Side::Main, &named(&resource, "a")),
            requests::delete(&resource, "missing", "a", &Preconditions::default()),
        ] {
            pair.ask(&request).await.unwrap();
        }
    }
    pair.ask(&requests::create(
        &NAMESPACES,
        "",
        &json!({"metadata": {"name": "existing"}}),
    ))
    .await
    .unwrap();
    let last = |memory: &Memory| memory.object("existing", 0).cloned().unwrap();
    let label = json!({"metadata": {"labels": {"team": "care", "kubernetes.io/metadata.name": null}}});
    pair.ask_each(|memory| {
        let mut edited = last(memory);
        requests::merge(&mut edited, label.clone());
        requests::replace(&NAMESPACES, "", "existing", Side::Main, &edited)
    })
    .await
    .unwrap();
}
