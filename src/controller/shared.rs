//! What the loops of the shell share, and the one lock around what they change. It is never held over an await.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use k8s_openapi::jiff::Timestamp;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::{
    connection::Connection,
    connections::{Connections, Destination},
    index::{ConnectionName, Entry, Index},
    notices::Notices,
    settings::{Chance, Leadership, Settings},
    signing_keys::SigningKeysCache,
};
use crate::{
    clock::{Reading, SharedClock},
    cluster::{Cluster, Publisher},
    genesys::VendorClient,
    schedule::{
        Moment, Uid,
        outbox::{Delivery, Outbox},
        queue::Queue,
    },
    telemetry::{Streak, audit::AuditLog, metrics::Metrics},
    transport::HttpService,
};

/// What every loop has at hand.
pub struct Shared {
    /// What the shell was told at its start.
    pub settings: Settings,
    /// The first seam.
    pub clock: SharedClock,
    /// The second seam.
    pub cluster: Cluster,
    /// The third seam.
    pub http: HttpService,
    /// The vendor, over the third seam.
    pub vendor: VendorClient,
    /// Kubernetes Events.
    pub publisher: Publisher,
    /// The audit log.
    pub audit: AuditLog,
    /// Audit lines that could not be written, in a row.
    pub audit_failures: Streak,
    /// Status writes that the API server did not carry out, in a row.
    pub write_failures: Streak,
    /// The metrics.
    pub metrics: Metrics,
    /// Chance.
    pub chance: Chance,
    /// Who this process is, in its intents: unique for each process.
    pub holder: String,
    /// Whether this process leads.
    pub leadership: Leadership,
    /// The operator is stopping: nothing new begins.
    pub stopping: CancellationToken,
    /// It was stopping, and what was in flight has come to its end.
    pub drained: CancellationToken,
    /// Signing keys that were read a moment ago.
    pub signing_keys: SigningKeysCache,
    /// Events on their way.
    pub notices: Notices,
    /// There may be a turn to give.
    pub work: Notify,
    /// There may be something to do about a connection.
    pub upkeep: Notify,
    /// The wall clock jumped.
    pub jumped: Arc<Notify>,
    /// What the loops change; see [`Shared::lock`].
    pub state: Mutex<State>,
}

/// What the loops change.
#[derive(Debug)]
pub struct State {
    /// The open objects.
    pub index: Index,
    /// Whose turn it is.
    pub queue: Queue,
    /// Which webhook's turn it is.
    pub outbox: Outbox,
    /// The connections.
    pub connections: Connections,
}

impl State {
    /// Nothing yet.
    pub fn new(settings: &Settings) -> Self {
        Self {
            index: Index::default(),
            queue: Queue::new(settings.breaker, settings.proof),
            outbox: Outbox::new(settings.deliveries_per_endpoint),
            connections: Connections::default(),
        }
    }
}

impl Shared {
    /// The state, locked. A panic elsewhere has left it whole: each change is made by calls that do not panic halfway.
    pub fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The wall clock's time.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// The monotonic clock's time.
    pub fn moment(&self) -> Moment {
        self.clock.monotonic()
    }

    /// The term in which this process leads now, if it does.
    pub fn term(&self) -> Option<u64> {
        self.leadership.term(self.reading())
    }

    /// Both clocks.
    pub fn reading(&self) -> Reading {
        Reading::of(self.clock.as_ref())
    }

    /// The wall clock jumped: whatever waits for an instant that somebody else named is looked at anew.
    pub(super) fn clock_jumped(&self) {
        let mut state = self.lock();
        if self.term().is_none() {
            return;
        }
        let uids: Vec<_> = state.index.uids().cloned().collect();
        for uid in uids {
            state.queue.wake(&uid);
        }
    }

    /// The monotonic moment of a wall-clock instant, as things stand now.
    pub fn moment_of(&self, instant: Timestamp) -> Moment {
        self.moment() + crate::termination::instants::between(self.now(), instant)
    }

    /// Changes a connection, and lets everybody know whom the change concerns.
    pub fn change_connection<T>(&self, name: &ConnectionName, change: impl FnOnce(&mut Connection) -> T) -> Option<T> {
        let moment = self.moment();
        let mut state = self.lock();
        let connection = state.connections.get_mut(name)?;
        let stands = |connection: &Connection| {
            (
                connection.hold(false),
                connection.is_open(),
                connection.believes_not_found(),
            )
        };
        let before = (stands(connection), connection.visible());
        let result = change(connection);
        let after = (stands(connection), connection.visible());
        self.settle_lane(&mut state, name, moment);
        if before.0 != after.0 {
            self.wake_users(&mut state, name);
        }
        drop(state);
        self.work.notify_one();
        if before.1 != after.1 {
            self.upkeep.notify_one();
        }
        Some(result)
    }

    /// With the last open object of a connection goes whoever could find out whether the vendor answers again: nothing is
    /// claimed of it from then on. The breaker stays as it is: the next object asks alone, and spends nothing.
    pub(super) fn claim_no_outage_for_nobody(&self, state: &mut State, name: &ConnectionName) {
        if let Some(connection) = state.connections.get_mut(name)
            && connection.broken.is_some()
            && !state.index.has_open(name)
        {
            connection.broken = None;
            self.upkeep.notify_one();
        }
    }

    /// Brings the lane of a connection in line with what is known of the connection.
    pub(super) fn settle_lane(&self, state: &mut State, name: &ConnectionName, moment: Moment) {
        let Some(connection) = state.connections.get(name) else {
            return;
        };
        let limits = connection.limits(self.settings.flights_of_a_connection());
        let lane = state.queue.connection(&connection.uid, limits, moment);
        lane.limit(limits, moment);
        lane.set_open(connection.is_open());
        lane.pause(connection.resting_until);
        lane.put_on_trial(connection.trial_from);
        if connection.believes_not_found() {
            lane.prove();
        }
    }

    /// Wakes every object that uses a connection, and every delivery that waits for it.
    pub(super) fn wake_users(&self, state: &mut State, name: &ConnectionName) {
        if self.term().is_none() {
            return;
        }
        for uid in state.index.users(name) {
            state.queue.wake(&uid);
            let pending = state.index.get(&uid).map(Entry::pending_webhooks).unwrap_or_default();
            for webhook in pending {
                state.outbox.forget(&Delivery {
                    uid: uid.clone(),
                    webhook: webhook.as_str().into(),
                });
            }
            self.sync_outbox(state, &uid);
        }
    }

    /// Offers the pending webhooks of an object to the outbox. Not on a standby: others deliver them, and nothing would
    /// take them out again.
    pub(super) fn sync_outbox(&self, state: &mut State, uid: &Uid) {
        if self.term().is_none() {
            return;
        }
        let Some(entry) = state.index.get(uid) else { return };
        let Some(status) = &entry.object.status else { return };
        let name = entry.connection();
        let endpoint: Arc<str> = status
            .connection
            .as_ref()
            .map_or_else(|| "".into(), |pinned| pinned.uid.as_str().into());
        for (webhook, due) in crate::termination::decide::pending_webhooks(status) {
            // A webhook whose entry was removed ends now, not at its next try.
            let due = due.filter(|_| {
                !matches!(
                    state
                        .connections
                        .destination(&name, status.connection.as_ref(), webhook),
                    Destination::Removed | Destination::Replaced
                )
            });
            let delivery = Delivery {
                uid: uid.clone(),
                webhook: webhook.into(),
            };
            let told = |due| entry.memory.moments.webhook(webhook, due, self.reading());
            let due = due.map_or(Moment::ZERO, |due| self.moment_of(told(due)));
            let webhook = delivery.webhook.clone();
            state.outbox.offer(delivery, (endpoint.clone(), webhook), due);
        }
    }
}
