//! The operator is asked to stop with work in flight.

use std::time::Duration;

use anyhow::ensure;
use control_plane::Signal;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use serde_json::json;
use simulator::api::{FaultSpec, Operation};
use tokio::time::{Instant, sleep};

use super::{Findings, Ground};
use crate::{
    judge::Rules,
    operator::{Launch, Operator},
    stage::Stage,
};

/// Calls in flight.
const IN_FLIGHT: usize = 50;
/// How long each of them takes.
const CALL: Duration = Duration::from_secs(6);

/// An operator with that many calls in flight, and as many objects waiting.
async fn busy<'a>(ground: &Ground<'a>, name: &str) -> anyhow::Result<(Stage<'a>, Operator)> {
    let stage = Stage::bare(ground.cluster, ground.program, name, 60_000).await?;
    let mut connection = stage.connection();
    connection["spec"]["rateLimit"]["maxInFlight"] = json!(IN_FLIGHT);
    stage.connect(connection).await?;
    let operator = stage.operate_as(&Launch {
        // Half of them are for one connection at most.
        flags: vec!["--workers".to_owned(), (2 * IN_FLIGHT).to_string()],
        ..stage.launch.clone()
    })?;
    operator.ready().await?;
    // The half-open start is over when one has gone through.
    stage.create(1).await?;
    stage.settled(Duration::from_secs(60)).await?;
    stage.simulator.add_fault(FaultSpec {
        delay_after_ms: u64::try_from(CALL.as_millis())?,
        ..FaultSpec::on(Operation::Terminate)
    })?;
    stage.create(2 * IN_FLIGHT).await?;
    let deadline = Instant::now() + Duration::from_secs(60);
    // Most of them: on a busy machine the first may be back before the last has left.
    while in_flight(&stage) < IN_FLIGHT * 4 / 5 {
        ensure!(
            Instant::now() < deadline,
            "only {} calls are in flight",
            in_flight(&stage)
        );
        sleep(Duration::from_millis(20)).await;
    }
    Ok((stage, operator))
}

fn in_flight(stage: &Stage<'_>) -> usize {
    let calls = stage.simulator.ledger().calls.into_iter();
    calls
        .filter(|call| call.operation == Operation::Terminate && call.answered_at_ms.is_none())
        .count()
}

/// Intents that became durable after that instant.
fn intents_since(stage: &Stage<'_>, since: Timestamp) -> anyhow::Result<usize> {
    let mut found = 0;
    for event in stage.requests_since(None)? {
        let status = event.content.as_ref().map(|content| &content["status"]);
        let opens = status.is_some_and(|status| !status["currentAttempt"].is_null());
        found += usize::from(event.succeeded() && opens && event.received_at.parse::<Timestamp>()? > since);
    }
    Ok(found)
}

/// SIGTERM: what is in flight comes to its end and is recorded, nothing new begins, the exit code is 0.
pub async fn asked(ground: Ground<'_>) -> anyhow::Result<Findings> {
    let (stage, operator) = busy(&ground, "stop").await?;
    let flying = in_flight(&stage);
    let asked = Timestamp::now();
    let took = stage.stop(operator).await?;
    ensure!(took < Duration::from_secs(25), "it took {took:?} to stop");
    // The signal needs a moment to be heard.
    let begun = intents_since(&stage, asked + SignedDuration::from_secs(1))?;
    ensure!(begun == 0, "{begun} intents were written after it was asked to stop");
    let open = stage.terminations().list(&kube::api::ListParams::default()).await?;
    let open = open.items.iter().filter(|object| {
        let status = object.status.as_ref();
        status.is_some_and(|status| status.current_attempt.is_some())
    });
    let open = open.count();
    ensure!(open == 0, "{open} results were not recorded");
    let mut findings = Findings::default();
    findings.add("calls in flight", flying);
    findings.time("stopped after", took);

    stage.simulator.clear_faults();
    let next = stage.operate()?;
    findings.time(
        "all settled by the next one after",
        stage.settled(Duration::from_secs(120)).await?,
    );
    stage.quiet(Duration::from_secs(2)).await?;
    stage.stop(next).await?;
    let verdict = stage.judge(&Rules::default()).await?;
    ensure!(
        verdict.figures.terminates == verdict.figures.objects,
        "{} terminate calls for {} objects, though each was answered and recorded",
        verdict.figures.terminates,
        verdict.figures.objects
    );
    Ok(findings)
}

/// SIGTERM and, before the calls in flight are answered, SIGKILL: as a crash.
pub async fn asked_and_killed(ground: Ground<'_>) -> anyhow::Result<Findings> {
    let (stage, operator) = busy(&ground, "drain").await?;
    let flying = in_flight(&stage);
    operator.process.signal(Signal::TERM)?;
    sleep(Duration::from_millis(700)).await;
    ensure!(
        operator.process.exit_status().is_none(),
        "it did not wait for what is in flight"
    );
    stage.kill(operator).await?;
    stage.simulator.clear_faults();
    let next = stage.operate()?;
    let mut findings = Findings::default();
    findings.add("calls in flight", flying);
    findings.time(
        "all settled by the next one after",
        stage.settled(Duration::from_secs(120)).await?,
    );
    stage.quiet(Duration::from_secs(2)).await?;
    stage.stop(next).await?;
    let verdict = stage.judge(&Rules::default()).await?;
    findings.add("intents that the dead one left open", verdict.figures.orphans);
    ensure!(verdict.figures.orphans > 0, "it left no intent open");
    Ok(findings)
}
