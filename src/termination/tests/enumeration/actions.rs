//! What may happen next, and what becomes of the world.

use k8s_openapi::jiff::Timestamp;

use super::{
    faults::{Effect, Fault},
    world::{LAG, Late, LateEffect, World},
};
use crate::{
    api::GuestTerminationStatus as Status,
    termination::{answer::SessionSeen, instants},
};

/// What may happen next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// The session ends without us.
    Leave,
    /// The guest comes back under the same id.
    Return,
    /// The user deletes the object.
    Delete,
    /// A late effect takes place.
    Land(usize),
    /// The watch of a process tells the newest version.
    News(usize),
    /// A process goes on, and what befalls it.
    Step(usize, Option<Fault>),
}

/// What a process does next.
#[derive(Clone, Debug)]
pub(super) enum Work {
    /// It comes up, and reads the object.
    Start,
    /// It publishes Events.
    Tell,
    /// It reads the object, because a write was not answered.
    Read,
    /// Nothing before then, or before there is news.
    Wait(Option<Timestamp>),
    /// What it keeps changes nothing any more.
    Forget,
    /// It withholds the call of its intent.
    Withhold(&'static str),
    /// It tells the audit log what it kept of an object that is gone.
    Farewell,
    Look,
    Intend(SessionSeen),
    Call,
    Record(Box<Status>),
    Try(String),
    RecordTry(String, Box<Status>),
}

impl Work {
    /// Its name alone.
    pub(super) fn name(&self) -> String {
        let text = format!("{self:?}");
        text.chars().take_while(|sign| sign.is_alphanumeric()).collect()
    }

    /// Whether it is to be done now.
    pub(super) fn is_due(&self) -> bool {
        !matches!(self, Self::Wait(_))
    }

    /// Whether it changes only what the process itself can see.
    pub(super) fn is_private(&self) -> bool {
        matches!(self, Self::Tell | Self::Forget | Self::Withhold(_) | Self::Farewell)
    }

    pub(super) fn is_write(&self) -> bool {
        matches!(self, Self::Intend(_) | Self::Record(_) | Self::RecordTry(..))
    }

    /// The effect that it is, if faults can befall it.
    pub(super) fn effect(&self) -> Option<Effect> {
        match self {
            Self::Start => Some(Effect::Start),
            Self::Tell => Some(Effect::Event),
            Self::Look => Some(Effect::Observe),
            Self::Intend(_) => Some(Effect::IntentWrite),
            Self::Call => Some(Effect::Terminate),
            Self::Record(_) => Some(Effect::ResultWrite),
            Self::Try(_) => Some(Effect::Webhook),
            Self::RecordTry(..) => Some(Effect::DeliveredWrite),
            Self::Read | Self::Wait(_) | Self::Forget | Self::Withhold(_) | Self::Farewell => None,
        }
    }
}

impl World {
    /// Everything that may happen next. Nothing: the run is over.
    pub(super) fn actions(&self) -> Vec<Action> {
        let overdue: Vec<_> = self.landings(|late| late.by <= self.now);
        if !overdue.is_empty() {
            return overdue;
        }
        let works: Vec<Work> = (0..self.processes.len()).map(|process| self.work(process)).collect();
        let mut actions = Vec::new();
        // What nobody else can see comes first: whatever else happens meanwhile comes to the same.
        let private = (0..works.len()).find(|process| works[*process].is_private() && self.may_go_on(*process, &works));
        let turns = works.iter().enumerate();
        for (process, work) in turns.filter(|(process, _)| private.is_none_or(|private| private == *process)) {
            if !self.may_go_on(process, &works) {
                continue;
            }
            if !matches!(work, Work::Wait(None)) {
                actions.push(Action::Step(process, None));
            }
            if let Some(effect) = work.effect().filter(|_| self.faults > 0) {
                let faults = effect.faults(self.rules.detail);
                actions.extend(faults.map(|fault| Action::Step(process, Some(fault))));
            }
        }
        // A write meets the news by its conflict.
        let told = |process: &usize| self.has_news(*process) && !works[*process].is_write();
        if private.is_none() {
            actions.extend((0..works.len()).filter(told).map(Action::News));
        }
        if private.is_some() {
            return actions;
        }
        actions.extend(self.landings(|_| true));
        // What the guest does matters when somebody is about to see it, and not in between.
        let seen = works.iter().any(|work| matches!(work, Work::Look | Work::Call))
            || self.late.iter().any(|late| matches!(late.what, LateEffect::Call));
        match (seen && self.is_open(), self.vendor.active) {
            (true, true) if self.departures > 0 => actions.push(Action::Leave),
            (true, false) => actions.push(Action::Return),
            _ => {}
        }
        if self.deletions > 0 && !self.status().is_settled() {
            actions.push(Action::Delete);
        }
        actions
    }

    /// Whether it is a process's turn: it had the last one, or whoever had it waits, or is made to stand still.
    fn may_go_on(&self, process: usize, works: &[Work]) -> bool {
        let free = process == self.turn || !works[self.turn].is_due() || self.standstills > 0;
        let passed = |other: usize| match (&works[process], &works[other]) {
            (Work::Wait(Some(at)), Work::Wait(Some(other))) => other < at,
            (Work::Wait(_), work) => work.is_due(),
            _ => false,
        };
        // Time goes by only for those who stand still, and for those who wait as long.
        free && (0..works.len()).all(|other| Some(other) == self.standing || !passed(other))
    }

    fn landings(&self, which: impl Fn(&Late) -> bool) -> Vec<Action> {
        let late = self.late.iter().enumerate();
        late.filter(|(_, late)| which(late))
            .map(|(index, _)| Action::Land(index))
            .collect()
    }

    fn has_news(&self, process: usize) -> bool {
        let Some(entry) = self.entry(process) else { return false };
        let newer = entry.object.metadata.resource_version != self.server.object.metadata.resource_version;
        self.processes[process].alive && !entry.deleted && (newer || self.server.deleted)
    }

    /// What becomes of the world.
    pub(super) fn after(&self, action: Action) -> Self {
        let mut next = self.clone();
        match action {
            Action::Leave => {
                next.departures -= 1;
                next.vendor.end_by_others();
                next.stale_until = instants::later(next.now, LAG);
            }
            Action::Return => next.vendor.come_back(),
            Action::Delete => {
                next.deletions -= 1;
                next.server.deleted = true;
                next.late.retain(|late| !matches!(late.what, LateEffect::Write { .. }));
            }
            Action::Land(index) => {
                let Late { by, what } = next.late.remove(index);
                match what {
                    LateEffect::Call => next.end_session(by),
                    LateEffect::Write { base, status, witness } => {
                        next.store(base, *status, witness);
                    }
                    LateEffect::Delivery { body } => next.books.accept(&body),
                }
            }
            Action::News(process) => next.tell_news(process),
            Action::Step(process, fault) => {
                next.faults -= u8::from(fault.is_some());
                let work = self.work(process);
                if process != self.turn && self.work(self.turn).is_due() {
                    next.standstills -= 1;
                    next.standing = Some(self.turn);
                }
                if next.standing == Some(process) {
                    next.standing = None;
                }
                next.turn = process;
                next.carry_out(process, work, fault);
            }
        }
        next
    }
}
