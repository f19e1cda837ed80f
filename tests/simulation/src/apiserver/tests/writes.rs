//! Creating, changing and deleting.

use serde_json::{Value, json};

use super::bench::{Bench, termination, version};
use crate::apiserver::requests::{self, CONNECTIONS, EVENTS, LEASES, Preconditions, SECRETS, Side, TERMINATIONS};

#[test]
fn a_new_object_has_defaults_and_the_servers_metadata() {
    let mut bench = Bench::new();
    let mut given = termination("a");
    given["metadata"]["uid"] = json!("mine");
    given["spec"]["unknown"] = json!(1);
    given["status"] = json!({"attempts": 4});
    let stored = bench.done(&requests::create(&TERMINATIONS, "care", &given));
    let meta = &stored["metadata"];
    assert_eq!(meta["namespace"], "care");
    assert_eq!(meta["generation"], 1);
    assert_eq!(meta["creationTimestamp"], "2026-03-01T10:00:00Z");
    assert_ne!(meta["uid"], "mine");
    assert_eq!(version(&stored), bench.server.version());
    assert_eq!(
        stored["spec"],
        json!({"guestId": "guest-a", "reason": "timeout", "retainData": true, "suspend": false, "backoffLimit": 6,
            "activeDeadlineSeconds": 21600})
    );
    assert_eq!(
        stored["status"],
        json!({"observedGeneration": -1, "phase": "Pending", "attempts": 0})
    );
}

#[test]
fn each_side_of_an_object_ignores_the_other() {
    let mut bench = Bench::new();
    bench.termination("a");
    let patch = json!({"metadata": {"labels": {"a": "b"}}, "spec": {"suspend": true}, "status": {"attempts": 1}});
    let main = bench.merge("a", Side::Main, &patch);
    assert_eq!(main["metadata"]["generation"], 2);
    assert_eq!(main["metadata"]["labels"], json!({"a": "b"}));
    assert_eq!(main["status"]["attempts"], 0);
    let patch = json!({"metadata": {"labels": {"a": "c"}}, "spec": {"suspend": false}, "status": {"attempts": 1}});
    let status = bench.merge("a", Side::Status, &patch);
    assert_eq!(status["metadata"]["generation"], 2);
    assert_eq!(status["metadata"]["labels"], json!({"a": "b"}));
    assert_eq!(status["spec"]["suspend"], true);
    assert_eq!(status["status"]["attempts"], 1);
}

#[test]
fn a_write_that_changes_nothing_gives_no_version_but_for_the_first_status() {
    let mut bench = Bench::new();
    let created = bench.termination("a");
    // The default of the status was never stored; this write stores it.
    let first = bench.merge("a", Side::Main, &json!({}));
    assert_eq!(version(&first), version(&created) + 1);
    let (_, again) = bench.put(Side::Main, &first);
    assert_eq!(again, first);
    let (_, again) = bench.put(Side::Status, &first);
    assert_eq!(again, first);
    assert_eq!(bench.server.version(), version(&first));
}

#[test]
fn a_writer_who_is_late_or_means_another_object_is_a_conflict() {
    let mut bench = Bench::new();
    let seen = bench.termination("a");
    bench.merge("a", Side::Main, &json!({"metadata": {"labels": {"a": "b"}}}));
    let newest = bench.server.version();
    for side in [Side::Main, Side::Status] {
        let (code, status) = bench.put(side, &seen);
        assert_eq!((code, &status["reason"]), (409, &json!("Conflict")), "{status}");
    }
    // Deleted, and created anew under the same name.
    bench.done(&requests::delete(&TERMINATIONS, "care", "a", &Preconditions::default()));
    let mut other = bench.termination("a");
    assert_ne!(other["metadata"]["uid"], seen["metadata"]["uid"]);
    other["metadata"]["uid"] = seen["metadata"]["uid"].clone();
    assert_eq!(bench.put(Side::Status, &other).0, 409);
    assert_eq!(bench.server.version(), newest + 2);
}

#[test]
fn an_update_names_a_version_and_an_object_that_exists() {
    let mut bench = Bench::new();
    let mut object = bench.termination("a");
    object["metadata"].as_object_mut().unwrap().remove("resourceVersion");
    let (code, status) = bench.put(Side::Main, &object);
    assert_eq!((code, &status["reason"]), (422, &json!("Invalid")));
    let (code, status) = bench.put(Side::Main, &termination("b"));
    assert_eq!(code, 404);
    assert_eq!(
        status["details"],
        json!({"name": "b", "group": "guestops.dev", "kind": "guestterminations"})
    );
    assert_eq!(status["message"], "guestterminations.guestops.dev \"b\" not found");
}

#[test]
fn a_bad_object_is_refused_field_by_field() {
    let mut bench = Bench::new();
    let mut object = termination("a");
    object["spec"] = json!({"reason": "boredom", "retainData": "yes"});
    let (code, status) = bench.ask(&requests::create(&TERMINATIONS, "care", &object));
    assert_eq!((code, &status["reason"]), (422, &json!("Invalid")));
    assert_eq!(status["details"]["kind"], "GuestTermination");
    let mut fields: Vec<_> = status["details"]["causes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|cause| format!("{} {}", cause["field"], cause["reason"]))
        .collect();
    fields.sort();
    assert_eq!(
        fields,
        [
            "\"<nil>\" \"FieldValueInvalid\"",
            "\"spec.guestId\" \"FieldValueRequired\"",
            "\"spec.reason\" \"FieldValueNotSupported\"",
            "\"spec.retainData\" \"FieldValueTypeInvalid\"",
        ]
    );
}

#[test]
fn the_books_cannot_be_forged() {
    let mut bench = Bench::new();
    bench.termination("a");
    let books = json!({"finished": true, "settled": true, "outcome": "Terminated", "mayHaveApplied": true,
        "attempts": 2});
    bench.merge("a", Side::Status, &json!({"status": books}));
    for (patch, field) in [
        (json!({"finished": false}), "status.outcome"),
        (json!({"outcome": "Expired"}), "status.outcome"),
        (json!({"settled": null}), "status.settled"),
        (json!({"mayHaveApplied": false}), "status.mayHaveApplied"),
        (json!({"attempts": 1}), "status.attempts"),
    ] {
        let patch = json!({"status": patch});
        let (code, status) = bench.ask(&requests::merge_patch(&TERMINATIONS, "care", "a", Side::Status, &patch));
        assert_eq!((code, &status["details"]["causes"][0]["field"]), (422, &json!(field)));
    }
    let patch = json!({"spec": {"suspend": true}});
    let edit = requests::merge_patch(&TERMINATIONS, "care", "a", Side::Main, &patch);
    assert_eq!(bench.ask(&edit).0, 422);
}

#[test]
fn a_deletion_may_be_about_one_object_alone() {
    let mut bench = Bench::new();
    let object = bench.termination("a");
    let wanted = |uid: &str, version: &str| Preconditions {
        uid: Some(uid.to_owned()),
        resource_version: Some(version.to_owned()),
    };
    let uid = object["metadata"]["uid"].as_str().unwrap();
    let delete = |wanted: &Preconditions| requests::delete(&TERMINATIONS, "care", "a", wanted);
    assert_eq!(bench.ask(&delete(&wanted("other", "1"))).0, 409);
    assert_eq!(bench.ask(&delete(&wanted(uid, "1"))).0, 409);
    let (code, status) = bench.ask(&delete(&wanted(uid, &version(&object).to_string())));
    assert_eq!((code, &status["status"]), (200, &json!("Success")));
    assert_eq!(bench.ask(&requests::get(&TERMINATIONS, "care", "a")).0, 404);
}

#[test]
fn a_finalizer_holds_an_object() {
    let mut bench = Bench::new();
    bench.termination("a");
    bench.merge(
        "a",
        Side::Main,
        &json!({"metadata": {"finalizers": ["example.com/hold"]}}),
    );
    let delete = requests::delete(&TERMINATIONS, "care", "a", &Preconditions::default());
    let object = bench.done(&delete);
    assert_eq!(object["metadata"]["deletionTimestamp"], "2026-03-01T10:00:00Z");
    assert_eq!(object["metadata"]["generation"], 2);
    assert_eq!(bench.done(&delete), object);
    bench.merge("a", Side::Main, &json!({"metadata": {"finalizers": null}}));
    assert_eq!(bench.ask(&requests::get(&TERMINATIONS, "care", "a")).0, 404);
}

#[test]
fn a_lease_is_created_by_post_or_put_and_changed_with_its_version() {
    let mut bench = Bench::new();
    let lease = |holder: &str| {
        json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "l"},
            "spec": {"holderIdentity": holder, "leaseDurationSeconds": 15, "leaseTransitions": 0,
                "acquireTime": "2026-03-01T10:00:00.000000Z", "renewTime": "2026-03-01T10:00:00.000001Z"}})
    };
    let mut held = bench.done(&requests::create(&LEASES, "care", &lease("a")));
    assert_eq!(bench.ask(&requests::create(&LEASES, "care", &lease("b"))).0, 409);
    assert_eq!(
        bench
            .ask(&requests::replace(&LEASES, "care", "l", Side::Main, &lease("b")))
            .0,
        422
    );
    held["spec"]["holderIdentity"] = json!("c");
    let taken = requests::replace(&LEASES, "care", "l", Side::Main, &held);
    assert_eq!(bench.done(&taken)["spec"]["holderIdentity"], "c");
    assert_eq!(bench.ask(&taken).0, 409);
    let mut bad = lease("a");
    bad["spec"]["renewTime"] = json!("2026-03-01T10:00:00Z");
    bad["metadata"]["name"] = json!("m");
    assert_eq!(bench.ask(&requests::create(&LEASES, "care", &bad)).0, 400);
    let mut put = lease("a");
    put["metadata"]["name"] = json!("m");
    assert_eq!(
        bench.ask(&requests::replace(&LEASES, "care", "m", Side::Main, &put)).0,
        201
    );
}

#[test]
fn an_event_of_the_same_name_is_there_already() {
    let mut bench = Bench::new();
    let event = json!({"metadata": {"name": "e"}, "eventTime": "2026-03-01T10:00:00.000000Z", "type": "Normal",
        "reason": "Terminated", "action": "Terminate", "note": "n", "reportingController": "guestops.dev/o",
        "reportingInstance": "pod", "regarding": {"kind": "GuestTermination", "name": "a", "namespace": "care"}});
    let create = requests::create(&EVENTS, "care", &event);
    bench.done(&create);
    let (code, status) = bench.ask(&create);
    assert_eq!((code, &status["reason"]), (409, &json!("AlreadyExists")));
    let mut long = event;
    long["metadata"]["name"] = json!("f");
    long["note"] = json!("x".repeat(1025));
    assert_eq!(bench.ask(&requests::create(&EVENTS, "care", &long)).0, 422);
}

#[test]
fn a_secret_is_kept_as_data_and_its_metadata_can_be_read_alone() {
    let mut bench = Bench::new();
    let secret = json!({"metadata": {"name": "s"}, "stringData": {"key": "value"}});
    let stored = bench.done(&requests::create(&SECRETS, "care", &secret));
    assert_eq!(stored["data"], json!({"key": "dmFsdWU="}));
    let mut get = requests::get(&SECRETS, "care", "s");
    let accept = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";
    get.headers_mut().insert("accept", accept.parse().unwrap());
    let partial = bench.done(&get);
    assert_eq!(partial["kind"], "PartialObjectMetadata");
    assert_eq!(partial["metadata"], stored["metadata"]);
    assert_eq!(partial["data"], Value::Null);
}

#[test]
fn a_connection_stays_at_its_address() {
    let mut bench = Bench::new();
    let connection = json!({"apiVersion": "guestops.dev/v1alpha1", "kind": "GenesysConnection",
        "metadata": {"name": "default"},
        "spec": {"api": "WebMessagingGuests", "region": "us-east-1", "credentialsSecretRef": {"name": "genesys"}}});
    let stored = bench.done(&requests::create(&CONNECTIONS, "care", &connection));
    assert_eq!(
        stored["spec"]["rateLimit"],
        json!({"maxInFlight": 5, "requestsPerMinute": 240})
    );
    assert_eq!(stored["spec"]["credentialsSecretRef"]["clientIdKey"], "clientId");
    let patch = |patch: Value| requests::merge_patch(&CONNECTIONS, "care", "default", Side::Main, &patch);
    assert_eq!(bench.ask(&patch(json!({"spec": {"region": "us-east-2"}}))).0, 422);
    assert_eq!(bench.ask(&patch(json!({"spec": {"suspend": true}}))).0, 200);
}
