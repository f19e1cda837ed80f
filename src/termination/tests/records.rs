//! What the world is told: audit lines and Events.

use serde_json::{Map, Value};

use super::bench::*;
use crate::{
    api::{
        GuestTerminationStatus as Status,
        conditions::{ConditionReason, ConditionType as Type},
    },
    termination::{
        answer::{Answer, Call, Failure, Look, Suspicion},
        fact::{Fact, WebhookAnswer},
        messages,
        records::{Note, Record, between, deleted, key, late_answer, webhook_abandoned},
    },
};

/// Everything told about a bench, write by write.
struct Told {
    audit: Vec<Map<String, Value>>,
    notes: Vec<Note>,
}

impl Told {
    fn nothing() -> Self {
        Self {
            audit: Vec::new(),
            notes: Vec::new(),
        }
    }

    fn of(&mut self, bench: &Bench, old: &Status) {
        for record in between(&bench.object, old, &bench.status, bench.now) {
            match record {
                Record::Audit(line) => self.audit.push(line),
                Record::Event(note) => self.notes.push(note),
            }
        }
    }

    /// Carries a step out and listens.
    fn hear(&mut self, bench: &mut Bench, step: impl FnOnce(&mut Bench)) {
        let old = bench.status.clone();
        step(bench);
        self.of(bench, &old);
    }

    fn kinds(&self) -> Vec<String> {
        let word = |line: &Map<String, Value>, field: &str| line[field].as_str().unwrap_or("-").to_owned();
        let kinds = self.audit.iter();
        kinds
            .map(|line| format!("{} {}", word(line, "kind"), word(line, "attempt_id")))
            .collect()
    }

    fn reasons(&self) -> Vec<&str> {
        self.notes.iter().map(|note| note.reason).collect()
    }

    fn attempt(&mut self, bench: &mut Bench, answer: Answer<Call>) {
        self.hear(bench, |bench| {
            bench.looks(active()).intend();
        });
        self.hear(bench, |bench| {
            let sent = bench.send();
            bench.called(sent, answer);
        });
    }
}

fn unavailable() -> Answer<Call> {
    answer(Call::Failed(Failure::Transient), Some(503), Some("service.unavailable"))
}

#[test]
fn the_happy_path_is_three_lines_and_one_event() {
    let (mut bench, mut told) = (Bench::new(), Told::nothing());
    told.attempt(&mut bench, answer(Call::Applied, Some(204), None));
    assert_eq!(
        told.kinds(),
        [
            "attempt_started attempt-1",
            "attempt_result attempt-1",
            "outcome attempt-1"
        ]
    );
    assert_eq!(told.reasons(), ["Terminated"]);
    assert!(!told.notes[0].warning);
    told.hear(&mut bench, |bench| {
        bench.take(&Fact::WebhookTried {
            name: "analytics".to_owned(),
            answer: WebhookAnswer::Accepted { status: 200 },
            jitter: 0.0,
        });
    });
    assert_eq!((told.audit.len(), told.notes.len()), (3, 1));

    let fields = [
        "timestamp",
        "kind",
        "guest_id",
        "reason",
        "retain_data",
        "success",
        "latency_ms",
        "external_ref",
        "error",
        "uid",
        "namespace",
        "name",
        "connection",
        "outcome",
        "duplicate_termination",
        "retention_applied",
        "attempt",
        "attempt_id",
        "http_status",
        "correlation_id",
    ];
    for line in &told.audit {
        for field in fields {
            assert!(line.contains_key(field), "{field} is missing in {}", line["kind"]);
        }
        assert_eq!(
            (&line["uid"], &line["connection"]),
            (&"uid-1".into(), &"prod-eu".into())
        );
        assert_eq!(
            (&line["reason"], &line["retain_data"]),
            (&"customer_initiated".into(), &true.into())
        );
    }
    let outcome = &told.audit[2];
    assert_eq!(
        (&outcome["success"], &outcome["outcome"]),
        (&true.into(), &"Terminated".into())
    );
    assert_eq!(
        (&outcome["latency_ms"], &outcome["http_status"]),
        (&120.into(), &204.into())
    );
    assert_eq!(
        (&outcome["retention_applied"], &outcome["error"]),
        (&"True".into(), &Value::Null)
    );
    assert_eq!(outcome["correlation_id"], "correlation-1");
}

#[test]
fn each_attempt_has_a_start_and_a_result_and_the_cause_is_told_once() {
    let (mut bench, mut told) = (Bench::new(), Told::nothing());
    for _ in 0..3 {
        told.attempt(&mut bench, unavailable());
        bench.wait(300);
    }
    told.attempt(
        &mut bench,
        answer(Call::Failed(Failure::Throttled), Some(429), Some("too.many.requests")),
    );
    bench.wait(300);
    told.attempt(&mut bench, unavailable());
    bench.wait(300);
    told.hear(&mut bench, |bench| {
        bench.looks(ended());
    });
    let kinds = told.kinds();
    for number in 1..=5 {
        for kind in ["attempt_started", "attempt_result"] {
            let line = format!("{kind} attempt-{number}");
            assert_eq!(kinds.iter().filter(|kind| **kind == line).count(), 1, "{line}");
        }
    }
    assert_eq!(kinds.len(), 11);
    assert_eq!(
        told.reasons(),
        ["AttemptFailed", "RateLimited", "AttemptFailed", "Terminated"]
    );
    let names: std::collections::BTreeSet<_> = told
        .notes
        .iter()
        .map(|note| (note.reason, &note.discriminator))
        .collect();
    assert_eq!(names.len(), 4, "each Event has a name of its own");
}

#[test]
fn an_accepted_attempt_comes_to_its_result_when_it_is_over() {
    let (mut bench, mut told) = (Bench::new(), Told::nothing());
    told.attempt(&mut bench, answer(Call::Accepted, Some(202), None));
    assert_eq!(told.kinds(), ["attempt_started attempt-1"]);
    bench.wait(1);
    told.hear(&mut bench, |bench| {
        bench.looks(ended());
    });
    assert_eq!(told.kinds()[1..], ["attempt_result attempt-1", "outcome -"]);
    assert_eq!(
        (&told.audit[1]["result"], &told.audit[1]["http_status"]),
        (&"Accepted".into(), &202.into())
    );
}

/// A cause that stays is told once, however often it is met.
#[test]
fn a_cause_of_waiting_is_told_when_it_changes() {
    let (mut bench, mut told) = (Bench::new(), Told::nothing());
    for _ in 0..3 {
        told.hear(&mut bench, |bench| {
            bench.looked(answer(Look::Failed(Failure::Transient), Some(503), None));
        });
        bench.wait(300);
    }
    for reason in [
        ConditionReason::WaitingForConnection,
        ConditionReason::ConnectionSuspended,
    ] {
        bench.held = Some(hold(reason));
        told.hear(&mut bench, |bench| {
            bench.record();
        });
    }
    bench.edit(|spec| spec.suspend = true);
    told.hear(&mut bench, |bench| {
        bench.record();
    });
    bench.wait(10).edit(|spec| spec.suspend = false);
    let step = bench.step();
    told.hear(&mut bench, |bench| {
        let crate::termination::decide::Step::Record(fact) = step else {
            panic!("{step:?}")
        };
        bench.take(&fact);
    });
    told.hear(&mut bench, |bench| {
        bench.take(&Fact::Panicked { jitter: 0.5 });
    });
    assert_eq!(
        told.reasons(),
        [
            "AttemptFailed",
            "ConnectionNotFound",
            "Suspended",
            "Resumed",
            "InternalError"
        ]
    );
    assert!(told.audit.is_empty(), "no attempt, no line");
}

#[test]
fn each_cause_of_waiting_has_its_event() {
    for (failure, status, event) in [
        (Failure::Unauthorized, 401, "CredentialsInvalid"),
        (Failure::Forbidden, 403, "PermissionDenied"),
        (Failure::Throttled, 429, "RateLimited"),
        (Failure::Suspicious(Suspicion::Redirect), 302, "AttemptFailed"),
    ] {
        let (mut bench, mut told) = (Bench::new(), Told::nothing());
        told.hear(&mut bench, |bench| {
            bench.looked(answer(Look::Failed(failure), Some(status), None));
        });
        assert_eq!(told.reasons(), [event]);
        assert!(told.notes[0].warning);
    }
}

#[test]
fn each_line_of_an_object_has_a_key_of_its_own() {
    let (mut bench, mut told) = (Bench::new(), Told::nothing());
    told.attempt(&mut bench, unavailable());
    bench.wait(300);
    told.attempt(&mut bench, answer(Call::Applied, Some(204), None));
    let keys: std::collections::BTreeSet<_> = told.audit.iter().map(key).collect();
    assert_eq!(keys.len(), 5);
    let line = deleted(&bench.object, &bench.status, at(1));
    let again = deleted(&bench.object, &bench.status, at(2));
    assert_ne!(line, again);
    assert_eq!(key(&line), key(&again), "whenever it is told");
}

#[test]
fn the_guest_s_data_is_not_passed_over() {
    for (retain, look, expected) in [
        (false, ended(), vec!["AlreadyTerminated", "RetentionNotApplied"]),
        (true, ended(), vec!["AlreadyTerminated"]),
    ] {
        let (mut bench, mut told) = (Bench::new(), Told::nothing());
        bench.object.spec.retain_data = retain;
        told.hear(&mut bench, |bench| {
            bench.looks(look);
        });
        assert_eq!(told.reasons(), expected);
        assert_eq!(told.audit[0]["retention_applied"], "Unknown");
    }
    let (mut bench, mut told) = (Bench::new(), Told::nothing());
    bench.object.spec.retain_data = false;
    told.attempt(&mut bench, answer(Call::Applied, Some(204), None));
    assert_eq!(told.reasons(), ["Terminated"]);

    let (mut bench, mut told) = (Bench::new(), Told::nothing());
    bench.object.spec.retain_data = false;
    told.attempt(
        &mut bench,
        answer(Call::Failed(Failure::Refused), Some(400), Some("bad.request")),
    );
    assert_eq!(told.reasons(), ["Rejected", "RetentionNotApplied"]);
    assert!(told.notes.iter().all(|note| note.warning));
    let outcome = told.audit.last().unwrap();
    assert_eq!(outcome["success"], false);
    assert!(outcome["error"].as_str().unwrap().contains("HTTP 400 (bad.request)"));
}

#[test]
fn a_webhook_that_is_given_up_is_told_once() {
    let (mut bench, mut told) = (Bench::new(), Told::nothing());
    told.attempt(&mut bench, answer(Call::Applied, Some(204), None));
    for _ in 0..12 {
        told.hear(&mut bench, |bench| {
            bench.wait(86_400).take(&Fact::WebhookTried {
                name: "analytics".to_owned(),
                answer: WebhookAnswer::Failed {
                    status: None,
                    retry_after: None,
                    why: "no answer".to_owned(),
                },
                jitter: 1.0,
            });
        });
    }
    assert_eq!(told.reasons(), ["Terminated", "WebhookFailed"]);
    assert_eq!(bench.status.webhooks[0].attempts, 10);
    let line = webhook_abandoned(&bench.object, &bench.status, "analytics", bench.now);
    assert_eq!(
        (&line["kind"], &line["webhook"]),
        (&"webhook_abandoned".into(), &"analytics".into())
    );
}

#[test]
fn a_deleted_object_leaves_a_line() {
    let mut bench = Bench::new();
    let line = deleted(&bench.object, &bench.status, bench.now);
    assert_eq!((&line["kind"], &line["success"]), (&"outcome".into(), &false.into()));
    assert!(line["error"].as_str().unwrap().contains("no call took effect"));
    bench.looks(active()).intend();
    let line = deleted(&bench.object, &bench.status, bench.now);
    assert!(line["error"].as_str().unwrap().contains("was not found out"));
}

#[test]
fn an_unchanged_status_tells_nothing() {
    let mut bench = Bench::new();
    bench.looks(active()).attempt(unavailable());
    assert_eq!(between(&bench.object, &bench.status, &bench.status, bench.now), []);
}

/// Messages hold no instants, spans or counters and no id of a call, so that a repeat is the same to the letter; and of
/// the vendor's answer only the status and the code.
#[test]
fn messages_are_the_same_at_every_repeat() {
    for (failure, status, code) in failures() {
        let mut first = answer(Call::Failed(failure), status, code).evidence;
        let mut second = first.clone();
        first.correlation_id = Some("canary-1".to_owned());
        second.correlation_id = Some("canary-2".to_owned());
        second.retry_after = Some(std::time::Duration::from_secs(77));
        second.duration = std::time::Duration::from_secs(9);
        second.allowed = Some(99);
        let connection = connection("canary-uid");
        let texts = [
            messages::call_failed(failure, &first, &connection),
            messages::call_failed(failure, &second, &connection),
            messages::look_failed(failure, &first, &connection),
            messages::look_failed(failure, &second, &connection),
        ];
        assert_eq!((&texts[0], &texts[2]), (&texts[1], &texts[3]), "{failure:?}");
        for text in texts {
            assert!(!text.contains("canary") && text.ends_with('.'), "{text}");
            // What is left of the numbers is the HTTP status.
            let numbers: String = text.chars().filter(char::is_ascii_digit).collect();
            assert_eq!(
                numbers,
                status.map(|status| status.to_string()).unwrap_or_default(),
                "{text}"
            );
        }
    }
}

/// The code is the one text of the vendor's that is kept, and it goes nowhere but where it belongs.
#[test]
fn the_vendor_s_code_is_kept_and_nothing_else_of_an_answer() {
    let mut bench = Bench::new();
    bench.looks(active());
    bench.attempt(answer(Call::Failed(Failure::Transient), Some(500), Some("canary.code")));
    assert_eq!(bench.last().error_code.as_deref(), Some("canary.code"));
    assert_eq!(bench.last().correlation_id.as_deref(), Some("correlation-1"));
    assert!(bench.message(Type::Ready).contains("HTTP 500 (canary.code)"));
    let stored = serde_json::to_string(&bench.status).unwrap();
    assert_eq!(
        stored.matches("canary").count(),
        3,
        "the record, its message and the condition: {stored}"
    );
}

/// I9: a call whose answer comes when its termination is over is accounted for all the same.
#[test]
fn an_answer_that_comes_when_all_is_over_has_its_line() {
    let mut bench = Bench::new();
    bench.looks(active()).intend();
    let attempt = bench.send();
    let late = Fact::Called {
        attempt: attempt.clone(),
        answer: answer(Call::Applied, Some(204), None),
        context: bench.context.clone(),
    };
    assert_eq!(
        late_answer(&bench.object, &bench.status, &late, bench.now),
        None,
        "the status will tell"
    );
    // Another process looked, and the session was gone.
    bench.restart();
    bench.wait(30).looks(ended());
    assert!(bench.status.is_finished());
    let line = late_answer(&bench.object, &bench.status, &late, bench.now).unwrap();
    assert_eq!(line["kind"], "attempt_result");
    assert_eq!(line["attempt_id"], attempt.id.as_str());
    assert_eq!(
        (&line["result"], &line["http_status"]),
        (&"Applied".into(), &204.into())
    );
    // What the status tells already is not told again.
    let mut told = Bench::new();
    told.looks(active()).intend();
    let attempt = told.send();
    let fact = Fact::Called {
        attempt: attempt.clone(),
        answer: answer(Call::Applied, Some(204), None),
        context: told.context.clone(),
    };
    told.called(attempt, answer(Call::Applied, Some(204), None));
    assert!(told.status.is_finished());
    assert_eq!(late_answer(&told.object, &told.status, &fact, told.now), None);
}
