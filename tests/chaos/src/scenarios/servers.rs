//! The API server and its store go away and come back.

use std::time::Duration;

use anyhow::ensure;
use control_plane::Signal;
use simulator::api::{Moment, Operation};
use tokio::time::{Instant, sleep};

use super::{Findings, Ground};
use crate::{judge::Rules, stage::Stage, vendor};

/// A call that was on its way when the API server fell silent has its intent already; after this no other may follow:
/// the fence lets nothing leave for an intent that is 5 s old.
const CALLS_STOP_WITHIN: Duration = Duration::from_secs(6);

/// What stands still.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Server {
    Api,
    Store,
}

/// A stage under load: the operator works on half of the objects when it is handed out.
async fn loaded<'a>(ground: &Ground<'a>, name: &str) -> anyhow::Result<(Stage<'a>, crate::operator::Operator)> {
    let stage = Stage::set(ground.cluster, ground.program, name, 6_000).await?;
    vendor::slow(&stage.simulator, 200)?;
    let operator = stage.operate()?;
    operator.ready().await?;
    stage.create(ground.length.pick(60, 600)).await?;
    stage
        .happens(Operation::Terminate, Moment::Effective, &Stage::name_of(10))
        .await?;
    Ok((stage, operator))
}

/// Objects that are there when the server is back must be worked on soon after.
async fn finish(
    stage: &Stage<'_>,
    operator: crate::operator::Operator,
    rules: &Rules,
    mut findings: Findings,
) -> anyhow::Result<Findings> {
    let back = Instant::now();
    stage.create(10).await?;
    let last = Stage::name_of(stage.created() - 1);
    stage.happens(Operation::Observe, Moment::Received, &last).await?;
    // 10 s on a machine of its own (32); this one may be busy.
    let caught_up = back.elapsed();
    ensure!(
        caught_up < Duration::from_secs(30),
        "a new object was not looked at for {caught_up:?}"
    );
    findings.time("a new object is looked at after", caught_up);
    findings.time("all settled after", stage.settled(Duration::from_secs(180)).await?);
    stage.quiet(Duration::from_secs(2)).await?;
    stage.stop(operator).await?;
    let verdict = stage.judge(rules).await?;
    findings.add("terminate calls", verdict.figures.terminates);
    findings.add("objects", verdict.figures.objects);
    Ok(findings)
}

/// Restarted in good order.
pub async fn restarted(ground: Ground<'_>) -> anyhow::Result<Findings> {
    let (stage, operator) = loaded(&ground, "restarted").await?;
    let began = Instant::now();
    ground.cluster.apiserver().stop(ground.length.seconds(8, 70)).await?;
    ground.cluster.start_apiserver().await?;
    let mut findings = Findings::default();
    findings.time("away for", began.elapsed());
    finish(&stage, operator, &Rules::default(), findings).await
}

/// Stopped for longer than any call may take.
pub async fn stopped(ground: Ground<'_>) -> anyhow::Result<Findings> {
    stands_still(ground, Server::Api).await
}

/// The store stopped for longer than any call may take.
pub async fn store_stopped(ground: Ground<'_>) -> anyhow::Result<Findings> {
    stands_still(ground, Server::Store).await
}

/// The store stands still for a moment, again and again: every write takes as long as on a disk that cannot follow.
pub async fn store_slow(ground: Ground<'_>) -> anyhow::Result<Findings> {
    let (stage, operator) = loaded(&ground, "crawling").await?;
    let process = ground.cluster.etcd();
    let until = Instant::now() + ground.length.seconds(8, 60);
    while Instant::now() < until {
        process.signal(Signal::STOP)?;
        sleep(Duration::from_millis(900)).await;
        process.signal(Signal::CONT)?;
        sleep(Duration::from_millis(100)).await;
    }
    finish(&stage, operator, &Rules::default(), Findings::default()).await
}

async fn stands_still(ground: Ground<'_>, server: Server) -> anyhow::Result<Findings> {
    let (stage, operator) = loaded(&ground, "stopped").await?;
    let process = match server {
        Server::Api => ground.cluster.apiserver(),
        Server::Store => ground.cluster.etcd(),
    };
    process.signal(Signal::STOP)?;
    sleep(CALLS_STOP_WITHIN).await;
    let sent = stage.calls(Operation::Terminate);
    sleep(ground.length.seconds(8, 30).saturating_sub(CALLS_STOP_WITHIN)).await;
    let later = stage.calls(Operation::Terminate);
    process.signal(Signal::CONT)?;
    ensure!(
        later == sent,
        "{} terminate calls left though no intent could become durable",
        later - sent
    );
    let mut findings = Findings::default();
    findings.add("terminate calls when it stood still", sent);
    finish(&stage, operator, &Rules::default(), findings).await
}

/// Killed; what it remembers of old versions is gone when it is back, and so are they in the store.
pub async fn killed(ground: Ground<'_>) -> anyhow::Result<Findings> {
    let (stage, operator) = loaded(&ground, "killed").await?;
    let began = Instant::now();
    ground.cluster.apiserver().kill_9().await?;
    ground.cluster.compact().await?;
    ground.cluster.start_apiserver().await?;
    let mut findings = Findings::default();
    findings.time("away for", began.elapsed());
    let rules = Rules {
        server_was_killed: true,
        ..Rules::default()
    };
    finish(&stage, operator, &rules, findings).await
}

/// The store killed and started again.
pub async fn store_killed(ground: Ground<'_>) -> anyhow::Result<Findings> {
    let (stage, operator) = loaded(&ground, "store").await?;
    ground.cluster.etcd().kill_9().await?;
    sleep(ground.length.seconds(2, 10)).await;
    ground.cluster.start_etcd().await?;
    let rules = Rules {
        server_was_killed: true,
        ..Rules::default()
    };
    finish(&stage, operator, &rules, Findings::default()).await
}
