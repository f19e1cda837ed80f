//! I3 and I4.

use std::time::Duration;

use serde_json::json;

use super::story::{HOST, Story, finish};
use crate::{
    oracle::Invariant::*,
    vendor::{Effect, Operation::*, Told},
};

#[test]
fn i3_nothing_leaves_a_terminal_phase() {
    for (field, value) in [
        ("phase", json!("Retrying")),
        ("outcome", json!("Rejected")),
        ("finished", json!(false)),
        ("history", json!([])),
        ("attempts", json!(0)),
    ] {
        let mut story = Story::new();
        story.happily("one", "g");
        story.holds();
        story.writes(1, "one", |status| status[field] = value);
        story.violates(I3, "of a finished object changes");
    }
}

#[test]
fn i3_what_is_settled_is_not_written_and_may_be_labelled() {
    let mut story = Story::new();
    story.happily("one", "g");
    story.edits("one", |object| object["metadata"]["labels"] = json!({"a": "b"}));
    story.holds();
    story.writes(1, "one", |status| status["observedGeneration"] = json!(7));
    story.violates(I3, "settled");
}

#[test]
fn i3_doubt_and_counts_are_not_taken_back() {
    for (field, value) in [
        ("mayHaveApplied", json!(false)),
        ("attempts", json!(0)),
        ("retries", json!(0)),
        ("connection", json!({"uid": "x"})),
    ] {
        let mut story = Story::new();
        story.creates("one", "g", |_| {});
        story.intends(1, "one", "a-1");
        story.terminates(1, "one", Told::Nothing);
        story.resolves(1, "one", "a-1", "Unknown");
        story.edits("one", |object| object["status"]["retries"] = json!(1));
        story.holds();
        story.writes(1, "one", |status| status[field] = value);
        assert!(matches!(story.invariant(), Some(I3)), "{field}");
    }
}

#[test]
fn i4_an_attempt_is_accepted_by_the_answer_to_its_own_call() {
    for (process, right) in [(1, true), (2, false)] {
        let mut story = Story::new();
        story.starts(2);
        story.creates("one", "g", |_| {});
        story.intends(1, "one", "a-1");
        story.terminates(1, "one", Told::Accepted);
        story.writes(process, "one", |status| {
            status["currentAttempt"]["acceptedTime"] = json!("2026-11-24T08:00:01Z")
        });
        if right {
            // It stays where it is when something else is written.
            story.writes(2, "one", |status| status["observedGeneration"] = json!(1));
            story.holds();
        } else {
            story.violates(I4, "was not answered so");
        }
    }
}

#[test]
fn i4_a_success_rests_on_an_answer_that_its_writer_heard() {
    // Nobody heard anything.
    let mut story = Story::new();
    story.creates("one", "g", |_| {});
    story.finishes(1, "one", "AlreadyTerminated", Some("Observation"));
    story.violates(I4, "no answer");

    // Another process did.
    let mut story = Story::new();
    story.starts(2);
    story.creates("one", "g", |_| {});
    story.leaves("g", None);
    story.looks(2, "one", Told::Over);
    story.finishes(1, "one", "AlreadyTerminated", Some("Observation"));
    story.violates(I4, "no answer");

    // The answer was not the vendor's own.
    let mut story = Story::new();
    story.creates("one", "g", |_| {});
    story.leaves("g", None);
    let look = story.sends(1, Observe, "one");
    story.takes(look, Observe, "g", Told::Over);
    story.answers(look, Some(200), false);
    story.finishes(1, "one", "AlreadyTerminated", Some("Observation"));
    story.violates(I4, "no answer");

    let mut story = Story::new();
    story.creates("one", "g", |_| {});
    story.leaves("g", None);
    story.looks(1, "one", Told::Over);
    story.finishes(1, "one", "AlreadyTerminated", Some("Observation"));
    story.holds();
}

#[test]
fn i4_a_look_from_before_the_object_shows_nothing_of_it() {
    let mut story = Story::new();
    story.creates("one", "g", |_| {});
    story.leaves("g", None);
    story.looks(1, "one", Told::Over);
    story.finishes(1, "one", "AlreadyTerminated", Some("Observation"));
    story.holds();
    story.returns("g");
    story.wait(1.0);
    story.creates("two", "g", |_| {});
    story.finishes(1, "two", "AlreadyTerminated", Some("Observation"));
    story.violates(I4, "no answer");
}

#[test]
fn i4_not_found_needs_proof_and_truth() {
    let case = |shown: bool, gone: bool| {
        let mut story = Story::new();
        story.creates("other", "h", |_| {});
        if shown {
            story.looks(1, "other", Told::Active);
        }
        story.creates("one", "g", |_| {});
        if gone {
            story.leaves("g", None);
        }
        story.looks(1, "one", Told::NotFound);
        story.finishes(1, "one", "AlreadyTerminated", Some("Observation"));
        story
    };
    case(true, true).holds();
    case(false, true).violates(I4, "no answer");
    case(true, false).violates(I4, "no answer");
}

#[test]
fn i4_the_users_own_word_is_proof_and_a_new_connection_has_none() {
    let mut story = Story::new();
    story.connection("conn-1", |object| {
        object["spec"]["notFound"] = json!({"trust": "Always"})
    });
    story.creates("one", "g", |_| {});
    story.leaves("g", None);
    story.looks(1, "one", Told::NotFound);
    story.finishes(1, "one", "AlreadyTerminated", Some("Observation"));
    story.holds();

    let mut story = Story::new();
    story.creates("one", "g", |_| {});
    story.leaves("g", None);
    story.looks(1, "one", Told::Over);
    story.wait(1.0);
    story.connection("conn-2", |_| {});
    story.line(1, "one", json!({"kind": "outcome", "outcome": "AlreadyTerminated"}));
    story.writes(1, "one", |status| {
        finish(status, "AlreadyTerminated", Some("Observation"));
        status["connection"] = json!({"name": "default", "uid": "conn-2", "host": HOST});
    });
    story.violates(I4, "no answer");
}

#[test]
fn i4_confirmed_by_response_means_the_own_call() {
    let case = |told: Told| {
        let mut story = Story::new();
        story.creates("one", "g", |_| {});
        story.intends(1, "one", "a-1");
        story.terminates(1, "one", told);
        story.tells(1, "one", "a-1", "Applied");
        story.finishes(1, "one", "Terminated", Some("Response"));
        story
    };
    case(Told::Applied).holds();
    case(Told::Accepted).violates(I4, "no answer");
    case(Told::Nothing).violates(I4, "no answer");
}

#[test]
fn i4_already_terminated_says_that_nothing_of_it_did_it() {
    let case = |reached: bool| {
        let mut story = Story::new();
        story.creates("one", "g", |_| {});
        story.intends(1, "one", "a-1");
        let call = story.sends(1, Terminate, "one");
        if reached {
            story.takes(call, Terminate, "g", Told::Applied);
        } else {
            story.leaves("g", None);
        }
        story.answers(call, None, false);
        story.looks(1, "one", Told::Over);
        story.tells(1, "one", "a-1", "Unknown");
        story.finishes(1, "one", "AlreadyTerminated", Some("Observation"));
        story
    };
    case(true).violates(I4, "nothing of it ended the session");
    case(false).holds();
}

#[test]
fn i4_terminated_needs_an_attempt() {
    let mut story = Story::new();
    story.creates("one", "g", |_| {});
    story.leaves("g", None);
    story.looks(1, "one", Told::Over);
    story.finishes(1, "one", "Terminated", Some("Observation"));
    story.violates(I4, "never had an attempt");
}

/// An object with a call in doubt that the vendor did or did not carry out, and that has failed after a look.
fn failed_in_doubt(reached: bool, returned: bool, told: Told, passed: f64, jump: i64) -> Story {
    let mut story = Story::new();
    story.creates("one", "g", |_| {});
    story.looks(1, "one", Told::Active);
    story.intends(1, "one", "a-1");
    let call = story.sends(1, Terminate, "one");
    // Its effect lags: it comes at the time of the look, right before or right after.
    let effect = if reached {
        Effect::Later(story.at + Duration::from_secs_f64(passed))
    } else {
        Effect::None
    };
    story.takes_with(call, Terminate, "g", Told::Nothing, effect);
    story.answers(call, None, false);
    story.resolves(1, "one", "a-1", "Unknown");
    story.jump(1, jump);
    story.wait(passed);
    if reached && returned {
        story.leaves("g", Some(call));
        story.returns("g");
    }
    story.looks(1, "one", told);
    story.finishes(1, "one", "RetriesExhausted", None);
    if reached && !returned {
        story.leaves("g", Some(call));
    }
    story
}

#[test]
fn i4_a_failure_in_doubt_rests_on_a_look_at_a_life_that_it_did_not_end() {
    failed_in_doubt(false, false, Told::Active, 59.5, 0).holds();
    failed_in_doubt(false, false, Told::Nothing, 59.5, 0).violates(I4, "did not say active");
    failed_in_doubt(true, false, Told::Active, 59.5, 0).violates(I4, "and then #3 ended life 1");
    // The first life was ended by it, and the look saw the second one.
    failed_in_doubt(true, true, Told::Active, 59.5, 0).holds();
    // It may come to nothing, but nobody knows yet; and a wall clock that ran a minute ahead is no excuse.
    for jump in [0, 60] {
        failed_in_doubt(false, false, Told::Active, 58.5, jump).violates(I4, "came too soon after #3");
    }
}

#[test]
fn i4_a_failure_without_doubt_ended_nothing() {
    let case = |reached: bool| {
        let mut story = Story::new();
        story.creates("one", "g", |_| {});
        story.intends(1, "one", "a-1");
        let call = story.sends(1, Terminate, "one");
        if reached {
            story.takes(call, Terminate, "g", Told::Applied);
        }
        story.answers(call, Some(400), false);
        story.resolves(1, "one", "a-1", "NotApplied");
        story.finishes(1, "one", "Rejected", None);
        story
    };
    case(true).violates(I4, "without doubt");
    case(false).holds();
}

#[test]
fn i4_unconfirmed_needs_doubt() {
    let mut story = Story::new();
    story.creates("one", "g", |_| {});
    story.finishes(1, "one", "Unconfirmed", None);
    story.violates(I4, "no doubt");
}

#[test]
fn i4_a_retry_is_spent_by_an_answer_that_can_spend_one() {
    let case = |told: Told, retries: u64| {
        let mut story = Story::new();
        story.creates("other", "h", |_| {});
        story.looks(1, "other", Told::Active);
        story.creates("one", "g", |_| {});
        story.looks(1, "one", told);
        story.writes(1, "one", |status| status["retries"] = json!(retries));
        story
    };
    case(Told::Nothing, 1).holds();
    case(Told::Refused, 1).holds();
    case(Told::Nothing, 2).violates(I4, "1 answers can have spent one");
    case(Told::Throttled, 1).violates(I4, "0 answers can have spent one");
    case(Told::Active, 1).violates(I4, "0 answers can have spent one");
}
