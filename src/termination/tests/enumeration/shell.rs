//! What the shell makes of the core's steps: its own memory is the real one, its passes are played.

use std::time::Duration;

use k8s_openapi::jiff::Timestamp;

use super::{actions::Work, world::World};
use crate::{
    api::GuestTerminationStatus as Status,
    controller::index::{Entry, Holds, OwnIntent},
    termination::{
        decide::{Intent, Observed, Step, decide, pending_webhooks, time_limit},
        evolve::evolve,
        fact::Fact,
        fence::{AtTheSocket, fence},
        instants, records,
    },
};

/// How long webhooks of an object that is gone are tried from memory.
const DELETION_GRACE: Duration = Duration::from_secs(60);

impl World {
    /// What a process does next.
    pub(super) fn work(&self, process: usize) -> Work {
        let state = &self.processes[process];
        if !state.alive {
            return Work::Start;
        }
        if state.notices {
            return Work::Tell;
        }
        let Some(entry) = self.entry(process) else {
            return Work::Wait(None);
        };
        if self.now < state.busy_until {
            return Work::Wait(Some(state.busy_until));
        }
        let status = entry.object.status.as_ref().unwrap();
        if entry.deleted {
            return match self.last_fact(entry, status) {
                Some(_) => Work::Farewell,
                None => self.delivery(entry, status),
            };
        }
        if entry.doubtful {
            return Work::Read;
        }
        if status.is_finished() && entry.memory.kept.is_none() {
            return self.delivery(entry, status);
        }
        self.pass_step(process, entry, status)
    }

    fn pass_step(&self, process: usize, entry: &Entry, status: &Status) -> Work {
        let (moment, gate) = (self.moment(), self.processes[process].gate);
        let request = entry.request.as_ref().unwrap();
        let look = entry.look(self.reading(), Some(self.rules.context.connection.uid.as_str()));
        let seen = Observed {
            kept: entry.memory.kept.as_ref(),
            held: None,
            intent: entry.intent(moment),
            look: look.as_ref(),
            look_from: entry.look_from(&self.rules.policy),
            jitter: 0.5,
        };
        let told = entry.status_told(self.reading(), &self.rules.policy);
        let gated = |work: Work| {
            if self.now >= gate {
                return work;
            }
            let limit = time_limit(request, &told, self.now, &self.rules.policy);
            Work::Wait(Some(limit.map_or(gate, |limit| limit.min(gate))))
        };
        match decide(request, &told, &seen, self.now, &self.rules.policy) {
            Step::Rest => Work::Wait(None),
            Step::Wait(wake) => Work::Wait(wake.at),
            Step::Record(fact) => {
                let next = evolve(request, status, &fact, self.now, &self.rules.policy);
                if next == *status {
                    assert!(entry.memory.kept.is_some(), "{fact:?} changes nothing and comes again");
                    Work::Forget
                } else {
                    Work::Record(Box::new(next))
                }
            }
            Step::Look => gated(Work::Look),
            Step::Intend(session) => gated(Work::Intend(session)),
            Step::Call => match self.pass_fence(process) {
                Ok(_) => Work::Call,
                Err(why) => Work::Withhold(why),
            },
        }
    }

    /// The send fence, with what this process knows.
    pub(super) fn pass_fence(&self, process: usize) -> Result<OwnIntent, &'static str> {
        let entry = self.entry(process).unwrap();
        let own = entry.memory.intent.clone().unwrap();
        let at = AtTheSocket {
            since_intent: self.moment().saturating_sub(own.began_moment),
            leading: true,
            paused: self.now < self.processes[process].gate,
            deleted: entry.is_leaving() || entry.doubtful,
            held: None,
            intent: &own.id,
        };
        let request = entry.request.as_ref().unwrap();
        let status = entry.object.status.as_ref().unwrap();
        fence(request, status, at, self.now, &self.rules.policy)?;
        assert!(!own.in_flight, "the same call twice");
        Ok(own)
    }

    /// The webhook that is to be tried, or what came of its last try and is not in the status.
    fn delivery(&self, entry: &Entry, status: &Status) -> Work {
        let Some((name, due)) = pending_webhooks(status).next() else {
            return Work::Wait(None);
        };
        if let Some(fact) = entry.memory.tried.get(name) {
            let request = entry.request.as_ref().unwrap();
            let next = evolve(request, status, fact, self.now, &self.rules.policy);
            assert_ne!(next, *status, "a try is always news");
            return Work::RecordTry(name.to_owned(), Box::new(next));
        }
        let due = due.unwrap_or(Timestamp::MIN);
        let given_up = entry.memory.deleted_at.is_some_and(|at| {
            let until = at + DELETION_GRACE;
            until < self.moment() + instants::between(self.now, due)
        });
        match (given_up, due > self.now) {
            (true, _) => Work::Wait(None),
            (_, true) => Work::Wait(Some(due)),
            _ => Work::Try(name.to_owned()),
        }
    }

    /// As `pass::last_fact`: what happened last to an object that is gone.
    pub(super) fn last_fact(&self, entry: &Entry, status: &Status) -> Option<Fact> {
        if let Some(kept) = &entry.memory.kept {
            return Some(kept.clone());
        }
        status.current_attempt.as_ref()?;
        let why = match entry.intent(self.moment()) {
            Intent::Withheld { why } => why,
            Intent::Written => "The object was deleted; the call was not sent.",
            Intent::Foreign { .. } | Intent::InFlight => return None,
        };
        Some(Fact::NotSent { why: why.to_owned() })
    }

    /// As `Pass::step_of_the_deleted`.
    pub(super) fn farewell(&mut self, process: usize) {
        let entry = self.entry(process).unwrap();
        let old = entry.object.status.clone().unwrap();
        let fact = self.last_fact(entry, &old).unwrap();
        let request = entry.request.clone().unwrap();
        let mut next = evolve(&request, &old, &fact, self.now, &self.rules.policy);
        let object = entry.object.clone();
        let records = records::between(&object, &old, &next, self.now);
        self.books.announce(&records);
        if next.is_finished() && !old.is_finished() {
            next.webhooks.clear();
        }
        next.settled = next.finished;
        let mut object = object.as_ref().clone();
        object.status = Some(next);
        let entry = self.entry_mut(process);
        entry.memory.kept = None;
        entry.object = object.into();
    }

    /// A process carries out its work, and a fault may befall it.
    pub(super) fn carry_out(&mut self, process: usize, work: Work, fault: Option<super::faults::Fault>) {
        match work {
            Work::Start => self.start(process, fault),
            Work::Tell => self.tell(process, fault),
            Work::Read => {
                self.read_again(process);
                self.pass(self.rules.tick);
            }
            Work::Wait(None) => unreachable!("nothing to do"),
            Work::Wait(Some(at)) => {
                assert!(at > self.now, "a wait for what is over");
                // What is late comes in between.
                let late = self.late.iter().map(|late| late.by).min();
                self.now = late.map_or(at, |late| late.min(at)).max(self.now);
            }
            Work::Forget => self.entry_mut(process).memory.kept = None,
            Work::Withhold(why) => {
                let entry = self.entry_mut(process);
                let id = entry.memory.intent.as_ref().unwrap().id.clone();
                entry.memory.withheld.insert(id, why.to_owned());
            }
            Work::Farewell => self.farewell(process),
            Work::Look => self.observe(process, fault),
            Work::Intend(session) => self.intend(process, session, fault),
            Work::Call => self.terminate(process, fault),
            Work::Record(next) => {
                let not_sent = self.entry(process).unwrap().object.status.as_ref().unwrap();
                let closed = not_sent.current_attempt.as_ref().map(|open| open.id.clone());
                let withheld = next.current_attempt.is_none() && self.entry(process).unwrap().memory.kept.is_none();
                let written = self.write(process, *next, Holds::Kept, fault);
                if let (true, Some(id), true) = (written, closed, withheld) {
                    let entry = self.entry_mut(process);
                    if entry.memory.withheld.remove(&id).is_some() {
                        entry.memory.intent = None;
                    }
                }
            }
            Work::Try(name) => self.deliver(process, &name, fault),
            Work::RecordTry(name, next) => {
                if self.entry(process).unwrap().deleted {
                    let entry = self.entry_mut(process);
                    let mut object = entry.object.as_ref().clone();
                    object.status = Some(*next);
                    entry.object = object.into();
                    entry.memory.tried.remove(&name);
                } else {
                    self.write(process, *next, Holds::Try(name), fault);
                }
            }
        }
    }
}
