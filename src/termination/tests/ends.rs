//! "How it ends": precedence, suspension, `notAfter`, and the last look of an unsuccessful end.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::bench::*;
use crate::{
    api::{
        AttemptResult, ConfirmedBy, Outcome, Phase,
        conditions::{ConditionReason, ConditionType as Type},
    },
    termination::{
        answer::{Call, Failure, Look},
        decide::{Step, Wake, time_limit},
        fact::{Fact, Hold},
    },
};

fn refused() -> crate::termination::answer::Answer<Call> {
    answer(Call::Failed(Failure::Refused), Some(400), Some("bad.request"))
}

/// An object whose `notAfter`, deadline and budget are over, but for what the case leaves out.
fn over(not_after: bool, deadline: bool) -> Bench {
    let mut bench = Bench::new();
    bench.object.spec.backoff_limit = 0;
    bench.object.spec.not_after = not_after.then(|| Time(at(50)));
    bench.object.spec.active_deadline_seconds = if deadline { 60 } else { 21_600 };
    bench.looks(active()).attempt(answer(
        Call::Failed(Failure::Unreachable(crate::termination::answer::Unreachable::Connect)),
        None,
        None,
    ));
    bench.wait(100);
    bench
}

#[test]
fn precedence_of_the_ends() {
    assert_eq!(over(true, true).record().outcome(), Some(Outcome::Expired));
    assert_eq!(over(false, true).record().outcome(), Some(Outcome::DeadlineExceeded));
    assert_eq!(over(false, false).record().outcome(), Some(Outcome::RetriesExhausted));

    // With doubt a refusal is pending; it comes before the others, and a success before all.
    let mut bench = Bench::new();
    bench.object.spec.not_after = Some(Time(at(50)));
    bench.object.spec.active_deadline_seconds = 60;
    bench.looks(active()).attempt_in_vain().wait(10);
    bench.looks(active()).attempt(refused());
    assert_eq!(bench.outcome(), None);
    bench.wait(100);
    let mut gone = bench.clone();
    gone.looks(ended());
    assert_eq!(gone.outcome(), Some(Outcome::Terminated));
    bench.looks(active()).record();
    assert_eq!(bench.outcome(), Some(Outcome::Rejected));
    assert!(bench.message(Type::Ready).contains("bad.request"));
}

#[test]
fn the_deadline_counts_from_creation_without_the_suspensions() {
    let mut bench = Bench::new();
    bench.object.spec.active_deadline_seconds = 100;
    bench.looked(answer(
        Look::Failed(Failure::Throttled),
        Some(429),
        Some("too.many.requests"),
    ));
    assert_eq!(bench.status.deadline_time.as_ref().unwrap().0, at(100));
    bench.wait(9).edit(|spec| spec.suspend = true);
    bench.record();
    assert_eq!(bench.status.deadline_time, None, "the clock stands");
    bench.wait(500);
    assert_eq!(
        bench.step(),
        Step::Wait(Wake {
            at: None,
            on_connection: false
        })
    );
    bench.edit(|spec| spec.suspend = false);
    bench.record();
    assert_eq!(bench.status.suspended_seconds, 500);
    assert_eq!(
        bench.status.deadline_time.as_ref().unwrap().0,
        at(600),
        "it moves in the write that resumes"
    );
    bench.edit(|spec| spec.active_deadline_seconds = 50);
    bench.record();
    assert_eq!(
        bench.status.deadline_time.as_ref().unwrap().0,
        at(550),
        "and in the one that edits"
    );
    assert_eq!(bench.status.observed_generation, Some(4));
    bench.now = at(549);
    assert_eq!(bench.step(), Step::Look);
    bench.now = at(550);
    assert_eq!(bench.record().outcome(), Some(Outcome::DeadlineExceeded));
    assert_eq!(
        bench.message(Type::Ready),
        "spec.activeDeadlineSeconds has passed.",
        "that it was resumed is no cause"
    );
}

#[test]
fn what_is_suspended_makes_no_call() {
    let mut bench = Bench::new();
    bench.edit(|spec| spec.suspend = true);
    bench.record();
    assert_eq!(bench.phase(), Some(Phase::Suspended));
    for day in 0..3 {
        bench.wait(86_400 * day);
        assert_eq!(
            bench.step(),
            Step::Wait(Wake {
                at: None,
                on_connection: false
            })
        );
    }
}

/// With doubt: looks until one is 60 s after the last send, then rest.
#[test]
fn what_is_suspended_in_doubt_is_looked_at_until_a_look_decides() {
    for accepted in [false, true] {
        let mut bench = Bench::new();
        bench.looks(active());
        if accepted {
            bench.attempt(answer(Call::Accepted, Some(202), None));
        } else {
            bench.attempt_in_vain();
        }
        bench.edit(|spec| spec.suspend = true);
        bench.record();
        let mut looks = 0;
        while let Step::Wait(Wake { at: Some(due), .. }) = bench.step() {
            bench.now = due;
            assert_eq!(bench.step(), Step::Look);
            let mut gone = bench.clone();
            gone.looks(ended());
            assert_eq!(gone.outcome(), Some(Outcome::Terminated));
            bench.looks(active());
            looks += 1;
        }
        assert_eq!(bench.now, at(if accepted { 62 } else { 61 }));
        assert_eq!(looks, if accepted { 6 } else { 1 });
        assert_eq!(
            bench.step(),
            Step::Wait(Wake {
                at: None,
                on_connection: false
            })
        );
    }
}

#[test]
fn not_after_ends_what_is_suspended() {
    for doubt in [false, true] {
        let mut bench = Bench::new();
        bench.object.spec.not_after = Some(Time(at(100)));
        bench.looks(active());
        if doubt {
            bench.attempt_in_vain();
        }
        bench.edit(|spec| spec.suspend = true);
        bench.record();
        bench.wait(99).looks(active());
        assert_eq!(bench.waits_until(), Some(101), "a moment after the instant itself");
        bench.wait(2);
        assert_eq!(bench.record().outcome(), Some(Outcome::Expired));
        assert_eq!(bench.condition(Type::Ready), if doubt { "False Expired" } else { "-" });
    }
}

#[test]
fn past_not_after_without_an_attempt_nothing_is_asked() {
    let mut bench = Bench::new();
    bench.object.spec.not_after = Some(Time(at(-10)));
    assert!(matches!(bench.step(), Step::Record(_)));
    bench.record();
    assert_eq!(bench.outcome(), Some(Outcome::Expired));
    assert_eq!(bench.phase(), Some(Phase::Expired));
    assert!(bench.status.is_settled());

    let mut looked = Bench::new();
    looked.object.spec.not_after = Some(Time(at(3)));
    looked.looks(active()).wait(3);
    assert_eq!(
        looked.record().outcome(),
        Some(Outcome::Expired),
        "a look that said active is no attempt"
    );
    assert_eq!(looked.condition(Type::Ready), "-");
}

/// In doubt, each unsuccessful end waits for a look at least 60 s after the last send; it is outside the budget and does
/// not wait for `nextAttemptTime`.
#[test]
fn the_last_look_decides() {
    type Prepare = fn(&mut Bench);
    let ends: [(&str, Prepare, Outcome); 4] = [
        (
            "notAfter",
            |bench| bench.object.spec.not_after = Some(Time(at(3))),
            Outcome::Expired,
        ),
        (
            "deadline",
            |bench| bench.object.spec.active_deadline_seconds = 3,
            Outcome::DeadlineExceeded,
        ),
        (
            "budget",
            |bench| bench.object.spec.backoff_limit = 0,
            Outcome::RetriesExhausted,
        ),
        ("refused", |_| {}, Outcome::Rejected),
    ];
    for (name, prepare, outcome) in ends {
        let mut bench = Bench::new();
        prepare(&mut bench);
        bench.looks(active()).attempt_in_vain();
        let mut sent = 1;
        if outcome == Outcome::Rejected {
            bench.wait(9).looks(active()).attempt(refused());
            sent = 10;
        }
        bench.now = at(sent + 5);
        assert_eq!(bench.waits_until(), Some(sent + 60), "{name}");
        bench.now = at(sent + 60);
        let mut gone = bench.clone();
        gone.looked(answer(
            Look::Failed(Failure::NotFound { conclusive: false }),
            Some(404),
            Some("not.found"),
        ));
        assert_eq!(gone.outcome(), Some(Outcome::Terminated), "{name}");
        assert_eq!(
            gone.status.audit.as_ref().unwrap().confirmed_by,
            Some(ConfirmedBy::Observation)
        );

        let retries = bench.status.retries;
        bench.looks_in_vain();
        assert_eq!(
            (bench.status.retries, bench.outcome()),
            (retries, None),
            "{name}: outside the budget"
        );
        let again = bench.waits_until().unwrap();
        assert!(again > sent + 60 && again <= sent + 62, "{name}: {again}");
        bench.now = at(again);
        bench.looks_in_vain();
        let again = bench.waits_until().unwrap();
        bench.now = at(again);
        bench.looks(active()).record();
        assert_eq!(bench.outcome(), Some(outcome), "{name}");
        assert_eq!(
            bench.condition(Type::RetentionApplied),
            "Unknown NotConfirmed",
            "{name}"
        );
    }
}

/// No usable answer until 120 s after the later of deadline and last send: we say that we do not know.
#[test]
fn without_a_last_look_the_outcome_is_unknown() {
    for held in [false, true] {
        for send in [1, 95] {
            let mut bench = Bench::new();
            bench.object.spec.active_deadline_seconds = 100;
            bench.now = at(send);
            bench.looks(active()).attempt_in_vain();
            let end = 100.max(send) + 120;
            if held {
                bench.held = Some(hold(ConditionReason::WaitingForConnection));
                bench.now = at(100);
                bench.record();
                if send == 1 {
                    assert_eq!(bench.condition(Type::Ready), "Unknown WaitingForConnection");
                }
            } else {
                bench.now = at(send + 60).max(at(100));
            }
            while bench.now < at(end) {
                if bench.step() == Step::Look {
                    bench.looks_in_vain();
                }
                let limit = time_limit(&bench.request(), &bench.status, bench.now, &bench.policy);
                let due = bench.waits_until().unwrap();
                assert!(due <= end, "{due} is after {end}");
                assert!(bench.now < at(due));
                assert_eq!(limit, Some(at(end)));
                bench.now = at(due);
                if bench.now < at(end) {
                    bench.record();
                }
            }
            let over = time_limit(&bench.request(), &bench.status, bench.now, &bench.policy);
            assert_eq!(over, None, "the limit itself is no time to wait for");
            bench.record();
            assert_eq!(bench.outcome(), Some(Outcome::Unconfirmed), "held={held} send={send}");
            assert_eq!(bench.condition(Type::Ready), "False OutcomeUnknown");
            assert_eq!(bench.phase(), Some(Phase::Failed));
        }
    }
}

/// A process that comes when the patience is long over still tries one look.
#[test]
fn after_a_long_absence_one_look_is_tried() {
    let mut bench = Bench::new();
    bench.object.spec.active_deadline_seconds = 60;
    bench.looks(active()).intend().wait(86_400).restart();
    assert_eq!(bench.step(), Step::Look);
    assert_eq!(
        time_limit(&bench.request(), &bench.status, bench.now, &bench.policy),
        None,
        "nothing to wake up for"
    );
    let mut gone = bench.clone();
    assert_eq!(gone.looks(ended()).outcome(), Some(Outcome::Terminated));
    let mut still = bench.clone();
    still.looks(active()).record();
    assert_eq!(still.outcome(), Some(Outcome::DeadlineExceeded));
    assert_eq!(still.last().result, AttemptResult::Unknown);
    assert!(still.last().message.as_ref().unwrap().contains("active"));
    let mut held = bench.clone();
    held.held = Some(hold(ConditionReason::WaitingForConnection));
    assert_eq!(held.record().outcome(), Some(Outcome::Unconfirmed));
    bench.looks_in_vain().record();
    assert_eq!(bench.outcome(), Some(Outcome::Unconfirmed));
    assert!(bench.last().message.as_ref().unwrap().contains("No look could tell"));
}

#[test]
fn a_missing_dependency_waits_and_is_the_cause_at_the_deadline() {
    let mut bench = Bench::new();
    bench.held = Some(hold(ConditionReason::WaitingForConnection));
    bench.record();
    assert_eq!(bench.condition(Type::Ready), "Unknown WaitingForConnection");
    assert_eq!(
        bench.step(),
        Step::Wait(Wake {
            at: Some(at(21_600)),
            on_connection: true
        })
    );
    for change in [
        |hold: &mut Hold| hold.reason = ConditionReason::ConnectionSuspended,
        |hold: &mut Hold| hold.message = "Something else.".to_owned(),
    ] {
        let mut other = bench.clone();
        change(other.held.as_mut().unwrap());
        assert!(
            matches!(other.step(), Step::Record(Fact::Held(_))),
            "another cause is told"
        );
    }
    bench.now = at(21_600);
    bench.record();
    assert_eq!(bench.outcome(), Some(Outcome::DeadlineExceeded));
    assert!(
        bench
            .message(Type::Ready)
            .contains("Last cause: What is wrong, and what to do.")
    );
    assert_eq!(bench.status.retries, 0);
}

/// A waiting state is left by itself once its cause is fixed.
#[test]
fn whoever_waits_goes_on() {
    for reason in [
        ConditionReason::WaitingForConnection,
        ConditionReason::ConnectionSuspended,
        ConditionReason::CredentialsInvalid,
    ] {
        let mut bench = Bench::new();
        bench.held = Some(hold(reason));
        bench.record().wait(100);
        bench.held = None;
        assert_eq!(bench.step(), Step::Look, "{reason}");
        bench.looks(active());
        assert_eq!(bench.step(), Step::Intend(seen("active")));
    }
}

/// Nothing leaves a final state: no fact changes its outcome, its conditions or its books.
#[test]
fn a_final_state_absorbs() {
    let mut bench = Bench::new();
    let sent = bench.looks(active()).intend().send();
    bench.called(sent.clone(), answer(Call::Applied, Some(204), None));
    let done = bench.status.clone();
    bench.wait(10).looks(active()).looks(ended()).intend();
    bench.called(
        sent,
        answer(Call::Failed(Failure::Refused), Some(400), Some("bad.request")),
    );
    bench.edit(|spec| spec.suspend = true);
    assert_eq!(bench.step(), Step::Rest);
    assert_eq!(bench.record().status, done);
}

/// An object in doubt whose end is due, or that is suspended, 200 s after its creation, of whose last call this process
/// first heard then.
fn first_seen_in_doubt(suspended: bool) -> Bench {
    let mut bench = Bench::new();
    bench.object.spec.active_deadline_seconds = 60;
    bench.looks(active()).attempt_in_vain();
    if suspended {
        bench.edit(|spec| spec.suspend = true);
        bench.record();
    }
    bench.now = at(200);
    bench.status.last_send_time = Some(Time(at(200)));
    bench.look = None;
    bench
}

/// What the status says of another process's call is the word of another clock. It makes a look worth while, because the
/// session may be over, and decides nothing.
#[test]
fn a_look_is_made_when_the_status_says_that_it_decides_and_again_when_it_does() {
    for suspended in [false, true] {
        let bench = first_seen_in_doubt(suspended);
        let after = |look_from: i64| {
            let mut bench = bench.clone();
            bench.look_from = Some(at(look_from));
            bench
        };
        assert_eq!(after(230).waits_until(), Some(230));
        assert_eq!(
            after(900).waits_until(),
            Some(260),
            "a clock that is ahead holds back nothing"
        );
        let mut due = after(200);
        due.looks_in_vain();
        assert_eq!(due.waits_until(), Some(202), "it is repeated");
        due.wait(2);
        assert_eq!(due.step(), Step::Look);
        due.looks(active());
        assert_eq!(due.waits_until(), Some(260), "one that was answered is not");
        due.now = at(260);
        assert_eq!(due.step(), Step::Look);
        due.looks(active()).record();
        assert_eq!(due.outcome(), (!suspended).then_some(Outcome::DeadlineExceeded));
        assert!(!suspended || matches!(due.step(), Step::Wait(_)));
        // One that was answered counts from the instant on that the status says, and not before.
        for (look_from, next) in [(200, 260), (201, 201)] {
            let mut looked = after(look_from);
            looked.looks(active());
            assert_eq!(looked.waits_until(), Some(next), "{look_from}");
        }
    }
}

#[test]
fn a_look_is_as_old_as_its_question() {
    let slow = |answered: i64| {
        let mut bench = first_seen_in_doubt(false);
        bench.took = Duration::from_secs(9);
        bench.now = at(answered);
        bench.looks(active());
        bench
    };
    assert_eq!(slow(268).step(), Step::Look, "it was asked for 59 s after the call");
    assert!(matches!(slow(269).step(), Step::Record(Fact::Ended(_))));
}
