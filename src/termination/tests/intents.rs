//! Open intents: the own one, somebody else's, one that was accepted, and one that was superseded.

use std::time::Duration;

use super::bench::*;
use crate::{
    api::{
        AttemptResult, ConfirmedBy, Outcome,
        conditions::{ConditionReason, ConditionType as Type},
    },
    termination::{
        answer::{Call, Failure, Look},
        decide::Step,
        fact::Fact,
        fence::{AtTheSocket, fence},
        instants,
    },
};

#[test]
fn the_own_intent_is_sent_waited_for_or_cleared() {
    let mut bench = Bench::new();
    bench.looks(active()).intend();
    assert_eq!(bench.step(), Step::Call);
    bench.own = Own::InFlight;
    assert_eq!(bench.wait(100).step(), Step::Rest);
    bench.own = Own::Withheld("Too late.");
    bench.record();
    assert_eq!(bench.last().result, AttemptResult::NotSent);
    assert_eq!((bench.status.retries, bench.status.may_have_applied()), (0, false));
    assert_eq!(bench.status.last_send_time, None);
    assert_eq!(bench.next_attempt(), Some(101 + 2));
}

/// Looked at on sight and again at 20 s, counted from when this process first saw it.
#[test]
fn somebody_else_s_intent_is_left_alone_for_20_seconds() {
    let mut bench = Bench::new();
    bench.looks(active()).intend().wait(3600).restart();
    assert_eq!(bench.step(), Step::Look, "on sight");
    bench.looks(active());
    assert_eq!(bench.waits_until(), Some(3601 + 20));
    bench.wait(19);
    assert_eq!(bench.waits_until(), Some(3601 + 20));
    bench.wait(1);
    assert_eq!(bench.step(), Step::Look, "again");
    bench.looks(active());
    bench.record();
    assert_eq!(bench.last().result, AttemptResult::Abandoned);
    assert!(bench.status.may_have_applied());
    assert_eq!((bench.status.retries, bench.status.attempts), (1, 1));
    assert!(bench.next_attempt() > Some(3621), "a crash loop is no storm");
    assert!(matches!(bench.step(), Step::Wait(_)));
}

/// The answers of looks are nine seconds on their way.
#[test]
fn a_slow_look_is_fresh_when_it_is_answered_and_tells_of_when_it_was_asked_for() {
    let mut bench = Bench::new();
    bench.took = Duration::from_secs(9);
    bench.looks(active());
    assert!(matches!(bench.step(), Step::Intend(_)));
    let found = bench.intend().wait(3600).restart().clone();
    let answered = |after: u64| {
        let mut bench = found.clone();
        bench.wait(after).looks(active());
        bench.step()
    };
    assert_eq!(answered(8), Step::Look, "it was asked for before the intent was seen");
    assert_eq!(answered(28), Step::Look, "19 s after the intent was seen");
    assert!(matches!(answered(29), Step::Record(Fact::Abandoned { .. })));
    bench.restart().wait(9).looks_in_vain();
    assert!(
        matches!(bench.step(), Step::Wait(_)),
        "the pause counts from the answer"
    );
}

/// Looks that failed before say nothing of an intent, and do not hold back the look that follows it at once.
#[test]
fn somebody_else_s_intent_is_looked_at_at_once_also_after_looks_that_failed() {
    let mut bench = Bench::new();
    for _ in 0..5 {
        bench.looked(answer(Look::Failed(Failure::Unanswered), None, None));
    }
    bench.wait(1).intend();
    bench.own = Own::None;
    assert_eq!(bench.step(), Step::Look);
    bench.looked(answer(Look::Failed(Failure::Unanswered), None, None));
    assert!(matches!(bench.step(), Step::Wait(_)), "but not again at once");
}

#[test]
fn somebody_else_s_intent_whose_session_is_gone_was_carried_out() {
    for at_once in [true, false] {
        let mut bench = Bench::new();
        bench.looks(active()).intend().wait(7).restart();
        if !at_once {
            bench.looks(active()).wait(20);
        }
        bench.looked(answer(
            Look::Failed(Failure::NotFound { conclusive: false }),
            Some(404),
            None,
        ));
        assert_eq!(bench.outcome(), Some(Outcome::Terminated));
        let audit = bench.status.audit.clone().unwrap();
        assert_eq!(audit.confirmed_by, Some(ConfirmedBy::Observation));
        assert!(!audit.duplicate_termination);
        assert_eq!(bench.condition(Type::RetentionApplied), "Unknown NotConfirmed");
        assert_eq!(bench.last().result, AttemptResult::Gone);
        assert_eq!(bench.last().http_status, None, "the look's answer is not the call's");
        assert_eq!(bench.status.last_send_time.as_ref().unwrap().0, at(1 + 5 + 1));
    }
}

/// A look that says nothing clears nobody's intent, and is repeated with the backoff's steps.
#[test]
fn somebody_else_s_intent_is_not_cleared_without_a_look() {
    let mut bench = Bench::new();
    bench.looks(active()).intend().wait(10).restart();
    let before = bench.status.clone();
    for step in [2, 6, 18, 54, 162, 300, 300] {
        bench.looks_in_vain();
        assert_eq!(bench.status, before, "nothing of it is news");
        let pause = instants::between(bench.now, at(bench.waits_until().unwrap()));
        // Half of the step is drawn, here by one half; the rule of 20 s may be later.
        let expected = Duration::from_millis(step * 750).max(Duration::from_secs(1));
        assert!(
            pause.abs_diff(expected) <= Duration::from_secs(1)
                || instants::between(at(11), bench.now) < Duration::from_secs(20),
            "{pause:?} instead of {expected:?}"
        );
        bench.wait(pause.as_secs() + 1);
    }
    bench.looks(active()).record();
    assert_eq!(bench.last().result, AttemptResult::Abandoned);
}

/// 202: one write, the intent stays open, looks after 1, 2, 4, 8, 16, 30 s until it is gone.
#[test]
fn an_accepted_call_is_looked_after_until_gone() {
    let mut bench = Bench::new();
    bench.looks(active()).attempt(answer(Call::Accepted, Some(202), None));
    assert!(bench.status.may_have_applied());
    assert!(bench.status.current_attempt.as_ref().unwrap().accepted_time.is_some());
    assert!(bench.status.history.is_empty());
    let mut looks = Vec::new();
    while let Some(due) = bench.waits_until() {
        bench.now = at(due);
        assert_eq!(bench.step(), Step::Look);
        looks.push(due - 1);
        let before = bench.status.clone();
        bench.looks(active());
        assert_eq!(bench.status, before);
        if looks.len() == 5 {
            // Whoever holds the object goes on; the rule of 20 s does not apply.
            bench.restart();
            bench.looks(active());
        }
        if bench.step() == Step::Look || matches!(bench.step(), Step::Record(_)) {
            break;
        }
    }
    assert_eq!(looks, [1, 3, 7, 15, 31, 61, 91, 120]);
    bench.record();
    assert_eq!(bench.last().result, AttemptResult::Accepted);
    assert_eq!(bench.last().http_status, Some(202));
    assert_eq!(
        (bench.status.retries, bench.status.current_attempt.is_none()),
        (1, true)
    );
}

#[test]
fn an_accepted_call_whose_session_is_gone_was_carried_out() {
    let mut bench = Bench::new();
    bench.looks(active()).attempt(answer(Call::Accepted, Some(202), None));
    bench.wait(1).looks(ended());
    assert_eq!(bench.outcome(), Some(Outcome::Terminated));
    assert_eq!(bench.last().result, AttemptResult::Accepted);
    assert_eq!(
        bench.status.audit.as_ref().unwrap().confirmed_by,
        Some(ConfirmedBy::Observation)
    );
    assert_eq!(bench.condition(Type::RetentionApplied), "Unknown NotConfirmed");
}

#[test]
fn an_accepted_call_in_an_unclear_state_is_not_asked_about_without_pause() {
    let mut bench = Bench::new();
    bench.looks(active()).attempt(answer(Call::Accepted, Some(202), None));
    bench.wait(200).looks(Look::Unclear(seen("ending")));
    assert!(matches!(bench.step(), Step::Wait(_)), "{:?}", bench.step());
    assert_eq!(bench.status.retries, 0);
}

/// A terminate that is itself answered *gone* ended nothing, unless an earlier one may have.
#[test]
fn a_terminate_that_is_answered_gone() {
    let gone = || {
        answer(
            Call::Failed(Failure::NotFound { conclusive: false }),
            Some(404),
            Some("not.found"),
        )
    };
    let mut bench = Bench::new();
    bench.looks(active()).attempt(gone());
    assert_eq!(bench.outcome(), Some(Outcome::AlreadyTerminated));
    assert_eq!(bench.last().result, AttemptResult::Gone);
    assert_eq!(bench.condition(Type::RetentionApplied), "Unknown SessionAlreadyClosed");

    let mut bench = Bench::new();
    bench.looks(active()).attempt_in_vain().wait(10);
    bench.looks(active()).attempt(gone());
    assert_eq!(bench.outcome(), Some(Outcome::Terminated));
    assert_eq!(
        bench.status.audit.as_ref().unwrap().confirmed_by,
        Some(ConfirmedBy::Observation)
    );
}

/// A success of any attempt of the uid is recorded; a failure of a superseded one goes to the history only.
#[test]
fn the_answer_to_a_superseded_attempt() {
    let superseded = || {
        let mut bench = Bench::new();
        let sent = bench.looks(active()).intend().send();
        bench.wait(1).restart().looks(active()).wait(20).looks(active());
        bench.record();
        bench.wait(10).looks(active()).intend();
        (bench, sent)
    };
    let (mut bench, sent) = superseded();
    let before = bench.status.clone();
    bench.called(sent.clone(), answer(Call::Failed(Failure::Transient), Some(503), None));
    assert_eq!(
        bench.status.current_attempt, before.current_attempt,
        "the newer intent stands"
    );
    assert_eq!(
        (bench.status.retries, bench.status.conditions.clone()),
        (before.retries, before.conditions)
    );
    assert_eq!(bench.status.history.len(), 1);
    assert_eq!(
        (bench.last().result, bench.last().http_status),
        (AttemptResult::Unknown, Some(503))
    );

    let (mut bench, sent) = superseded();
    let newer = bench.send();
    bench.called(newer, answer(Call::Failed(Failure::Transient), Some(503), None));
    bench.called(sent, answer(Call::Failed(Failure::Transient), Some(503), None));
    let numbers: Vec<_> = bench.status.history.iter().map(|entry| entry.number).collect();
    assert_eq!(numbers, [2, 1], "newest first, in whatever order they were answered");

    let (mut bench, sent) = superseded();
    bench.called(sent, answer(Call::Applied, Some(204), None));
    assert_eq!(bench.outcome(), Some(Outcome::Terminated));
    let numbers: Vec<_> = bench
        .status
        .history
        .iter()
        .map(|entry| (entry.number, entry.result))
        .collect();
    assert_eq!(
        numbers,
        [(2, AttemptResult::Unknown), (1, AttemptResult::Applied)],
        "newest first, and none open"
    );
    assert_eq!(bench.status.current_attempt, None);
}

#[test]
fn an_intent_never_replaces_another_one_or_another_connection() {
    let mut bench = Bench::new();
    bench.looks(active()).intend();
    let before = bench.status.clone();
    bench.intend();
    assert_eq!(bench.status, before);

    let mut bench = Bench::new();
    bench.looks(active()).attempt_in_vain();
    let before = bench.status.clone();
    bench.context.connection = connection("connection-2");
    bench.intend();
    assert_eq!(bench.status, before);
}

/// The last word before the socket: each of its conditions alone stops the call.
#[test]
fn the_send_fence() {
    let held = hold(ConditionReason::ConnectionSuspended);
    let open = AtTheSocket {
        since_intent: Duration::from_millis(4_999),
        leading: true,
        paused: false,
        deleted: false,
        held: None,
        intent: "attempt-1",
    };
    let mut bench = Bench::new();
    bench.object.spec.not_after = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(at(100)));
    bench.looks(active()).intend();
    let passes =
        |bench: &Bench, socket| fence(&bench.request(), &bench.status, socket, bench.now, &bench.policy).is_ok();
    assert!(passes(&bench, open));
    for closed in [
        AtTheSocket {
            since_intent: Duration::from_secs(5),
            ..open
        },
        AtTheSocket { leading: false, ..open },
        AtTheSocket { paused: true, ..open },
        AtTheSocket { deleted: true, ..open },
        AtTheSocket {
            held: Some(&held),
            ..open
        },
        AtTheSocket {
            intent: "attempt-2",
            ..open
        },
    ] {
        assert!(!passes(&bench, closed), "{closed:?}");
    }
    let mut late = bench.clone();
    late.now = at(100);
    assert!(passes(&late, open), "notAfter itself is not after it");
    late.now = instants::later(at(100), Duration::from_millis(1));
    assert!(!passes(&late, open));
    let mut late = bench.clone();
    late.object.spec.not_after = None;
    late.now = at(21_599);
    assert!(passes(&late, open));
    late.now = at(21_600);
    assert!(!passes(&late, open));
    let mut suspended = bench.clone();
    suspended.edit(|spec| spec.suspend = true);
    assert!(!passes(&suspended, open));
    let mut accepted = bench.clone();
    accepted.status.current_attempt.as_mut().unwrap().accepted_time = accepted.status.start_time.clone();
    assert!(!passes(&accepted, open), "its call has left before");
    let mut finished = bench.clone();
    finished.status.finished = Some(true);
    assert!(!passes(&finished, open));
    let mut cleared = bench;
    cleared.take(&Fact::NotSent {
        why: "Late.".to_owned(),
    });
    assert!(!passes(&cleared, open));
}
