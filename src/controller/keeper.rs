//! Looking after the connections: their Secrets, their first token, their status.
//!
//! A connection that is ready costs nothing here: the passes that use it look at its Secrets themselves. One that is not
//! is looked at every few seconds, by metadata alone, so that its repair is noticed. Only the leader looks after them.

use std::{
    collections::{BTreeMap, BTreeSet},
    panic::AssertUnwindSafe,
    sync::Arc,
    time::Duration,
};

use futures::{FutureExt, future::join_all};
use tokio::task::JoinSet;

use super::{
    connection::{Connection, Standing},
    connection_status::{desired, is_urgent},
    index::ConnectionName,
    shared::Shared,
    versions::is_newer,
    watch::see_connection,
};
use crate::{
    api::GenesysConnection,
    cluster::StatusWrite,
    schedule::Moment,
    telemetry::metrics::{ConnectionState, WatchedKind},
};

/// The pause after a status that met a newer object.
const CONFLICT_PAUSE: Duration = Duration::from_secs(1);
/// The pause after a status that the API server did not take.
const WRITE_PAUSE: Duration = Duration::from_secs(5);

/// How long a connection is left alone after a chore of it panicked.
const PANIC_REST: Duration = Duration::from_secs(300);

/// Writes of a connection's status in a row that need not wait: what a start brings, and a pause that comes with it.
const FREE_WRITES: u32 = 4;

/// What is to be done about a connection now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Chore {
    Secrets,
    Token,
    Allowance,
    Status,
}

/// How long the end waits for the last statuses.
const LAST_WRITES: Duration = Duration::from_secs(4);

/// Looks after the connections until the operator has stopped. While it stops, what answers in flight say is still written:
/// the next process reads a pause that the vendor asked for in the connection's status, and nowhere else.
pub async fn run(shared: Arc<Shared>) {
    let mut jobs = JoinSet::new();
    let mut busy: BTreeSet<ConnectionName> = BTreeSet::new();
    let mut resting: BTreeMap<ConnectionName, Moment> = BTreeMap::new();
    loop {
        let next = {
            let moment = shared.moment();
            resting.retain(|_, until| *until > moment);
            let mut next: Option<Moment> = resting.values().min().copied();
            for (name, chore) in plan(&shared, &mut next, |name| {
                busy.contains(name) || resting.contains_key(name)
            }) {
                busy.insert(name.clone());
                let shared = shared.clone();
                jobs.spawn(async move { attend(&shared, name, chore).await });
            }
            next.map(|next| next.saturating_sub(moment))
        };
        let timer = async {
            match next {
                Some(pause) => shared.clock.sleep(pause).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = shared.drained.cancelled() => break,
            Some(done) = jobs.join_next(), if !jobs.is_empty() => match done {
                Ok((name, well)) => {
                    busy.remove(&name);
                    if !well {
                        resting.insert(name, shared.moment() + PANIC_REST);
                    }
                }
                // A chore catches its own panics. What comes through is a bug of the keeper's, and the supervisor ends
                // the process: a keeper that lost a chore would never look at that connection again.
                Err(error) => std::panic::resume_unwind(error.into_panic()),
            },
            () = shared.upkeep.notified() => {}
            () = timer => {}
        }
    }
    // A status that is being written may as well arrive, and the last answer's news is written.
    let last_words = async {
        let mut done = jobs.join_all().await;
        loop {
            let panicked = done.into_iter().filter(|(_, well)| !well);
            resting.extend(panicked.map(|(name, _)| (name, Moment::MAX)));
            let chores = plan(&shared, &mut None, |name| resting.contains_key(name));
            let statuses = chores.into_iter().filter(|(_, chore)| *chore == Chore::Status);
            done = join_all(statuses.map(|(name, chore)| attend(&shared, name, chore))).await;
            if !owes_a_pause(&shared, &resting) {
                return;
            }
            shared.clock.sleep(CONFLICT_PAUSE).await;
        }
    };
    tokio::select! {
        biased;
        () = last_words => {}
        () = shared.clock.sleep(LAST_WRITES) => {}
    }
}

/// The chores that are due, and in `next` when the next one will be.
fn plan(
    shared: &Shared,
    next: &mut Option<Moment>,
    is_left_alone: impl Fn(&ConnectionName) -> bool,
) -> Vec<(ConnectionName, Chore)> {
    let now = shared.reading();
    let moment = now.monotonic;
    let mut chores = Vec::new();
    let mut states = [0; ConnectionState::ALL.len()];
    if shared.term().is_none() {
        // A standby asks nothing and writes nothing, and what it knows of the connections counts for nobody.
        ConnectionState::ALL
            .iter()
            .for_each(|state| shared.metrics.connections(*state, 0));
        return chores;
    }
    let mut later = |due: Moment| *next = Some(next.map_or(due, |next| next.min(due)));
    let state = shared.lock();
    for (name, connection) in state.connections.iter() {
        states[state_of(connection) as usize] += 1;
        if is_left_alone(name) {
            continue;
        }
        // What is asked for now would serve nobody.
        let stopping = shared.stopping.is_cancelled();
        if !stopping && let Some(due) = secrets_due(connection, shared) {
            if due <= moment {
                chores.push((name.clone(), Chore::Secrets));
                continue;
            }
            later(due);
        }
        if !stopping && let Some(due) = token_due(connection) {
            if due <= moment {
                chores.push((name.clone(), Chore::Token));
                continue;
            }
            later(due);
        }
        if !stopping && connection.is_starved_by_the_vendor() {
            let due = connection.allowed_at + shared.settings.pacing.trial_cap;
            if due <= moment {
                chores.push((name.clone(), Chore::Allowance));
                continue;
            }
            later(due);
        }
        if connection.pausing(moment).is_some() {
            // The end of a pause is news that nobody else brings.
            later(connection.pause_ends);
        }
        let old = connection.object.status.clone().unwrap_or_default();
        let new = desired(connection, now);
        if old != new {
            let calm = connection
                .written
                .map_or(Moment::ZERO, |at| at + shared.settings.pacing.connection_status);
            let due = if is_urgent(&old, &new) { Moment::ZERO } else { calm }.max(connection.write_not_before);
            if due <= moment {
                chores.push((name.clone(), Chore::Status));
            } else if connection.used || is_urgent(&old, &new) {
                later(due);
            }
        }
    }
    drop(state);
    for state in ConnectionState::ALL {
        shared.metrics.connections(state, states[state as usize]);
    }
    chores
}

/// Whether a connection pauses and its status does not say so.
fn owes_a_pause(shared: &Shared, resting: &BTreeMap<ConnectionName, Moment>) -> bool {
    let moment = shared.moment();
    let state = shared.lock();
    let mut connections = state.connections.iter();
    connections.any(|(name, connection)| {
        let status = connection.object.status.as_ref();
        let limit = status.and_then(|status| status.rate_limit.as_ref());
        let said = limit.and_then(|limit| limit.paused_until.as_ref()).map(|until| until.0);
        let pausing = connection.pausing(moment);
        pausing.is_some() && said != pausing && !resting.contains_key(name)
    })
}

/// How long the next write of a connection's status waits, urgent or not: what changes again and again, as when two
/// processes each believe that they lead, must not become a storm.
fn pause_between(writes_in_a_row: u32) -> Duration {
    match writes_in_a_row {
        0..FREE_WRITES => Duration::ZERO,
        more => Duration::from_secs(1 << (more - FREE_WRITES).min(6)),
    }
}

fn state_of(connection: &Connection) -> ConnectionState {
    match connection.standing {
        Standing::Valid if connection.broken.is_none() && !connection.object.spec.suspend => ConnectionState::Ready,
        Standing::Valid | Standing::NotProbed | Standing::Unavailable(_) => ConnectionState::Unknown,
        _ => ConnectionState::NotReady,
    }
}

/// When the Secrets are to be looked at, if they are.
fn secrets_due(connection: &Connection, shared: &Shared) -> Option<Moment> {
    if connection.object.spec.suspend || connection.standing == Standing::Valid || connection.endpoints.is_err() {
        return None;
    }
    Some(
        connection
            .checked
            .map_or(Moment::ZERO, |at| at + shared.settings.pacing.secrets),
    )
}

/// When a token is to be asked for, if one is.
fn token_due(connection: &Connection) -> Option<Moment> {
    let waits = matches!(
        connection.standing,
        Standing::NotProbed | Standing::Unavailable(_) | Standing::CredentialsInvalid(_)
    );
    let wanted = waits && connection.credentials.is_some() && !connection.object.spec.suspend;
    wanted.then(|| connection.token_retry_at.unwrap_or(Moment::ZERO))
}

/// A panic in a chore is the trouble of that connection and nothing else.
fn panicked(shared: &Shared, name: &ConnectionName, chore: Chore) {
    tracing::error!(connection = %name.1, namespace = %name.0, ?chore, "a chore panicked; its connection is left alone for minutes. This is a bug.");
    shared.change_connection(name, |connection| {
        if matches!(connection.standing, Standing::NotProbed | Standing::Unavailable(_)) {
            let why = "the operator failed on this connection; please report this with the operator's logs";
            connection.standing = Standing::Unavailable(why.to_owned());
        }
    });
}

/// Does a chore, and says whether it came to its end: whether or not the operator stops, a panic in it is the trouble of its
/// connection and ends nothing else.
async fn attend(shared: &Shared, name: ConnectionName, chore: Chore) -> (ConnectionName, bool) {
    let done = AssertUnwindSafe(do_chore(shared, &name, chore)).catch_unwind().await;
    if done.is_err() {
        panicked(shared, &name, chore);
    }
    (name, done.is_ok())
}

async fn do_chore(shared: &Shared, name: &ConnectionName, chore: Chore) {
    match chore {
        Chore::Secrets => shared.check_secrets(name).await,
        Chore::Token => {
            let found = {
                let state = shared.lock();
                let resolved = state.connections.resolve(name, None, "", true);
                resolved
                    .view
                    .and_then(|view| Some((view.target.clone()?, view.credentials.clone()?, view)))
            };
            if let Some((target, credentials, view)) = found {
                shared.token(name, &target, &credentials, &view).await;
            }
        }
        Chore::Allowance => {
            // Nobody can ask, so nobody would ever hear of a better limit: one pass at a time finds out.
            let moment = shared.moment();
            shared.change_connection(name, |connection| {
                connection.allowed = None;
                connection.trial_from = Some(moment);
            });
        }
        Chore::Status => write_status(shared, name).await,
    }
}

async fn write_status(shared: &Shared, name: &ConnectionName) {
    let (object, status) = {
        let mut state = shared.lock();
        let Some(connection) = state.connections.get_mut(name) else {
            return;
        };
        let status = desired(connection, shared.reading());
        connection.used = false;
        (connection.object.clone(), status)
    };
    let write = shared.cluster.replace_status(object.as_ref(), status).await;
    shared.note_write(WatchedKind::GenesysConnection, &write);
    let (fresh, pause) = match write {
        StatusWrite::Written(stored) => (Some(*stored), None),
        StatusWrite::Conflict => {
            // Somebody edited it: that is taken in like any other news.
            let read = shared.cluster.get::<GenesysConnection>(&name.0, &name.1).await;
            let known = shared
                .lock()
                .connections
                .get(name)
                .map(|connection| connection.uid.clone());
            // Another one of the same name is the watch's to tell: a read may be older than what it told already. Until
            // then no write can succeed.
            match read {
                Ok(Some(fresh)) if fresh.metadata.uid.as_deref() == known.as_deref() => {
                    see_connection(shared, fresh);
                    shared.work.notify_one();
                    (None, Some(CONFLICT_PAUSE))
                }
                Ok(_) => (None, Some(WRITE_PAUSE)),
                Err(_) => (None, Some(CONFLICT_PAUSE)),
            }
        }
        StatusWrite::Gone => (None, Some(WRITE_PAUSE)),
        StatusWrite::Throttled(pause) => (None, Some(pause.clamp(WRITE_PAUSE, 6 * WRITE_PAUSE))),
        StatusWrite::Refused { code, message } => {
            tracing::error!(connection = %name.1, namespace = %name.0, code, message, "the API server refused the connection's status");
            (None, Some(6 * WRITE_PAUSE))
        }
        StatusWrite::Unanswered(why) => {
            tracing::warn!(connection = %name.1, namespace = %name.0, why, "the connection's status write was not answered");
            (None, Some(WRITE_PAUSE))
        }
    };
    let moment = shared.moment();
    let mut state = shared.lock();
    let Some(connection) = state.connections.get_mut(name) else {
        return;
    };
    if let Some(fresh) = fresh
        && fresh.metadata.uid.as_deref() == Some(connection.uid.as_ref())
        && fresh.metadata.generation == connection.object.metadata.generation
        && is_newer(&fresh.metadata, &connection.object.metadata)
    {
        connection.object = Arc::new(fresh);
    }
    match pause {
        None => {
            let spacing = shared.settings.pacing.connection_status;
            let again = connection.written.is_some_and(|at| moment < at + spacing);
            connection.writes_in_a_row = if again { connection.writes_in_a_row + 1 } else { 0 };
            connection.write_not_before = moment + pause_between(connection.writes_in_a_row).min(spacing);
            connection.written = Some(moment);
        }
        Some(pause) => {
            connection.write_not_before = moment + pause;
            // A write that may have been applied, or met a newer object: what is at hand is not the last word.
            connection.used = true;
        }
    }
}
