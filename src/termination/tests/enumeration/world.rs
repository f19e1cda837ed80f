//! A small world around the pure core: an API server that keeps one object, one or two processes with the memory that the
//! shell gives them, a vendor, and a clock. Everything that happens is one [`Action`], and nothing happens by chance.

use std::{rc::Rc, sync::Arc, time::Duration};

use k8s_openapi::jiff::Timestamp;

use super::{
    super::{
        bench::{Bench, at},
        vendor::Vendor,
    },
    faults::Detail,
    oracle::{Books, Witness},
};
use crate::{
    api::{GuestTermination, GuestTerminationStatus as Status},
    clock::Reading,
    controller::index::{Entry, Index},
    schedule::{Moment, Uid},
    termination::{fact::Context, instants, policy::Policy},
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

    pub(super) fn status(&self) -> &Status {
        self.server.object.status.as_ref().unwrap()
    }

    /// What the clocks show.
    pub(super) fn reading(&self) -> Reading {
        Reading {
            wall: self.now,
            monotonic: self.moment(),
        }
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
}
