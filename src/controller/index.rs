//! The index: every open object that this process knows, and what it remembers of each beside the status.
//!
//! Memory follows open work: an object that settles leaves the watch, and then the index. For each uid the index keeps
//! the highest resourceVersion that was seen or written, and older versions, from a cache that lags or a second API
//! server that is behind, change nothing.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use k8s_openapi::jiff::Timestamp;

pub use super::memory::{Holds, Memory, OwnIntent, SeenLook, Telling, Unanswered};
use super::{moments::retell, past::Past, versions::is_newer};
use crate::{
    api::{ConnectionKind, GuestTermination, GuestTerminationStatus, WebhookState},
    clock::Reading,
    cluster::Identity,
    schedule::{Moment, Uid},
    termination::{
        deadline::decisive_from,
        decide::{Intent, LastLook},
        policy::Policy,
        request::{Invalid, Request},
    },
};

/// The connection that a termination without `spec.connectionRef` uses.
pub const DEFAULT_CONNECTION: &str = "default";

/// A connection's namespace and name.
pub type ConnectionName = (Arc<str>, Arc<str>);

/// One open object.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The newest version that was seen or written.
    pub object: Arc<GuestTermination>,
    /// Its request, if it is valid.
    pub request: Result<Arc<Request>, Invalid>,
    /// What is remembered beside the status.
    pub memory: Memory,
    /// It was deleted; what is under way is brought to its end.
    pub deleted: bool,
    /// What is known of it may be wrong, because it left the watch or a write was not answered: it is read before
    /// anything else is done with it.
    pub doubtful: bool,
    /// It left the watch.
    pub departed: bool,
}

impl Entry {
    fn new(object: GuestTermination) -> Self {
        Self {
            request: Request::parse(&object).map(Arc::new),
            object: Arc::new(object),
            memory: Memory::default(),
            deleted: false,
            doubtful: false,
            departed: false,
        }
    }

    /// The status, or an empty one.
    pub fn status(&self) -> GuestTerminationStatus {
        self.object.status.clone().unwrap_or_default()
    }

    /// The status, or an empty one, its instants told by the wall clock as it goes now: what a decision goes by. What is
    /// written starts from [`Entry::status`].
    pub fn status_told(&self, now: Reading, policy: &Policy) -> GuestTerminationStatus {
        self.memory.moments.told(self.status(), now, policy.send_window)
    }

    /// From when a look decides by the word of the status alone, be it another clock's.
    pub fn look_from(&self, policy: &Policy) -> Timestamp {
        decisive_from(&self.status(), policy)
    }

    /// Whether its owner has deleted it, though somebody's finalizer may keep it for a while.
    pub fn is_leaving(&self) -> bool {
        self.deleted || self.object.metadata.deletion_timestamp.is_some()
    }

    /// The connection that the object uses.
    pub fn connection(&self) -> ConnectionName {
        let namespace = self.object.metadata.namespace.as_deref().unwrap_or_default();
        let name = match &self.object.spec.connection_ref {
            Some(reference) => match reference.kind {
                ConnectionKind::GenesysConnection => reference.name.as_str(),
            },
            None => DEFAULT_CONNECTION,
        };
        (namespace.into(), name.into())
    }

    /// Whose the open intent is, as the pure core wants to know it.
    pub fn intent(&self, now: Moment) -> Intent<'_> {
        let open = self
            .object
            .status
            .as_ref()
            .and_then(|status| status.current_attempt.as_ref());
        let Some(open) = open else {
            return Intent::Foreign {
                unchanged_for: Duration::ZERO,
            };
        };
        if let Some(why) = self.memory.withheld.get(&open.id) {
            return Intent::Withheld { why };
        }
        match &self.memory.intent {
            Some(own) if own.id == open.id && own.in_flight => Intent::InFlight,
            Some(own) if own.id == open.id => Intent::Written,
            _ => {
                let since = self
                    .memory
                    .foreign
                    .as_ref()
                    .filter(|(id, _)| *id == open.id)
                    .map_or(now, |(_, since)| *since);
                Intent::Foreign {
                    unchanged_for: now.saturating_sub(since),
                }
            }
        }
    }

    /// The last look, as the pure core wants to know it. A look through another connection is no look at all.
    pub fn look(&self, now: Reading, connection: Option<&str>) -> Option<LastLook> {
        let look = self
            .memory
            .look
            .as_ref()
            .filter(|look| connection == Some(look.connection.as_ref()))?;
        Some(LastLook {
            verdict: look.verdict.clone(),
            at: retell(look.asked.wall, look.asked.offset(), now),
            age: now.monotonic.saturating_sub(look.asked.monotonic),
            since_answered: now.monotonic.saturating_sub(look.answered),
            failures: look.failures,
            jitter: look.jitter,
        })
    }

    /// The names of the webhooks that are still to be delivered.
    pub fn pending_webhooks(&self) -> BTreeSet<String> {
        let status = self
            .object
            .status
            .as_ref()
            .filter(|status| status.is_finished() && !status.is_settled());
        let webhooks = status.map(|status| status.webhooks.as_slice()).unwrap_or_default();
        let pending = webhooks.iter().filter(|webhook| webhook.state == WebhookState::Pending);
        pending.map(|webhook| webhook.name.clone()).collect()
    }

    /// Whether something happened that is not in the status yet and that only this process can tell: an answer, or that
    /// the call of an own intent did not leave.
    pub fn owes(&self) -> bool {
        let open = self
            .object
            .status
            .as_ref()
            .and_then(|status| status.current_attempt.as_ref());
        self.memory.kept.is_some() || open.is_some_and(|open| self.memory.withheld.contains_key(&open.id))
    }

    fn take(&mut self, object: GuestTermination, now: Reading) {
        self.request = Request::parse(&object).map(Arc::new);
        self.object = Arc::new(object);
        self.settle_unanswered();
        self.learn(now);
    }

    /// The object was deleted: what becomes of its status lives in memory alone.
    pub fn keep(&mut self, status: GuestTerminationStatus, now: Reading) {
        let mut object = self.object.as_ref().clone();
        object.status = Some(status);
        self.object = Arc::new(object);
        self.learn(now);
    }

    fn learn(&mut self, now: Reading) {
        let status = self.status();
        let open = status.current_attempt.as_ref();
        let own = open.zip(self.memory.intent.as_ref());
        let own = own.is_some_and(|(open, own)| open.id == own.id);
        self.memory.moments.learn(&status, own, now);
        self.notice_intent(now.monotonic);
    }

    /// A write that was not answered and is found stored has done its work: what it holds must not be applied twice.
    fn settle_unanswered(&mut self) {
        let status = self.object.status.clone().unwrap_or_default();
        let found = |written: &GuestTerminationStatus, holds: &Holds| match holds {
            Holds::Try(name) => {
                let entry = |status: &GuestTerminationStatus| {
                    status.webhooks.iter().find(|webhook| webhook.name == *name).cloned()
                };
                entry(written) == entry(&status)
            }
            _ => *written == status,
        };
        let (stored, open): (Vec<_>, Vec<_>) = std::mem::take(&mut self.memory.unanswered)
            .into_iter()
            .partition(|unanswered| found(&unanswered.written, &unanswered.holds));
        // What an older event does not show may still be stored; only a read says that it is not.
        self.memory.unanswered = open;
        for unanswered in stored {
            self.made_durable(&unanswered.holds);
            self.memory.overdue.push(unanswered.telling);
        }
    }

    /// What a write held is durable.
    pub fn made_durable(&mut self, holds: &Holds) {
        match holds {
            Holds::Kept => self.memory.kept = None,
            Holds::Intent | Holds::Nothing => {}
            Holds::Try(webhook) => {
                self.memory.tried.remove(webhook);
            }
        }
    }

    /// Remembers when an intent was first seen that may be somebody else's.
    fn notice_intent(&mut self, now: Moment) {
        let open = self
            .object
            .status
            .as_ref()
            .and_then(|status| status.current_attempt.as_ref());
        match open {
            None => self.memory.foreign = None,
            Some(open) if self.memory.foreign.as_ref().is_some_and(|(id, _)| *id == open.id) => {}
            Some(open) => {
                self.memory.foreign = Some((open.id.clone(), now));
                // The first failure of those that follow is the first.
                if let Some(look) = &mut self.memory.look {
                    look.failures = 0;
                }
            }
        }
    }
}

/// What became of a version that was brought in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// It is news.
    News,
    /// It is what was known already, or older.
    Known,
}

/// The index.
#[derive(Clone, Debug, Default)]
pub struct Index {
    entries: BTreeMap<Uid, Entry>,
    by_connection: BTreeMap<ConnectionName, BTreeSet<Uid>>,
    listing: Option<BTreeSet<Uid>>,
    past: Past,
}

impl Index {
    /// The entry of a uid.
    pub fn get(&self, uid: &Uid) -> Option<&Entry> {
        self.entries.get(uid)
    }

    /// The entry of a uid, to be changed.
    pub fn get_mut(&mut self, uid: &Uid) -> Option<&mut Entry> {
        self.entries.get_mut(uid)
    }

    /// The uids of all objects.
    pub fn uids(&self) -> impl Iterator<Item = &Uid> {
        self.entries.keys()
    }

    /// The uids of the objects that use a connection.
    pub fn users(&self, connection: &ConnectionName) -> Vec<Uid> {
        self.by_connection
            .get(connection)
            .map(|uids| uids.iter().cloned().collect())
            .unwrap_or_default()
    }

    /// Whether an object that uses a connection is not finished.
    pub fn has_open(&self, connection: &ConnectionName) -> bool {
        let open = |uid| {
            let status = self.entries.get(uid).map(|entry| entry.object.status.as_ref());
            status.is_some_and(|status| status.is_none_or(|status| !status.is_finished()))
        };
        self.by_connection
            .get(connection)
            .is_some_and(|uids| uids.iter().any(open))
    }

    /// Takes in what a read found that was begun when `before` was known. Unlike an event it is the last word, older or
    /// not, unless news came in between; and it is no part of a listing.
    pub fn read(&mut self, uid: &Uid, object: GuestTermination, before: &GuestTermination, now: Reading) {
        let Some(entry) = self.entries.get_mut(uid) else { return };
        let unchanged = entry.object.metadata.resource_version == before.metadata.resource_version;
        if unchanged || is_newer(&object.metadata, &entry.object.metadata) {
            entry.take(object, now);
            entry.doubtful = false;
            entry.memory.unanswered.clear();
        }
    }

    /// The uids of the objects of which something is still to be told.
    pub fn owing(&self) -> Vec<Uid> {
        let owing = self.entries.iter().filter(|(_, entry)| entry.owes() && !entry.deleted);
        owing.map(|(uid, _)| uid.clone()).collect()
    }

    /// The uids of the objects that are more, or less, than what the watch shows: something is to be told of them, or they
    /// left it, or they have to be read.
    pub fn undone(&self) -> Vec<Uid> {
        let undone = |entry: &Entry| entry.owes() || entry.deleted || entry.departed || entry.doubtful;
        let undone = self.entries.iter().filter(|(_, entry)| undone(entry));
        undone.map(|(uid, _)| uid.clone()).collect()
    }

    /// Forgets what the vendor was asked before. Gives every uid back, those with an open intent first.
    pub fn start_anew(&mut self) -> Vec<Uid> {
        let mut order = Vec::new();
        for (uid, entry) in &mut self.entries {
            entry.memory.look = None;
            entry.memory.asked = false;
            entry.memory.reconsider = false;
            entry.memory.failed_writes = 0;
            let status = entry.object.status.as_ref();
            let open = status.is_some_and(|status| status.current_attempt.is_some());
            order.push((!open, uid.clone()));
        }
        order.sort();
        order.into_iter().map(|(_, uid)| uid).collect()
    }

    /// Takes in a version that the watch told of.
    pub fn see(&mut self, object: GuestTermination, now: Reading) -> Option<(Uid, Taken)> {
        let uid: Uid = object.metadata.uid.as_deref()?.into();
        if let Some(listing) = &mut self.listing {
            listing.insert(uid.clone());
        }
        let taken = match self.entries.get_mut(&uid) {
            Some(entry) => {
                let known = !is_newer(&object.metadata, &entry.object.metadata);
                if known {
                    Taken::Known
                } else {
                    entry.take(object, now);
                    Taken::News
                }
            }
            None if self.past.covers(&uid, &object.metadata) => Taken::Known,
            None => {
                let mut entry = Entry::new(object);
                entry.learn(now);
                self.by_connection
                    .entry(entry.connection())
                    .or_default()
                    .insert(uid.clone());
                self.entries.insert(uid.clone(), entry);
                Taken::News
            }
        };
        Some((uid, taken))
    }

    /// Takes in the version that an own write made.
    pub fn wrote(&mut self, uid: &Uid, object: GuestTermination, now: Reading) {
        if let Some(entry) = self.entries.get_mut(uid)
            && is_newer(&object.metadata, &entry.object.metadata)
        {
            entry.take(object, now);
        }
    }

    /// A listing begins: what it does not name has gone meanwhile.
    pub fn list_began(&mut self) {
        self.listing = Some(BTreeSet::new());
    }

    /// The listing is complete. The uids that it did not name.
    pub fn list_ended(&mut self) -> Vec<Uid> {
        let Some(listed) = self.listing.take() else {
            return Vec::new();
        };
        self.entries
            .keys()
            .filter(|uid| !listed.contains(*uid))
            .cloned()
            .collect()
    }

    /// An object left the watch. Says whether it is still to be found out what became of it.
    pub fn left(&mut self, identity: &Identity) -> Option<(Uid, Departure)> {
        let uid: Uid = identity.uid.as_str().into();
        let entry = self.entries.get(&uid)?;
        let own = entry.object.metadata.resource_version.as_deref() == Some(identity.resource_version.as_str());
        let settled = entry
            .object
            .status
            .as_ref()
            .is_some_and(GuestTerminationStatus::is_settled);
        Some((
            uid,
            if own && settled {
                Departure::Settled
            } else {
                Departure::Unclear
            },
        ))
    }

    /// Forgets an object.
    pub fn remove(&mut self, uid: &Uid) -> Option<Entry> {
        let entry = self.entries.remove(uid)?;
        if entry.deleted {
            self.past.deleted(uid);
        } else if entry.status().is_settled() {
            self.past.settled(uid, &entry.object.metadata);
        }
        let connection = entry.connection();
        if let Some(uids) = self.by_connection.get_mut(&connection) {
            uids.remove(uid);
            if uids.is_empty() {
                self.by_connection.remove(&connection);
            }
        }
        Some(entry)
    }
}

/// Why an object left the watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Departure {
    /// By the own write that settled it.
    Settled,
    /// It was deleted, or somebody else settled it: a read can tell.
    Unclear,
}

#[cfg(test)]
mod tests;
