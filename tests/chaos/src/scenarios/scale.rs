//! Many objects: what they cost at a start, while they are open and when they are settled.

use std::time::Duration;

use anyhow::{Context, ensure};
use guest_termination_operator::api::GenesysConnection;
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use serde_json::json;
use simulator::api::Operation;
use tokio::time::{Instant, sleep};

use super::{Findings, Ground};
use crate::{judge::Rules, operator::Operator, stage::Stage};

/// What the connection allows a minute while the backlog is only begun.
const SLOW: u32 = 120;
/// What it allows afterwards: as fast as it can.
const FAST: u32 = 60_000;
/// Resident memory of an operator without objects, with room to spare.
const MEMORY: u64 = 100 << 20;
/// Resident memory of an object, with room to spare.
const MEMORY_PER_OBJECT: u64 = 16 << 10;
/// Series of all metrics together, however many objects there are.
const SERIES: usize = 300;

/// That many are open when the operator starts, when it is killed and when it starts again; then all are settled, and it
/// starts once more.
pub async fn many_objects(ground: Ground<'_>) -> anyhow::Result<Findings> {
    let count = ground.length.pick(300, 20_000);
    let stage = Stage::set(ground.cluster, ground.program, "many", SLOW).await?;
    let mut findings = Findings::default();
    let began = Instant::now();
    stage.create(count).await?;
    findings.time("all created after", began.elapsed());

    // No burst, not at the start and not at the next.
    let began = Instant::now();
    let first = started(&stage, "ready with all of them open after", &mut findings).await?;
    sleep(ground.length.seconds(4, 70)).await;
    let bound = MEMORY + MEMORY_PER_OBJECT * u64::try_from(count)?;
    let memory = resident(first.process.id(), "VmHWM")?;
    ensure!(memory < bound, "{memory} bytes were resident for {count} objects");
    findings.add("most memory with all of them open, MiB", memory >> 20);
    stage.kill(first).await?;
    let second = started(&stage, "ready again after a kill, after", &mut findings).await?;
    sleep(ground.length.seconds(4, 70)).await;
    let calls = stage.calls(Operation::Observe) + stage.calls(Operation::Terminate);
    let minutes = began.elapsed().as_secs() / 60 + 1;
    ensure!(
        u64::try_from(calls)? <= minutes * u64::from(SLOW),
        "{calls} calls in {minutes} minutes, each of which may hold {SLOW}"
    );
    findings.add("calls meanwhile", calls);

    let connections: Api<GenesysConnection> = Api::namespaced(stage.client.clone(), &stage.namespace);
    let faster = json!({"spec": {"rateLimit": {"requestsPerMinute": FAST}}});
    connections
        .patch("default", &PatchParams::default(), &Patch::Merge(faster))
        .await?;
    findings.time(
        "all settled after",
        stage.settled(ground.length.seconds(180, 3_600)).await?,
    );
    let (status, metrics) = second.probe("/metrics").await?;
    let series = metrics.lines().filter(|line| !line.starts_with('#')).count();
    ensure!(status == 200 && series > 0, "there are no metrics: {status}");
    ensure!(series < SERIES, "{series} series of metrics for {count} objects");
    findings.add("series of metrics", series);
    findings.add(
        "memory when all are settled, MiB",
        resident(second.process.id(), "VmRSS")? >> 20,
    );
    let server = ground.cluster.apiserver().id();
    findings.add("most memory of the API server, MiB", resident(server, "VmHWM")? >> 20);
    stage.quiet(Duration::from_secs(2)).await?;
    stage.stop(second).await?;

    let third = started(&stage, "ready with all of them settled after", &mut findings).await?;
    let memory = resident(third.process.id(), "VmHWM")?;
    ensure!(memory < MEMORY, "{memory} bytes were resident though nothing is open");
    findings.add("most memory at such a start, MiB", memory >> 20);
    stage.quiet(Duration::from_secs(2)).await?;
    stage.stop(third).await?;
    let rules = Rules {
        allowance: Some(FAST.into()),
        ..Rules::default()
    };
    let verdict = stage.judge(&rules).await?;
    findings.add("objects", verdict.figures.objects);
    findings.add("terminate calls", verdict.figures.terminates);
    Ok(findings)
}

/// An operator that is ready, and how long that took.
async fn started(stage: &Stage<'_>, what: &str, findings: &mut Findings) -> anyhow::Result<Operator> {
    let began = Instant::now();
    let operator = stage.operate()?;
    operator.ready().await?;
    findings.time(what, began.elapsed());
    Ok(operator)
}

/// Bytes of a process's memory, by the kernel's name for them (proc(5): `VmRSS` now, `VmHWM` at most).
fn resident(process: u32, which: &str) -> anyhow::Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix(which)?.strip_prefix(':'));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    Ok(kib.with_context(|| format!("the kernel says nothing of {which}"))? << 10)
}
