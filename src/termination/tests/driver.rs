//! The driver of random runs plays the shell: it carries out the steps, forgets what a crash forgets, and checks every law
//! at every step.

use std::{collections::BTreeSet, time::Duration};

use k8s_openapi::jiff::Timestamp;

use super::{
    bench::*,
    laws::{check_status, check_transition},
    vendor::Vendor,
};
use crate::{
    api::{GuestTerminationSpec, conditions::ConditionReason},
    termination::{
        answer::{Answer, Call, Failure, Look},
        deadline::{deadline, ending, is_unsure, patience_ends, proves_route},
        decide::{Step, Wake, time_limit},
        fact::Fact,
        fence::{AtTheSocket, fence},
        instants, records,
    },
};

/// Steps that a run may take. More is a loop.
const MAX_STEPS: usize = 3_000;

/// The random choices of a run. When they are used up everything goes well, or, for a vendor that never comes back,
/// nothing is answered any more.
pub(super) struct Chance {
    tape: Vec<u16>,
    next: usize,
}

impl Chance {
    /// One of `n`; 0 is the choice that harms least.
    pub(super) fn pick(&mut self, n: usize) -> usize {
        let drawn = self.tape.get(self.next).map_or(0, |drawn| usize::from(*drawn));
        self.next += 1;
        drawn % n
    }

    pub(super) fn one_in(&mut self, n: usize) -> bool {
        self.pick(n) == n - 1
    }

    pub(super) fn is_used_up(&self) -> bool {
        self.next >= self.tape.len()
    }
}

pub(super) struct Run {
    pub(super) bench: Bench,
    pub(super) vendor: Vendor,
    pub(super) chance: Chance,
    /// The vendor answers nothing once the chances are used up.
    pub(super) dead: bool,
    /// Answers of an older self that come late: from when on, and what.
    pub(super) late: Vec<(Timestamp, Fact)>,
    /// An *applied* or a *gone* reached a process.
    pub(super) ended_for_us: bool,
    /// The incarnation that the last look saw active.
    pub(super) seen_active: Option<u32>,
    pub(super) sends: usize,
    /// When the user last meddled with the clock.
    pub(super) edited_at: Timestamp,
    pub(super) audit: Vec<(String, String)>,
    pub(super) webhook_ids: BTreeSet<String>,
    /// When a look was answered that was asked for a moment too early, so that another one follows at once.
    too_early: Option<Timestamp>,
}

impl Run {
    pub(super) fn new(bench: Bench, tape: Vec<u16>, dead: bool) -> Self {
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
            too_early: None,
        }
    }

    pub(super) fn pass(&mut self, span: Duration) {
        self.bench.now = instants::later(self.bench.now, span);
        self.vendor.pass_to(self.bench.now);
    }

    pub(super) fn edit(&mut self, change: impl FnOnce(&mut GuestTerminationSpec)) {
        self.edited_at = self.bench.now;
        self.bench.edit(change);
    }

    pub(super) fn pass_to(&mut self, instant: Timestamp) {
        self.pass(instants::between(self.bench.now, instant));
    }

    /// A few milliseconds, or a while.
    fn dawdle(&mut self) {
        let spans = [40, 700, 3_000, 6_000, 15_000, 45_000];
        let span = spans[self.chance.pick(spans.len())];
        self.pass(Duration::from_millis(span));
    }

    /// The status takes a fact in, as a durable write would; every law between the two is checked.
    pub(super) fn write(&mut self, fact: &Fact) -> bool {
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
            if let Fact::Called { answer, .. } = &fact {
                self.ended_for_us |= says_it_is_over(&answer.verdict);
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
        let asked = self.bench.now;
        let mut answer = self.look_answer();
        if self.chance.one_in(4) {
            answer.evidence.duration = Duration::ZERO;
        }
        self.pass(answer.evidence.duration);
        self.bench.took = answer.evidence.duration;
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
            route_proven: self.bench.route_proven || proves_route(&before),
            context: self.bench.context.clone(),
        };
        self.write(&fact);
        let of_the_connection = matches!(
            verdict,
            Look::Failed(Failure::Unauthorized | Failure::Throttled | Failure::NotFound { .. })
        ) || (failed && at_work && !self.bench.context.spends);
        if of_the_connection {
            // The connection is held, paused or gated: its lane lets nobody through for a while.
            self.pass(Duration::from_secs(2));
        } else {
            let again = self.bench.step() == Step::Look;
            // What it was to decide became due while it was on its way.
            let excused = self.bench.now > asked && self.too_early != Some(asked);
            assert!(!again || excused, "{verdict:?} is asked for again at once");
            self.too_early = again.then_some(self.bench.now);
        }
        if matches!(verdict, Look::Active(_)) {
            assert_eq!(self.bench.status, before, "a look that said active is no news");
        }
    }

    fn believes(&self, answer: &Answer<Look>) -> bool {
        let conclusive = answer.verdict == Look::Failed(Failure::NotFound { conclusive: true });
        conclusive || self.bench.route_proven || proves_route(&self.bench.status)
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
            paused: self.chance.one_in(12),
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
            request.not_after.is_none_or(|limit| now <= limit),
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
        let mut answer = self.call_answer();
        if self.chance.one_in(4) {
            answer.evidence.duration = Duration::ZERO;
        }
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
                self.ended_for_us |= says_it_is_over(&answer.verdict);
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
    pub(super) fn run(&mut self) {
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
}

fn says_it_is_over(call: &Call) -> bool {
    matches!(call, Call::Applied | Call::Failed(Failure::NotFound { .. }))
}
