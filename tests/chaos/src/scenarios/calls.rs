//! Single calls to the API server go wrong.

use std::time::Duration;

use anyhow::ensure;
use http::Method;
use simulator::api::Operation;
use tokio::time::Instant;

use super::{Findings, Ground, watches::behind};
use crate::{
    judge::Rules,
    proxy::{Fault, Proxy, Which},
    stage::Stage,
};

/// Every third status write is carried out, and its answer does not arrive.
pub async fn answers_cut(ground: Ground<'_>) -> anyhow::Result<Findings> {
    let stage = Stage::set(ground.cluster, ground.program, "cut", 6_000).await?;
    let proxy = Proxy::before(ground.cluster).await?;
    let operator = stage.operate_as(&behind(&stage, &proxy)?)?;
    operator.ready().await?;
    let objects = ground.length.pick(30, 500);
    let mut cut = Vec::new();
    // Objects whose number ends in 3, 6 or 9: each of their writes is cut twice, if it comes to that.
    for part in ["3/status", "6/status", "9/status"] {
        cut.push(proxy.add(Which::call(Method::PUT, part), Fault::CutAfter, Some(objects / 2)));
    }
    stage.create(objects).await?;
    let mut findings = Findings::default();
    findings.time("all settled after", stage.settled(Duration::from_secs(240)).await?);
    stage.quiet(Duration::from_secs(2)).await?;
    let hits: usize = cut.iter().map(|rule| proxy.hits(*rule)).sum();
    ensure!(hits > objects / 4, "only {hits} answers were cut");
    findings.add("answers cut", hits);
    stage.stop(operator).await?;
    let verdict = stage.judge(&Rules::default()).await?;
    findings.add("terminate calls", verdict.figures.terminates);
    ensure!(
        verdict.figures.terminates == verdict.figures.objects,
        "{} terminate calls for {} objects, though the vendor answered each",
        verdict.figures.terminates,
        verdict.figures.objects
    );
    Ok(findings)
}

/// Some calls are never answered, some are throttled, all others are slow.
pub async fn answers_late(ground: Ground<'_>) -> anyhow::Result<Findings> {
    let stage = Stage::set(ground.cluster, ground.program, "late", 6_000).await?;
    let proxy = Proxy::before(ground.cluster).await?;
    let operator = stage.operate_as(&behind(&stage, &proxy)?)?;
    operator.ready().await?;
    let silent = proxy.add(Which::call(Method::PUT, "guest-7/status"), Fault::Silence, Some(1));
    // A pause of a day must not put an object to sleep for a day.
    let pause = ground.length.pick(2, 86_400);
    let throttled = proxy.add(
        Which::call(Method::PUT, "guest-8/status"),
        Fault::Throttle(pause),
        Some(2),
    );
    let slow = proxy.add(
        Which::call(Method::PUT, "/status"),
        Fault::Delay(Duration::from_millis(300)),
        None,
    );
    let began = Instant::now();
    stage.create(ground.length.pick(20, 200)).await?;
    // The others do not wait for the two.
    stage.settled_but(2, Duration::from_secs(60)).await?;
    let mut findings = Findings::default();
    findings.time("all but two settled after", began.elapsed());
    stage.settled(Duration::from_secs(120)).await?;
    findings.time("all settled after", began.elapsed());
    stage.quiet(Duration::from_secs(2)).await?;
    ensure!(
        proxy.hits(silent) == 1 && proxy.hits(throttled) == 2 && proxy.hits(slow) > 20,
        "the faults did not act"
    );
    findings.add("terminate calls", stage.calls(Operation::Terminate));
    stage.stop(operator).await?;
    stage.judge(&Rules::default()).await?;
    Ok(findings)
}
