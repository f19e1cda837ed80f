//! "What an answer proves" and the answer table, row by row.

use std::time::Duration;

use rstest::rstest;

use super::bench::*;
use crate::{
    api::{
        AttemptResult, ConfirmedBy, Outcome, Phase,
        conditions::{ConditionReason, ConditionType as Type},
    },
    termination::{
        answer::{Call, Failure, Look, Proof, Suspicion, Unreachable},
        decide::Step,
        fact::Fact,
    },
};

#[test]
fn what_an_answer_to_a_terminate_proves() {
    let not_applied = [400, 401, 403, 405, 413, 414, 415, 422, 429];
    for (failure, status, code) in failures() {
        let proves = answer(Call::Failed(failure), status, code).proves();
        let refused = status.is_some_and(|status| not_applied.contains(&status)) && code.is_some();
        let expected = if refused || matches!(failure, Failure::Unreachable(_)) {
            Proof::NotApplied
        } else {
            Proof::Unknown
        };
        assert_eq!(proves, expected, "{failure:?} {status:?} {code:?}");
    }
    assert_eq!(answer(Call::Applied, Some(204), None).proves(), Proof::Applied);
    assert_eq!(answer(Call::Accepted, Some(202), None).proves(), Proof::Unknown);
}

/// The first *unknown* sets `mayHaveApplied`, in the same write as its result; nothing else does, and nothing clears it.
#[test]
fn what_is_unknown_sets_may_have_applied_with_its_result() {
    for (failure, status, code) in failures() {
        if matches!(failure, Failure::NotFound { .. }) {
            continue;
        }
        let mut bench = Bench::new();
        bench.looks(active());
        bench.attempt(answer(Call::Failed(failure), status, code));
        let unknown = answer(Call::Failed(failure), status, code).proves() == Proof::Unknown;
        let result = if unknown {
            AttemptResult::Unknown
        } else {
            AttemptResult::NotApplied
        };
        assert_eq!(bench.last().result, result, "{failure:?} {status:?}");
        assert_eq!(bench.status.may_have_applied(), unknown, "{failure:?} {status:?}");
        assert_eq!(bench.status.current_attempt, None);
        assert_eq!(bench.status.last_send_time.as_ref().unwrap().0, at(1));

        if bench.status.is_finished() {
            continue;
        }
        bench.wait(600).looks(active());
        bench.attempt(answer(
            Call::Failed(Failure::Throttled),
            Some(429),
            Some("too.many.requests"),
        ));
        assert_eq!(bench.status.may_have_applied(), unknown, "{failure:?} {status:?}");
    }
}

#[rstest]
#[case::no_content(204)]
#[case::ok(200)]
fn terminate_applied(#[case] status: u16) {
    let mut bench = Bench::new();
    bench.looks(active()).attempt(answer(Call::Applied, Some(status), None));
    assert_eq!(bench.outcome(), Some(Outcome::Terminated));
    let audit = bench.status.audit.clone().unwrap();
    assert_eq!((audit.success, audit.duplicate_termination), (true, false));
    assert_eq!(audit.confirmed_by, Some(ConfirmedBy::Response));
    assert_eq!(audit.latency_millis, Some(120));
    assert_eq!(audit.correlation_id.as_deref(), Some("correlation-1"));
    assert_eq!(bench.condition(Type::RetentionApplied), "True SentWithTermination");
    assert_eq!(bench.last().result, AttemptResult::Applied);
    assert!(!bench.status.is_settled(), "a webhook is pending");
    assert_eq!(bench.step(), Step::Rest);
}

/// Every word for an end, and the look alone: nothing was sent, and it says so.
#[rstest]
fn observe_gone(#[values("closed", "terminated", "ended", "expired", "disconnected")] state: &str) {
    let mut bench = Bench::new();
    bench.looks(Look::Ended(seen(state)));
    assert_eq!(bench.outcome(), Some(Outcome::AlreadyTerminated));
    let audit = bench.status.audit.clone().unwrap();
    assert_eq!((audit.success, audit.duplicate_termination), (true, true));
    assert_eq!(audit.confirmed_by, Some(ConfirmedBy::Observation));
    assert_eq!(audit.latency_millis, None, "there was no call");
    assert_eq!(bench.condition(Type::RetentionApplied), "Unknown SessionAlreadyClosed");
    assert_eq!(bench.condition(Type::SessionValidated), "True SessionAlreadyClosed");
    assert_eq!(bench.status.session.as_ref().unwrap().state.as_deref(), Some(state));
    assert_eq!(bench.status.attempts, 0);
    assert_eq!(bench.status.connection.as_ref().unwrap().uid, "connection-1");
}

#[test]
fn observe_unclear_spends_and_is_never_green() {
    let mut bench = Bench::new();
    bench.looks(Look::Unclear(seen("parked")));
    assert_eq!(bench.status.retries, 1);
    assert_eq!(bench.condition(Type::Ready), "Unknown RetryScheduled");
    assert_eq!(bench.status.session.as_ref().unwrap().state.as_deref(), Some("parked"));
    assert_eq!(bench.waits_until(), bench.next_attempt());
    for _ in 0..6 {
        bench.wait(300);
        assert_eq!(bench.step(), Step::Look, "nothing is sent");
        bench.looks(Look::Unclear(seen("parked")));
    }
    assert_eq!(bench.record().outcome(), Some(Outcome::RetriesExhausted));
}

/// Of two processes that lead, one kept an answer that it could not write down: a 404 by a route that nobody had proven.
/// Meanwhile the other one saw the session active and wrote its intent. That proves the route of later looks.
#[test]
fn a_look_from_before_the_intent_is_not_proven_by_it() {
    let mut bench = Bench::new();
    let early = Fact::Looked {
        answer: answer(
            Look::Failed(Failure::NotFound { conclusive: false }),
            Some(404),
            Some("not.found"),
        ),
        route_proven: false,
        context: bench.context.clone(),
    };
    bench.looks(active()).intend();
    let before = bench.status.clone();
    bench.take(&early);
    assert_eq!(bench.status, before, "it says nothing of a call that came later");
    bench.looked(answer(
        Look::Failed(Failure::NotFound { conclusive: false }),
        Some(404),
        Some("not.found"),
    ));
    assert_eq!(bench.outcome(), Some(Outcome::Terminated));
}

#[rstest]
#[case::conclusive(true, false, false, Some(Outcome::AlreadyTerminated))]
#[case::route_proven(false, true, false, Some(Outcome::AlreadyTerminated))]
#[case::own_doubt_is_proof(false, false, true, Some(Outcome::Terminated))]
#[case::unproven(false, false, false, None)]
fn not_found_means_gone_only_with_a_proof(
    #[case] conclusive: bool,
    #[case] route_proven: bool,
    #[case] doubt: bool,
    #[case] outcome: Option<Outcome>,
) {
    let mut bench = Bench::new();
    bench.route_proven = route_proven;
    if doubt {
        bench.looks(active()).attempt_in_vain().wait(10);
    }
    bench.looked(answer(
        Look::Failed(Failure::NotFound { conclusive }),
        Some(404),
        Some("not.found"),
    ));
    assert_eq!(bench.outcome(), outcome);
    if outcome.is_none() {
        assert_eq!(bench.condition(Type::Ready), "Unknown RouteNotProven");
        assert_eq!((bench.status.retries, bench.next_attempt()), (0, None));
        assert_eq!(bench.phase(), Some(Phase::Pending));
        assert!(bench.message(Type::Ready).contains("Nothing was ended"));
        let once = bench.status.clone();
        bench.wait(30);
        bench.looked(answer(
            Look::Failed(Failure::NotFound { conclusive: false }),
            Some(404),
            Some("not.found"),
        ));
        assert_eq!(bench.status, once, "it is written once");
    } else {
        assert_eq!(
            bench.status.session.as_ref().unwrap().state.as_deref(),
            Some("notFound")
        );
    }
}

#[test]
fn an_unproven_backlog_fails_at_the_deadline_with_its_cause() {
    let mut bench = Bench::new();
    bench.looked(answer(
        Look::Failed(Failure::NotFound { conclusive: false }),
        Some(404),
        Some("not.found"),
    ));
    bench.wait(21_600).record();
    assert_eq!(bench.outcome(), Some(Outcome::DeadlineExceeded));
    assert!(
        bench
            .message(Type::Ready)
            .contains("Last cause: The look at the session was answered HTTP 404")
    );
}

/// Another connection's answer is no evidence, whatever it says; nor is doubt that is bound to no connection.
#[test]
fn no_other_connection_is_believed() {
    let mut bench = Bench::new();
    bench.looks(active()).attempt_in_vain().wait(100);
    let before = bench.status.clone();
    bench.context.connection = connection("connection-2");
    bench.looks(ended());
    assert_eq!(bench.status, before);

    bench.status.connection = None;
    bench.looked(answer(
        Look::Failed(Failure::NotFound { conclusive: false }),
        Some(404),
        Some("not.found"),
    ));
    assert_eq!(bench.outcome(), None);
}

#[rstest]
#[case(400)]
#[case(405)]
#[case(413)]
#[case(415)]
#[case(422)]
fn a_refusal_in_the_vendor_s_shape_is_final(#[case] status: u16, #[values(true, false)] by_look: bool) {
    let mut bench = Bench::new();
    if by_look {
        bench.looked(answer(
            Look::Failed(Failure::Refused),
            Some(status),
            Some("bad.request"),
        ));
        assert_eq!(bench.condition(Type::SessionValidated), "False ValidationRejected");
        assert_eq!(bench.status.attempts, 0);
    } else {
        bench.looks(active());
        bench.attempt(answer(
            Call::Failed(Failure::Refused),
            Some(status),
            Some("bad.request"),
        ));
        assert_eq!(bench.condition(Type::SessionValidated), "True SessionActive");
    }
    assert_eq!(bench.outcome(), Some(Outcome::Rejected));
    assert!(
        bench
            .message(Type::Ready)
            .contains(&format!("HTTP {status} (bad.request)"))
    );
    assert_eq!(bench.status.retries, 0);
    assert!(bench.status.is_settled(), "a failure is not announced by a webhook");
}

/// A refusal with a status that is not known to come before any effect is final too, but only after the last look.
#[test]
fn another_refusal_leaves_it_open_and_is_looked_after() {
    let mut bench = Bench::new();
    bench.looks(active());
    bench.attempt(answer(Call::Failed(Failure::Refused), Some(418), Some("teapot")));
    assert_eq!(bench.outcome(), None);
    assert!(bench.status.may_have_applied());
    assert_eq!(
        (bench.status.retries, bench.next_attempt()),
        (0, None),
        "it is not tried again"
    );
    assert_eq!(bench.waits_until(), Some(1 + 60));
    bench.wait(60).looks(active()).record();
    assert_eq!(bench.outcome(), Some(Outcome::Rejected));
}

/// A refused look says nothing of a call that may have taken effect: nothing ends by it.
#[test]
fn a_refused_look_ends_nothing_that_is_in_doubt() {
    let mut bench = Bench::new();
    bench.looks(active()).attempt_in_vain().wait(10);
    bench.looked(answer(Look::Failed(Failure::Refused), Some(400), Some("bad.request")));
    assert_eq!(bench.outcome(), None);
    assert_eq!(bench.condition(Type::Ready), "Unknown RetryScheduled");
    assert_eq!(bench.status.retries, 2);
}

/// The rows that spend budget: suspicious, transient, unreachable, unanswered, each by a look and by a call.
#[test]
fn what_spends_budget_backs_off_and_is_tried_again() {
    for (failure, status, code) in failures() {
        let (reason, spends) = match failure {
            Failure::Suspicious(_) => (ConditionReason::SuspiciousAnswer, true),
            Failure::Transient | Failure::Unreachable(_) | Failure::Unanswered => {
                (ConditionReason::RetryScheduled, true)
            }
            Failure::Unauthorized => (ConditionReason::CredentialsInvalid, false),
            Failure::TokenDied => (ConditionReason::Progressing, false),
            Failure::Forbidden => (ConditionReason::PermissionDenied, false),
            Failure::Throttled => (ConditionReason::RateLimited, false),
            Failure::NotFound { .. } | Failure::Refused => continue,
        };
        for by_look in [true, false] {
            let name = format!("{failure:?} {status:?} {code:?} by_look={by_look}");
            let mut bench = Bench::new();
            if by_look {
                bench.looked(answer(Look::Failed(failure), status, code));
                assert!(!bench.status.may_have_applied(), "{name}");
            } else {
                bench
                    .looks(active())
                    .attempt(answer(Call::Failed(failure), status, code));
            }
            assert_eq!(bench.condition(Type::Ready), format!("Unknown {reason}"), "{name}");
            assert_eq!(bench.condition(Type::Reconciling), "True Progressing", "{name}");
            assert_eq!(bench.status.retries, i32::from(spends), "{name}");
            // 2 s, half of it fixed and half drawn by a jitter of one half, rounded up.
            let next = match failure {
                Failure::Forbidden => Some(1 + 300),
                _ if spends => Some(1 + 2),
                _ => None,
            };
            assert_eq!(bench.next_attempt(), next, "{name}");
            if let Some(next) = next {
                assert_eq!(bench.waits_until(), Some(next), "{name}");
                bench.wait(u64::try_from(next - 1).unwrap());
            }
            bench.wait(1);
            assert_eq!(bench.step(), Step::Look, "{name}");
        }
    }
}

/// While the breaker is open no budget is spent, and an object that only waits is not written: but once, to say why.
#[test]
fn an_outage_spends_nothing_and_is_told_once() {
    for failure in [
        Failure::Transient,
        Failure::Unanswered,
        Failure::Unreachable(Unreachable::Connect),
        Failure::Suspicious(Suspicion::WrongBody),
    ] {
        let mut bench = Bench::new();
        bench.context.spends = false;
        bench.looked(answer(Look::Failed(failure), Some(503), None));
        assert!(bench.message(Type::Ready).starts_with("The look at the session"));
        assert_eq!((bench.status.retries, bench.next_attempt()), (0, None));
        let once = bench.status.clone();
        bench.looked(answer(Look::Failed(Failure::Unanswered), None, None));
        bench.looks(Look::Unclear(seen("parked")));
        assert_eq!(bench.status, once);
        bench
            .looks(active())
            .attempt(answer(Call::Failed(failure), Some(503), None));
        assert_eq!((bench.status.retries, bench.next_attempt()), (0, None), "{failure:?}");
    }
}

/// `Retry-After` is a floor, whether budget is spent or not.
#[rstest]
fn never_earlier_than_the_vendor_said(#[values(true, false)] spends: bool, #[values(true, false)] by_look: bool) {
    let mut bench = Bench::new();
    bench.context.spends = spends;
    if by_look {
        let mut late = answer(Look::Failed(Failure::Transient), Some(503), None);
        late.evidence.retry_after = Some(Duration::from_secs(90));
        bench.looked(late);
    } else {
        let mut late = answer(Call::Failed(Failure::Transient), Some(503), None);
        late.evidence.retry_after = Some(Duration::from_secs(90));
        bench.looks(active()).attempt(late);
    }
    assert_eq!(bench.next_attempt(), Some(91));
    assert_eq!(bench.waits_until(), Some(91));
    bench.edit(|spec| spec.suspend = true);
    bench.record().edit(|spec| spec.suspend = false);
    bench.record();
    assert_eq!(bench.waits_until(), Some(91), "not by suspending and resuming either");
}

#[test]
fn a_403_names_what_is_missing() {
    let mut bench = Bench::new();
    bench.looked(answer(
        Look::Failed(Failure::Forbidden),
        Some(403),
        Some("missing.permissions"),
    ));
    assert!(bench.message(Type::Ready).contains("webchat:guest:read"));
    bench.wait(300).looks(active());
    bench.attempt(answer(
        Call::Failed(Failure::Forbidden),
        Some(403),
        Some("missing.permissions"),
    ));
    assert!(bench.message(Type::Ready).contains("webchat:guest:manage"));
    assert_eq!(bench.status.retries, 0);
}

/// After an answer that leaves it open, and after any other, a look comes before the next intent: a look from before the
/// call supports none.
#[test]
fn a_look_from_before_the_call_supports_no_second_one() {
    let mut bench = Bench::new();
    bench.looks(active()).attempt_in_vain();
    bench.wait(2);
    assert!(bench.look.is_some(), "the look is 2 s old and still remembered");
    assert_eq!(bench.step(), Step::Look);
}

#[test]
fn a_look_supports_an_intent_for_five_seconds() {
    let mut bench = Bench::new();
    bench.looks(active());
    assert_eq!(bench.step(), Step::Intend(seen("active")));
    bench.wait(4);
    assert_eq!(bench.step(), Step::Intend(seen("active")));
    bench.wait(1);
    assert_eq!(bench.step(), Step::Look);
}
