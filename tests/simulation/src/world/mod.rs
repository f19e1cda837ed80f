//! The world around the operator: servers, a network, machines with clocks, and whatever goes wrong.
//!
//! One request goes this way: it leaves a process (`network`), which may be its end; the server's half is a task of
//! the world's own, so that a caller who gives up or dies does not undo what the server does (`servers`); its answer
//! finds its way back unless it is lost. Watches stay open (`watches`). `process` starts and kills operators,
//! `happenings` carries out what a plan says.

mod conditions;
mod happenings;
mod network;
mod process;
mod servers;
mod setup;
mod watches;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use k8s_openapi::jiff::Timestamp;
use tokio::{sync::Notify, time::Instant};

use self::{conditions::Conditions, process::Machine, watches::OpenWatch};
use crate::{
    apiserver::{ApiServer, requests::TERMINATIONS},
    clock::wall,
    faults::Effect,
    history::{History, Ordinal, What},
    plan::Plan,
    vendor::{Receiver, Vendor},
};

pub use self::setup::{NAMESPACE, guest_id, manifest, namespace, namespace_of, object_name};

/// What a planned panic says.
pub(crate) const PLANNED_PANIC: &str = "a planned panic";

/// The world of one run. Clones are the same world.
#[derive(Clone)]
pub struct World(Arc<Mutex<State>>);

/// What the world is made of.
pub(crate) struct State {
    pub(crate) origin: Instant,
    pub(crate) plan: Arc<Plan>,
    pub(crate) cluster: ApiServer,
    /// The organisation that each namespace's connection leads to, by the number of the namespace.
    pub(crate) vendors: Vec<Vendor>,
    /// Another organisation of the vendor's, which knows none of the guests.
    elsewhere: Vendor,
    pub(crate) receiver: Receiver,
    /// The client's secret, as the vendor knows it.
    client_secret: String,
    pub(crate) history: History,
    /// Told when the history has a violation: the run is over.
    pub(crate) over: Arc<Notify>,
    machines: Vec<Machine>,
    /// Which processes are alive, by number.
    alive: BTreeMap<u32, u32>,
    last_process: u32,
    last_ordinal: Ordinal,
    last_watch: u64,
    /// Requests of each effect so far.
    effects: BTreeMap<Effect, u32>,
    conditions: Conditions,
    watches: BTreeMap<u64, OpenWatch>,
    /// When each version was stored.
    stored_at: Vec<(Duration, u64)>,
}

impl World {
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// True time since the start of the run.
    pub(crate) fn at(&self) -> Duration {
        self.origin.elapsed()
    }

    /// The true wall-clock time.
    pub(crate) fn now(&self) -> Timestamp {
        wall(self.at())
    }

    /// Something happened.
    pub(crate) fn record(&mut self, what: What) {
        let at = self.at();
        for text in crate::logs::take() {
            self.history.push(at, What::Log { text });
        }
        self.history.push(at, what);
        if self.history.violation().is_some() {
            self.over.notify_one();
        }
    }

    /// Requests that left a process so far.
    pub(crate) fn requests(&self) -> Ordinal {
        self.last_ordinal
    }

    /// Every object is settled, or a user has suspended it: nothing more is to be expected.
    pub(crate) fn rests(&self) -> bool {
        (0..self.plan.objects.len())
            .filter_map(|number| {
                let namespace = setup::namespace_of(&self.plan, number);
                self.cluster.object(&TERMINATIONS, &namespace, &object_name(number))
            })
            .all(|object| {
                let finished = object["status"]["finished"] == true;
                object["status"]["settled"] == true || (object["spec"]["suspend"] == true && !finished)
            })
    }

    /// A number that only the seed, and what it is for, decide.
    fn draw(&self, purpose: u64, number: u64) -> u64 {
        mix(self.plan.seed ^ mix(purpose) ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }
}

/// SplitMix64's finalizer.
pub(crate) fn mix(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
