//! The composition: everything that a running operator is made of, over the three seams, and who watches whom.
//!
//! `main` calls [`run`] with the machine's clock, a cluster and the network; a simulation calls it with models.

use std::{sync::Arc, time::Duration};

use k8s_openapi::jiff::SignedDuration;
use tokio::sync::{Notify, oneshot};
use tokio_util::sync::CancellationToken;

use crate::{
    clock::{Reading, SharedClock},
    cluster::{Cluster, Compatibility, Publisher},
    controller::{
        dispatch, keeper, leader, moments,
        notices::{self, Notices},
        settings::{Chance, Leadership, Settings},
        shared::{Shared, State},
        signing_keys::SigningKeysCache,
        watch,
    },
    genesys::VendorClient,
    supervisor::{Ended, Supervisor},
    telemetry::{
        LastHeard, Streak,
        audit::AuditLog,
        health::{Health, heard_within},
        metrics::{Metrics, WatchedKind},
    },
    transport::HttpService,
};

/// How often the definitions are asked for while they do not fit.
const DEFINITIONS_PAUSE: Duration = Duration::from_secs(5);
/// What a watch may be late beyond twice its timeout before the operator says that it is not ready.
const WATCH_MARGIN: Duration = Duration::from_secs(15);
/// The watches, and the names of their checks: whether the API server is heard, and whether they go round.
const WATCHES: [(WatchedKind, &str, &str); 2] = [
    (
        WatchedKind::GuestTermination,
        "watch of GuestTerminations",
        "loop of the watch of GuestTerminations",
    ),
    (
        WatchedKind::GenesysConnection,
        "watch of GenesysConnections",
        "loop of the watch of GenesysConnections",
    ),
];
/// So many status writes in a row that fail are no accident of one object.
const FAILED_WRITES: u32 = 3;
/// How long the end waits for the last Events.
const LAST_EVENTS: Duration = Duration::from_secs(3);
/// How often the runtime shows that it goes round.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// What the world is reached through.
pub struct Seams {
    /// Time.
    pub clock: SharedClock,
    /// The API server.
    pub kube: kube::Client,
    /// The vendor and the webhook endpoints.
    pub http: HttpService,
    /// Where chance comes from.
    pub seed: u64,
}

/// What the operator tells about itself by.
pub struct Telemetry {
    /// The audit log.
    pub audit: AuditLog,
    /// The metrics.
    pub metrics: Metrics,
    /// The probes.
    pub health: Health,
}

/// Runs the operator until `stopping` is cancelled, and then until what is under way has come to its end.
///
/// `instance` names this replica in Events and intents: the pod's or host's name.
///
/// # Errors
/// [`Ended`] if a part of it ended by itself.
pub async fn run(
    settings: Settings,
    seams: Seams,
    telemetry: Telemetry,
    leadership: Leadership,
    instance: &str,
    stopping: CancellationToken,
) -> Result<(), Ended> {
    let Telemetry { audit, metrics, health } = telemetry;
    let cluster = Cluster::new(seams.kube, seams.clock.clone());
    let chance = Chance::new(seams.seed);
    let definitions = health.readiness("definitions");
    let listed = health.readiness("listed");
    let watch_timeout = Duration::from_secs(settings.pacing.watch_timeout_seconds.into());
    let stuck_watch = 3 * watch_timeout + settings.pacing.stuck_margin;
    for (kind, name, _) in WATCHES {
        let heard = metrics.watch(kind).heard;
        health.readiness_check(name, heard_within(heard, 2 * watch_timeout + WATCH_MARGIN));
    }
    let audit_failures = Streak::new(seams.clock.clone());
    health.readiness_check("audit log", audit_failures.fewer_than(1));
    let write_failures = Streak::new(seams.clock.clone());
    health.readiness_check("status writes", write_failures.fewer_than(FAILED_WRITES));
    let heartbeat = LastHeard::new(seams.clock.clone());
    health.liveness_check(
        "runtime",
        heard_within(heartbeat.clone(), settings.pacing.stuck_runtime),
    );

    let mut tasks = Supervisor::new();
    let jumped = Arc::new(Notify::new());
    let (jumps, skew, told) = (jumped.clone(), cluster.skew().clone(), metrics.clone());
    let clock = seams.clock.clone();
    tasks.spawn("the heartbeat", async move {
        let mut before = Reading::of(clock.as_ref());
        let mut skewed = false;
        loop {
            heartbeat.mark();
            clock.sleep(HEARTBEAT).await;
            let now = Reading::of(clock.as_ref());
            if moments::jumped(before, now) {
                tracing::warn!("the wall clock jumped; deadlines are looked at anew, and waits go on as they were");
                jumps.notify_one();
            }
            before = now;
            told.clock_skew(skew.ahead());
            if skew.is_notable(skewed) != skewed {
                skewed = !skewed;
                tell_skew(skewed, skew.ahead());
            }
        }
    });
    let fitting = wait_for_definitions(&cluster, &seams.clock, &definitions);
    tokio::select! {
        biased;
        () = stopping.cancelled() => return Ok(()),
        ended = tasks.first_end() => return Err(ended),
        () = fitting => definitions.ready(),
    }

    let shared = Arc::new(Shared {
        state: State::new(&settings).into(),
        publisher: Publisher::new(cluster.clone(), instance, metrics.clone()),
        vendor: VendorClient::new(seams.http.clone(), seams.clock.clone()),
        holder: format!("{instance}/{}", chance.id()),
        settings,
        clock: seams.clock,
        cluster,
        http: seams.http,
        audit,
        audit_failures,
        write_failures,
        metrics,
        chance,
        leadership,
        stopping: stopping.clone(),
        drained: CancellationToken::new(),
        signing_keys: SigningKeysCache::default(),
        notices: Notices::default(),
        work: Default::default(),
        upkeep: Default::default(),
        jumped,
    });
    // Not earlier: there was nothing that could go round.
    for (kind, _, name) in WATCHES {
        let tried = shared.metrics.watch(kind).tried;
        tried.mark();
        health.liveness_check(name, heard_within(tried, stuck_watch));
    }
    let (terminations_listed, terminations) = oneshot::channel();
    let (connections_listed, connections) = oneshot::channel();
    tasks.spawn(
        "the watch of the terminations",
        watch::terminations(shared.clone(), terminations_listed),
    );
    tasks.spawn(
        "the watch of the connections",
        watch::connections(shared.clone(), connections_listed),
    );
    tasks.spawn("the publisher of Events", notices::run(shared.clone()));
    tasks.spawn_draining("the keeper of the connections", keeper::run(shared.clone()));
    // Nobody runs for leader who could not work yet. The lease is renewed as long as anything is under way, and released
    // then.
    let (known, drained, released) = (
        CancellationToken::new(),
        CancellationToken::new(),
        CancellationToken::new(),
    );
    let (left, candidate) = (
        released.clone(),
        leader::run(shared.clone(), known.clone(), drained.clone()),
    );
    tasks.spawn("the leader election", async move {
        candidate.await;
        left.cancel();
        std::future::pending().await
    });
    let works = shared.clone();
    tasks.spawn_draining("the dispatcher", async move {
        let shared = works;
        let _drained = shared.drained.clone().drop_guard();
        // Nothing begins before everything is known: objects with an open intent come before all other work.
        let both = async { terminations.await.is_ok() && connections.await.is_ok() };
        tokio::select! {
            biased;
            () = shared.stopping.cancelled() => return,
            // A watch that ends before its first listing is the supervisor's to tell.
            all = both => if !all { return shared.stopping.cancelled().await },
        }
        listed.ready();
        known.cancel();
        tracing::info!("the open work is listed");
        dispatch::run(shared).await;
    });
    tokio::select! {
        biased;
        () = stopping.cancelled() => {}
        ended = tasks.first_end() => return Err(ended),
    }
    let ended = tasks.drain().await;
    drained.cancel();
    tokio::select! {
        biased;
        () = released.cancelled() => {}
        ended = tasks.first_end() => return Err(ended),
    }
    tokio::select! {
        biased;
        () = shared.notices.all_published() => {}
        () = shared.clock.sleep(LAST_EVENTS) => {}
    }
    ended
}

/// The own clock has gone far from the API server's, or has come back.
fn tell_skew(skewed: bool, ahead: SignedDuration) {
    let ahead_seconds = ahead.as_secs();
    if skewed {
        tracing::warn!(
            ahead_seconds,
            "this machine's clock is far from the API server's: deadlines come too early or too late, and from 300 s on webhook receivers refuse signatures. Set the clock of whichever is wrong"
        );
    } else {
        tracing::info!(ahead_seconds, "this machine's clock agrees with the API server's again");
    }
}

/// Waits until the cluster stores every field that this version writes: without the intent's field, an intent would be
/// written, dropped, and its call sent.
async fn wait_for_definitions(cluster: &Cluster, clock: &SharedClock, readiness: &crate::telemetry::health::Readiness) {
    let mut last = String::new();
    loop {
        let why = match cluster.compatibility().await {
            Ok(Compatibility::Compatible) => return,
            Ok(other) => other.to_string(),
            Err(error) => error.to_string(),
        };
        if why != last {
            tracing::error!(why, "the operator does not work yet");
        }
        readiness.not_ready(why.clone());
        last = why;
        clock.sleep(DEFINITIONS_PAUSE).await;
    }
}
