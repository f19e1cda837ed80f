//! One connection's lane: who of those that want to ask the vendor may, and when.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use super::{
    Moment, Uid,
    breaker::{Breaker, BreakerPolicy, Gate, Health, Operation},
    bucket::{Bucket, Limits},
};

/// Tokens that a pass holds from the start: one for the look, one for the call. Nothing parks between the two.
pub const TOKENS_OF_A_PASS: u32 = 2;

/// Of the passes of a namespace that are not urgent, every so many goes to a retry though fresh work waits.
const RETRY_SHARE: u32 = 4;

/// What an object wants of its connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// The namespace, between which turns go round.
    pub namespace: Arc<str>,
    /// The guest, of whom one flight at a time is made.
    pub guest: Arc<str>,
    /// How urgent it is.
    pub class: Class,
}

/// How urgent an object is, most urgent first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// A call of it may be open.
    Urgent,
    /// It was never asked about.
    Fresh,
    /// It was asked about before.
    Retry,
    /// It was answered by a 404 that cannot be believed; it waits for the connection's proof.
    Unproven,
}

/// When a lane whose route is not proven asks again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProofPolicy {
    /// The first pause.
    pub first: Duration,
    /// The longest pause.
    pub cap: Duration,
}

impl Default for ProofPolicy {
    fn default() -> Self {
        Self {
            first: Duration::from_secs(30),
            cap: Duration::from_secs(300),
        }
    }
}

/// Leave to ask the vendor, for one pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    /// It was let through alone, to see whether the vendor answers.
    pub probe: bool,
}

/// Objects in the order they came, by ticket: leaving from the middle costs no more than from the front.
type Line = BTreeMap<u64, Uid>;

#[derive(Debug, Default)]
struct Waiting {
    urgent: Line,
    fresh: Line,
    retry: Line,
    since_retry: u32,
}

impl Waiting {
    fn line(&mut self, class: Class) -> &mut Line {
        match class {
            Class::Urgent => &mut self.urgent,
            Class::Fresh => &mut self.fresh,
            Class::Retry | Class::Unproven => &mut self.retry,
        }
    }

    fn is_empty(&self) -> bool {
        self.urgent.is_empty() && self.fresh.is_empty() && self.retry.is_empty()
    }

    fn pop(&mut self) -> Option<Uid> {
        if let Some((_, uid)) = self.urgent.pop_first() {
            return Some(uid);
        }
        let retry_first = self.fresh.is_empty() || self.since_retry + 1 >= RETRY_SHARE;
        if retry_first && let Some((_, uid)) = self.retry.pop_first() {
            self.since_retry = 0;
            return Some(uid);
        }
        self.since_retry += 1;
        self.fresh.pop_first().map(|(_, uid)| uid)
    }
}

/// The lane of one connection.
#[derive(Debug)]
pub struct Lane {
    bucket: Bucket,
    breaker: Breaker,
    proof_policy: ProofPolicy,
    asks: BTreeMap<Uid, (u64, Ask)>,
    tickets: u64,
    places: BTreeMap<Uid, (u64, Class)>,
    namespaces: BTreeMap<Arc<str>, Waiting>,
    last_namespace: Option<Arc<str>>,
    unproven: Line,
    proof_at: Moment,
    proof_pause: Duration,
    proof_out: Option<Uid>,
    flights: BTreeMap<Uid, (Arc<str>, Grant)>,
    guests: BTreeSet<Arc<str>>,
    behind: BTreeMap<Arc<str>, BTreeSet<Uid>>,
    paused_until: Moment,
    trial: Option<Moment>,
    open: bool,
}

impl Lane {
    /// The lane of a connection that this process has not used yet.
    pub fn new(limits: Limits, breaker: BreakerPolicy, proof_policy: ProofPolicy, now: Moment) -> Self {
        Self {
            bucket: Bucket::new(limits, now),
            breaker: Breaker::new(breaker),
            proof_policy,
            asks: BTreeMap::new(),
            tickets: 0,
            places: BTreeMap::new(),
            namespaces: BTreeMap::new(),
            last_namespace: None,
            unproven: Line::new(),
            proof_at: now,
            proof_pause: proof_policy.first,
            proof_out: None,
            flights: BTreeMap::new(),
            guests: BTreeSet::new(),
            behind: BTreeMap::new(),
            paused_until: Moment::ZERO,
            trial: None,
            open: true,
        }
    }

    /// Changes the limits.
    pub fn limit(&mut self, limits: Limits, now: Moment) {
        self.bucket.limit(limits, now);
    }

    /// Opens or closes the lane: while the connection is unusable nobody is let through.
    pub fn set_open(&mut self, open: bool) {
        self.open = open;
    }

    /// Lets nobody through before then.
    pub fn pause(&mut self, until: Moment) {
        self.paused_until = self.paused_until.max(until);
    }

    /// From a moment on lets one pass at a time through, to see whether the vendor still refuses this client; without,
    /// as many as may go.
    pub fn put_on_trial(&mut self, from: Option<Moment>) {
        self.trial = from;
    }

    /// Queues an object, in place of what it asked for before. One that is in flight is not queued.
    pub fn offer(&mut self, uid: &Uid, ask: Ask) {
        if self.flights.contains_key(uid) || self.asks.get(uid).is_some_and(|(_, before)| *before == ask) {
            return;
        }
        let held = self.places.get(uid).copied().filter(|(_, class)| *class == ask.class);
        self.forget(uid);
        let ticket = held.map_or_else(
            || {
                self.tickets += 1;
                self.tickets
            },
            |(ticket, _)| ticket,
        );
        self.asks.insert(uid.clone(), (ticket, ask));
        self.line_up(uid);
    }

    /// Takes an object out of the queues for a moment: it finds its place again if it asks for the same. Somebody who
    /// edits an object all the time must not push it back all the time.
    pub fn step_aside(&mut self, uid: &Uid) {
        let Some(place) = self.asks.get(uid).map(|(ticket, ask)| (*ticket, ask.class)) else {
            return;
        };
        self.forget(uid);
        self.places.insert(uid.clone(), place);
    }

    /// Takes an object out of the queues. A flight goes on until it is [`Lane::land`]ed.
    pub fn forget(&mut self, uid: &Uid) {
        self.places.remove(uid);
        let Some((ticket, ask)) = self.asks.remove(uid) else {
            return;
        };
        if ask.class == Class::Unproven {
            self.unproven.remove(&ticket);
        } else if let Some(waiting) = self.namespaces.get_mut(&ask.namespace) {
            waiting.line(ask.class).remove(&ticket);
            if waiting.is_empty() {
                self.namespaces.remove(&ask.namespace);
            }
        }
        if let Some(behind) = self.behind.get_mut(&ask.guest) {
            behind.remove(uid);
            if behind.is_empty() {
                self.behind.remove(&ask.guest);
            }
        }
    }

    /// Lets the next object through, if one may go now.
    pub fn next(&mut self, now: Moment) -> Option<(Uid, Grant)> {
        loop {
            let grant = self.may_go(now)?;
            // Before anybody is picked: a turn that comes to nothing must not pass the namespace over.
            if self
                .bucket
                .ready_at(TOKENS_OF_A_PASS, now)
                .is_none_or(|ready| ready > now)
            {
                return None;
            }
            let last = self.last_namespace.clone();
            let uid = self.pop(now)?;
            let (_, ask) = self.asks.get(&uid)?.clone();
            if self.guests.contains(&ask.guest) {
                // One flight at a time for each guest: the second one finds the session as the first one left it.
                self.behind.entry(ask.guest).or_default().insert(uid);
                self.last_namespace = last;
                continue;
            }
            if !self.bucket.take(TOKENS_OF_A_PASS, now) {
                self.line_up(&uid);
                return None;
            }
            if ask.class == Class::Unproven {
                self.proof_out = Some(uid.clone());
            }
            self.asks.remove(&uid);
            self.guests.insert(ask.guest.clone());
            self.flights.insert(uid.clone(), (ask.guest, grant));
            return Some((uid, grant));
        }
    }

    /// A pass is over: its slot is free, and what it did not spend of its two tokens comes back.
    pub fn land(&mut self, uid: &Uid, unspent: u32, now: Moment) {
        let Some((guest, _)) = self.flights.remove(uid) else {
            return;
        };
        self.bucket.give_back(unspent, now);
        if self.proof_out.as_ref() == Some(uid) {
            self.proof_out = None;
            self.proof_at = now + self.proof_pause;
            self.proof_pause = (self.proof_pause * 2).min(self.proof_policy.cap);
        }
        self.free(&guest);
    }

    /// A flight for that guest is under way that is no flight of this lane: nobody flies for the guest until it is over.
    pub fn occupy(&mut self, guest: Arc<str>) {
        self.guests.insert(guest);
    }

    /// The flight that a guest was [`Lane::occupy`]ed for is over.
    pub fn vacate(&mut self, guest: &Arc<str>) {
        if !self.flights.values().any(|(own, _)| own == guest) {
            self.free(guest);
        }
    }

    /// What is in flight, with its guests.
    pub fn into_flights(self) -> impl Iterator<Item = (Uid, Arc<str>)> {
        self.flights.into_iter().map(|(uid, (guest, _))| (uid, guest))
    }

    fn free(&mut self, guest: &Arc<str>) {
        self.guests.remove(guest);
        for waiting in self.behind.remove(guest).unwrap_or_default() {
            self.line_up(&waiting);
        }
    }

    /// Takes one more token for an extra call, if there is one.
    pub fn extra(&mut self, now: Moment) -> bool {
        self.paused_until <= now && self.bucket.take(1, now)
    }

    /// A token that was taken by [`Lane::extra`] was not spent.
    pub fn give_back(&mut self, now: Moment) {
        self.bucket.give_back(1, now);
    }

    /// Whether nobody is let through now because the vendor asked for a pause.
    pub fn is_paused(&self, now: Moment) -> bool {
        self.paused_until > now
    }

    /// Takes an answer in, and says whether a failure of it spends the object's budget. To be told before the pass
    /// [`Lane::land`]s: only then is a probe known as one.
    pub fn report(&mut self, uid: &Uid, operation: Operation, health: Health, now: Moment) -> bool {
        if health == Health::Unproven && self.unproven.is_empty() && self.proof_out.is_none() {
            // The first one that waits for a proof has just been answered: the next question is a pause away.
            self.proof_at = self.proof_at.max(now + self.proof_pause);
        }
        let probe = self.flights.get(uid).is_some_and(|(_, grant)| grant.probe);
        self.breaker.report(operation, health, probe, now)
    }

    /// The route is proven, or the user says so: whoever waited for that goes on.
    pub fn prove(&mut self) {
        self.proof_pause = self.proof_policy.first;
        if self.unproven.is_empty() && self.behind.is_empty() {
            return;
        }
        // Those behind a flight of their guest line up when it lands.
        for (_, ask) in self.asks.values_mut().filter(|(_, ask)| ask.class == Class::Unproven) {
            ask.class = Class::Retry;
        }
        for (_, uid) in std::mem::take(&mut self.unproven) {
            self.line_up(&uid);
        }
    }

    /// When somebody may go next, if anybody waits.
    pub fn next_due(&self, now: Moment) -> Option<Moment> {
        let ordinary = (!self.namespaces.is_empty()).then_some(now);
        let proof = (!self.unproven.is_empty() && self.proof_out.is_none()).then_some(self.proof_at);
        let wanted = match (ordinary, proof) {
            (Some(ordinary), Some(proof)) => ordinary.min(proof),
            (ordinary, proof) => ordinary.or(proof)?,
        };
        let gate = match self.gate() {
            _ if !self.open || self.flights.len() >= self.bucket.limits().in_flight() as usize => return None,
            Gate::One(_) if !self.flights.is_empty() => return None,
            Gate::One(from) => from,
            Gate::Free => Moment::ZERO,
        };
        let tokens = self.bucket.ready_at(TOKENS_OF_A_PASS, now)?;
        Some(wanted.max(gate).max(tokens).max(self.paused_until))
    }

    /// How many objects wait here.
    pub fn waiting(&self) -> usize {
        self.asks.len()
    }

    /// Whether the breaker is open.
    pub fn is_broken(&self) -> bool {
        self.breaker.is_open()
    }

    fn may_go(&self, now: Moment) -> Option<Grant> {
        if !self.open || self.paused_until > now || self.flights.len() >= self.bucket.limits().in_flight() as usize {
            return None;
        }
        match self.gate() {
            Gate::Free => Some(Grant { probe: false }),
            Gate::One(from) => (self.flights.is_empty() && from <= now).then_some(Grant { probe: true }),
        }
    }

    fn gate(&self) -> Gate {
        match (self.breaker.gate(), self.trial) {
            (gate, None) => gate,
            (Gate::Free, Some(from)) => Gate::One(from),
            (Gate::One(probe), Some(from)) => Gate::One(probe.max(from)),
        }
    }

    /// The next object in turn: round robin over namespaces, then those that wait for a proof.
    fn pop(&mut self, now: Moment) -> Option<Uid> {
        let after = self.last_namespace.as_ref().and_then(|last| {
            let range = (std::ops::Bound::Excluded(last.clone()), std::ops::Bound::Unbounded);
            self.namespaces
                .range(range)
                .next()
                .map(|(namespace, _)| namespace.clone())
        });
        if let Some(namespace) = after.or_else(|| self.namespaces.keys().next().cloned()) {
            let waiting = self.namespaces.get_mut(&namespace)?;
            let uid = waiting.pop();
            if waiting.is_empty() {
                self.namespaces.remove(&namespace);
            }
            self.last_namespace = Some(namespace);
            return uid;
        }
        if self.proof_out.is_none() && self.proof_at <= now {
            self.unproven.pop_first().map(|(_, uid)| uid)
        } else {
            None
        }
    }

    /// Puts an object that asks in its line, at the place of its ticket.
    fn line_up(&mut self, uid: &Uid) {
        let Some((ticket, ask)) = self.asks.get(uid) else {
            return;
        };
        let line = match ask.class {
            Class::Unproven => &mut self.unproven,
            class => self.namespaces.entry(ask.namespace.clone()).or_default().line(class),
        };
        line.insert(*ticket, uid.clone());
    }
}

#[cfg(test)]
mod tests;
