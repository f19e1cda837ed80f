//! Giving turns: to objects, as the queue says, and to webhooks, as the outbox says. A replica that does not lead gives
//! none, but for what is left to be told of what it began.

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures::FutureExt;
use serde_json::{Map, Value};
use tokio::task::{JoinError, JoinSet};

use super::{
    delivery::After,
    index::{Entry, Holds},
    pass::{Next, Pass},
    shared::{Shared, State},
};
use crate::{
    schedule::{
        Moment, Uid,
        outbox::Delivery,
        queue::{Counts, Turn},
    },
    telemetry::metrics::{BreakerState, QueueState},
    termination::{evolve::evolve, fact::Fact, records},
};

/// How often a stopping operator tries again to write what is kept.
const DRAIN_PAUSE: Duration = Duration::from_millis(500);
/// The longest pause of one that stands by.
const ARREARS_CAP: Duration = Duration::from_secs(30);

/// What is left to be told by a process that does not lead (any more).
struct Arrears {
    /// There may be something.
    look: bool,
    next: Moment,
    pause: Duration,
}

impl Default for Arrears {
    fn default() -> Self {
        Self {
            look: true,
            next: Moment::ZERO,
            pause: DRAIN_PAUSE,
        }
    }
}

/// Gives turns until the operator stops, and then lets what is under way come to its end.
pub async fn run(shared: Arc<Shared>) {
    let mut passes = JoinSet::new();
    let mut tries = JoinSet::new();
    let mut arrears = Arrears::default();
    loop {
        let pause = give_turns(&shared, &mut arrears, &mut passes, &mut tries);
        let timer = async {
            match pause {
                Some(pause) => shared.clock.sleep(pause).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = shared.stopping.cancelled() => break,
            Some(done) = passes.join_next(), if !passes.is_empty() => {
                supervise(done);
                arrears.look = true;
            }
            Some(done) = tries.join_next(), if !tries.is_empty() => supervise(done),
            () = shared.work.notified() => {}
            () = shared.jumped.notified() => shared.clock_jumped(),
            () = timer => {}
        }
    }
    drain(&shared, passes, tries).await;
}

/// Starts whatever may start now, and says how long nothing else will be due.
fn give_turns(
    shared: &Arc<Shared>,
    arrears: &mut Arrears,
    passes: &mut JoinSet<()>,
    tries: &mut JoinSet<()>,
) -> Option<Moment> {
    let moment = shared.moment();
    let mut state = shared.lock();
    // Under the lock, as a term begins under it: these turns are of this term.
    let Some(term) = shared.term() else {
        return stand_by(shared, &mut state, moment, arrears, passes);
    };
    *arrears = Arrears::default();
    while passes.len() < shared.settings.workers {
        let Some(turn) = state.queue.next(moment) else { break };
        passes.spawn(take_turn(shared.clone(), turn, Some(term)));
    }
    while tries.len() < shared.settings.deliveries {
        let Some(delivery) = state.outbox.next(moment) else {
            break;
        };
        tries.spawn(take_delivery(shared.clone(), delivery));
    }
    show(shared, state.queue.counts());
    let turn = (passes.len() < shared.settings.workers)
        .then(|| state.queue.next_due(moment))
        .flatten();
    let delivery = (tries.len() < shared.settings.deliveries)
        .then(|| state.outbox.next_due(moment))
        .flatten();
    let due = match (turn, delivery) {
        (Some(turn), Some(delivery)) => Some(turn.min(delivery)),
        (turn, delivery) => turn.or(delivery),
    };
    due.map(|due| due.saturating_sub(moment))
}

fn show(shared: &Shared, counts: Counts) {
    shared.metrics.queue(QueueState::Ready, counts.ready + counts.waiting);
    shared.metrics.queue(QueueState::Waiting, counts.timed);
    shared.metrics.breakers(BreakerState::Open, counts.broken);
    shared
        .metrics
        .breakers(BreakerState::Closed, counts.lanes - counts.broken);
    shared.metrics.in_flight(counts.running);
}

/// Begins nothing, and brings to its end what was begun: answers that are not in the statuses yet are written, and what
/// left the watch is forgotten. Says how long nothing else will be due.
fn stand_by(
    shared: &Arc<Shared>,
    state: &mut State,
    moment: Moment,
    arrears: &mut Arrears,
    passes: &mut JoinSet<()>,
) -> Option<Moment> {
    if arrears.look && moment >= arrears.next {
        let undone = state.index.undone();
        arrears.look = !undone.is_empty();
        arrears.next = moment + arrears.pause;
        arrears.pause = (arrears.pause * 2).min(ARREARS_CAP);
        claim(shared, state, &undone, passes);
    }
    // What waits here waits for the leader's turn, and is counted there.
    let counts = Counts {
        running: state.queue.counts().running,
        ..Counts::default()
    };
    show(shared, counts);
    arrears.look.then(|| arrears.next.saturating_sub(moment))
}

/// Turns without leave and without a term: whatever they find, they begin nothing.
fn claim(shared: &Arc<Shared>, state: &mut State, uids: &[Uid], passes: &mut JoinSet<()>) {
    for uid in uids {
        if passes.len() < shared.settings.workers
            && let Some(turn) = state.queue.claim(uid)
        {
            passes.spawn(take_turn(shared.clone(), turn, None));
        }
    }
}

/// A turn catches its own panics. What comes through is a bug of the dispatcher's, and the supervisor ends the process.
fn supervise(done: Result<(), JoinError>) {
    if let Err(error) = done
        && error.is_panic()
    {
        std::panic::resume_unwind(error.into_panic());
    }
}

/// What is under way comes to its end, and what is kept of the calls that left is brought into the statuses, within the
/// time that there is.
async fn drain(shared: &Arc<Shared>, mut passes: JoinSet<()>, mut tries: JoinSet<()>) {
    let all = async {
        let mut next_try = shared.moment();
        loop {
            let moment = shared.moment();
            if moment >= next_try {
                next_try = moment + DRAIN_PAUSE;
                let mut state = shared.lock();
                let owing = state.index.owing();
                claim(shared, &mut state, &owing, &mut passes);
            }
            if passes.is_empty() && tries.is_empty() && shared.lock().index.owing().is_empty() {
                return;
            }
            tokio::select! {
                biased;
                Some(done) = passes.join_next(), if !passes.is_empty() => supervise(done),
                Some(done) = tries.join_next(), if !tries.is_empty() => supervise(done),
                () = shared.clock.sleep(next_try.saturating_sub(shared.moment())) => {}
            }
        }
    };
    tokio::select! {
        biased;
        () = all => {}
        () = shared.clock.sleep(shared.settings.pacing.drain) => {
            tracing::warn!("stopping: not everything came to its end in time; the next start finds it in the statuses");
        }
    }
}

async fn take_turn(shared: Arc<Shared>, turn: Turn, term: Option<u64>) {
    let mut pass = Pass::new(&shared, &turn, term);
    let next = guarded(&shared, &mut pass).await;
    shared.metrics.pass();
    finish(&shared, &turn.uid, pass.tokens, next);
    shared.work.notify_one();
}

/// One pass. A panic in it is a condition of that object and nothing else.
async fn guarded(shared: &Shared, pass: &mut Pass<'_>) -> Next {
    if let Ok(next) = AssertUnwindSafe(pass.run()).catch_unwind().await {
        return next;
    }
    let uid = pass.uid.clone();
    tracing::error!(%uid, "a pass panicked; its object rests for minutes. This is a bug.");
    let jitter = shared.chance.share();
    let pause = shared.settings.policy.backoff(u32::MAX, jitter, None);
    if let Some(entry) = shared.lock().index.get_mut(&uid) {
        // Whether a call had left is not known any more: the intent is looked after like somebody else's.
        entry.memory.intent = None;
        entry.memory.moments.sent(shared.reading());
        entry.memory.look = None;
    }
    let told = AssertUnwindSafe(tell_of_panic(shared, pass, jitter));
    if told.catch_unwind().await.is_err() {
        tracing::error!(%uid, "the same object makes its condition panic, too; it says nothing of this");
    }
    Next::at(shared.moment() + pause)
}

async fn tell_of_panic(shared: &Shared, pass: &mut Pass<'_>, jitter: f64) {
    let entry = shared.lock().index.get(&pass.uid).cloned();
    if let Some(Entry {
        object,
        request: Ok(request),
        ..
    }) = entry
    {
        let old = object.status.clone().unwrap_or_default();
        let (fact, policy) = (Fact::Panicked { jitter }, &shared.settings.policy);
        let next = evolve(&request, &old, &fact, shared.now(), policy);
        if next != old {
            let recorded = shared.write_status(&pass.uid, &object, next, Holds::Nothing).await;
            pass.after(recorded);
        }
    }
}

/// A pass is over: its slot is free, and the queue knows what the object waits for.
fn finish(shared: &Shared, uid: &Uid, unspent: u32, next: Next) {
    let moment = shared.moment();
    let mut last_words = Vec::new();
    {
        let mut state = shared.lock();
        let again = state.queue.done(uid, unspent, moment);
        let Some(entry) = state.index.get(uid) else {
            state.queue.forget(uid);
            return;
        };
        let connection = entry.connection();
        if entry.deleted {
            last_words = bury(shared, &mut state, uid, moment);
        } else if entry.departed && !entry.owes() && (entry.status().is_settled() || shared.term().is_none()) {
            forget(&mut state, uid);
        } else if again {
            state.queue.wake(uid);
        } else {
            if let Some(at) = next.at {
                state.queue.wake_at(uid, at);
            }
            match next.ask {
                Some((connection, ask)) => state.queue.offer(uid, &connection, ask),
                None => state.queue.withdraw(uid),
            }
        }
        shared.claim_no_outage_for_nobody(&mut state, &connection);
    }
    shared.last_words(&last_words);
}

/// The end of an object that was deleted: its last audit lines, and a grace for the webhooks that it still owes.
fn bury(shared: &Shared, state: &mut State, uid: &Uid, moment: Moment) -> Vec<Map<String, Value>> {
    let Some(entry) = state.index.get_mut(uid) else {
        return Vec::new();
    };
    let now = shared.now();
    let deleted_at = *entry.memory.deleted_at.get_or_insert(moment);
    let status = entry.status();
    let mut lines = Vec::new();
    if !status.is_finished() {
        lines.push(records::deleted(&entry.object, &status, now));
    } else if !status.is_settled() {
        // Nobody delivers who does not lead.
        let grace = shared
            .term()
            .map_or(Duration::ZERO, |_| shared.settings.pacing.deletion_grace);
        let until = deleted_at + grace;
        if moment < until {
            state.queue.wake_at(uid, until);
            return lines;
        }
        for webhook in entry.pending_webhooks() {
            lines.push(records::webhook_abandoned(&entry.object, &status, &webhook, now));
        }
    }
    forget(state, uid);
    lines
}

/// Nothing is known of an object any more.
pub(super) fn forget(state: &mut State, uid: &Uid) {
    state.queue.forget(uid);
    if let Some(entry) = state.index.remove(uid) {
        for webhook in entry.pending_webhooks() {
            state.outbox.forget(&Delivery {
                uid: uid.clone(),
                webhook: webhook.as_str().into(),
            });
        }
    }
}

async fn take_delivery(shared: Arc<Shared>, delivery: Delivery) {
    let tried = AssertUnwindSafe(shared.try_delivery(&delivery)).catch_unwind().await;
    let after = match tried {
        Ok(tried) => tried,
        Err(_) => after_panic(&shared, &delivery).await,
    };
    {
        let mut state = shared.lock();
        let endpoint = state.outbox.done(&delivery);
        match (after, endpoint) {
            (After::Again(at), Some(endpoint)) => state.outbox.offer(delivery.clone(), endpoint, at),
            _ => shared.sync_outbox(&mut state, &delivery.uid),
        }
        // The last webhook of a deleted object ends its grace.
        if state.index.get(&delivery.uid).is_some_and(|entry| entry.deleted) {
            state.queue.wake(&delivery.uid);
        }
    }
    shared.work.notify_one();
}

/// A try that panicked is a try that failed, of that webhook and nothing else.
async fn after_panic(shared: &Shared, delivery: &Delivery) -> After {
    let (uid, webhook) = (&delivery.uid, &delivery.webhook);
    tracing::error!(%uid, %webhook, "the try of a webhook panicked; it counts as one that failed. This is a bug.");
    let told = AssertUnwindSafe(shared.record_panic(delivery)).catch_unwind().await;
    told.unwrap_or_else(|_| After::Again(shared.rest_of_a_panic()))
}
