//! A small world around the pure core: an API server that keeps one object, one or two processes with the memory that the
//! shell gives them, a vendor, and a clock. Everything that happens is one [`Action`], and nothing happens by chance.

use std::{rc::Rc, sync::Arc, time::Duration};

use k8s_openapi::jiff::Timestamp;

use super::{
    super::{
        bench::{Bench, at},
        vendor::Vendor,
    },
    faults::{Detail, Effect, Fault},
    oracle::{Books, Witness},
};
use crate::{
    api::{GuestTermination, GuestTerminationStatus as Status},
    controller::index::{Entry, Holds, Index},
    schedule::{Moment, Uid},
    termination::{answer::SessionSeen, fact::Context, instants, policy::Policy},
};

/// What an effect takes that is not answered.
pub(super) const TIMEOUT: Duration = Duration::from_secs(10);
/// A late effect comes at most so long after its call, and a look is stale for no longer: the effect lag of I4, less one
/// timeout.
pub(super) const LAG: Duration = Duration::from_secs(50);

/// What happens beside the faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scenario {
    /// One process.
    Plain,
    /// One process, and the object is deleted at any moment.
    Deleted,
    /// Two processes that both lead, and either may stand still for long.
    TwoLeaders,
}

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
    fn is_due(&self) -> bool {
        !matches!(self, Self::Wait(_))
    }

    /// Whether it changes only what the process itself can see.
    fn is_private(&self) -> bool {
        matches!(self, Self::Tell | Self::Forget | Self::Withhold(_) | Self::Farewell)
    }

    fn is_write(&self) -> bool {
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

/// What never changes.
pub(super) struct Rules {
    pub(super) uid: Uid,
    pub(super) policy: Policy,
    pub(super) context: Context,
    pub(super) detail: Detail,
    /// What an effect takes that is answered.
    pub(super) tick: Duration,
}

/// The API server.
#[derive(Clone)]
pub(super) struct Server {
    pub(super) object: Arc<GuestTermination>,
    /// The version before, which a reader that lags may still see.
    pub(super) before: Option<Arc<GuestTermination>>,
    pub(super) version: u64,
    pub(super) deleted: bool,
}

/// An effect that takes place after its caller gave up.
#[derive(Clone)]
pub(super) struct Late {
    pub(super) by: Timestamp,
    pub(super) what: LateEffect,
}

#[derive(Clone)]
pub(super) enum LateEffect {
    Call,
    Write {
        base: u64,
        status: Box<Status>,
        witness: Witness,
    },
    Delivery {
        body: Rc<[u8]>,
    },
}

/// One process of the operator.
#[derive(Clone)]
pub(super) struct Process {
    pub(super) alive: bool,
    pub(super) index: Index,
    /// The pause after a write that was not made.
    pub(super) busy_until: Timestamp,
    /// The connection lets nobody through before.
    pub(super) gate: Timestamp,
    /// The vendor answered it once: failures spend budget.
    pub(super) trusted: bool,
    /// Events wait to be published.
    pub(super) notices: bool,
    /// What the oracle knows of it.
    pub(super) witness: Witness,
}

impl Process {
    /// One that is to be started.
    pub(super) fn dead() -> Self {
        Self {
            alive: false,
            index: Index::default(),
            busy_until: Timestamp::MIN,
            gate: Timestamp::MIN,
            trusted: false,
            notices: false,
            witness: Witness::default(),
        }
    }
}

#[derive(Clone)]
pub(super) struct World {
    pub(super) rules: Rc<Rules>,
    pub(super) now: Timestamp,
    pub(super) server: Server,
    pub(super) processes: Vec<Process>,
    pub(super) vendor: Vendor,
    /// Until when a look may not see yet that the session is over.
    pub(super) stale_until: Timestamp,
    pub(super) late: Vec<Late>,
    /// Whose turn was the last, and who was made to stand still in the middle of its work.
    pub(super) turn: usize,
    pub(super) standing: Option<usize>,
    /// Faults, standstills, departures of the guest, and deletions that may still come.
    pub(super) faults: u8,
    pub(super) standstills: u8,
    pub(super) departures: u8,
    pub(super) deletions: u8,
    /// Attempts that got an id.
    pub(super) minted: u32,
    pub(super) books: Books,
}

impl World {
    /// A world in which nothing happened yet.
    pub(super) fn new(bench: &Bench, scenario: Scenario, faults: u8, detail: Detail) -> Self {
        // Where less is told apart, effects take no time, so that less is told apart by time too.
        let tick = match detail {
            Detail::Kinds => Duration::ZERO,
            Detail::Faces => Duration::from_millis(500),
        };
        let (processes, standstills, deletions) = match scenario {
            Scenario::Plain => (1, 0, 0),
            Scenario::Deleted => (1, 0, 1),
            Scenario::TwoLeaders => (2, 1, 0),
        };
        let mut object = bench.object.clone();
        object.status = Some(bench.status.clone());
        object.metadata.resource_version = Some("1".to_owned());
        Self {
            rules: Rc::new(Rules {
                uid: "uid-1".into(),
                policy: bench.policy.clone(),
                context: bench.context.clone(),
                detail,
                tick,
            }),
            now: bench.now,
            server: Server {
                object: Arc::new(object),
                before: None,
                version: 1,
                deleted: false,
            },
            processes: vec![Process::dead(); processes],
            vendor: Vendor::new(),
            stale_until: Timestamp::MIN,
            late: Vec::new(),
            faults,
            turn: 0,
            standing: None,
            standstills,
            departures: 1,
            deletions,
            minted: 0,
            books: Books::default(),
        }
    }

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

    pub(super) fn status(&self) -> &Status {
        self.server.object.status.as_ref().unwrap()
    }

    pub(super) fn moment(&self) -> Moment {
        instants::between(at(0), self.now)
    }

    pub(super) fn entry(&self, process: usize) -> Option<&Entry> {
        self.processes[process].index.get(&self.rules.uid)
    }

    pub(super) fn entry_mut(&mut self, process: usize) -> &mut Entry {
        self.processes[process].index.get_mut(&self.rules.uid).unwrap()
    }

    pub(super) fn pass(&mut self, span: Duration) {
        self.now = instants::later(self.now, span);
    }

    pub(super) fn crash(&mut self, process: usize) {
        self.processes[process] = Process::dead();
    }

    /// Our call takes effect, and every look sees it from `seen_by` on.
    pub(super) fn end_session(&mut self, seen_by: Timestamp) {
        if self.vendor.active {
            self.vendor.end_by_us();
            self.stale_until = seen_by;
        }
    }

    pub(super) fn lag(&mut self, what: LateEffect) {
        let by = instants::later(self.now, LAG);
        self.late.push(Late { by, what });
    }

    /// Somebody edits a label.
    pub(super) fn edit_label(&mut self) {
        let object = self.server.object.as_ref().clone();
        self.renew(object);
    }

    /// The server takes a status, if it is for the version that it has.
    pub(super) fn store(&mut self, base: u64, status: Status, witness: Witness) -> bool {
        if self.server.deleted || base != self.server.version {
            return false;
        }
        self.check_store(&status, witness);
        let mut object = self.server.object.as_ref().clone();
        self.books.durable(object.status.as_ref().unwrap(), &status, self.now);
        object.status = Some(status);
        self.renew(object);
        // What was written for an older version is refused from now on.
        let version = self.server.version;
        self.late
            .retain(|late| !matches!(late.what, LateEffect::Write { base, .. } if base != version));
        true
    }

    fn renew(&mut self, mut object: GuestTermination) {
        self.server.version += 1;
        object.metadata.resource_version = Some(self.server.version.to_string());
        self.server.before = Some(std::mem::replace(&mut self.server.object, Arc::new(object)));
    }

    fn tell_news(&mut self, process: usize) {
        let moment = self.moment();
        if self.server.deleted {
            self.mark_deleted(process);
        } else {
            let object = self.server.object.as_ref().clone();
            self.processes[process].index.see(object, moment);
        }
        self.processes[process].busy_until = Timestamp::MIN;
    }

    pub(super) fn mark_deleted(&mut self, process: usize) {
        let moment = self.moment();
        let entry = self.entry_mut(process);
        entry.deleted = true;
        entry.doubtful = false;
        entry.memory.deleted_at = Some(moment);
    }

    /// A read of the newest version, as after a conflict.
    pub(super) fn read_again(&mut self, process: usize) {
        if self.server.deleted {
            return self.mark_deleted(process);
        }
        let (moment, uid) = (self.moment(), self.rules.uid.clone());
        let fresh = self.server.object.as_ref().clone();
        let before = self.entry_mut(process).object.clone();
        self.processes[process].index.read(&uid, fresh, &before, moment);
    }

    /// A write that was not answered.
    pub(super) fn doubt(&mut self, process: usize, written: Status, holds: Holds) {
        let entry = self.entry_mut(process);
        entry.doubtful = true;
        entry.memory.unanswered.push((written, holds));
        self.pause_after_write(process);
    }

    /// Doubling from a second, as the shell does.
    pub(super) fn pause_after_write(&mut self, process: usize) {
        let entry = self.entry_mut(process);
        entry.memory.failed_writes += 1;
        let pause = Duration::from_secs(1 << (entry.memory.failed_writes - 1).min(5));
        self.processes[process].busy_until = instants::later(self.now, pause);
    }
}
