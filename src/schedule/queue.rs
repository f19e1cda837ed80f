//! Every open object: due at a time, ready for a pass of its own, or waiting in its connection's lane.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use super::{
    Moment, Uid,
    breaker::{BreakerPolicy, Health, Operation},
    bucket::Limits,
    lane::{Ask, Grant, Lane, ProofPolicy},
    timers::Timers,
};

/// The uid of a connection.
pub type ConnectionUid = Arc<str>;

/// A turn: one pass over one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turn {
    /// The object.
    pub uid: Uid,
    /// Leave to ask the vendor, through that connection. Without, the pass only decides and writes.
    pub grant: Option<(ConnectionUid, Grant)>,
}

/// The work queue.
#[derive(Debug)]
pub struct Queue {
    breaker: BreakerPolicy,
    proof: ProofPolicy,
    timers: Timers<Uid>,
    ready: VecDeque<Uid>,
    queued: BTreeSet<Uid>,
    running: BTreeMap<Uid, Option<ConnectionUid>>,
    /// Passes under way whose lane is gone, and their guests: a connection that is created anew is still the way to the
    /// same guests.
    adrift: BTreeMap<Uid, Arc<str>>,
    again: BTreeSet<Uid>,
    lanes: BTreeMap<ConnectionUid, Lane>,
    offers: BTreeMap<Uid, ConnectionUid>,
    /// What objects asked for while a pass over them was under way.
    postponed: BTreeMap<Uid, (ConnectionUid, Ask)>,
    last_lane: Option<ConnectionUid>,
}

impl Queue {
    /// An empty queue.
    pub fn new(breaker: BreakerPolicy, proof: ProofPolicy) -> Self {
        Self {
            breaker,
            proof,
            timers: Timers::default(),
            ready: VecDeque::new(),
            queued: BTreeSet::new(),
            running: BTreeMap::new(),
            adrift: BTreeMap::new(),
            again: BTreeSet::new(),
            lanes: BTreeMap::new(),
            offers: BTreeMap::new(),
            postponed: BTreeMap::new(),
            last_lane: None,
        }
    }

    /// As if it were new: nobody is in line, and every lane is made anew. Passes under way go on, and land on no lane.
    pub fn start_anew(&mut self) {
        let running = self.running.keys().map(|uid| (uid.clone(), None)).collect();
        for lane in std::mem::take(&mut self.lanes).into_values() {
            self.adrift.extend(lane.into_flights());
        }
        *self = Self {
            running,
            adrift: std::mem::take(&mut self.adrift),
            ..Self::new(self.breaker, self.proof)
        };
    }

    /// Wants a pass over an object as soon as possible. If one is under way, another follows it.
    pub fn wake(&mut self, uid: &Uid) {
        if self.running.contains_key(uid) {
            self.again.insert(uid.clone());
            return;
        }
        if let Some(connection) = self.offers.get(uid)
            && let Some(lane) = self.lanes.get_mut(connection)
        {
            lane.step_aside(uid);
        }
        self.timers.cancel(uid);
        if self.queued.insert(uid.clone()) {
            self.ready.push_back(uid.clone());
        }
    }

    /// Wants a pass over an object at a moment.
    pub fn wake_at(&mut self, uid: &Uid, due: Moment) {
        self.timers.set(uid.clone(), due);
    }

    /// The object asks nothing of its connection any more.
    pub fn withdraw(&mut self, uid: &Uid) {
        self.leave_lane(uid);
    }

    /// Wants a pass with leave to ask the vendor, when the connection's lane lets it through. If a pass is under way, the
    /// object lines up when it is over.
    pub fn offer(&mut self, uid: &Uid, connection: &ConnectionUid, ask: Ask) {
        if self.running.contains_key(uid) {
            self.postponed.insert(uid.clone(), (connection.clone(), ask));
            return;
        }
        if self.offers.get(uid).is_some_and(|before| before != connection) {
            self.leave_lane(uid);
        }
        if let Some(lane) = self.lanes.get_mut(connection) {
            lane.offer(uid, ask);
            self.offers.insert(uid.clone(), connection.clone());
        }
    }

    /// The object is gone, or nothing is to be done about it until it changes. A pass under way goes on.
    pub fn forget(&mut self, uid: &Uid) {
        self.timers.cancel(uid);
        self.again.remove(uid);
        self.postponed.remove(uid);
        if self.queued.remove(uid) {
            self.ready.retain(|other| other != uid);
        }
        self.leave_lane(uid);
    }

    /// The next turn at `now`, if anybody has one.
    pub fn next(&mut self, now: Moment) -> Option<Turn> {
        while let Some(uid) = self.timers.pop(now) {
            self.wake(&uid);
        }
        if let Some(turn) = self.next_ready() {
            return Some(turn);
        }
        let after = self
            .last_lane
            .clone()
            .map_or(std::ops::Bound::Unbounded, std::ops::Bound::Excluded);
        let order: Vec<ConnectionUid> = self
            .lanes
            .range((after, std::ops::Bound::Unbounded))
            .chain(self.lanes.iter())
            .take(self.lanes.len())
            .filter(|(_, lane)| lane.next_due(now).is_some_and(|due| due <= now))
            .map(|(connection, _)| connection.clone())
            .collect();
        for connection in order {
            if let Some((uid, grant)) = self.lanes.get_mut(&connection)?.next(now) {
                self.offers.remove(&uid);
                self.timers.cancel(&uid);
                self.last_lane = Some(connection.clone());
                self.running.insert(uid.clone(), Some(connection.clone()));
                return Some(Turn {
                    uid,
                    grant: Some((connection, grant)),
                });
            }
        }
        None
    }

    /// A pass is over. `unspent`: what is left of its two tokens, if it had leave. Says whether somebody asked for
    /// another pass meanwhile.
    pub fn done(&mut self, uid: &Uid, unspent: u32, now: Moment) -> bool {
        if let Some(Some(connection)) = self.running.remove(uid)
            && let Some(lane) = self.lanes.get_mut(&connection)
        {
            lane.land(uid, unspent, now);
        }
        if let Some(guest) = self.adrift.remove(uid)
            && !self.adrift.values().any(|other| *other == guest)
        {
            for lane in self.lanes.values_mut() {
                lane.vacate(&guest);
            }
        }
        if let Some((connection, ask)) = self.postponed.remove(uid) {
            self.offer(uid, &connection, ask);
        }
        self.again.remove(uid)
    }

    /// When [`Queue::next`] will have a turn, if nothing else happens before.
    pub fn next_due(&self, now: Moment) -> Option<Moment> {
        if !self.ready.is_empty() {
            return Some(now);
        }
        self.lanes
            .values()
            .filter_map(|lane| lane.next_due(now))
            .chain(self.timers.next_due())
            .min()
    }

    /// The lane of a connection, made when it is first asked for.
    pub fn connection(&mut self, connection: &ConnectionUid, limits: Limits, now: Moment) -> &mut Lane {
        let (breaker, proof) = (self.breaker, self.proof);
        self.lanes.entry(connection.clone()).or_insert_with(|| {
            let mut lane = Lane::new(limits, breaker, proof, now);
            for guest in self.adrift.values() {
                lane.occupy(guest.clone());
            }
            lane
        })
    }

    /// The lane of a connection that is known.
    pub fn lane(&mut self, connection: &ConnectionUid) -> Option<&mut Lane> {
        self.lanes.get_mut(connection)
    }

    /// Whether a pass over the object is under way.
    pub fn is_running(&self, uid: &Uid) -> bool {
        self.running.contains_key(uid)
    }

    /// The lane of a connection that is known, to be looked at.
    pub fn lane_of(&self, connection: &ConnectionUid) -> Option<&Lane> {
        self.lanes.get(connection)
    }

    /// A turn of that object now, without leave, unless a pass over it is under way.
    pub fn claim(&mut self, uid: &Uid) -> Option<Turn> {
        if self.running.contains_key(uid) {
            return None;
        }
        self.forget(uid);
        self.running.insert(uid.clone(), None);
        Some(Turn {
            uid: uid.clone(),
            grant: None,
        })
    }

    /// The next turn of those that need no leave, if anybody has one.
    fn next_ready(&mut self) -> Option<Turn> {
        let uid = self.ready.pop_front()?;
        self.queued.remove(&uid);
        self.running.insert(uid.clone(), None);
        Some(Turn { uid, grant: None })
    }

    /// The connection is gone, and its lane with it. Passes under way through it go on.
    pub fn remove_connection(&mut self, connection: &ConnectionUid) {
        if let Some(lane) = self.lanes.remove(connection) {
            self.adrift.extend(lane.into_flights());
        }
        self.offers.retain(|_, other| other != connection);
    }

    /// Takes an answer in, and says whether a failure of it spends the object's budget. Not if the connection is gone:
    /// nobody knows any more whether the failure was the object's or the connection's.
    pub fn report(
        &mut self,
        connection: &ConnectionUid,
        uid: &Uid,
        operation: Operation,
        health: Health,
        now: Moment,
    ) -> bool {
        self.lanes
            .get_mut(connection)
            .is_some_and(|lane| lane.report(uid, operation, health, now))
    }

    /// Objects that are ready, waiting for a time, waiting in lanes, and passes under way.
    pub fn counts(&self) -> Counts {
        Counts {
            ready: self.ready.len(),
            timed: self.timers.len(),
            waiting: self.lanes.values().map(Lane::waiting).sum(),
            running: self.running.len(),
            lanes: self.lanes.len(),
            broken: self.lanes.values().filter(|lane| lane.is_broken()).count(),
        }
    }

    fn leave_lane(&mut self, uid: &Uid) {
        if let Some(connection) = self.offers.remove(uid)
            && let Some(lane) = self.lanes.get_mut(&connection)
        {
            lane.forget(uid);
        }
    }
}

/// How many objects stand where.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Ready for a pass.
    pub ready: usize,
    /// Waiting for a time.
    pub timed: usize,
    /// Waiting for a connection.
    pub waiting: usize,
    /// Passes under way.
    pub running: usize,
    /// Connections.
    pub lanes: usize,
    /// Connections whose breaker is open.
    pub broken: usize,
}

#[cfg(test)]
mod tests;
