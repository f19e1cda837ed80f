//! One pass over one object: the core says a step, the step is carried out, and so on until there is nothing to do now.

use std::{sync::Arc, time::Duration};

use super::{
    connections::{Resolved, View},
    index::{ConnectionName, Entry, Holds},
    record::Recorded,
    shared::Shared,
};
use crate::{
    api::{GuestTerminationStatus, Outcome},
    schedule::{
        Moment, Uid,
        lane::{Ask, Class, Grant, TOKENS_OF_A_PASS},
        queue::{ConnectionUid, Turn},
    },
    termination::{
        deadline::{deadline_passed, is_unsure},
        decide::{Intent, Observed, Step, Wake, decide, time_limit},
        end::refuse,
        evolve::evolve,
        fact::{End, Fact},
        records::{self, Record},
        request::Request,
    },
};

/// Steps of one pass. More would be a bug that eats a worker.
const MAX_STEPS: usize = 32;

/// What is to happen with an object after a pass.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Next {
    /// Another pass at that moment.
    pub(super) at: Option<Moment>,
    /// Another pass with leave to ask the vendor.
    pub(super) ask: Option<(ConnectionUid, Ask)>,
}

impl Next {
    pub(super) fn at(moment: Moment) -> Self {
        Self {
            at: Some(moment),
            ask: None,
        }
    }
}

/// Whether a pass goes on.
pub(super) enum Flow {
    /// The next step is asked for.
    On,
    /// The pass is over.
    Over(Next),
}

/// One pass.
pub(super) struct Pass<'a> {
    pub(super) shared: &'a Shared,
    pub(super) uid: Uid,
    /// The term that it belongs to: whatever it begins, it begins in that term or not at all. Without one it only brings to
    /// its end what was begun.
    term: Option<u64>,
    /// The connection whose lane let the pass through.
    pub(super) grant: Option<(ConnectionUid, Grant)>,
    /// Calls that it may still make.
    pub(super) tokens: u32,
    /// Its last look told nothing: another one is another pass's.
    pub(super) looked_in_vain: bool,
}

/// What a pass knows of its object at one step.
pub(super) struct Sight {
    pub(super) entry: Entry,
    pub(super) request: Arc<Request>,
    pub(super) name: ConnectionName,
    pub(super) resolved: Resolved,
}

impl<'a> Pass<'a> {
    pub(super) fn new(shared: &'a Shared, turn: &Turn, term: Option<u64>) -> Self {
        let tokens = if turn.grant.is_some() { TOKENS_OF_A_PASS } else { 0 };
        Self {
            shared,
            uid: turn.uid.clone(),
            term,
            grant: turn.grant.clone(),
            tokens,
            looked_in_vain: false,
        }
    }

    /// Carries out steps until there is nothing to do now.
    pub(super) async fn run(&mut self) -> Next {
        for _ in 0..MAX_STEPS {
            match self.step().await {
                Flow::On => {}
                Flow::Over(next) => return next,
            }
        }
        tracing::error!(uid = %self.uid, "a pass took too many steps; it goes on in a second. This is a bug.");
        Next::at(self.shared.moment() + Duration::from_secs(1))
    }

    /// Whether this process leads, in the term that the pass belongs to.
    pub(super) fn leads(&self) -> bool {
        self.term.is_some() && self.term == self.shared.term()
    }

    async fn step(&mut self) -> Flow {
        let Some(entry) = self.shared.lock().index.get(&self.uid).cloned() else {
            return Flow::Over(Next::default());
        };
        if entry.deleted {
            return self.step_of_the_deleted(&entry);
        }
        if entry.doubtful {
            return match self.shared.read_again(&self.uid, &entry.object).await {
                Recorded::NotWritten(pause) | Recorded::Unknown(pause) => self.later(pause),
                _ => Flow::On,
            };
        }
        let request = match &entry.request {
            Ok(request) => request.clone(),
            Err(_) if !self.leads() || entry.object.status.as_ref().is_some_and(|status| status.is_finished()) => {
                return Flow::Over(Next::default());
            }
            Err(invalid) => {
                let generation = entry.object.metadata.generation.unwrap_or_default();
                let next = refuse(generation, &entry.status(), *invalid, self.shared.now());
                let recorded = self
                    .shared
                    .write_status(&self.uid, &entry.object, next, Holds::Nothing)
                    .await;
                return self.after(recorded);
            }
        };
        let sight = self.look_around(entry, request);
        let reading = self.shared.reading();
        let (now, moment) = (reading.wall, reading.monotonic);
        let policy = &self.shared.settings.policy;
        let status = sight.entry.status_told(reading, policy);
        let uid = sight.resolved.view.as_ref().map(|view| view.uid.clone());
        let look = sight.entry.look(reading, uid.as_deref());
        let seen = Observed {
            kept: sight.entry.memory.kept.as_ref(),
            held: sight.resolved.held.as_ref(),
            intent: sight.entry.intent(moment),
            look: look.as_ref(),
            look_from: sight.entry.look_from(policy),
            jitter: self.shared.chance.share(),
        };
        let step = decide(&sight.request, &status, &seen, now, policy);
        // The call of an own intent goes to the fence, which takes it back.
        let ends = seen.kept.is_some() || matches!(step, Step::Record(Fact::NotSent { .. }) | Step::Call);
        if !ends && !self.leads() {
            return Flow::Over(Next::default());
        }
        match step {
            Step::Rest => Flow::Over(Next::default()),
            Step::Wait(wake) => Flow::Over(self.wait(&sight, wake)),
            Step::Record(Fact::Ended(end)) => {
                let end = self.explain(&sight, end);
                self.record(&sight, Fact::Ended(end)).await
            }
            Step::Record(fact) => self.record(&sight, fact).await,
            // Its owner has deleted it, and only somebody's finalizer keeps it: nothing begins.
            Step::Look if sight.entry.is_leaving() && !is_unsure(&status) => Flow::Over(self.rest(&sight)),
            Step::Intend(_) if sight.entry.is_leaving() => Flow::Over(self.rest(&sight)),
            Step::Look => match self.leave(&sight) {
                Some(view) if !self.looked_in_vain => self.observe(&sight, &view).await,
                _ => Flow::Over(self.ask(&sight)),
            },
            Step::Intend(session) => match self.leave(&sight) {
                Some(view) if !self.shared.stopping.is_cancelled() => self.intend(&sight, &view, session).await,
                _ => Flow::Over(self.ask(&sight)),
            },
            Step::Call => self.call(&sight).await,
        }
    }

    /// The object, its connection, and what stands between them.
    fn look_around(&self, entry: Entry, request: Arc<Request>) -> Sight {
        let name = entry.connection();
        let state = self.shared.lock();
        let pinned = entry
            .object
            .status
            .as_ref()
            .and_then(|status| status.connection.as_ref());
        let resolved = state
            .connections
            .resolve(&name, pinned, &self.uid, self.grant.is_some());
        Sight {
            entry,
            request,
            name,
            resolved,
        }
    }

    /// Leave to make one more call through the object's connection.
    pub(super) fn leave(&self, sight: &Sight) -> Option<View> {
        let view = sight.resolved.view.as_ref()?;
        let granted = self.grant.as_ref().is_some_and(|(uid, _)| *uid == view.uid);
        (granted && self.tokens > 0).then(|| view.clone())
    }

    /// Waits for time and, where a connection on trial holds the object, for its lane.
    fn wait(&self, sight: &Sight, wake: Wake) -> Next {
        let at = wake.at.map(|at| self.shared.moment_of(at));
        let on_trial = wake.on_connection
            && self
                .shared
                .lock()
                .connections
                .get(&sight.name)
                .is_some_and(|connection| connection.is_open());
        let ask = if on_trial { self.ask(sight).ask } else { None };
        Next { at, ask }
    }

    /// Waits for the time that ends the termination, and asks nothing.
    fn rest(&self, sight: &Sight) -> Next {
        Next {
            ask: None,
            ..self.ask(sight)
        }
    }

    /// Waits for the connection's lane, and for the time that ends the termination.
    pub(super) fn ask(&self, sight: &Sight) -> Next {
        let reading = self.shared.reading();
        let policy = &self.shared.settings.policy;
        let status = sight.entry.status_told(reading, policy);
        let limit = time_limit(&sight.request, &status, reading.wall, policy);
        let at = limit.map(|limit| self.shared.moment_of(limit));
        let Some(view) = &sight.resolved.view else {
            return Next { at, ask: None };
        };
        let memory = &sight.entry.memory;
        // What another connection of the same name was answered says nothing of this one.
        let answered_here = view.unproven && memory.look.as_ref().is_none_or(|look| look.connection == view.uid);
        let unproven = answered_here
            && status
                .condition(crate::api::conditions::ConditionType::Ready)
                .is_some_and(|ready| ready.reason == crate::api::conditions::ConditionReason::RouteNotProven.as_str());
        let class = if status.current_attempt.is_some() {
            Class::Urgent
        } else if unproven && !memory.reconsider && !view.believes_not_found && !is_unsure(&status) {
            Class::Unproven
        } else if memory.asked {
            Class::Retry
        } else {
            Class::Fresh
        };
        let ask = Ask {
            namespace: sight.name.0.clone(),
            guest: sight.request.termination.guest.as_str().into(),
            class,
        };
        Next {
            at,
            ask: Some((view.uid.clone(), ask)),
        }
    }

    /// While a connection is out of order its objects are not written, and what their statuses say is old. What the
    /// deadline ends names what it waited for all the same.
    fn explain(&self, sight: &Sight, end: End) -> End {
        if end.outcome != Outcome::DeadlineExceeded {
            return end;
        }
        let trouble = match &sight.resolved.held {
            Some(hold) => Some(hold.message.clone()),
            None => {
                let state = self.shared.lock();
                let connection = state.connections.get(&sight.name);
                connection.and_then(|connection| connection.trouble(self.shared.moment()))
            }
        };
        match trouble {
            Some(trouble) => End {
                message: deadline_passed(Some(&trouble)),
                ..end
            },
            None => end,
        }
    }

    /// Makes a fact durable.
    pub(super) async fn record(&mut self, sight: &Sight, fact: Fact) -> Flow {
        let old = sight.entry.status();
        let (now, policy) = (self.shared.now(), &self.shared.settings.policy);
        let next = evolve(&sight.request, &old, &fact, now, policy);
        if next == old {
            let late = records::late_answer(&sight.entry.object, &old, &fact, now);
            let late: Vec<_> = late.map(Record::Audit).into_iter().collect();
            if self.shared.announce(&self.uid, &late).is_err() {
                return self.later(Duration::from_secs(1));
            }
            self.forget_kept();
            return Flow::On;
        }
        let recorded = self
            .shared
            .write_status(&self.uid, &sight.entry.object, next, Holds::Kept)
            .await;
        match (&recorded, &fact) {
            (Recorded::Written, _) => self.forget_withheld(&fact, &old),
            // What time ended, an edit may still prolong: its end is told when it is written, or again.
            (_, Fact::Ended(_)) => self.forget_told_end(),
            _ => {}
        }
        self.after(recorded)
    }

    /// Goes on after a write.
    pub(super) fn after(&self, recorded: Recorded) -> Flow {
        match recorded {
            // Gone, too: what is kept of the object is told to the audit log.
            Recorded::Written | Recorded::Overtaken | Recorded::Gone => Flow::On,
            Recorded::NotWritten(pause) | Recorded::Unknown(pause) => self.later(pause),
        }
    }

    pub(super) fn later(&self, pause: Duration) -> Flow {
        Flow::Over(Next::at(self.shared.moment() + pause))
    }

    /// Remembers a fact until it is durable.
    pub(super) fn keep(&self, fact: Fact) {
        if let Some(entry) = self.shared.lock().index.get_mut(&self.uid) {
            entry.memory.kept = Some(fact);
        }
    }

    fn forget_kept(&self) {
        if let Some(entry) = self.shared.lock().index.get_mut(&self.uid) {
            entry.memory.kept = None;
        }
    }

    fn forget_told_end(&self) {
        if let Some(entry) = self.shared.lock().index.get_mut(&self.uid) {
            entry.memory.told.retain(|key| !key.starts_with("\"outcome\""));
        }
    }

    fn forget_withheld(&self, fact: &Fact, old: &GuestTerminationStatus) {
        if let (Fact::NotSent { .. }, Some(open)) = (fact, &old.current_attempt)
            && let Some(entry) = self.shared.lock().index.get_mut(&self.uid)
        {
            entry.memory.withheld.remove(&open.id);
            entry.memory.intent = None;
        }
    }

    /// What was under way when the object was deleted is over: its audit lines are written, and nothing else.
    fn step_of_the_deleted(&self, entry: &Entry) -> Flow {
        let (old, reading) = (entry.status(), self.shared.reading());
        let now = reading.wall;
        if let (Some(fact), Ok(request)) = (last_fact(entry, &old, reading.monotonic), &entry.request) {
            let mut next = evolve(request, &old, &fact, now, &self.shared.settings.policy);
            let mut records = records::between(&entry.object, &old, &next, now);
            records.extend(records::late_answer(&entry.object, &old, &fact, now).map(Record::Audit));
            let _ = self.shared.announce(&self.uid, &records);
            if next.is_finished() && !old.is_finished() {
                // No webhook before the result is durable, and it cannot become that any more.
                for webhook in std::mem::take(&mut next.webhooks) {
                    let line = records::webhook_abandoned(&entry.object, &next, &webhook.name, now);
                    let _ = self.shared.audit_line(now, &line);
                }
                next.settled = Some(true);
            }
            let mut state = self.shared.lock();
            if let Some(entry) = state.index.get_mut(&self.uid) {
                entry.memory.kept = None;
                // Nobody will ever write this; it says what the audit log says. A webhook of it is never sent: none goes
                // out before its status is durable.
                let last = GuestTerminationStatus {
                    settled: next.finished,
                    webhooks: Vec::new(),
                    ..next
                };
                entry.keep(last, reading);
            }
        }
        Flow::Over(Next::default())
    }
}

/// The last that happened to an object that is gone now: what could not be written any more, or that the call of its
/// own intent never left.
fn last_fact(entry: &Entry, status: &GuestTerminationStatus, now: Moment) -> Option<Fact> {
    if let Some(kept) = &entry.memory.kept {
        return Some(kept.clone());
    }
    status.current_attempt.as_ref()?;
    match entry.intent(now) {
        Intent::Withheld { why } => Some(Fact::NotSent { why: why.to_owned() }),
        Intent::Written => Some(Fact::NotSent {
            why: "The object was deleted; the call was not sent.".to_owned(),
        }),
        Intent::Foreign { .. } | Intent::InFlight => None,
    }
}
