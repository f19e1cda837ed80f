//! The credentials change under load.

use std::time::Duration;

use anyhow::ensure;
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, api::DeleteParams};
use simulator::{
    CLIENT_ID,
    api::{Client, Moment, Operation, RevokeTokens},
};

use super::{Findings, Ground};
use crate::{judge::Rules, stage::Stage, vendor};

/// How long the operator may take to notice; 5 s are promised, on a machine that has time.
const NOTICED_WITHIN: Duration = Duration::from_secs(45);

/// What a connection says whose Secret is of no use.
const REFUSED: [&str; 2] = ["SecretMissing", "CredentialsInvalid"];

/// Rotated with calls in flight, then broken, removed, and restored: objects wait, and none of them fails.
pub async fn changed(ground: Ground<'_>) -> anyhow::Result<Findings> {
    let stage = Stage::set(ground.cluster, ground.program, "secret", 6_000).await?;
    vendor::slow(&stage.simulator, 200)?;
    let operator = stage.operate()?;
    operator.ready().await?;
    let portion = ground.length.pick(20, 200);
    let mut findings = Findings::default();

    stage.create(portion).await?;
    stage
        .happens(Operation::Terminate, Moment::Effective, &Stage::name_of(2))
        .await?;
    rotate(&stage, "canary-rotated-secret").await?;
    findings.time(
        "all settled after a rotation",
        stage.settled(Duration::from_secs(120)).await?,
    );

    for (name, value) in [("empty", ""), ("with a line break", "canary\nrotated")] {
        stage
            .secret("genesys", &[("clientId", CLIENT_ID), ("clientSecret", value)])
            .await?;
        refuse(&stage);
        stage.create(portion).await?;
        let seen = stage.connection_says(&REFUSED, NOTICED_WITHIN).await?;
        findings.add(&format!("a client secret that is {name}"), seen);
        rotate(&stage, &format!("canary-secret-after-{}", value.len())).await?;
        findings.time(
            "all settled after it was restored",
            stage.settled(Duration::from_secs(120)).await?,
        );
    }

    let secrets: Api<Secret> = Api::namespaced(stage.client.clone(), &stage.namespace);
    secrets.delete("genesys", &DeleteParams::default()).await?;
    refuse(&stage);
    stage.create(portion).await?;
    stage.connection_says(&["SecretMissing"], NOTICED_WITHIN).await?;
    let sent = stage.calls(Operation::Terminate);
    tokio::time::sleep(ground.length.seconds(3, 60)).await;
    let later = stage.calls(Operation::Terminate);
    ensure!(later == sent, "{} terminate calls left without a Secret", later - sent);
    rotate(&stage, "canary-secret-after-removal").await?;
    findings.time(
        "all settled after the Secret was back",
        stage.settled(Duration::from_secs(120)).await?,
    );

    stage.quiet(Duration::from_secs(2)).await?;
    stage.stop(operator).await?;
    stage.judge(&Rules::default()).await?;
    Ok(findings)
}

/// The vendor takes no secret that anybody knows, and no token. Otherwise what the operator read a moment ago would do.
fn refuse(stage: &Stage<'_>) {
    stage.simulator.set_client(Client::new(CLIENT_ID, "unknown"));
    stage.simulator.revoke_tokens(&RevokeTokens::default());
}

/// The vendor takes only the new secret from now on, and no token that the old one got.
async fn rotate(stage: &Stage<'_>, secret: &str) -> anyhow::Result<()> {
    stage.simulator.set_client(Client::new(CLIENT_ID, secret));
    stage.simulator.revoke_tokens(&RevokeTokens::default());
    stage
        .secret("genesys", &[("clientId", CLIENT_ID), ("clientSecret", secret)])
        .await
}
