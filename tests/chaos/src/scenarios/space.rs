//! The store is full.

use std::time::Duration;

use anyhow::{bail, ensure};
use serde_json::{Value, json};
use simulator::api::{FaultSpec, Moment, Operation};
use tokio::time::sleep;

use super::{Findings, Ground};
use crate::{judge::Rules, stage::Stage};

/// The key `filler/` and the first key behind all that begin so, in base64.
const FILLER: (&str, &str) = ("ZmlsbGVyLw==", "ZmlsbGVyMA==");
/// A MiB of zeros is that long in base64.
const MIB_IN_BASE64: usize = 1_398_104;

/// Full while a call is in flight; nothing that needs a durable intent happens until it is freed.
pub async fn exhausted(ground: Ground<'_>) -> anyhow::Result<Findings> {
    let stage = Stage::set(ground.cluster, ground.program, "space", 6_000).await?;
    let operator = stage.operate()?;
    operator.ready().await?;
    // One result has to be kept, and one intent cannot be written.
    let in_flight = Stage::name_of(0);
    stage.simulator.add_fault(FaultSpec {
        delay_after_ms: 6_000,
        ..FaultSpec::on(Operation::Terminate).guest(&in_flight)
    })?;
    stage.create(1).await?;
    stage
        .happens(Operation::Terminate, Moment::Effective, &in_flight)
        .await?;
    // Looks that are answered when it is full: an intent would follow.
    let look = stage.simulator.add_fault(FaultSpec {
        delay_before_ms: 8_000,
        ..FaultSpec::on(Operation::Observe)
    })?;
    stage.create(ground.length.pick(20, 200)).await?;
    fill(&stage).await?;
    stage.simulator.remove_fault(look)?;
    let sent = stage.calls(Operation::Terminate);
    sleep(ground.length.seconds(12, 60)).await;
    let later = stage.calls(Operation::Terminate);
    ensure!(
        later == sent,
        "{} terminate calls left without a durable intent",
        later - sent
    );
    ensure!(
        operator.process.exit_status().is_none(),
        "the operator ended{}",
        operator.process.tail()
    );
    let refused = stage.requests_since(None)?.into_iter();
    let refused = refused
        .filter(|event| event.subresource == "status" && event.code >= 400)
        .count();
    ensure!(refused > 0, "no status write was refused: the store was not full");

    free(&stage).await?;
    let mut findings = Findings::default();
    findings.add("status writes refused while it was full", refused);
    findings.time(
        "all settled after it was freed",
        stage.settled(Duration::from_secs(240)).await?,
    );
    stage.quiet(Duration::from_secs(2)).await?;
    stage.stop(operator).await?;
    stage.judge(&Rules::default()).await?;
    Ok(findings)
}

async fn fill(stage: &Stage<'_>) -> anyhow::Result<()> {
    let value = "A".repeat(MIB_IN_BASE64);
    for number in 0..100 {
        // Keys that sort behind `filler/`.
        let key = format!("ZmlsbGVyL{number:03}");
        let put = json!({"key": key, "value": value});
        if let Err(refused) = stage.cluster.ask_etcd("/v3/kv/put", &put).await {
            ensure!(refused.to_string().contains("database space exceeded"), "{refused:#}");
            return Ok(());
        }
    }
    bail!("the store took 100 MiB")
}

async fn free(stage: &Stage<'_>) -> anyhow::Result<()> {
    let cluster = stage.cluster;
    cluster
        .ask_etcd("/v3/kv/deleterange", &json!({"key": FILLER.0, "range_end": FILLER.1}))
        .await?;
    cluster.compact().await?;
    cluster.ask_etcd("/v3/maintenance/defragment", &json!({})).await?;
    let alarms = cluster
        .ask_etcd("/v3/maintenance/alarm", &json!({"action": "GET"}))
        .await?;
    for alarm in alarms["alarms"].as_array().into_iter().flatten() {
        let disarm = json!({"action": "DEACTIVATE", "memberID": alarm["memberID"], "alarm": alarm["alarm"]});
        let _: Value = cluster.ask_etcd("/v3/maintenance/alarm", &disarm).await?;
    }
    Ok(())
}
