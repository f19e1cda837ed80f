//! The composition: everything that a running operator is made of, over the three seams, and who watches whom.
//!
//! `main` calls [`run`] with the machine's clock, a cluster and the network; a simulation calls it with models.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{Semaphore, oneshot},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use crate::{
    clock::SharedClock,
    cluster::{Cluster, Compatibility, Publisher},
    controller::{
        dispatch, keeper, leader,
        settings::{Chance, Leadership, Settings},
        shared::{Shared, State},
        signing_keys::SigningKeysCache,
        watch,
    },
    genesys::VendorClient,
    telemetry::{
        LastHeard,
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
/// Events about objects that cannot be read, at a time.
const SIDE_NOTICES: usize = 16;
/// How often the runtime shows that it goes round.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// A runtime that has not gone round for so long is stuck, and only a restart helps.
const HEARTBEAT_BOUND: Duration = Duration::from_secs(30);

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

/// The operator ended though nobody asked it to.
#[derive(Debug, thiserror::Error)]
#[error("{task} ended: {why}. The operator cannot go on without it and exits, so that it is started anew")]
pub struct Ended {
    task: &'static str,
    why: String,
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
    let bound = 2 * Duration::from_secs(settings.pacing.watch_timeout_seconds.into()) + WATCH_MARGIN;
    for (name, kind) in [
        ("watch of GuestTerminations", WatchedKind::GuestTermination),
        ("watch of GenesysConnections", WatchedKind::GenesysConnection),
    ] {
        health.readiness_check(name, heard_within(metrics.watch(kind), bound));
    }
    let heartbeat = LastHeard::new(seams.clock.clone());
    health.liveness_check("runtime", heard_within(heartbeat.clone(), HEARTBEAT_BOUND));

    let mut tasks: JoinSet<&'static str> = JoinSet::new();
    let clock = seams.clock.clone();
    tasks.spawn(async move {
        loop {
            heartbeat.mark();
            clock.sleep(HEARTBEAT).await;
        }
    });
    let fitting = wait_for_definitions(&cluster, &seams.clock, &definitions);
    tokio::select! {
        biased;
        () = stopping.cancelled() => return Ok(()),
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
        metrics,
        chance,
        leadership,
        stopping: stopping.clone(),
        signing_keys: SigningKeysCache::default(),
        side_notices: Arc::new(Semaphore::new(SIDE_NOTICES)),
        work: Default::default(),
        upkeep: Default::default(),
    });
    let (terminations_listed, terminations) = oneshot::channel();
    let (connections_listed, connections) = oneshot::channel();
    let watched = shared.clone();
    tasks.spawn(async move {
        watch::terminations(watched, terminations_listed).await;
        "the watch of the terminations"
    });
    let watched = shared.clone();
    tasks.spawn(async move {
        watch::connections(watched, connections_listed).await;
        "the watch of the connections"
    });
    // Nobody runs for leader who could not work yet. The lease is renewed as long as anything is under way, and released
    // then.
    let (known, drained, released) = (
        CancellationToken::new(),
        CancellationToken::new(),
        CancellationToken::new(),
    );
    let (candidate, work_known, work_drained, left) =
        (shared.clone(), known.clone(), drained.clone(), released.clone());
    tasks.spawn(async move {
        tokio::select! {
            biased;
            () = work_drained.cancelled() => {}
            () = work_known.cancelled() => leader::run(candidate, work_drained.clone()).await,
        }
        left.cancel();
        work_drained.cancelled().await;
        "the leader election"
    });
    let mut work: JoinSet<&'static str> = JoinSet::new();
    let kept = shared.clone();
    work.spawn(async move {
        keeper::run(kept).await;
        "the keeper of the connections"
    });
    work.spawn(async move {
        // Nothing begins before everything is known: objects with an open intent come before all other work.
        let both = async { terminations.await.is_ok() && connections.await.is_ok() };
        tokio::select! {
            biased;
            () = shared.stopping.cancelled() => return "the dispatcher",
            _ = both => listed.ready(),
        }
        tracing::info!("the open work is listed");
        known.cancel();
        dispatch::run(shared).await;
        "the dispatcher"
    });
    let ended = tokio::select! {
        biased;
        () = stopping.cancelled() => None,
        Some(ended) = tasks.join_next() => Some(ended),
        Some(ended) = work.join_next() => Some(ended),
    };
    match ended {
        Some(ended) => Err(explain(ended)),
        None => {
            while let Some(ended) = work.join_next().await {
                if let Err(error) = ended
                    && error.is_panic()
                {
                    return Err(explain(Err(error)));
                }
            }
            drained.cancel();
            tokio::select! {
                biased;
                () = released.cancelled() => Ok(()),
                Some(ended) = tasks.join_next() => Err(explain(ended)),
            }
        }
    }
}

fn explain(ended: Result<&'static str, tokio::task::JoinError>) -> Ended {
    match ended {
        Ok(task) => Ended {
            task,
            why: "it returned".to_owned(),
        },
        Err(error) if error.is_panic() => Ended {
            task: "a task",
            why: "it panicked".to_owned(),
        },
        Err(_) => Ended {
            task: "a task",
            why: "it was cancelled".to_owned(),
        },
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
