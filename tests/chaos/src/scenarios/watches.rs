//! Watches that fall silent, end all the time, or begin from an old list.

use std::time::Duration;

use anyhow::ensure;
use http::{Method, StatusCode};
use simulator::api::{Moment, Operation};
use tokio::time::Instant;

use super::{Findings, Ground, Length};
use crate::{
    judge::Rules,
    operator::Launch,
    proxy::{Fault, Proxy, Which},
    stage::Stage,
};

/// The operator behind a proxy.
pub(super) fn behind(stage: &Stage<'_>, proxy: &Proxy) -> anyhow::Result<Launch> {
    let kubeconfig = stage
        .cluster
        .kubeconfig_for(proxy.url(), &stage.identity, &stage.namespace)?;
    Ok(Launch {
        kubeconfig,
        ..stage.launch.clone()
    })
}

/// All open watches say nothing more, and do not end. The operator gives them up when they should have ended.
pub async fn black_hole(ground: Ground<'_>) -> anyhow::Result<Findings> {
    let stage = Stage::set(ground.cluster, ground.program, "silent", 6_000).await?;
    let proxy = Proxy::before(ground.cluster).await?;
    let mut launch = behind(&stage, &proxy)?;
    let timeout = match ground.length {
        Length::Short => {
            launch.watch_timeout = Some(5);
            Duration::from_secs(5)
        }
        Length::Long => Duration::from_secs(60),
    };
    let operator = stage.operate_as(&launch)?;
    operator.ready().await?;
    stage.create(1).await?;
    stage.settled(Duration::from_secs(30)).await?;
    ensure!(proxy.black_hole() >= 2, "the operator has fewer than two watches open");
    let began = Instant::now();
    stage.create(10).await?;
    let first = Stage::name_of(1);
    let picked_up = tokio::time::timeout(timeout * 3, stage.happens(Operation::Observe, Moment::Received, &first));
    picked_up.await??;
    let silent = began.elapsed();
    // Five seconds later by its own clock, and then a LIST; the rest is for a busy machine.
    ensure!(
        silent <= timeout + Duration::from_secs(15),
        "new objects were looked at after {silent:?}, though a watch ends after {timeout:?}"
    );
    let mut findings = Findings::default();
    findings.time("a watch ends after", timeout);
    findings.time("a new object is looked at after", silent);
    stage.settled(Duration::from_secs(60)).await?;
    stage.stop(operator).await?;
    stage.judge(&Rules::default()).await?;
    Ok(findings)
}

/// Every watch ends cleanly after 100 ms.
pub async fn closed_all_the_time(ground: Ground<'_>) -> anyhow::Result<Findings> {
    let stage = Stage::set(ground.cluster, ground.program, "closed", 6_000).await?;
    let proxy = Proxy::before(ground.cluster).await?;
    proxy.add(
        Which::watch("guestops.dev"),
        Fault::EndWatch(Duration::from_millis(100)),
        None,
    );
    let operator = stage.operate_as(&behind(&stage, &proxy)?)?;
    operator.ready().await?;
    let began = Instant::now();
    let mut findings = Findings::default();
    stage.create(ground.length.pick(30, 500)).await?;
    findings.time("all settled after", stage.settled(Duration::from_secs(120)).await?);
    stage.quiet(ground.length.seconds(2, 60)).await?;
    let (starts, seconds) = (proxy.watch_starts(), began.elapsed().as_secs());
    // Two kinds, a start a second each; those before the clock began are few.
    let bound = usize::try_from(2 * seconds + 20)?;
    ensure!(starts <= bound, "{starts} watches were started in {seconds} s");
    findings.add("watches started", format!("{starts} in {seconds} s"));
    stage.stop(operator).await?;
    stage.judge(&Rules::default()).await?;
    Ok(findings)
}

/// The watch must begin anew, and the LIST comes from a server that is far behind: nothing of it was done there.
pub async fn old_list(ground: Ground<'_>) -> anyhow::Result<Findings> {
    let stage = Stage::set(ground.cluster, ground.program, "old", 6_000).await?;
    stage.create(ground.length.pick(20, 200)).await?;
    let proxy = Proxy::before(ground.cluster).await?;
    proxy.remember(true);
    let operator = stage.operate_as(&behind(&stage, &proxy)?)?;
    operator.ready().await?;
    proxy.remember(false);
    let mut findings = Findings::default();
    findings.time("all settled after", stage.settled(Duration::from_secs(120)).await?);
    let terminates = stage.calls(Operation::Terminate);

    let old = proxy.add(Which::call(Method::GET, "/guestterminations?"), Fault::Replay, Some(1));
    let ends = proxy.add(
        Which::watch("/guestterminations?"),
        Fault::Refuse(StatusCode::GONE),
        Some(1),
    );
    proxy.end_watches();
    let deadline = Instant::now() + Duration::from_secs(60);
    while proxy.hits(old) == 0 {
        ensure!(
            Instant::now() < deadline,
            "nothing was listed anew; {} watches were refused",
            proxy.hits(ends)
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    stage.create(5).await?;
    findings.time(
        "all settled again after",
        stage.settled(Duration::from_secs(120)).await?,
    );
    stage.quiet(ground.length.seconds(3, 30)).await?;
    let later = stage.calls(Operation::Terminate);
    ensure!(
        later - terminates == 5,
        "{} terminate calls for 5 new objects",
        later - terminates
    );
    findings.add("LISTs from before", proxy.hits(old));
    stage.stop(operator).await?;
    stage.judge(&Rules::default()).await?;
    Ok(findings)
}
