//! Two replicas, one of which leads: it stands still, or hardly gets a processor.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use control_plane::Signal;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use kube::Api;
use simulator::api::{Moment, Operation};
use tokio::time::{Instant, sleep, timeout};

use super::{Findings, Ground};
use crate::{
    judge::Rules,
    operator::{Launch, Operator},
    stage::{OPERATOR, Stage},
    vendor,
};

/// A lead that passes on within seconds.
const SHORT_LEASE: [&str; 3] = [
    "--leader-elect-lease-duration=3s",
    "--leader-elect-renew-deadline=2s",
    "--leader-elect-retry-period=500ms",
];
/// How long the leader stands still: its lease is over, and the other one has begun.
const PAUSE: Duration = Duration::from_secs(6);
/// Of every tenth of a second, so much is a starved process's.
const SHARE: Duration = Duration::from_millis(10);
const TURN: Duration = Duration::from_millis(100);

/// Two processes, the leader first.
struct Pair {
    operators: [Operator; 2],
    identities: [String; 2],
}

impl Pair {
    async fn start(stage: &Stage<'_>, flags: &[&str]) -> anyhow::Result<Self> {
        let launch = Launch {
            flags: flags.iter().map(|flag| (*flag).to_owned()).collect(),
            ..stage.launch.clone()
        };
        let first = stage.operate_as(&launch)?;
        let led = identity(&first).await?;
        // The first one leads.
        while holder(stage).await?.holder_identity.as_deref() != Some(&led) {
            sleep(Duration::from_millis(50)).await;
        }
        let second = stage.operate_as(&launch)?;
        let stands_by = identity(&second).await?;
        Ok(Self {
            operators: [first, second],
            identities: [led, stands_by],
        })
    }

    /// Waits until the second one leads, and names it first from then on.
    async fn passes_on(&mut self, stage: &Stage<'_>, within: Duration) -> anyhow::Result<()> {
        let next = &self.identities[1];
        let passed = async {
            while holder(stage).await?.holder_identity.as_ref() != Some(next) {
                sleep(Duration::from_millis(50)).await;
            }
            anyhow::Ok(())
        };
        timeout(within, passed)
            .await
            .with_context(|| format!("the standby did not lead within {within:?}"))??;
        self.operators.swap(0, 1);
        self.identities.swap(0, 1);
        Ok(())
    }

    async fn stop(self, stage: &Stage<'_>) -> anyhow::Result<()> {
        for operator in self.operators {
            stage.stop(operator).await?;
        }
        Ok(())
    }
}

/// Who a process is in the Lease, by its own word.
async fn identity(operator: &Operator) -> anyhow::Result<String> {
    let line = operator.says("\"standing by\"", Duration::from_secs(60)).await?;
    let line: serde_json::Value = serde_json::from_str(&line)?;
    let identity = line["identity"].as_str().context("it does not say who it is")?;
    Ok(identity.to_owned())
}

async fn holder(stage: &Stage<'_>) -> anyhow::Result<LeaseSpec> {
    let leases: Api<Lease> = Api::namespaced(stage.client.clone(), &stage.namespace);
    let lease = leases.get_opt(OPERATOR).await?;
    Ok(lease.and_then(|lease| lease.spec).unwrap_or_default())
}

/// The leader is stopped with calls under way, until the other one has taken over, and goes on: again and again.
pub async fn paused(ground: Ground<'_>) -> anyhow::Result<Findings> {
    let (times, batch) = ground.length.pick((2, 30), (15, 60));
    let stage = Stage::set(ground.cluster, ground.program, "paused", 6_000).await?;
    vendor::slow(&stage.simulator, 200)?;
    let mut pair = Pair::start(&stage, &SHORT_LEASE).await?;
    for _ in 0..times {
        let first = stage.created();
        stage.create(batch).await?;
        let guest = Stage::name_of(first + batch / 3);
        stage.happens(Operation::Terminate, Moment::Received, &guest).await?;
        pair.operators[0].process.signal(Signal::STOP)?;
        let began = Instant::now();
        pair.passes_on(&stage, PAUSE).await?;
        sleep(PAUSE.saturating_sub(began.elapsed())).await;
        pair.operators[1].process.signal(Signal::CONT)?;
    }
    let mut findings = Findings::default();
    findings.add("times that the leader stood still", times);
    findings.time("all settled after", stage.settled(Duration::from_secs(180)).await?);
    stage.quiet(Duration::from_secs(2)).await?;
    let transitions = holder(&stage).await?.lease_transitions.unwrap_or_default();
    ensure!(transitions >= times, "the lead passed on {transitions} times only");
    pair.stop(&stage).await?;
    let figures = stage.judge(&Rules::default()).await?.figures;
    findings.add("objects", figures.objects);
    findings.add("terminate calls", figures.terminates);
    findings.add("intents that were left open", figures.orphans);
    Ok(findings)
}

/// The leader gets a tenth of the time, in slices: it keeps its lease, and works.
pub async fn starved(ground: Ground<'_>) -> anyhow::Result<Findings> {
    let (objects, span) = ground.length.pick((60, 25), (1_500, 120));
    let stage = Stage::set(ground.cluster, ground.program, "starved", 6_000).await?;
    let pair = Pair::start(&stage, &[]).await?;
    let before = holder(&stage).await?;
    let leader = &pair.operators[0].process;
    let starve = async {
        let until = Instant::now() + Duration::from_secs(span);
        while Instant::now() < until {
            leader.signal(Signal::STOP)?;
            sleep(TURN - SHARE).await;
            leader.signal(Signal::CONT)?;
            sleep(SHARE).await;
        }
        anyhow::Ok(())
    };
    let (starved, created) = tokio::join!(starve, stage.create(objects));
    starved?;
    created?;
    let settled = stage.terminations().list(&kube::api::ListParams::default()).await?;
    let settled = settled.items.iter().filter(|object| {
        let status = object.status.as_ref();
        status.is_some_and(|status| status.is_settled())
    });
    let settled = settled.count();
    ensure!(settled > 0, "with a tenth of the time nothing was done in {span} s");
    let after = holder(&stage).await?;
    ensure!(
        (&after.holder_identity, after.lease_transitions) == (&before.holder_identity, before.lease_transitions),
        "the lead passed on: {before:?}, {after:?}"
    );
    ensure!(after.renew_time > before.renew_time, "the lease was never renewed");
    let mut findings = Findings::default();
    findings.time("with a tenth of the time for", Duration::from_secs(span));
    findings.add("settled meanwhile", settled);
    findings.time("all settled after", stage.settled(Duration::from_secs(180)).await?);
    stage.quiet(Duration::from_secs(2)).await?;
    pair.stop(&stage).await?;
    let figures = stage.judge(&Rules::default()).await?.figures;
    ensure!(
        figures.terminates == figures.objects,
        "{} terminate calls for {} objects",
        figures.terminates,
        figures.objects
    );
    findings.add("objects", figures.objects);
    Ok(findings)
}
