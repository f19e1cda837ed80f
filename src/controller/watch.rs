//! What the watches tell, brought into the index.

use std::{collections::BTreeSet, sync::Arc};

use futures::StreamExt;
use tokio::sync::oneshot;

use super::{
    connections::Change,
    dispatch,
    index::{ConnectionName, Departure, Entry, Taken},
    shared::{Shared, State},
};
use crate::{
    api::{GenesysConnection, GuestTermination},
    cluster::{Identity, Jitter, Notice, NoticeKind, Regarding, WatchEvent, WatchSettings},
    schedule::Uid,
    telemetry::metrics::WatchedKind,
};

/// The open work: whatever is not settled, the outbox included. An absent field reads as the empty string.
const OPEN_WORK: &str = "status.settled!=true";

fn settings(shared: &Shared) -> WatchSettings {
    WatchSettings {
        namespace: shared.settings.namespace.clone(),
        timeout_seconds: shared.settings.pacing.watch_timeout_seconds,
        ..WatchSettings::default()
    }
}

fn jitter(shared: &Shared) -> Jitter {
    let chance = shared.chance.clone();
    Arc::new(move || chance.share())
}

/// Watches the terminations. `listed` is told when the first listing is complete.
pub async fn terminations(shared: Arc<Shared>, listed: oneshot::Sender<()>) {
    let mut listed = Some(listed);
    let settings = WatchSettings {
        field_selector: Some(OPEN_WORK.to_owned()),
        ..settings(&shared)
    };
    let pulse = shared.metrics.watch(WatchedKind::GuestTermination);
    let mut events = shared
        .cluster
        .watch::<GuestTermination>(&settings, jitter(&shared), pulse);
    while let Some(event) = events.next().await {
        match event {
            WatchEvent::ListBegan => shared.lock().index.list_began(),
            WatchEvent::Listed(object) | WatchEvent::Applied(object) => see(&shared, object),
            WatchEvent::ListEnded => {
                let mut state = shared.lock();
                for uid in state.index.list_ended() {
                    doubt(&shared, &mut state, &uid);
                }
                drop(state);
                if let Some(listed) = listed.take() {
                    let _ = listed.send(());
                }
            }
            WatchEvent::Deleted(identity) => departed(&shared, &identity),
            WatchEvent::Undecodable { object, error } => {
                set_aside(&shared, &object.uid.as_str().into());
                undecodable::<GuestTermination>(&shared, WatchedKind::GuestTermination, object, &error);
            }
        }
        shared.work.notify_one();
    }
}

fn see(shared: &Shared, object: GuestTermination) {
    let reading = shared.reading();
    let mut state = shared.lock();
    if let Some((uid, Taken::News)) = state.index.see(object, reading) {
        shared.tell_overdue(&mut state, &uid);
        if shared.term().is_none() {
            return;
        }
        shared.sync_outbox(&mut state, &uid);
        state.queue.wake(&uid);
    }
}

fn departed(shared: &Shared, identity: &Identity) {
    let mut state = shared.lock();
    let uid: Uid = identity.uid.as_str().into();
    let connection = state.index.get(&uid).map(Entry::connection);
    match state.index.left(identity) {
        // An answer may still come, and has to be told: the end of the pass lets the object go.
        Some((uid, Departure::Settled)) if state.queue.is_running(&uid) => {
            if let Some(entry) = state.index.get_mut(&uid) {
                entry.departed = true;
            }
        }
        Some((uid, Departure::Settled)) => dispatch::forget(&mut state, &uid),
        Some((uid, Departure::Unclear)) => doubt(shared, &mut state, &uid),
        None => {}
    }
    if let Some(connection) = connection {
        shared.claim_no_outage_for_nobody(&mut state, &connection);
    }
}

/// The object left the watch: it is read before anything else is done with it. A standby does nothing with it: its leader
/// settled it, or somebody deleted it.
fn doubt(shared: &Shared, state: &mut State, uid: &Uid) {
    let Some(entry) = state.index.get_mut(uid) else { return };
    entry.doubtful = true;
    entry.departed = true;
    if shared.term().is_none() && !entry.owes() && !state.queue.is_running(uid) {
        dispatch::forget(state, uid);
    } else {
        state.queue.wake(uid);
    }
}

/// Watches the connections. `listed` is told when the first listing is complete.
pub async fn connections(shared: Arc<Shared>, listed: oneshot::Sender<()>) {
    let mut listed = Some(listed);
    let mut listing: BTreeSet<(ConnectionName, Arc<str>)> = BTreeSet::new();
    let pulse = shared.metrics.watch(WatchedKind::GenesysConnection);
    let mut events = shared
        .cluster
        .watch::<GenesysConnection>(&settings(&shared), jitter(&shared), pulse);
    while let Some(event) = events.next().await {
        match event {
            WatchEvent::ListBegan => {
                listing.clear();
                shared.lock().connections.read_anew();
            }
            WatchEvent::Listed(object) => {
                listing.extend(see_connection(&shared, object));
            }
            WatchEvent::Applied(object) => {
                see_connection(&shared, object);
            }
            WatchEvent::ListEnded => {
                let known: Vec<_> = {
                    let state = shared.lock();
                    state
                        .connections
                        .iter()
                        .map(|(name, connection)| (name.clone(), connection.uid.clone()))
                        .collect()
                };
                for (name, uid) in known.into_iter().filter(|known| !listing.contains(known)) {
                    remove_connection(&shared, &name, &uid);
                }
                if let Some(listed) = listed.take() {
                    let _ = listed.send(());
                }
            }
            WatchEvent::Deleted(identity) => {
                let name = (identity.namespace.as_str().into(), identity.name.as_str().into());
                shared.lock().connections.can_read(&name);
                remove_connection(&shared, &name, &identity.uid);
            }
            WatchEvent::Undecodable { object, error } => {
                let name = (object.namespace.as_str().into(), object.name.as_str().into());
                cannot_read(&shared, &name, &object.uid);
                undecodable::<GenesysConnection>(&shared, WatchedKind::GenesysConnection, object, &error);
            }
        }
        shared.upkeep.notify_one();
        shared.work.notify_one();
    }
}

pub(super) fn see_connection(shared: &Shared, object: GenesysConnection) -> Option<(ConnectionName, Arc<str>)> {
    let uid: Arc<str> = object.metadata.uid.as_deref()?.into();
    let reading = shared.reading();
    let mut state = shared.lock();
    let (name, change) = state
        .connections
        .see(object, shared.settings.allow_insecure_endpoints, reading)?;
    match &change {
        Change::Nothing => return Some((name, uid)),
        Change::New(former) => {
            if let Some(former) = former {
                state.queue.remove_connection(former);
            }
        }
        Change::Edited { not_found: true } => {
            for user in state.index.users(&name) {
                if let Some(entry) = state.index.get_mut(&user) {
                    entry.memory.reconsider = true;
                }
            }
        }
        Change::Edited { not_found: false } | Change::Learned => {}
    }
    shared.settle_lane(&mut state, &name, reading.monotonic);
    shared.wake_users(&mut state, &name);
    Some((name, uid))
}

/// A connection that cannot be read is out of force, the kill switch of its old version included.
fn cannot_read(shared: &Shared, name: &ConnectionName, uid: &str) {
    let mut state = shared.lock();
    if let Some(gone) = state.connections.remove(name, uid) {
        state.queue.remove_connection(&gone.uid);
    }
    state.connections.cannot_read(name.clone());
    shared.wake_users(&mut state, name);
}

fn remove_connection(shared: &Shared, name: &ConnectionName, uid: &str) {
    let mut state = shared.lock();
    if let Some(gone) = state.connections.remove(name, uid) {
        state.queue.remove_connection(&gone.uid);
        shared.wake_users(&mut state, name);
    }
}

/// An object that cannot be read is not acted on. What is under way about it comes to its end, and is kept until the
/// object can be read again.
fn set_aside(shared: &Shared, uid: &Uid) {
    let mut state = shared.lock();
    let busy = state.queue.is_running(uid) || state.index.get(uid).is_some_and(Entry::owes);
    if busy {
        doubt(shared, &mut state, uid);
    } else {
        dispatch::forget(&mut state, uid);
    }
}

/// An object that does not fit the types of this version is never acted on, and stops nothing else.
fn undecodable<K: kube::Resource<DynamicType = ()>>(shared: &Shared, kind: WatchedKind, object: Identity, error: &str) {
    shared.metrics.undecodable(kind);
    tracing::error!(%object, error, "an object does not fit this version's types; it is not acted on");
    let notice = Notice {
        discriminator: object.resource_version.clone(),
        regarding: Regarding::undecoded::<K>(object),
        kind: NoticeKind::Warning,
        reason: "InvalidObject".to_owned(),
        action: "Decode".to_owned(),
        note: format!(
            "This object does not fit the operator's version of its kind and is not acted on: {error}. Apply the definitions of this version, or delete the object."
        ),
    };
    // Every replica sees it, and one tells.
    if shared.term().is_some() {
        shared.publish([notice]);
    }
}
