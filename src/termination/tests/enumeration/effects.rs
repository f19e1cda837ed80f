//! The effects, and what each fault makes of them.

use std::time::Duration;

use k8s_openapi::jiff::Timestamp;

use super::{
    super::bench::{active, answer, seen},
    faults::{Face, Fault},
    world::{LAG, LateEffect, TIMEOUT, World},
};
use crate::{
    api::GuestTermination,
    controller::memory::{Holds, OwnIntent, SeenLook},
    termination::{
        answer::{Answer, Call, Failure, Look, SessionSeen, Suspicion, Unreachable},
        evolve::evolve,
        fact::{AttemptSent, Context, Fact, WebhookAnswer},
        instants, records,
    },
    webhook::payload,
};

/// A connection that was told to wait, or failed before it ever worked, lets nobody through for so long.
const THROTTLED: Duration = Duration::from_secs(7);
const TRIAL: Duration = Duration::from_secs(2);

impl World {
    /// A process comes up and lists the objects.
    pub(super) fn start(&mut self, process: usize, fault: Option<Fault>) {
        let stale = self.server.before.clone().filter(|_| fault == Some(Fault::StaleRead));
        let now = self.reading();
        self.processes[process].alive = true;
        if stale.is_some() || !self.server.deleted {
            let object = stale.unwrap_or_else(|| self.server.object.clone());
            self.processes[process].index.see(object.as_ref().clone(), now);
        }
        self.pass(self.rules.tick);
    }

    /// The Events of the last write. Nobody waits for their answer, and nothing rests on it.
    pub(super) fn tell(&mut self, process: usize, fault: Option<Fault>) {
        self.processes[process].notices = false;
        self.bystander(process, fault);
        self.pass(self.rules.tick);
        if matches!(fault, Some(Fault::CrashBefore | Fault::CrashAfter)) {
            self.crash(process);
        }
    }

    /// What another writer, or an old event of the watch, does during an effect that is no write.
    pub(super) fn bystander(&mut self, process: usize, fault: Option<Fault>) {
        match fault {
            Some(Fault::Conflict) => self.edit_label(),
            Some(Fault::StaleRead) => self.see_again(process),
            _ => {}
        }
    }

    /// The watch tells an old version, and the newest one twice.
    fn see_again(&mut self, process: usize) {
        let now = self.reading();
        let known = self.entry(process).unwrap().object.clone();
        for old in self
            .server
            .before
            .clone()
            .into_iter()
            .chain([known.clone(), known.clone()])
        {
            self.processes[process].index.see(old.as_ref().clone(), now);
        }
        let version = |object: &GuestTermination| -> u64 {
            let version = object.metadata.resource_version.as_ref().unwrap();
            version.parse().unwrap()
        };
        let now = version(&self.entry(process).unwrap().object);
        assert!(now >= version(&known), "an old event is no news");
    }

    fn failed<V>(wrap: fn(Failure) -> V, failure: Failure) -> Answer<V> {
        let (status, code) = match failure {
            Failure::NotFound { .. } => (Some(404), Some("not.found")),
            Failure::Refused => (Some(400), Some("bad.request")),
            Failure::Forbidden => (Some(403), Some("missing.permissions")),
            Failure::Throttled => (Some(429), Some("too.many.requests")),
            Failure::Transient => (Some(503), Some("service.unavailable")),
            Failure::Suspicious(Suspicion::ForeignNotFound) => (Some(404), None),
            Failure::Suspicious(_) => (Some(200), None),
            _ => (None, None),
        };
        let mut answer = answer(wrap(failure), status, code);
        answer.evidence.retry_after = (failure == Failure::Throttled).then_some(THROTTLED);
        answer
    }

    pub(super) fn observe(&mut self, process: usize, fault: Option<Fault>) {
        use Fault::{AnswerLost, Conflict, CrashAfter, CrashBefore, ErrorWithoutEffect, StaleRead};
        let failed = |failure| Self::failed(Look::Failed, failure);
        let gone = Failure::NotFound { conclusive: false };
        let truth = if self.vendor.active {
            answer(active(), Some(200), None)
        } else {
            failed(gone)
        };
        let answer = match fault {
            Some(CrashBefore | CrashAfter) => return self.crash(process),
            Some(AnswerLost) => failed(Failure::Unanswered),
            Some(ErrorWithoutEffect(face)) => match face {
                Face::Throttled => failed(Failure::Throttled),
                Face::Forbidden => failed(Failure::Forbidden),
                Face::Refused => failed(Failure::Refused),
                Face::Foreign => failed(Failure::Suspicious(Suspicion::ForeignNotFound)),
                Face::Odd => answer(Look::Unclear(seen("parked")), Some(200), None),
                _ => failed(Failure::Transient),
            },
            Some(StaleRead) if self.now < self.stale_until => answer(active(), Some(200), None),
            _ => truth,
        };
        let asked = self.reading();
        if fault == Some(Conflict) {
            self.edit_label();
        }
        let over = !self.vendor.active && answer.verdict == Look::Failed(gone);
        let lost = fault == Some(AnswerLost);
        self.pass(if lost { TIMEOUT } else { self.rules.tick });
        let incarnation = self.vendor.incarnation;
        let state = &mut self.processes[process];
        state.witness.knows_end |= over;
        let says_nothing = match &answer.verdict {
            Look::Active(_) => {
                state.witness.saw_active = Some(incarnation);
                false
            }
            Look::Failed(Failure::NotFound { .. }) => false,
            Look::Failed(_) | Look::Unclear(_) => true,
            Look::Ended(_) => unreachable!("this vendor says 404"),
        };
        let spends = self.judge(process, !says_nothing, &answer);
        let answered = self.moment();
        let connection = self.rules.context.connection.uid.as_str().into();
        let entry = self.entry_mut(process);
        let failures = entry.memory.look.as_ref().map_or(0, |look| look.failures);
        let failed = matches!(answer.verdict, Look::Failed(_) | Look::Unclear(_));
        entry.memory.look = Some(SeenLook {
            verdict: answer.verdict.clone(),
            connection,
            asked,
            answered,
            failures: if failed { failures + 1 } else { 0 },
            jitter: 0.5,
        });
        let fact = Fact::Looked {
            answer,
            route_proven: true,
            context: self.context(spends),
        };
        self.keep_if_news(process, fact);
    }

    /// What an answer means for the connection, and whether a failure spends budget: not before a first success.
    fn judge<V>(&mut self, process: usize, success: bool, answer: &Answer<V>) -> bool {
        let now = self.now;
        let state = &mut self.processes[process];
        let close = |span| instants::later(now, span);
        if let Some(pause) = answer.evidence.retry_after {
            state.gate = close(pause);
        } else if !success && !state.trusted {
            state.gate = close(TRIAL);
        }
        state.trusted |= success;
        state.trusted
    }

    fn context(&self, spends: bool) -> Context {
        Context {
            spends,
            ..self.rules.context.clone()
        }
    }

    fn keep_if_news(&mut self, process: usize, fact: Fact) {
        let entry = self.entry(process).unwrap();
        let status = entry.object.status.as_ref().unwrap();
        let request = entry.request.as_ref().unwrap();
        if evolve(request, status, &fact, self.now, &self.rules.policy) != *status {
            self.entry_mut(process).memory.kept = Some(fact);
        }
    }

    pub(super) fn intend(&mut self, process: usize, session: SessionSeen, fault: Option<Fault>) {
        self.minted += 1;
        let id = format!("attempt-{}", self.minted);
        let fact = Fact::Intended {
            id: id.clone(),
            holder: format!("process-{process}"),
            session,
            connection: self.rules.context.connection.clone(),
        };
        let (now, moment) = (self.now, self.moment());
        let entry = self.entry(process).unwrap();
        let (object, request) = (entry.object.clone(), entry.request.clone().unwrap());
        let old = object.status.as_ref().unwrap();
        let next = evolve(&request, old, &fact, now, &self.rules.policy);
        assert_ne!(next, *old, "an intent over an intent");
        let entry = self.entry_mut(process);
        entry.memory.intent = Some(OwnIntent {
            id: id.clone(),
            began: now,
            began_moment: moment,
            in_flight: false,
        });
        let why = "The write of the intent was not answered; the call was not sent.";
        entry.memory.withheld.insert(id.clone(), why.to_owned());
        let written = self.write(process, next.clone(), Holds::Intent, fault);
        if !self.processes[process].alive {
            return;
        }
        if written {
            let records = records::between(&object, old, &next, self.now);
            self.books.announce(&records);
        }
        let entry = self.entry_mut(process);
        if written {
            entry.memory.withheld.remove(&id);
            entry.memory.look = None;
        } else if matches!(
            fault,
            Some(Fault::ErrorWithoutEffect(Face::Throttled | Face::Forbidden))
        ) || entry.deleted
        {
            entry.memory.withheld.remove(&id);
            entry.memory.intent = None;
        }
    }

    pub(super) fn terminate(&mut self, process: usize, fault: Option<Fault>) {
        let own = self.pass_fence(process).unwrap();
        if fault == Some(Fault::CrashBefore) {
            return self.crash(process);
        }
        self.check_send(process, &own.id);
        let sent = self.reading();
        self.entry_mut(process).memory.moments.sent(sent);
        let request = self.entry(process).unwrap().request.clone().unwrap();
        assert_eq!(request.termination, self.request().termination, "I7");
        let failed = |failure| Self::failed(Call::Failed, failure);
        let reaches = match fault {
            None => true,
            Some(Fault::CrashAfter | Fault::AnswerLost | Fault::ErrorWithEffect(_)) => true,
            Some(Fault::StaleRead | Fault::Conflict) => true,
            Some(_) => false,
        };
        if matches!(fault, Some(Fault::LateEffect(_))) {
            self.lag(LateEffect::Call);
        }
        let active = self.vendor.active;
        if reaches {
            self.end_session(instants::later(self.now, LAG));
        }
        if fault == Some(Fault::CrashAfter) {
            return self.crash(process);
        }
        self.bystander(process, fault);
        let answer = match fault {
            Some(Fault::ErrorWithoutEffect(face) | Fault::ErrorWithEffect(face) | Fault::LateEffect(face)) => {
                match face {
                    Face::Unavailable => failed(Failure::Transient),
                    Face::Throttled => failed(Failure::Throttled),
                    Face::Forbidden => failed(Failure::Forbidden),
                    Face::Refused => failed(Failure::Refused),
                    Face::Foreign if reaches => failed(Failure::Suspicious(Suspicion::WrongBody)),
                    Face::Foreign => failed(Failure::Suspicious(Suspicion::ForeignNotFound)),
                    Face::Unreachable => failed(Failure::Unreachable(Unreachable::Connect)),
                    Face::Accepted => answer(Call::Accepted, Some(202), None),
                    Face::Timeout | Face::Odd => failed(Failure::Unanswered),
                }
            }
            Some(Fault::AnswerLost) => failed(Failure::Unanswered),
            _ if active => answer(Call::Applied, Some(204), None),
            _ => failed(Failure::NotFound { conclusive: false }),
        };
        let silent = answer.verdict == Call::Failed(Failure::Unanswered);
        self.pass(if silent { TIMEOUT } else { self.rules.tick });
        let decided = matches!(answer.verdict, Call::Applied | Call::Failed(Failure::NotFound { .. }));
        self.processes[process].witness.knows_end |= decided;
        self.books.asked += u32::from(!decided && answer.verdict != Call::Accepted);
        let failure = matches!(
            answer.verdict,
            Call::Failed(Failure::Transient | Failure::Unanswered | Failure::Suspicious(_) | Failure::Unreachable(_))
        );
        let spends = self.judge(process, !failure, &answer);
        let number = self.entry(process).unwrap().object.status.as_ref().unwrap().attempts;
        let context = self.context(spends);
        let entry = self.entry_mut(process);
        entry.memory.kept = Some(Fact::Called {
            attempt: AttemptSent {
                id: own.id,
                number,
                started_at: own.began,
                sent_at: sent.wall,
            },
            answer,
            context,
        });
        entry.memory.intent = None;
    }

    pub(super) fn deliver(&mut self, process: usize, name: &str, fault: Option<Fault>) {
        if fault == Some(Fault::CrashBefore) {
            return self.crash(process);
        }
        assert!(self.books.success_is_durable, "I6: announced before it was durable");
        let object = self.entry(process).unwrap().object.clone();
        let status = object.status.as_ref().unwrap();
        let webhook = status.webhooks.iter().find(|webhook| webhook.name == name).unwrap();
        assert!(
            webhook.next_attempt_time.as_ref().map_or(Timestamp::MIN, |due| due.0) <= self.now,
            "tried early"
        );
        let body = payload::body(&object, webhook.event, webhook.format).unwrap();
        let failed = |status| WebhookAnswer::Failed {
            status,
            retry_after: None,
            why: "It was not accepted".to_owned(),
        };
        self.bystander(process, fault);
        let answer = match fault {
            Some(Fault::ErrorWithoutEffect(Face::Odd)) => WebhookAnswer::Gone,
            Some(Fault::ErrorWithoutEffect(_) | Fault::ErrorWithEffect(_)) => failed(Some(500)),
            Some(Fault::AnswerLost | Fault::LateEffect(_)) => failed(None),
            _ => WebhookAnswer::Accepted { status: 200 },
        };
        match fault {
            Some(Fault::ErrorWithoutEffect(_)) => {}
            Some(Fault::LateEffect(_)) => {
                let body = body.as_slice().into();
                self.lag(LateEffect::Delivery { body });
            }
            _ => self.books.accept(&body),
        }
        if fault == Some(Fault::CrashAfter) {
            return self.crash(process);
        }
        self.pass(if answer == failed(None) {
            TIMEOUT
        } else {
            self.rules.tick
        });
        let fact = Fact::WebhookTried {
            name: name.to_owned(),
            answer,
            jitter: 0.5,
        };
        self.entry_mut(process).memory.tried.insert(name.to_owned(), fact);
    }
}
