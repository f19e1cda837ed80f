//! I1, I2, I7.

use serde_json::json;

use super::story::{Story, start};
use crate::{
    history::{Server, What},
    oracle::Invariant::*,
    vendor::{Operation::*, Told},
};

/// An object whose first attempt was answered that way, and resolved; the second one is announced.
fn second_attempt(told: Told, result: &str) -> Story {
    let mut story = Story::new();
    story.creates("one", "g", |_| {});
    story.looks(1, "one", Told::Active);
    story.intends(1, "one", "a-1");
    story.terminates(1, "one", told);
    story.resolves(1, "one", "a-1", result);
    story.wait(130.0);
    story.looks(1, "one", Told::Active);
    story.intends(1, "one", "a-2");
    story.holds();
    story
}

#[test]
fn a_happy_end_is_one() {
    let mut story = Story::new();
    story.happily("one", "g");
    story.ends();
    story.holds();
}

#[test]
fn i1a_an_answer_that_leaves_something_to_do_asks_for_another_call() {
    for told in [
        Told::Nothing,
        Told::Throttled,
        Told::Forbidden,
        Told::Unauthorized,
        Told::Accepted,
    ] {
        let mut story = second_attempt(told, "Unknown");
        story.terminates(1, "one", Told::Applied);
        story.holds();
    }
}

#[test]
fn i1a_a_final_refusal_asks_for_none() {
    let mut story = second_attempt(Told::Refused, "NotApplied");
    story.sends(1, Terminate, "one");
    story.violates(I1a, "refused for good");
}

#[test]
fn i1a_i12_a_call_on_its_way_asks_for_none() {
    let mut story = Story::new();
    story.creates("one", "g", |_| {});
    story.intends(1, "one", "a-1");
    story.sends(1, Terminate, "one");
    story.resolves(1, "one", "a-1", "Unknown");
    story.intends(1, "one", "a-2");
    story.wait(4.9);
    story.sends(1, Terminate, "one");
    story.violates(I12, "on its way");
}

#[test]
fn i1a_the_repeat_follows_a_401_and_is_one() {
    let mut story = Story::new();
    story.creates("one", "g", |_| {});
    story.intends(1, "one", "a-1");
    story.terminates(1, "one", Told::Unauthorized);
    story.terminates(1, "one", Told::Unauthorized);
    story.holds();
    story.sends(1, Terminate, "one");
    story.violates(I1a, "third call");
}

#[test]
fn i1a_no_other_answer_is_repeated_under_the_same_intent() {
    let mut story = Story::new();
    story.creates("one", "g", |_| {});
    story.intends(1, "one", "a-1");
    story.terminates(1, "one", Told::Nothing);
    story.sends(1, Terminate, "one");
    story.violates(I1a, "same intent");
}

#[test]
fn i1a_a_202_is_waited_for() {
    let mut story = Story::new();
    story.creates("one", "g", |_| {});
    story.intends(1, "one", "a-1");
    story.terminates(1, "one", Told::Accepted);
    story.wait(60.0);
    story.resolves(1, "one", "a-1", "Accepted");
    story.intends(1, "one", "a-2");
    story.sends(1, Terminate, "one");
    story.violates(I1a, "after #2 was accepted");
}

#[test]
fn i1a_an_intent_of_another_process_is_left_alone_for_20_s() {
    for (seconds, right) in [(18.0, false), (20.0, true)] {
        let mut story = Story::new();
        story.creates("one", "g", |_| {});
        story.intends(1, "one", "a-1");
        story.sends(1, Terminate, "one");
        story.dies(1);
        story.starts(2);
        story.wait(seconds);
        story.looks(2, "one", Told::Active);
        story.resolves(2, "one", "a-1", "Abandoned");
        if !right {
            story.violates(I1a, "gives up attempt a-1");
            continue;
        }
        story.intends(2, "one", "a-2");
        story.terminates(2, "one", Told::Applied);
        story.holds();
    }
}

#[test]
fn i1a_no_attempt_begins_before_its_time() {
    for (seconds, right) in [(9.9, false), (10.0, true)] {
        let mut story = Story::new();
        story.creates("one", "g", |_| {});
        story.writes(1, "one", |status| {
            status["nextAttemptTime"] = json!("2026-11-24T08:00:10Z")
        });
        story.wait(seconds);
        story.looks(1, "one", Told::Active);
        story.intends(1, "one", "a-1");
        if right {
            story.holds();
        } else {
            story.violates(I1a, "100ms before status.nextAttemptTime");
        }
    }
}

#[test]
fn i2_who_is_asked_to_stop_begins_nothing_and_ends_what_it_began() {
    let mut story = Story::new();
    story.creates("one", "g", |_| {});
    story.creates("two", "h", |_| {});
    story.looks(1, "one", Told::Active);
    story.intends(1, "one", "a-1");
    story.record(What::Stopping { process: 1 });
    story.wait(0.1);
    story.terminates(1, "one", Told::Nothing);
    story.resolves(1, "one", "a-1", "Unknown");
    story.holds();
    story.intends(1, "two", "a-2");
    story.violates(I2, "asked to stop");
}

#[test]
fn i1b_no_call_after_applied_or_gone() {
    for (told, result) in [
        (Told::Applied, "Applied"),
        (Told::Over, "Gone"),
        (Told::NotFound, "Gone"),
    ] {
        let mut story = second_attempt(told, result);
        story.returns("g");
        story.sends(1, Terminate, "one");
        story.violates(I1b, "was answered");
    }
}

#[test]
fn i1b_no_call_after_a_look_that_said_gone() {
    let mut story = Story::new();
    story.creates("one", "g", |_| {});
    story.leaves("g", None);
    story.looks(1, "one", Told::Over);
    story.returns("g");
    story.looks(1, "one", Told::Active);
    story.intends(1, "one", "a-1");
    story.sends(1, Terminate, "one");
    story.violates(I1b, "the look");
}

#[test]
fn i1b_a_404_is_gone_where_the_process_itself_was_shown_a_guest_before() {
    for (shown_to, wait, right) in [(1, 40.0, false), (1, 1.0, true), (2, 40.0, true)] {
        let mut story = Story::new();
        story.starts(2);
        story.creates("one", "g", |_| {});
        story.looks(shown_to, "one", Told::Active);
        story.wait(wait);
        story.leaves("g", None);
        story.looks(1, "one", Told::NotFound);
        story.returns("g");
        story.looks(1, "one", Told::Active);
        story.intends(1, "one", "a-1");
        story.sends(1, Terminate, "one");
        if right {
            story.holds();
        } else {
            story.violates(I1b, "the look");
        }
    }
}

#[test]
fn i1b_an_unproven_404_is_no_gone_and_somebody_elses_look_is_not_ones_own() {
    let mut story = Story::new();
    story.creates("one", "g", |_| {});
    story.looks(1, "one", Told::NotFound);
    story.looks(1, "one", Told::Active);
    story.intends(1, "one", "a-1");
    story.sends(1, Terminate, "one");
    story.holds();

    let mut story = Story::new();
    story.creates("one", "g", |_| {});
    story.leaves("g", None);
    story.creates("two", "g", |_| {});
    story.looks(1, "one", Told::Over);
    story.returns("g");
    story.looks(1, "two", Told::Active);
    story.intends(1, "two", "a-1");
    story.sends(1, Terminate, "two");
    story.holds();
}

#[test]
fn i1b_no_call_after_the_own_word_in_the_status() {
    let mut story = Story::new();
    story.happily("one", "g");
    story.sends(1, Terminate, "one");
    story.violates(I1b, "the status says Terminated");
}

#[test]
fn i1b_another_process_may_have_finished_it_a_moment_ago() {
    let mut story = Story::new();
    story.starts(2);
    story.creates("one", "g", |_| {});
    story.looks(1, "one", Told::Active);
    story.intends(1, "one", "a-1");
    story.leaves("g", None);
    story.looks(2, "one", Told::Over);
    story.tells(2, "one", "a-1", "Gone");
    story.finishes(2, "one", "Terminated", Some("Observation"));
    story.wait(3.0);
    story.sends(1, Terminate, "one");
    story.holds();
}

/// Process 1 ended the first life, and heard so; the guest is back, and process 2 ends the second one.
fn two_lives(resolved: bool) -> Story {
    let mut story = Story::new();
    story.starts(2);
    story.creates("one", "g", |_| {});
    story.intends(1, "one", "a-1");
    story.terminates(1, "one", Told::Applied);
    if resolved {
        story.resolves(1, "one", "a-1", "Applied");
    }
    story.dies(1);
    story.returns("g");
    story.wait(21.0);
    story.looks(2, "one", Told::Active);
    if !resolved {
        story.resolves(2, "one", "a-1", "Abandoned");
    }
    story.intends(2, "one", "a-2");
    story.terminates(2, "one", Told::Applied);
    story
}

#[test]
fn i1c_a_second_life_is_ended_only_in_doubt() {
    two_lives(true).violates(I1c, "no answer had left any doubt");
    // What process 1 heard died with it.
    two_lives(false).holds();
}

#[test]
fn i1c_a_call_that_the_network_delivers_twice_is_one() {
    let mut story = Story::new();
    story.creates("one", "g", |_| {});
    story.looks(1, "one", Told::Active);
    story.intends(1, "one", "a-1");
    let call = story.terminates(1, "one", Told::Applied);
    story.returns("g");
    story.takes(call, Terminate, "g", Told::Applied);
    story.tells(1, "one", "a-1", "Applied");
    story.finishes(1, "one", "Terminated", Some("Response"));
    story.holds();
}

#[test]
fn i1c_an_unanswered_call_leaves_doubt() {
    let mut story = Story::new();
    story.creates("one", "g", |_| {});
    story.intends(1, "one", "a-1");
    let call = story.sends(1, Terminate, "one");
    story.takes(call, Terminate, "g", Told::Applied);
    story.dies(1);
    story.starts(2);
    story.returns("g");
    story.wait(21.0);
    story.looks(2, "one", Told::Active);
    story.resolves(2, "one", "a-1", "Abandoned");
    story.intends(2, "one", "a-2");
    story.terminates(2, "one", Told::Applied);
    story.holds();
}

#[test]
fn i2_a_call_needs_an_intent_that_is_durable_its_own_and_young() {
    let mut story = Story::new();
    story.creates("one", "g", |_| {});
    story.puts_intent(1, "one", "a-1");
    story.announces(1, "one", "a-1");
    story.sends(1, Terminate, "one");
    story.violates(I2, "never answered with success");

    let mut story = Story::new();
    story.starts(2);
    story.creates("one", "g", |_| {});
    story.intends(1, "one", "a-1");
    story.announces(2, "one", "a-1");
    story.sends(2, Terminate, "one");
    story.violates(I2, "did not write");

    for (seconds, jump, right) in [(4.9, 0, true), (5.0, 0, false), (1.0, 4, false), (1.0, -60, true)] {
        let mut story = Story::new();
        story.creates("one", "g", |_| {});
        story.intends(1, "one", "a-1");
        story.wait(seconds);
        story.jump(1, jump);
        story.sends(1, Terminate, "one");
        if right {
            story.holds();
        } else {
            story.violates(I2, "was begun");
        }
    }
}

#[test]
fn i2_nothing_leaves_under_an_intent_that_was_taken_back() {
    let mut story = Story::new();
    story.creates("one", "g", |_| {});
    story.intends(1, "one", "a-1");
    story.resolves(1, "one", "a-1", "NotSent");
    story.sends(1, Terminate, "one");
    story.violates(I2, "taken attempt a-1 back");
}

#[test]
fn i2_nothing_leaves_after_not_after_past_the_deadline_or_while_suspended() {
    let limit = start()
        .checked_add(std::time::Duration::from_secs(10))
        .unwrap()
        .to_string();
    let case = |spec: serde_json::Value, seconds: f64, jump: i64| {
        let mut story = Story::new();
        story.jump(1, jump);
        story.creates("one", "g", |object| {
            object["spec"]
                .as_object_mut()
                .unwrap()
                .extend(spec.as_object().unwrap().clone());
        });
        story.wait(seconds);
        story.intends(1, "one", "a-1");
        story.sends(1, Terminate, "one");
        story
    };
    case(json!({"notAfter": limit}), 10.0, 0).holds();
    case(json!({"notAfter": limit}), 10.1, 0).violates(I2, "notAfter");
    // By the sender's own clock.
    case(json!({"notAfter": limit}), 0.0, 11).violates(I2, "notAfter");
    case(json!({"notAfter": limit}), 60.0, -50).holds();
    case(json!({"activeDeadlineSeconds": 10}), 9.9, 0).holds();
    case(json!({"activeDeadlineSeconds": 10}), 10.0, 0).violates(I2, "deadline");
    case(json!({"suspend": true}), 1.0, 0).violates(I2, "suspend");
}

#[test]
fn i2_an_edit_that_came_a_moment_ago_need_not_be_known() {
    let mut story = Story::new();
    story.creates("one", "g", |_| {});
    story.wait(20.0);
    story.intends(1, "one", "a-1");
    story.edits("one", |object| object["spec"]["suspend"] = json!(true));
    story.edits("one", |object| object["spec"]["activeDeadlineSeconds"] = json!(5));
    story.sends(1, Terminate, "one");
    story.holds();
}

#[test]
fn i7_a_call_says_what_the_spec_says() {
    let base = "DELETE https://vendor.example/api/v2/webmessaging/guests/";
    for (rest, right) in [
        ("g?reason=timeout&retainData=false&externalRef=a%2Bb", true),
        ("g?reason=timeout&retainData=false&externalRef=a+b", false),
        ("g?reason=timeout&retainData=true&externalRef=a%2Bb", false),
        ("g?reason=bot_handoff&retainData=false&externalRef=a%2Bb", false),
        ("g?reason=timeout&retainData=false", false),
    ] {
        let mut story = Story::new();
        story.creates("one", "g", |_| {});
        story.intends(1, "one", "a-1");
        story.asks(1, Server::Vendor, &format!("{base}{rest}"), "");
        if right {
            story.holds();
        } else {
            story.violates(I7, "and the spec");
        }
    }
}

#[test]
fn a_look_is_no_call() {
    let mut story = Story::new();
    story.creates("one", "g", |_| {});
    story.calls(1, Observe, "one", Told::Nothing);
    story.calls(1, Observe, "one", Told::Active);
    story.holds();
}
