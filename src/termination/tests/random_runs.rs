//! Whole terminations under a random vendor, random faults and a random user. The driver plays the shell: it carries out
//! the steps, forgets what a crash forgets, and checks every law at every step.

use std::time::Duration;

use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Time, jiff::Timestamp};
use proptest::prelude::*;

use super::{
    bench::*,
    laws::{check_status, check_transition},
    vendor::Vendor,
};
use crate::{
    api::{
        ConfirmedBy, GuestTerminationSpec, Outcome,
        conditions::{ConditionReason, ConditionStatus as Is, ConditionType as Type, has_status},
    },
    termination::{
        answer::{Answer, Call, Failure, Look, Suspicion, Unreachable},
        deadline::{deadline, ending, is_unsure, patience_ends},
        decide::{Step, Wake, pending_webhooks, time_limit},
        fact::{Fact, WebhookAnswer},
        fence::{AtTheSocket, fence},
        instants, records,
    },
};

/// Steps that a run may take. More is a loop.
const MAX_STEPS: usize = 3_000;

/// The random choices of a run. When they are used up everything goes well, or, for a vendor that never comes back,
/// nothing is answered any more.
struct Chance {
    tape: Vec<u16>,
    next: usize,
}

impl Chance {
    /// One of `n`; 0 is the choice that harms least.
    fn pick(&mut self, n: usize) -> usize {
        let drawn = self.tape.get(self.next).map_or(0, |drawn| usize::from(*drawn));
        self.next += 1;
        drawn % n
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.pick(n) == n - 1
    }

    fn is_used_up(&self) -> bool {
        self.next >= self.tape.len()
    }
}

struct Run {
    bench: Bench,
    vendor: Vendor,
    chance: Chance,
    /// The vendor answers nothing once the chances are used up.
    dead: bool,
    /// Answers of an older self that come late: from when on, and what.
    late: Vec<(Timestamp, Fact)>,
    /// An *applied* or a *gone* reached a process.
    ended_for_us: bool,
    /// The incarnation that the last look saw active.
    seen_active: Option<u32>,
    sends: usize,
    /// When the user last meddled with the clock.
    edited_at: Timestamp,
    audit: Vec<(String, String)>,
    webhook_ids: std::collections::BTreeSet<String>,
}

impl Run {
    fn new(bench: Bench, tape: Vec<u16>, dead: bool) -> Self {
        Self {
            bench,
            vendor: Vendor::new(),
            chance: Chance { tape, next: 0 },
            dead,
            late: Vec::new(),
            ended_for_us: false,
            seen_active: None,
            sends: 0,
            edited_at: at(0),
            audit: Vec::new(),
            webhook_ids: Default::default(),
        }
    }

    fn pass(&mut self, span: Duration) {
        self.bench.now = instants::later(self.bench.now, span);
        self.vendor.pass_to(self.bench.now);
    }

    fn edit(&mut self, change: impl FnOnce(&mut GuestTerminationSpec)) {
        self.edited_at = self.bench.now;
        self.bench.edit(change);
    }

    fn pass_to(&mut self, instant: Timestamp) {
        self.pass(instants::between(self.bench.now, instant));
    }

    /// A few milliseconds, or a while.
    fn dawdle(&mut self) {
        let spans = [40, 700, 3_000, 6_000, 15_000, 45_000];
        let span = spans[self.chance.pick(spans.len())];
        self.pass(Duration::from_millis(span));
    }

    /// The status takes a fact in, as a durable write would; every law between the two is checked.
    fn write(&mut self, fact: &Fact) -> bool {
        let old = self.bench.status.clone();
        let now = self.bench.now;
        self.bench.take(fact);
        if self.bench.status == old {
            return false;
        }
        let new = &self.bench.status;
        check_transition(&old, new, now);
        check_status(&self.bench);
        for record in records::between(&self.bench.object, &old, new, now) {
            if let records::Record::Audit(line) = record {
                let field = |name: &str| line[name].as_str().unwrap_or_default().to_owned();
                self.audit.push((field("kind"), field("attempt_id")));
            }
        }
        for webhook in &new.webhooks {
            self.webhook_ids.insert(webhook.message_id.clone());
        }
        // The same fact once more, at the same instant: nothing is written twice.
        if !matches!(
            fact,
            Fact::WebhookTried { .. } | Fact::Panicked { .. } | Fact::Intended { .. }
        ) {
            let once = self.bench.clone();
            let twice = self.bench.clone().take(fact).status.clone();
            if once.status.is_finished() {
                assert_eq!(twice, once.status, "a final state absorbs {fact:?}");
            }
        }
        true
    }

    /// What the world does between two steps.
    fn meddle(&mut self) {
        match self.chance.pick(24) {
            23 => {
                self.bench.restart();
            }
            22 if !self.bench.status.is_finished() => self.edit(|spec| spec.suspend = !spec.suspend),
            21 if !self.bench.status.is_finished() => {
                let deadline = [21_600, 300, 60, 3_600][self.chance.pick(4)];
                self.edit(|spec| spec.active_deadline_seconds = deadline);
            }
            20 => self.vendor.end_by_others(),
            19 => self.vendor.come_back(),
            18 => {
                let reasons = [
                    ConditionReason::WaitingForConnection,
                    ConditionReason::ConnectionSuspended,
                ];
                self.bench.held = Some(hold(reasons[self.chance.pick(2)]));
            }
            15..=17 => self.bench.held = None,
            14 => self.bench.context.spends = !self.bench.context.spends,
            13 => self.dawdle(),
            12 => {
                self.write(&Fact::Panicked { jitter: 0.5 });
            }
            _ => {}
        }
        if self.chance.is_used_up() {
            self.bench.held = None;
            self.bench.context.spends = true;
            if self.bench.object.spec.suspend && !self.bench.status.is_finished() {
                self.edit(|spec| spec.suspend = false);
            }
        }
        let due = self.late.iter().position(|(from, _)| *from <= self.bench.now);
        if let Some((_, fact)) = due.map(|index| self.late.remove(index)) {
            if matches!(&fact, Fact::Called { answer, .. } if answer.verdict == Call::Applied) {
                self.ended_for_us = true;
            }
            self.write(&fact);
        }
    }

    fn look(&mut self) {
        let bench = &self.bench;
        let (status, request) = (&bench.status, bench.request());
        assert!(bench.held.is_none(), "nothing can be asked");
        let at_work = status.current_attempt.is_none()
            && !bench.object.spec.suspend
            && ending(&request, status, bench.now, &bench.policy).is_none();
        if at_work {
            let next = status.next_attempt_time.as_ref().map_or(Timestamp::MIN, |time| time.0);
            assert!(bench.now >= next, "a look before nextAttemptTime");
        } else {
            assert!(is_unsure(status), "a look that is not needed");
        }
        if request.not_after.is_some_and(|limit| bench.now > limit) {
            assert!(
                status.attempts > 0,
                "a look after notAfter though nothing was ever tried"
            );
        }
        let before = bench.status.clone();
        let answer = self.look_answer();
        self.pass(answer.evidence.duration);
        match &answer.verdict {
            Look::Active(_) => self.seen_active = Some(self.vendor.incarnation),
            Look::Ended(_) => self.ended_for_us = true,
            Look::Failed(Failure::NotFound { .. }) if !self.vendor.active && self.believes(&answer) => {
                self.ended_for_us = true
            }
            _ => {}
        }
        let verdict = answer.verdict.clone();
        let failures = self.bench.look.as_ref().map_or(0, |(_, _, failures)| *failures);
        let failed = matches!(verdict, Look::Failed(_) | Look::Unclear(_));
        self.bench.look = Some((verdict.clone(), self.bench.now, if failed { failures + 1 } else { 0 }));
        let fact = Fact::Looked {
            answer,
            route_proven: self.bench.route_proven,
            context: self.bench.context.clone(),
        };
        let written = self.write(&fact);
        let of_the_connection = matches!(
            verdict,
            Look::Failed(Failure::Unauthorized | Failure::Throttled | Failure::NotFound { .. })
        ) || (failed && at_work && !written);
        if of_the_connection {
            // The connection is held, paused or gated: its lane lets nobody through for a while.
            self.pass(Duration::from_secs(2));
        } else {
            assert_ne!(self.bench.step(), Step::Look, "{verdict:?} is asked for again at once");
        }
        if matches!(verdict, Look::Active(_)) {
            assert_eq!(self.bench.status, before, "a look that said active is no news");
        }
    }

    fn believes(&self, answer: &Answer<Look>) -> bool {
        let conclusive = answer.verdict == Look::Failed(Failure::NotFound { conclusive: true });
        conclusive || self.bench.route_proven || is_unsure(&self.bench.status)
    }

    fn look_answer(&mut self) -> Answer<Look> {
        let failed = |failure, status, code| answer(Look::Failed(failure), status, code);
        if self.dead && self.chance.is_used_up() {
            return failed(Failure::Unanswered, None, None);
        }
        let truth = if self.vendor.active { active() } else { ended() };
        match self.chance.pick(16) {
            15 => failed(Failure::Unanswered, None, None),
            14 => {
                let mut late = failed(Failure::Transient, Some(503), Some("service.unavailable"));
                late.evidence.retry_after = Some(Duration::from_secs(40));
                late
            }
            13 => failed(Failure::Throttled, Some(429), Some("too.many.requests")),
            12 => failed(Failure::Unauthorized, Some(401), Some("bad.credentials")),
            11 => failed(Failure::Forbidden, Some(403), Some("missing.permissions")),
            10 => answer(Look::Unclear(seen("parked")), Some(200), None),
            9 => failed(Failure::Suspicious(Suspicion::WrongBody), Some(200), None),
            8 => failed(Failure::Unreachable(Unreachable::Tls), None, None),
            7 if !self.vendor.active => {
                let conclusive = self.chance.one_in(2);
                failed(Failure::NotFound { conclusive }, Some(404), Some("not.found"))
            }
            // A wrong address: the vendor itself answers so for a path that it does not have.
            7 if !self.bench.route_proven && !is_unsure(&self.bench.status) => {
                failed(Failure::NotFound { conclusive: false }, Some(404), Some("not.found"))
            }
            6 if self.chance.one_in(4) => failed(Failure::Refused, Some(400), Some("bad.request")),
            _ => answer(truth, Some(200), None),
        }
    }

    fn intend(&mut self) {
        let bench = &self.bench;
        let (request, now) = (bench.request(), bench.now);
        assert!(bench.status.current_attempt.is_none(), "an intent over an intent");
        assert!(!bench.object.spec.suspend && bench.held.is_none());
        assert!(
            ending(&request, &bench.status, now, &bench.policy).is_none(),
            "an intent after the end"
        );
        let (verdict, looked, _) = bench.look.clone().unwrap();
        assert!(matches!(verdict, Look::Active(_)) && instants::between(looked, now) < Duration::from_secs(5));
        assert!(
            bench.status.last_send_time.as_ref().is_none_or(|sent| sent.0 <= looked),
            "a look from before the call"
        );
        let next = bench
            .status
            .next_attempt_time
            .as_ref()
            .map_or(Timestamp::MIN, |time| time.0);
        assert!(now >= next, "an intent before nextAttemptTime");

        let id = format!("attempt-{}", bench.status.attempts + 1);
        let fact = Fact::Intended {
            id,
            holder: "process-1".to_owned(),
            session: seen("active"),
            connection: bench.context.connection.clone(),
        };
        match self.chance.pick(10) {
            // The write never came to be, or the process did not live to make it.
            9 => {
                self.bench.restart();
            }
            // It was made, and nobody knows.
            8 => {
                assert!(self.write(&fact));
                self.bench.restart();
            }
            7 => {
                assert!(self.write(&fact));
                self.bench.intent_since = now;
                self.bench.own = Own::Withheld("The write of the intent was not answered; the call was not sent.");
            }
            _ => {
                assert!(self.write(&fact));
                self.bench.intent_since = now;
                self.bench.own = Own::Written;
            }
        }
        assert!(!matches!(self.bench.step(), Step::Intend(_)), "the same intent twice");
    }

    fn call(&mut self) {
        let began = self.bench.now;
        self.dawdle();
        if self.chance.one_in(8) {
            self.edit(|spec| spec.suspend = true);
        }
        let open = self.bench.status.current_attempt.clone().unwrap();
        let socket = AtTheSocket {
            since_intent: instants::between(began, self.bench.now),
            leading: true,
            deleted: false,
            held: self.bench.held.as_ref(),
            intent: &open.id,
        };
        let (request, now) = (self.bench.request(), self.bench.now);
        if let Err(why) = fence(&request, &self.bench.status, socket, now, &self.bench.policy) {
            self.bench.own = Own::Withheld(why);
            return;
        }
        // I2
        assert!(
            !request.not_after.is_some_and(|limit| now > limit),
            "sent after notAfter"
        );
        assert!(deadline(&request, &self.bench.status, &self.bench.policy).is_some_and(|limit| now < limit));
        // I1 (b) and (c)
        assert!(!self.ended_for_us, "sent after an applied or a gone");
        assert!(
            !self.vendor.may_be_ours() || self.bench.status.may_have_applied(),
            "a second effective call without doubt"
        );
        self.sends += 1;
        let attempt = self.bench.send();
        let answer = self.call_answer();
        let fact = Fact::Called {
            attempt,
            answer: answer.clone(),
            context: self.bench.context.clone(),
        };
        match self.chance.pick(8) {
            // The process is killed before the answer, or before it could write it down.
            7 => {
                self.bench.restart();
            }
            // It is cut off, another one takes over, and its answer comes late.
            6 => {
                let arrives = [2_000, 9_000, 25_000, 70_000][self.chance.pick(4)];
                self.late
                    .push((instants::later(now, Duration::from_millis(arrives)), fact));
                self.bench.restart();
            }
            _ => {
                self.pass(answer.evidence.duration);
                self.ended_for_us |= matches!(answer.verdict, Call::Applied | Call::Failed(Failure::NotFound { .. }));
                self.bench.own = Own::None;
                assert!(self.write(&fact), "a result is always news");
                assert_ne!(self.bench.step(), Step::Call, "the same call twice");
                let of_the_connection =
                    matches!(answer.verdict, Call::Failed(Failure::Unauthorized | Failure::Throttled));
                if of_the_connection || !self.bench.context.spends {
                    self.pass(Duration::from_secs(2));
                }
            }
        }
    }

    fn call_answer(&mut self) -> Answer<Call> {
        let failed = |failure, status, code| answer(Call::Failed(failure), status, code);
        let choice = self.chance.pick(14);
        if choice == 13 {
            // A gateway refused it before it got there.
            return failed(Failure::Unreachable(Unreachable::Connect), None, None);
        }
        if choice == 12 {
            return failed(Failure::Throttled, Some(429), Some("too.many.requests"));
        }
        if !self.vendor.active {
            return failed(Failure::NotFound { conclusive: false }, Some(404), Some("not.found"));
        }
        match choice {
            11 => failed(Failure::Unauthorized, Some(401), Some("bad.credentials")),
            10 => failed(Failure::Forbidden, Some(403), Some("missing.permissions")),
            9 => failed(Failure::Refused, Some(400), Some("bad.request")),
            4..=8 => {
                // Whatever is unknown may have taken effect, now or within the lag, or not at all.
                match self.chance.pick(3) {
                    2 => self.vendor.end_by_us(),
                    1 => {
                        let lag = [1_000, 20_000, 55_000][self.chance.pick(3)];
                        self.vendor
                            .end_at(instants::later(self.bench.now, Duration::from_millis(lag)));
                    }
                    _ => {}
                }
                match choice {
                    4 => answer(Call::Accepted, Some(202), None),
                    5 => failed(Failure::Transient, Some(500), Some("internal.server.error")),
                    6 => failed(Failure::Refused, Some(418), Some("teapot")),
                    7 => failed(Failure::Suspicious(Suspicion::ForeignError), Some(400), None),
                    _ => failed(Failure::Unanswered, Some(409), Some("conflict")),
                }
            }
            _ => {
                self.vendor.end_by_us();
                answer(Call::Applied, Some(204), None)
            }
        }
    }

    fn wait(&mut self, wake: Wake) {
        if let Some(at) = wake.at {
            assert!(at > self.bench.now, "a wait for what is over");
        }
        match (wake.at, self.bench.held.is_some() && wake.on_connection) {
            (_, true) if self.chance.one_in(2) || wake.at.is_none() => {
                self.dawdle();
                self.bench.held = None;
            }
            // Something wakes the object before its time.
            (Some(at), _) if self.chance.one_in(6) => {
                let half = instants::between(self.bench.now, at) / 2;
                self.pass(half);
            }
            (Some(at), _) => self.pass_to(at),
            (None, _) => {
                assert!(self.bench.object.spec.suspend, "it waits for ever");
                self.dawdle();
                self.edit(|spec| spec.suspend = false);
            }
        }
    }

    /// Drives the termination until it is finished.
    fn run(&mut self) {
        for _ in 0..MAX_STEPS {
            self.meddle();
            if self.bench.status.is_finished() {
                return self.check_end();
            }
            let limit = time_limit(
                &self.bench.request(),
                &self.bench.status,
                self.bench.now,
                &self.bench.policy,
            );
            assert!(limit.is_none_or(|limit| limit > self.bench.now));
            match self.bench.step() {
                Step::Rest => {
                    assert_eq!(self.bench.own, Own::InFlight);
                    self.bench.restart();
                }
                Step::Wait(wake) => self.wait(wake),
                Step::Record(fact) => {
                    if matches!(fact, Fact::Ended(_)) {
                        let end = patience_ends(&self.bench.request(), &self.bench.status, &self.bench.policy);
                        let end = instants::later(end.max(self.edited_at), Duration::from_secs(120));
                        assert!(self.bench.now <= end, "long after the patience was over");
                    }
                    assert!(self.write(&fact), "{fact:?} changes nothing and comes again");
                    assert_ne!(self.bench.step(), Step::Record(fact), "the same record twice");
                    if matches!(self.bench.own, Own::Withheld(_)) && self.bench.status.current_attempt.is_none() {
                        self.bench.own = Own::None;
                    }
                }
                Step::Look => self.look(),
                Step::Intend(_) => self.intend(),
                Step::Call => self.call(),
            }
        }
        panic!("it never ends: {:#?}", self.bench.status);
    }

    fn check_end(&mut self) {
        let status = self.bench.status.clone();
        let audit = status.audit.clone().unwrap();
        // I4
        match status.outcome.unwrap() {
            Outcome::Terminated | Outcome::AlreadyTerminated => {
                assert!(self.ended_for_us, "green without evidence");
                assert_eq!(status.connection.as_ref().unwrap().uid, "connection-1");
                assert_eq!(
                    audit.duplicate_termination,
                    status.outcome == Some(Outcome::AlreadyTerminated)
                );
            }
            Outcome::Unconfirmed => assert!(status.may_have_applied()),
            _ if status.may_have_applied() => {
                let seen = self.seen_active.unwrap();
                assert!(
                    !self.vendor.ended_by_us.contains(&seen),
                    "the deciding look saw a session that we ended"
                );
            }
            _ => assert!(!self.vendor.may_be_ours(), "a failure, and yet our call took effect"),
        }
        if status.outcome == Some(Outcome::AlreadyTerminated) {
            assert!(self.vendor.ended_by_us.is_empty(), "it was us");
        }
        let sent = has_status(&status.conditions, Type::RetentionApplied, Is::True);
        assert_eq!(sent, audit.confirmed_by == Some(ConfirmedBy::Response));
        assert!(
            status.retries <= self.bench.object.spec.backoff_limit.max(6) + 1,
            "more retries than the budget"
        );
        assert!(self.sends <= usize::try_from(status.attempts).unwrap());
        self.check_audit(usize::try_from(status.attempts).unwrap());
        self.deliver();
        assert!(self.bench.status.is_settled());
        assert_eq!(self.bench.step(), Step::Rest);
        assert!(self.webhook_ids.len() <= 1, "one id for each event");
        // Whatever comes afterwards, it stays so.
        let settled = self.bench.status.clone();
        for (_, fact) in std::mem::take(&mut self.late) {
            self.write(&fact);
        }
        self.edit(|spec| spec.suspend = !spec.suspend);
        assert_eq!(self.bench.step(), Step::Rest);
        assert_eq!(self.bench.status, settled);
    }

    /// I9: one line for each start, at least one for each result, one for the outcome.
    fn check_audit(&self, attempts: usize) {
        let ids = |kind: &str| -> Vec<&str> {
            let lines = self.audit.iter().filter(|(line, _)| line == kind);
            lines.map(|(_, id)| id.as_str()).collect()
        };
        let mut started = ids("attempt_started");
        started.sort_unstable();
        let mut all: Vec<String> = (1..=attempts).map(|number| format!("attempt-{number}")).collect();
        all.sort();
        assert_eq!(started, all, "one line for each intent");
        let mut resolved = ids("attempt_result");
        resolved.sort_unstable();
        resolved.dedup();
        assert_eq!(resolved, all, "each attempt comes to a result");
        assert_eq!(ids("outcome").len(), 1);
    }

    fn deliver(&mut self) {
        for _ in 0..12 {
            let status = self.bench.status.clone();
            let Some((name, due)) = pending_webhooks(&status).next() else {
                return;
            };
            self.pass_to(due.unwrap_or(self.bench.now));
            let answer = match self.chance.pick(5) {
                4 => WebhookAnswer::Gone,
                3 => WebhookAnswer::Removed,
                1 | 2 => WebhookAnswer::Failed {
                    status: Some(500),
                    retry_after: None,
                    why: "HTTP 500".to_owned(),
                },
                _ => WebhookAnswer::Accepted { status: 200 },
            };
            let name = name.to_owned();
            self.write(&Fact::WebhookTried {
                name,
                answer,
                jitter: 0.5,
            });
        }
        panic!("the webhook is tried for ever");
    }
}

fn bench(not_after: Option<i64>, deadline: i64, budget: i32, proven: bool, webhook: bool) -> Bench {
    let mut bench = Bench::new();
    bench.object.spec.not_after = not_after.map(|seconds| Time(at(seconds)));
    bench.object.spec.active_deadline_seconds = deadline;
    bench.object.spec.backoff_limit = budget;
    bench.route_proven = proven;
    assert!(webhook || std::mem::take(&mut bench.context.webhooks).len() == 1);
    bench
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_500, failure_persistence: None, ..ProptestConfig::default() })]

    /// Never twice, always final, never falsely green: whatever the vendor answers, wherever the process is killed,
    /// however the user meddles.
    #[test]
    fn every_run_keeps_the_promises(
        not_after in proptest::option::weighted(0.3, 0i64..600),
        deadline in prop_oneof![Just(21_600i64), 1i64..400],
        budget in 0i32..7,
        proven in any::<bool>(),
        dead in any::<bool>(),
        tape in proptest::collection::vec(any::<u16>(), 0..300),
    ) {
        Run::new(bench(not_after, deadline, budget, proven, true), tape, dead).run();
    }
}

/// The happy path, counted: two calls, and no write but intent and result.
#[test]
fn the_happy_path_writes_twice() {
    let mut run = Run::new(bench(None, 21_600, 6, false, true), Vec::new(), false);
    run.run();
    let kinds: Vec<&str> = run.audit.iter().map(|(kind, _)| kind.as_str()).collect();
    assert_eq!(kinds, ["attempt_started", "attempt_result", "outcome"]);
    assert_eq!((run.sends, run.bench.status.attempts), (1, 1));
}
