//! I8, I11, I12, I13, I14.

use std::time::Duration;

use serde_json::json;

use super::story::Story;
use crate::{
    history::{Server, What},
    oracle::{Facts, Fairness, Invariant::*},
    vendor::{Operation::*, Told},
};

/// So many looks, one every so many seconds.
fn looks(story: &mut Story, count: usize, pause: f64) {
    for _ in 0..count {
        story.looks(1, "one", Told::Active);
        story.wait(pause);
    }
}

#[test]
fn i8_no_window_holds_more_than_the_allowance() {
    let mut story = Story::new();
    story.creates("one", "g", |_| {});
    // 30 a minute are allowed.
    looks(&mut story, 90, 2.0);
    story.holds();
    looks(&mut story, 32, 1.9);
    story.violates(I8, "31 calls within 60 s");
}

#[test]
fn i8_the_window_is_of_all_processes() {
    let mut story = Story::new();
    story.creates("one", "g", |_| {});
    looks(&mut story, 30, 0.1);
    story.holds();
    story.dies(1);
    story.starts(2);
    story.looks(2, "one", Told::Active);
    story.violates(I8, "31 calls");
}

#[test]
fn i8_a_change_of_the_limit_takes_a_while() {
    let tighten = |story: &mut Story| {
        story.connection("conn-1", |object| {
            object["spec"]["rateLimit"]["requestsPerMinute"] = json!(10)
        });
    };
    let mut story = Story::new();
    story.creates("one", "g", |_| {});
    story.wait(1.0);
    tighten(&mut story);
    looks(&mut story, 30, 2.0);
    story.holds();
    story.wait(31.0);
    looks(&mut story, 11, 0.1);
    story.violates(I8, "10 are allowed");
}

#[test]
fn i8_a_pause_is_kept() {
    let mut story = Story::new();
    story.creates("one", "g", |_| {});
    // The model says 30 s.
    story.looks(1, "one", Told::Throttled);
    story.looks(1, "one", Told::Throttled);
    story.wait(30.0);
    story.looks(1, "one", Told::Throttled);
    story.holds();
    story.wait(29.9);
    story.looks(1, "one", Told::Active);
    story.violates(I8, "before the pause is over");
}

#[test]
fn i12_calls_in_flight_are_bounded() {
    let mut story = Story::new();
    for name in ["one", "two", "three"] {
        story.creates(name, name, |_| {});
    }
    let first = story.sends(1, Observe, "one");
    story.sends(1, Observe, "two");
    story.answers(first, Some(503), false);
    story.sends(1, Observe, "three");
    story.holds();
    // Given up after 10 s, whether or not somebody says so.
    story.wait(10.0);
    story.sends(1, Observe, "one");
    story.sends(1, Observe, "two");
    story.holds();
    story.sends(1, Observe, "three");
    story.violates(I12, "2 are allowed");
}

#[test]
fn i12_one_flight_for_a_guest() {
    let mut story = Story::new();
    story.starts(2);
    story.creates("one", "g", |_| {});
    story.creates("two", "g", |_| {});
    story.sends(1, Observe, "one");
    // Another process cannot know.
    story.sends(2, Observe, "one");
    story.holds();
    story.sends(1, Observe, "two");
    story.violates(I12, "for the same guest");
}

#[test]
fn i12_one_token_request_for_any_number_of_waiters() {
    let asks = |story: &mut Story, process| {
        story.asks(process, Server::Vendor, "POST https://vendor.example/oauth/token", "{}")
    };
    // The connection is there for the first time: that replaces nothing.
    let mut story = Story::new();
    story.starts(2);
    let first = asks(&mut story, 1);
    // Another process cannot know.
    asks(&mut story, 2);
    story.answers(first, Some(200), true);
    asks(&mut story, 1);
    // Given up by then, though nobody says so.
    story.wait(11.0);
    asks(&mut story, 1);
    story.holds();
    story.wait(10.9);
    asks(&mut story, 1);
    story.violates(I12, "asks for a token while");
}

#[test]
fn i12_what_belongs_to_the_old_connection_may_be_on_its_way() {
    for (seconds, right) in [(60.0, true), (60.1, false)] {
        let mut story = Story::new();
        story.connection("conn-1", |object| object["spec"]["suspend"] = json!(false));
        story.wait(seconds);
        for _ in 0..2 {
            story.asks(1, Server::Vendor, "POST https://vendor.example/oauth/token", "{}");
        }
        if right {
            story.holds();
        } else {
            story.violates(I12, "asks for a token while");
        }
    }
}

#[test]
fn i11_busy_namespaces_share_equally() {
    let case = |a: usize, b: usize| {
        let mut story = Story::of(Facts {
            fairness: Some(Fairness {
                namespaces: vec!["a".to_owned(), "b".to_owned()],
                between: (Duration::ZERO, Duration::from_secs(1000)),
            }),
            ..Facts::default()
        });
        for number in 0..a + b {
            let name = format!("one-{number}");
            let namespace = if number < a { "a" } else { "b" };
            story.creates(&name, &name, |object| {
                object["metadata"]["namespace"] = json!(namespace)
            });
            story.leaves(&name, None);
            story.wait(3.0);
            story.looks(1, &name, Told::Over);
            story.finishes(1, &name, "AlreadyTerminated", Some("Observation"));
        }
        story.ends();
        story
    };
    case(10, 10).holds();
    case(12, 8).holds();
    case(16, 5).violates(I11, "5 ends");
}

fn calm(story: &mut Story) {
    story.record(What::Calm);
}

#[test]
fn i13_what_is_settled_is_silent() {
    let put = "PUT /apis/guestops.dev/v1alpha1/namespaces/care/guestterminations/one/status";
    let cases = [
        (Server::Cluster, put),
        (Server::Cluster, "POST /apis/events.k8s.io/v1/namespaces/care/events"),
        (
            Server::Vendor,
            "GET https://vendor.example/api/v2/webmessaging/guests/g",
        ),
        (Server::Vendor, "POST https://vendor.example/oauth/token"),
    ];
    for (server, line) in cases {
        for (seconds, right) in [(80.0, true), (100.0, false)] {
            let mut story = Story::new();
            story.happily("one", "g");
            calm(&mut story);
            story.wait(seconds);
            story.asks(1, server, line, "");
            if right {
                story.holds();
            } else {
                story.violates(I13, "long after everything was settled");
            }
        }
    }
}

#[test]
fn i13_reads_leases_and_what_outlived_its_time_are_no_noise() {
    let mut story = Story::new();
    story.happily("one", "g");
    calm(&mut story);
    story.wait(1000.0);
    for line in [
        "GET /apis/guestops.dev/v1alpha1/guestterminations?watch=true",
        "PUT /apis/coordination.k8s.io/v1/namespaces/operator/leases/leader",
        "DELETE /apis/guestops.dev/v1alpha1/namespaces/care/guestterminations/one",
    ] {
        story.asks(1, Server::Cluster, line, "");
    }
    story.holds();
    // Work is no noise either.
    story.creates("two", "h", |_| {});
    story.looks(1, "two", Told::Active);
    story.holds();
}

#[test]
fn i13_a_connection_is_rewritten_for_news_alone() {
    let rewrite = |change: fn(&mut serde_json::Value)| {
        let mut story = Story::new();
        story.happily("one", "g");
        calm(&mut story);
        story.wait(1000.0);
        let line = "PUT /apis/guestops.dev/v1alpha1/namespaces/care/genesysconnections/default/status";
        let ordinal = story.asks(1, Server::Cluster, line, "");
        story.connection_by(ordinal, change);
        story
    };
    rewrite(|object| object["status"]["conditions"] = json!([{"type": "Ready", "reason": "TokenValid"}])).holds();
    rewrite(|object| object["status"]["rateLimit"] = json!({"allowed": 7})).holds();
    rewrite(|object| object["status"]["observedGeneration"] = json!(7)).violates(I13, "rewrites");
}

#[test]
fn i13_everything_finishes_in_time() {
    let case = |seconds: f64, stuck: bool| {
        let mut facts = Facts::default();
        if stuck {
            facts.stuck.insert("care/one".to_owned());
        }
        let mut story = Story::of(facts);
        story.creates("one", "g", |_| {});
        story.writes(1, "one", |status| {
            status["conditions"] = json!([{"type": "Ready", "reason": "RetryScheduled"}]);
            status["deadlineTime"] = json!("2026-11-24T14:00:00Z");
        });
        calm(&mut story);
        story.wait(seconds);
        story.ends();
        story
    };
    case(1100.0, false).holds();
    case(1300.0, false).violates(I13, "not finished");
    case(1300.0, true).holds();
    case(7.0 * 3600.0, true).violates(I13, "deadline is long over");
}

#[test]
fn i13_i14_an_end_that_comes_too_late_is_none_in_time() {
    for (seconds, right) in [(1100.0, true), (1300.0, false)] {
        let mut story = Story::new();
        story.creates("one", "g", |object| {
            object["spec"]["activeDeadlineSeconds"] = json!(600)
        });
        story.writes(1, "one", |status| {
            status["conditions"] = json!([{"type": "Ready", "reason": "Unavailable"}]);
        });
        calm(&mut story);
        story.wait(seconds);
        story.finishes(1, "one", "DeadlineExceeded", None);
        if right {
            story.holds();
        } else {
            story.violates(I14, "it was not finished");
        }
    }
}

#[test]
fn i13_a_webhook_comes_at_its_time() {
    let case = |due: &str| {
        let mut story = Story::new();
        story.happily_pending("one", "g", due);
        calm(&mut story);
        story.wait(1300.0);
        story.ends();
        story
    };
    case("2026-11-24T08:30:00Z").holds();
    case("2026-11-24T08:10:00Z").violates(I13, "its time is over");
}

#[test]
fn i14_no_waiting_state_outlives_its_cause() {
    for (reason, suspended, proven, right) in [
        ("CredentialsInvalid", false, false, false),
        ("CredentialsInvalid", true, false, true),
        ("RouteNotProven", false, true, false),
        // Nothing ever proved it, so it waits rightly.
        ("RouteNotProven", false, false, true),
    ] {
        let mut story = Story::new();
        if proven {
            story.creates("other", "h", |_| {});
            story.leaves("h", None);
            story.looks(1, "other", Told::Over);
            story.finishes(1, "other", "AlreadyTerminated", Some("Observation"));
            // What only the process knew may have died with it.
            story.connection("conn-1", |object| {
                object["status"]["conditions"] = json!([{"type": "RouteProven", "reason": "GuestRead"}])
            });
        }
        story.creates("one", "g", |object| object["spec"]["suspend"] = json!(suspended));
        story.writes(1, "one", |status| {
            status["conditions"] = json!([{"type": "Ready", "reason": reason}]);
        });
        calm(&mut story);
        story.wait(1300.0);
        story.ends();
        if right {
            story.holds();
        } else {
            story.violates(I14, reason);
        }
    }
}
