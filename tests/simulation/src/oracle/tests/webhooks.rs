//! I5, I6, I10.

use serde_json::{Value, json};

use super::story::{HOOK, Story, finish};
use crate::{
    history::{Server, What},
    oracle::{Facts, Invariant::*},
    vendor::{CANARY, Told},
};

fn body(name: &str, outcome: &str) -> Value {
    json!({
        "event": "session.terminated", "guest_id": "g", "reason": "timeout", "timestamp": "2026-11-24T08:00:00Z",
        "retain_data": false, "retention_applied": true, "external_ref": "a+b", "outcome": outcome,
        "duplicate_termination": outcome == "AlreadyTerminated",
        "resource": {"apiVersion": "guestops.dev/v1alpha1", "kind": "GuestTermination", "namespace": "care", "name": name, "uid": name},
    })
}

/// An object that is terminated and has one webhook pending.
fn pending() -> Story {
    with_facts(Facts::default())
}

fn with_facts(facts: Facts) -> Story {
    let mut story = Story::of(facts);
    story.creates("one", "g", |_| {});
    story.looks(1, "one", Told::Active);
    story.intends(1, "one", "a-1");
    story.terminates(1, "one", Told::Applied);
    story.tells(1, "one", "a-1", "Applied");
    story.line(1, "one", json!({"kind": "outcome", "outcome": "Terminated"}));
    story.writes(1, "one", |status| {
        finish(status, "Terminated", Some("Response"));
        status["settled"].take();
        status["webhooks"] =
            json!([{"name": "hook", "format": "Flat", "state": "Pending", "messageId": "msg_1", "attempts": 0}]);
    });
    story.holds();
    story
}

fn deliver(story: &mut Story, status: u16) {
    story.delivers(1, &body("one", "Terminated").to_string(), "msg_1", true, status);
}

fn settle(story: &mut Story, state: &str, reason: &str, attempts: u64, last: u16) {
    story.writes(1, "one", |status| {
        status["webhooks"][0]["state"] = json!(state);
        status["webhooks"][0]["attempts"] = json!(attempts);
        status["webhooks"][0]["lastStatus"] = json!(last);
        status["conditions"] = json!([{"type": "WebhookDelivered", "reason": reason}]);
        status["settled"] = json!(true);
    });
    story.ends();
}

#[test]
fn i5_delivered_rests_on_a_2xx() {
    let mut story = pending();
    deliver(&mut story, 500);
    deliver(&mut story, 204);
    settle(&mut story, "Delivered", "Delivered", 2, 204);
    story.holds();

    let mut story = pending();
    deliver(&mut story, 500);
    settle(&mut story, "Delivered", "Delivered", 1, 204);
    story.violates(I5, "heard nothing");
}

#[test]
fn i5_failed_rests_on_the_schedule_a_410_or_a_missing_entry() {
    let mut story = pending();
    deliver(&mut story, 410);
    settle(&mut story, "Failed", "EndpointGone", 1, 410);
    story.holds();

    let mut story = pending();
    settle(&mut story, "Failed", "EndpointGone", 1, 410);
    story.violates(I5, "heard nothing");

    let mut story = pending();
    settle(&mut story, "Failed", "DeliveryFailed", 10, 500);
    story.holds();

    let mut story = pending();
    settle(&mut story, "Failed", "DeliveryFailed", 9, 500);
    story.violates(I5, "heard nothing");

    let mut story = pending();
    story.connection("conn-1", |object| object["spec"]["webhooks"] = json!([]));
    settle(&mut story, "Failed", "EndpointRemoved", 0, 0);
    story.holds();
}

#[test]
fn i5_the_condition_says_what_became_of_it() {
    let mut story = pending();
    deliver(&mut story, 204);
    settle(&mut story, "Delivered", "Pending", 1, 204);
    story.violates(I5, "WebhookDelivered says");
}

#[test]
fn i5_one_id_one_body_one_truth() {
    let mut story = pending();
    deliver(&mut story, 500);
    story.delivers(1, &body("one", "Terminated").to_string(), "msg_2", true, 500);
    story.violates(I5, "the id of");

    let mut story = pending();
    deliver(&mut story, 500);
    let mut other = body("one", "Terminated");
    other["timestamp"] = json!("2026-11-24T08:00:01Z");
    story.delivers(1, &other.to_string(), "msg_1", true, 500);
    story.violates(I5, "is not the one of");

    let mut story = pending();
    story.delivers(1, &body("one", "AlreadyTerminated").to_string(), "msg_1", true, 500);
    story.violates(I5, "another outcome");

    // Another format has another body, and the same id; and a format is what the status says.
    let event = json!({"specversion": "1.0", "data": body("one", "Terminated")});
    for promised in [true, false] {
        let mut story = pending();
        deliver(&mut story, 500);
        if promised {
            story.writes(1, "one", |status| {
                let other =
                    json!({"name": "events", "format": "CloudEvents", "state": "Pending", "messageId": "msg_1"});
                status["webhooks"].as_array_mut().unwrap().push(other);
            });
        }
        story.delivers(1, &event.to_string(), "msg_1", true, 204);
        if promised {
            story.holds();
        } else {
            story.violates(I5, "is CloudEvents, and not in a format that the status promises");
        }
    }
}

#[test]
fn i5_signatures_are_good_unless_keys_rotate() {
    let bad = |facts: Facts| {
        let mut story = with_facts(facts);
        story.delivers(1, &body("one", "Terminated").to_string(), "msg_1", false, 401);
        story
    };
    bad(Facts::default()).violates(I5, "signature");
    bad(Facts {
        keys_rotate: true,
        ..Facts::default()
    })
    .holds();
}

#[test]
fn i6_no_webhook_before_its_end_is_durable() {
    let mut story = Story::new();
    story.creates("one", "g", |_| {});
    story.looks(1, "one", Told::Active);
    story.intends(1, "one", "a-1");
    story.terminates(1, "one", Told::Applied);
    story.asks(
        1,
        Server::Receiver,
        &format!("POST https://{HOOK}"),
        &body("one", "Terminated").to_string(),
    );
    story.violates(I6, "not durable");

    let mut story = Story::new();
    story.creates("one", "g", |object| object["spec"]["activeDeadlineSeconds"] = json!(1));
    story.finishes(1, "one", "DeadlineExceeded", None);
    story.asks(
        1,
        Server::Receiver,
        &format!("POST https://{HOOK}"),
        &body("one", "DeadlineExceeded").to_string(),
    );
    story.violates(I6, "not durable");
}

#[test]
fn i6_what_was_deleted_is_announced_all_the_same() {
    let mut story = pending();
    story.deletes("one");
    deliver(&mut story, 204);
    story.ends();
    story.holds();
}

#[test]
fn i10_a_canary_is_heard_wherever_it_sings() {
    let secret = format!("xx{CANARY}yy");
    let mut story = Story::new();
    story.asks(
        1,
        Server::Cluster,
        "POST /apis/events.k8s.io/v1/namespaces/care/events",
        &secret,
    );
    story.violates(I10, "API server");

    let mut story = Story::new();
    story.creates("one", "g", |_| {});
    story.line(1, "one", json!({"kind": "outcome", "error": {"deep": [secret]}}));
    story.violates(I10, "audit line");

    let mut story = Story::new();
    story.record(What::Log { text: secret.clone() });
    story.violates(I10, "the log");

    let mut story = pending();
    story.asks(1, Server::Receiver, &format!("POST https://{HOOK}"), &secret);
    story.violates(I10, "webhook");

    let mut story = Story::new();
    story.asks(1, Server::Vendor, &format!("GET https://vendor.example/{secret}"), "");
    story.violates(I10, "line");

    // Where it belongs.
    let mut story = Story::new();
    story.asks(1, Server::Vendor, "POST https://vendor.example/oauth/token", &secret);
    story.holds();
}
