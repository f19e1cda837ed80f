//! Listing, page by page, and reading from a server behind.

use serde_json::{Value, json};

use super::bench::{Bench, now, read, version};
use crate::apiserver::{
    Reply,
    requests::{self, Preconditions, Side, TERMINATIONS},
};

fn names(list: &Value) -> Vec<&str> {
    let items = list["items"].as_array().unwrap();
    items
        .iter()
        .map(|item| item["metadata"]["name"].as_str().unwrap())
        .collect()
}

#[test]
fn a_listing_selects_by_fields_that_may_be_absent() {
    let mut bench = Bench::new();
    bench.termination("a");
    bench.termination("b");
    bench.merge("b", Side::Status, &json!({"status": {"settled": true}}));
    let mut select = |selector: &str| {
        let list = requests::list(&TERMINATIONS, "", &[("fieldSelector", selector)]);
        names(&bench.done(&list)).join(",")
    };
    assert_eq!(select("status.settled!=true"), "a");
    assert_eq!(select("status.settled=true"), "b");
    assert_eq!(select("status.settled="), "a");
    assert_eq!(select("metadata.name=b,metadata.namespace=care"), "b");
    assert_eq!(select("spec.guestId=guest-a"), "a");
    let (code, _) = bench.ask(&requests::list(
        &TERMINATIONS,
        "",
        &[("fieldSelector", "spec.retainData=true")],
    ));
    assert_eq!(code, 400);
}

#[test]
fn pages_show_one_moment() {
    let mut bench = Bench::new();
    for name in ["a", "b", "c"] {
        bench.termination(name);
    }
    let begun = bench.server.version();
    let first = bench.done(&requests::list(&TERMINATIONS, "care", &[("limit", "2")]));
    assert_eq!(names(&first), ["a", "b"]);
    assert_eq!(first["metadata"]["remainingItemCount"], 1);
    bench.done(&requests::delete(&TERMINATIONS, "care", "c", &Preconditions::default()));
    bench.termination("d");
    let token = first["metadata"]["continue"].as_str().unwrap();
    let rest = requests::list(&TERMINATIONS, "care", &[("limit", "2"), ("continue", token)]);
    let second = bench.done(&rest);
    assert_eq!(names(&second), ["c"]);
    assert_eq!(version(&second), begun);
    assert_eq!(second["metadata"]["continue"], "");

    bench.server.compact(bench.server.version());
    let (code, status) = bench.ask(&rest);
    assert_eq!((code, &status["reason"]), (410, &json!("Expired")));
    let token = status["metadata"]["continue"].as_str().unwrap();
    let rest = requests::list(&TERMINATIONS, "care", &[("continue", token)]);
    assert_eq!(names(&bench.done(&rest)), ["d"]);
}

#[test]
fn a_server_behind_reads_the_past_and_writes_the_present() {
    let mut bench = Bench::new();
    let created = bench.termination("a");
    let past = bench.server.version();
    bench.merge("a", Side::Main, &json!({"metadata": {"labels": {"a": "b"}}}));
    bench.termination("b");
    let mut behind = |request| match bench.server.handle(now(), Some(past), &request) {
        Reply::Answer(answer) => read(&answer),
        Reply::Watch(watch) => panic!("{watch:?}"),
    };
    assert_eq!(
        behind(requests::get(&TERMINATIONS, "care", "a")),
        (200, created.clone())
    );
    let (_, list) = behind(requests::list(&TERMINATIONS, "", &[]));
    assert_eq!((names(&list), version(&list)), (vec!["a"], past));
    let stale = requests::replace(&TERMINATIONS, "care", "a", Side::Status, &created);
    assert_eq!(behind(stale).0, 409);
}

#[test]
fn a_listing_is_in_the_order_of_the_store() {
    let mut bench = Bench::new();
    for namespace in ["care-two", "a"] {
        let body = json!({"metadata": {"name": namespace}});
        bench.done(&requests::create(&requests::NAMESPACES, "", &body));
    }
    for namespace in ["care", "care-two", "a"] {
        let object = super::bench::termination("x");
        bench.done(&requests::create(&TERMINATIONS, namespace, &object));
    }
    let list = bench.done(&requests::list(&TERMINATIONS, "", &[]));
    let places: Vec<_> = list["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| &item["metadata"]["namespace"])
        .collect();
    assert_eq!(places, ["a", "care-two", "care"]);
}
