//! Every state of the condition table that a termination can reach, reached, with what kstatus makes of it.

use std::collections::BTreeSet;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::json;

use super::{
    bench::*,
    kstatus::{Kstatus, kstatus},
    laws::check_status,
};
use crate::{
    api::{
        Phase,
        conditions::{ConditionReason as Reason, ConditionType as Type, find},
    },
    termination::{
        answer::{Call, Failure, Look, Suspicion},
        end::refuse,
        fact::{Fact, WebhookAnswer},
        request::Request,
    },
};

fn verdict(bench: &Bench) -> Kstatus {
    kstatus(&json!({"metadata": {"generation": bench.object.metadata.generation}, "status": bench.status}))
}

fn failed_look(failure: Failure, status: u16, code: Option<&str>) -> Bench {
    let mut bench = Bench::new();
    bench.looked(answer(Look::Failed(failure), Some(status), code));
    bench
}

fn held(reason: Reason) -> Bench {
    let mut bench = Bench::new();
    bench.held = Some(hold(reason));
    bench.record();
    bench
}

fn terminated() -> Bench {
    let mut bench = Bench::new();
    bench.looks(active()).attempt(answer(Call::Applied, Some(204), None));
    bench
}

fn tried(answers: Vec<WebhookAnswer>) -> Bench {
    let mut bench = terminated();
    for answer in answers {
        let name = "analytics".to_owned();
        bench.wait(1).take(&Fact::WebhookTried {
            name,
            answer,
            jitter: 0.0,
        });
    }
    bench
}

fn failed_try() -> WebhookAnswer {
    WebhookAnswer::Failed {
        status: Some(500),
        retry_after: None,
        why: "HTTP 500".to_owned(),
    }
}

fn suspended() -> Bench {
    let mut bench = Bench::new();
    bench.edit(|spec| spec.suspend = true);
    bench.record();
    bench
}

fn resumed() -> Bench {
    let mut bench = suspended();
    bench.edit(|spec| spec.suspend = false);
    bench.record();
    bench
}

fn at_work() -> Bench {
    let mut bench = Bench::new();
    bench.looks(active()).intend();
    bench
}

fn in_doubt(prepare: impl FnOnce(&mut Bench)) -> Bench {
    let mut bench = Bench::new();
    prepare(&mut bench);
    bench.looks(active()).attempt_in_vain();
    bench.wait(60);
    bench
}

/// A status for each state, with the phase and the verdict that belong to it.
fn states() -> Vec<(&'static str, Bench, Phase, Kstatus)> {
    use Kstatus::{Current, Failed, InProgress};
    let mut rejected = Bench::new();
    rejected.looked(answer(Look::Failed(Failure::Refused), Some(400), Some("bad.request")));
    let mut exhausted = Bench::new();
    exhausted.object.spec.backoff_limit = 0;
    exhausted.looked(answer(Look::Failed(Failure::Transient), Some(503), None));
    exhausted.record();
    let mut late = held(Reason::WaitingForConnection);
    late.wait(30_000).record();
    let mut unconfirmed = in_doubt(|bench| bench.object.spec.active_deadline_seconds = 2);
    unconfirmed.looks_in_vain().wait(100).record();
    let mut expired = in_doubt(|bench| bench.object.spec.not_after = Some(Time(at(2))));
    expired.looks(active()).record();
    let mut expired_untried = Bench::new();
    expired_untried.object.spec.not_after = Some(Time(at(0)));
    expired_untried.record();
    let mut by_look = in_doubt(|_| {});
    by_look.looks(ended());
    let mut already = Bench::new();
    already.looks(ended());
    let mut panicked = Bench::new();
    panicked.take(&Fact::Panicked { jitter: 0.5 });
    let mut held_later = failed_look(Failure::Transient, 503, None);
    held_later.held = Some(hold(Reason::WaitingForConnection));
    held_later.wait(5).record();
    let mut retried = failed_look(Failure::Transient, 503, None);
    retried.wait(5).looks(active()).intend();
    vec![
        ("new", Bench::new(), Phase::Pending, InProgress),
        ("progressing", at_work(), Phase::Terminating, InProgress),
        ("progressing again", retried, Phase::Retrying, InProgress),
        (
            "retry",
            failed_look(Failure::Transient, 503, None),
            Phase::Retrying,
            InProgress,
        ),
        (
            "throttled",
            failed_look(Failure::Throttled, 429, None),
            Phase::Retrying,
            InProgress,
        ),
        (
            "suspicious",
            failed_look(Failure::Suspicious(Suspicion::ForeignNotFound), 404, None),
            Phase::Retrying,
            InProgress,
        ),
        (
            "unproven",
            failed_look(Failure::NotFound { conclusive: false }, 404, Some("not.found")),
            Phase::Pending,
            InProgress,
        ),
        (
            "denied",
            failed_look(Failure::Forbidden, 403, None),
            Phase::Retrying,
            InProgress,
        ),
        (
            "credentials",
            failed_look(Failure::Unauthorized, 401, None),
            Phase::Pending,
            InProgress,
        ),
        (
            "no connection",
            held(Reason::WaitingForConnection),
            Phase::Pending,
            InProgress,
        ),
        (
            "connection held",
            held(Reason::ConnectionSuspended),
            Phase::Pending,
            InProgress,
        ),
        ("connection lost", held_later, Phase::Retrying, InProgress),
        ("panicked", panicked, Phase::Retrying, InProgress),
        ("suspended", suspended(), Phase::Suspended, Current),
        ("resumed", resumed(), Phase::Terminating, InProgress),
        ("terminated", terminated(), Phase::Terminated, Current),
        ("terminated by look", by_look, Phase::Terminated, Current),
        ("already", already, Phase::Terminated, Current),
        (
            "delivered",
            tried(vec![WebhookAnswer::Accepted { status: 200 }]),
            Phase::Terminated,
            Current,
        ),
        (
            "not delivered",
            tried(vec![failed_try(); 10]),
            Phase::Terminated,
            Current,
        ),
        (
            "delivery panicked",
            tried(vec![WebhookAnswer::Panicked]),
            Phase::Terminated,
            Current,
        ),
        (
            "delivery panicked to the end",
            tried(vec![WebhookAnswer::Panicked; 10]),
            Phase::Terminated,
            Current,
        ),
        (
            "endpoint gone",
            tried(vec![failed_try(), WebhookAnswer::Gone]),
            Phase::Terminated,
            Current,
        ),
        (
            "endpoint removed",
            tried(vec![WebhookAnswer::Removed]),
            Phase::Terminated,
            Current,
        ),
        ("rejected", rejected, Phase::Failed, Failed),
        ("exhausted", exhausted, Phase::Failed, Failed),
        ("too late", late, Phase::Failed, Failed),
        ("unconfirmed", unconfirmed, Phase::Failed, Failed),
        ("expired", expired, Phase::Expired, Failed),
        ("expired untried", expired_untried, Phase::Expired, Current),
    ]
}

#[test]
fn each_state_has_its_phase_and_its_verdict() {
    for (name, bench, phase, expected) in states() {
        assert_eq!(bench.phase(), Some(phase), "{name}");
        assert_eq!(verdict(&bench), expected, "{name}");
        check_status(&bench);
    }
}

#[test]
fn every_state_of_the_table_is_reached() {
    let table: &[(Type, &[&str])] = &[
        (
            Type::Ready,
            &[
                "True Terminated",
                "True AlreadyTerminated",
                "False Rejected",
                "False RetriesExhausted",
                "False DeadlineExceeded",
                "False OutcomeUnknown",
                "False Expired",
                "Unknown Progressing",
                "Unknown RetryScheduled",
                "Unknown RateLimited",
                "Unknown SuspiciousAnswer",
                "Unknown RouteNotProven",
                "Unknown WaitingForConnection",
                "Unknown ConnectionSuspended",
                "Unknown CredentialsInvalid",
                "Unknown PermissionDenied",
                "Unknown InternalError",
                "-",
            ],
        ),
        (
            Type::Finished,
            &[
                "True Terminated",
                "True AlreadyTerminated",
                "True Rejected",
                "True RetriesExhausted",
                "True DeadlineExceeded",
                "True OutcomeUnknown",
                "True Expired",
                "False InProgress",
                "-",
            ],
        ),
        (
            Type::SessionValidated,
            &[
                "True SessionActive",
                "True SessionAlreadyClosed",
                "False ValidationRejected",
                "Unknown NotChecked",
                "-",
            ],
        ),
        (
            Type::RetentionApplied,
            &[
                "True SentWithTermination",
                "Unknown NotSent",
                "Unknown SessionAlreadyClosed",
                "Unknown NotConfirmed",
                "-",
            ],
        ),
        (Type::Suspended, &["True Requested", "False NotSuspended", "-"]),
        (
            Type::WebhookDelivered,
            &[
                "True Delivered",
                "False DeliveryFailed",
                "False EndpointGone",
                "False EndpointRemoved",
                "Unknown Pending",
                "Unknown InternalError",
                "-",
            ],
        ),
        (Type::Reconciling, &["True Progressing", "-"]),
        (
            Type::Stalled,
            &[
                "True Rejected",
                "True RetriesExhausted",
                "True DeadlineExceeded",
                "True OutcomeUnknown",
                "True Expired",
                "-",
            ],
        ),
    ];
    let states = states();
    for (type_, expected) in table {
        let reached: BTreeSet<String> = states.iter().map(|(_, bench, ..)| bench.condition(*type_)).collect();
        let expected: BTreeSet<String> = expected.iter().map(|&state| state.to_owned()).collect();
        assert_eq!(reached, expected, "{type_}");
    }
}

#[test]
fn what_ran_into_trouble_says_so_until_it_is_delivered() {
    let mut bench = tried(vec![failed_try()]);
    assert_eq!(
        bench.message(Type::WebhookDelivered),
        "Webhook analytics was not accepted yet: HTTP 500."
    );
    let webhook = bench.status.webhooks[0].clone();
    assert_eq!((webhook.attempts, webhook.last_status), (1, Some(500)));
    assert_eq!(webhook.next_attempt_time.unwrap().0, at(2 + 5));
    bench.take(&Fact::WebhookTried {
        name: "analytics".to_owned(),
        answer: WebhookAnswer::Accepted { status: 204 },
        jitter: 0.0,
    });
    assert_eq!(bench.message(Type::WebhookDelivered), "");
    assert!(bench.status.is_settled());
}

/// A spec that the replaced definition let through ends at once, and nothing of it is forgotten.
#[test]
fn a_spec_that_is_refused_ends() {
    let mut bench = Bench::new();
    bench.object.spec.guest_id = "../admin".to_owned();
    let invalid = Request::parse(&bench.object).unwrap_err();
    bench.status = refuse(1, &bench.status, invalid, at(1));
    assert_eq!(bench.condition(Type::SessionValidated), "False ValidationRejected");
    assert_eq!(bench.condition(Type::Ready), "False Rejected");
    assert_eq!(verdict(&bench), Kstatus::Failed);
    assert!(!bench.message(Type::Ready).contains("admin"));

    let mut bench = at_work();
    let open = bench.status.current_attempt.clone().unwrap();
    bench.status = refuse(2, &bench.status, invalid, at(2));
    assert_eq!(bench.condition(Type::Ready), "False OutcomeUnknown");
    assert!(bench.status.may_have_applied());
    assert_eq!(bench.last().id, open.id);

    let mut bench = in_doubt(|_| {});
    bench.looks(active()).intend();
    bench.status = refuse(2, &bench.status, invalid, at(99));
    let numbers: Vec<_> = bench.status.history.iter().map(|entry| entry.number).collect();
    assert_eq!(numbers, [2, 1]);

    let done = terminated();
    assert_eq!(
        refuse(2, &done.status, invalid, at(9)),
        done.status,
        "a final outcome stays"
    );
}

#[test]
fn a_delivery_that_panics_is_a_failed_try_with_a_long_rest_and_says_so() {
    let bench = tried(vec![WebhookAnswer::Panicked]);
    let said = find(&bench.status.conditions, Type::WebhookDelivered).unwrap();
    assert_eq!(
        (said.status.as_str(), said.reason.as_str()),
        ("Unknown", "InternalError")
    );
    let webhook = &bench.status.webhooks[0];
    assert_eq!((webhook.attempts, webhook.last_status), (1, None));
    let rest = webhook.next_attempt_time.as_ref().unwrap().0.duration_since(bench.now);
    assert!(rest.as_secs() >= 150, "{rest:?}");
    let over = tried(vec![WebhookAnswer::Panicked; 10]);
    let said = find(&over.status.conditions, Type::WebhookDelivered).unwrap();
    assert_eq!(
        (said.status.as_str(), said.reason.as_str()),
        ("False", "DeliveryFailed")
    );
    assert!(over.status.is_settled());
    let well = tried(vec![WebhookAnswer::Panicked, WebhookAnswer::Accepted { status: 204 }]);
    let said = find(&well.status.conditions, Type::WebhookDelivered).unwrap();
    assert_eq!((said.status.as_str(), said.reason.as_str()), ("True", "Delivered"));
}
