//! Namespaces and definitions that go, and rights that are taken.

use serde_json::{Value, json};

use super::bench::{Bench, termination};
use crate::apiserver::requests::{self, DEFINITIONS, NAMESPACES, Preconditions, SECRETS, Side, TERMINATIONS};

const DEFINITION: &str = "guestterminations.guestops.dev";

#[test]
fn nothing_is_created_in_a_namespace_that_ends_but_everything_else_works() {
    let mut bench = Bench::new();
    bench.termination("a");
    let delete = requests::delete(&NAMESPACES, "", "care", &Preconditions::default());
    assert_eq!(bench.done(&delete)["status"]["phase"], "Terminating");
    let (code, status) = bench.ask(&requests::create(&TERMINATIONS, "care", &termination("b")));
    assert_eq!(code, 403);
    assert_eq!(status["details"]["causes"][0]["reason"], "NamespaceTerminating");
    bench.merge("a", Side::Status, &json!({"status": {"attempts": 1}}));

    let start = bench.server.version().to_string();
    let mut watch = bench.watch(&[("resourceVersion", &start)]);
    bench.server.remove_namespace("care");
    assert_eq!(bench.told(&mut watch).len(), 1);
    let (code, status) = bench.ask(&requests::create(&TERMINATIONS, "care", &termination("b")));
    assert_eq!(
        (code, &status["message"]),
        (404, &json!("namespaces \"care\" not found"))
    );
    assert_eq!(bench.ask(&requests::get(&TERMINATIONS, "care", "a")).0, 404);
}

#[test]
fn a_kind_whose_definition_is_removed_is_an_unknown_path() {
    let mut bench = Bench::new();
    bench.termination("a");
    let start = bench.server.version().to_string();
    let mut watch = bench.watch(&[("resourceVersion", &start)]);
    let mut definition = bench.done(&requests::get(&DEFINITIONS, "", DEFINITION));
    bench.done(&requests::delete(
        &DEFINITIONS,
        "",
        DEFINITION,
        &Preconditions::default(),
    ));
    let (code, status) = bench.ask(&requests::create(&TERMINATIONS, "care", &termination("b")));
    assert_eq!((code, &status["reason"]), (403, &json!("Forbidden")));
    bench.server.remove_definition(DEFINITION);
    assert_eq!(
        bench.told(&mut watch),
        [format!("DELETED a {}", bench.server.version() - 1)]
    );
    assert!(watch.has_ended());
    assert_eq!(bench.ask(&requests::list(&TERMINATIONS, "", &[])), (404, Value::Null));
    assert!(!published(&mut bench).contains("GuestTermination"));

    definition["metadata"] = json!({"name": DEFINITION});
    bench.done(&requests::create(&DEFINITIONS, "", &definition));
    assert!(published(&mut bench).contains("GuestTermination"));
    assert_eq!(bench.ask(&requests::list(&TERMINATIONS, "", &[])).1["items"], json!([]));
    bench.termination("a");
    assert!(bench.told(&mut watch).is_empty());
}

fn published(bench: &mut Bench) -> String {
    let path = http::Request::get("/openapi/v3/apis/guestops.dev/v1alpha1");
    bench.done(&path.body(bytes::Bytes::new()).unwrap()).to_string()
}

#[test]
fn an_old_definition_hides_what_it_does_not_know_until_it_is_written_over() {
    let mut bench = Bench::new();
    bench.termination("a");
    bench.termination("b");
    let intent = json!({"id": "x", "number": 1, "holder": "h", "startedAt": "2026-03-01T10:00:00Z"});
    for name in ["a", "b"] {
        bench.merge(
            name,
            Side::Status,
            &json!({"status": {"attempts": 1, "currentAttempt": intent}}),
        );
    }
    let current = bench.done(&requests::get(&DEFINITIONS, "", DEFINITION));
    let mut old = current.clone();
    let schema = &mut old["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    schema["properties"]["status"]["properties"]
        .as_object_mut()
        .unwrap()
        .remove("currentAttempt");
    let old = bench.done(&requests::replace(&DEFINITIONS, "", DEFINITION, Side::Main, &old));
    assert!(!published(&mut bench).contains("currentAttempt"));
    let hidden = bench.done(&requests::get(&TERMINATIONS, "care", "a"));
    assert_eq!(hidden["status"]["currentAttempt"], Value::Null);
    let patch = json!({"status": {"attempts": 2, "currentAttempt": intent}});
    assert_eq!(
        bench.merge("b", Side::Status, &patch)["status"]["currentAttempt"],
        Value::Null
    );

    let mut again = old;
    again["spec"] = current["spec"].clone();
    bench.done(&requests::replace(&DEFINITIONS, "", DEFINITION, Side::Main, &again));
    let mut intent_of =
        |name| bench.done(&requests::get(&TERMINATIONS, "care", name))["status"]["currentAttempt"].clone();
    assert_eq!(intent_of("a"), intent);
    assert_eq!(intent_of("b"), Value::Null);
}

#[test]
fn a_right_that_is_taken_is_a_403_to_the_operator_alone() {
    let mut bench = Bench::new();
    bench.termination("a");
    bench.server.refuse("patch", "guestterminations/status");
    bench.server.refuse("get", "secrets");
    let as_user = requests::merge_patch(&TERMINATIONS, "care", "a", Side::Status, &json!({}));
    let mut as_operator = as_user.clone();
    as_operator.extensions_mut().clear();
    let (code, status) = bench.ask(&as_operator);
    assert_eq!((code, &status["reason"]), (403, &json!("Forbidden")));
    assert_eq!(
        status["message"],
        "guestterminations.guestops.dev \"a\" is forbidden: User \"operator\" cannot patch resource \
         \"guestterminations/status\" in API group \"guestops.dev\" in the namespace \"care\""
    );
    assert_eq!(bench.ask(&as_user).0, 200);
    let mut get = requests::get(&SECRETS, "care", "none");
    get.extensions_mut().clear();
    assert_eq!(bench.ask(&get).0, 403);
    bench.server.allow("get", "secrets");
    assert_eq!(bench.ask(&get).0, 404);
}

#[test]
fn every_change_is_handed_out_once() {
    let mut bench = Bench::new();
    bench.server.take_changes();
    let created = bench.termination("a");
    bench.merge("a", Side::Status, &json!({"status": {"attempts": 1}}));
    bench.merge("a", Side::Status, &json!({"status": {"attempts": 1}}));
    bench.done(&requests::delete(&TERMINATIONS, "care", "a", &Preconditions::default()));
    let changes = bench.server.take_changes();
    let has: Vec<_> = changes
        .iter()
        .map(|change| (change.before.is_some(), change.after.is_some()))
        .collect();
    assert_eq!(has, [(false, true), (true, true), (true, false)]);
    assert_eq!(**changes[0].after.as_ref().unwrap(), created);
    assert!(bench.server.take_changes().is_empty());
}
