//! I9.

use super::story::Story;
use crate::{
    oracle::Invariant::*,
    vendor::{Operation::*, Told},
};

#[test]
fn i9_every_call_has_its_line_of_the_same_process() {
    let mut story = Story::new();
    story.starts(2);
    story.creates("one", "g", |_| {});
    let write = story.puts_intent(1, "one", "a-1");
    story.answers(write, Some(200), true);
    story.announces(2, "one", "a-1");
    story.sends(1, Terminate, "one");
    story.violates(I9, "without an attempt_started line");
}

#[test]
fn i9_a_line_has_its_attempt_and_does_not_deny_a_call() {
    let mut story = Story::new();
    story.creates("one", "g", |_| {});
    story.announces(1, "one", "a-1");
    story.violates(I9, "which is not in the status");

    let mut story = Story::new();
    story.creates("one", "g", |_| {});
    story.intends(1, "one", "a-1");
    story.sends(1, Terminate, "one");
    story.tells(1, "one", "a-1", "NotSent");
    story.violates(I9, "was not sent");
}

#[test]
fn i9_a_line_does_not_deny_the_answer_that_its_process_heard() {
    for (told, result, right) in [
        (Told::Applied, "Applied", true),
        (Told::Applied, "Gone", false),
        (Told::Applied, "Unknown", false),
        (Told::Accepted, "Abandoned", false),
        (Told::Accepted, "Accepted", true),
        // Nothing that anything could be concluded from.
        (Told::Nothing, "Abandoned", true),
    ] {
        let mut story = Story::new();
        story.creates("one", "g", |_| {});
        story.intends(1, "one", "a-1");
        story.terminates(1, "one", told);
        story.tells(1, "one", "a-1", result);
        if right {
            story.holds();
        } else {
            story.violates(I9, "and heard");
        }
    }

    // Another process did not hear it.
    let mut story = Story::new();
    story.starts(2);
    story.creates("one", "g", |_| {});
    story.intends(1, "one", "a-1");
    story.terminates(1, "one", Told::Applied);
    story.tells(2, "one", "a-1", "Gone");
    story.holds();
}

#[test]
fn i9_every_line_has_its_call_or_its_result() {
    let mut story = Story::new();
    story.creates("one", "g", |_| {});
    story.intends(1, "one", "a-1");
    story.writes(1, "one", |status| {
        status["currentAttempt"].take();
    });
    story.ends();
    story.violates(I9, "neither called nor resolved");

    let mut story = Story::new();
    story.creates("one", "g", |_| {});
    story.intends(1, "one", "a-1");
    story.resolves(1, "one", "a-1", "NotSent");
    story.ends();
    story.holds();
}

#[test]
fn i9_a_finished_object_has_its_results_and_its_outcome_told() {
    let mut story = Story::new();
    story.creates("one", "g", |_| {});
    story.looks(1, "one", Told::Active);
    story.intends(1, "one", "a-1");
    story.terminates(1, "one", Told::Applied);
    story.finishes(1, "one", "Terminated", Some("Response"));
    story.holds();
    story.ends();
    story.violates(I9, "no line tells a result");

    let mut story = Story::new();
    story.creates("one", "g", |_| {});
    story.leaves("g", None);
    story.looks(1, "one", Told::Over);
    story.writes(1, "one", |status| {
        super::story::finish(status, "AlreadyTerminated", Some("Observation"))
    });
    story.violates(I9, "without its audit line");
}
