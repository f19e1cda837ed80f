//! The kinds: missing, too old, as they should be, removed, there again.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use guest_termination_operator::api::crds;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{Api, ResourceExt as _, api::DeleteParams};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::{Findings, Ground};
use crate::{
    judge::Rules,
    stage::{self, Stage},
};

const TERMINATIONS: &str = "guestterminations.guestops.dev";
/// The definitions are asked for every 5 s, and the API server's document follows them after a moment.
const NOTICED_WITHIN: Duration = Duration::from_secs(60);

/// One operator lives through it all.
pub async fn come_and_go(ground: Ground<'_>) -> anyhow::Result<Findings> {
    let cluster = ground.cluster;
    let stage = Stage::bare(cluster, ground.program, "kinds", 6_000).await?;
    let operator = stage.operate()?;
    let mut findings = Findings::default();

    let why = operator
        .readiness(
            |status, body| status == 503 && body.contains("does not serve"),
            NOTICED_WITHIN,
        )
        .await?;
    ensure!(why.contains("kubectl apply -f crds/"), "what to do is not said: {why}");
    operator.says("does not serve", NOTICED_WITHIN).await?;

    stage::install_one(cluster, &old()?).await?;
    let connections = crds().into_iter().find(|crd| crd.name_any() != TERMINATIONS);
    stage::install_one(cluster, &connections.context("there is one kind only")?).await?;
    let field = "GuestTermination.status.currentAttempt";
    operator
        .readiness(|status, body| status == 503 && body.contains(field), NOTICED_WITHIN)
        .await?;
    operator.says(field, NOTICED_WITHIN).await?;
    stage.connect(stage.connection()).await?;
    stage.create(ground.length.pick(10, 100)).await?;
    sleep(ground.length.seconds(3, 60)).await;
    ensure!(
        stage.simulator.ledger().calls.is_empty(),
        "calls are made though an intent would not be stored"
    );

    stage::install(cluster).await?;
    let upgraded = Instant::now();
    operator.readiness(|status, _| status == 200, NOTICED_WITHIN).await?;
    findings.time("ready after the upgrade", upgraded.elapsed());
    findings.time("all settled after", stage.settled(Duration::from_secs(120)).await?);

    // Its objects go with it.
    let lost = stage.created();
    let definitions: Api<CustomResourceDefinition> = Api::all(stage.client.clone());
    definitions.delete(TERMINATIONS, &DeleteParams::default()).await?;
    let gone = Instant::now();
    while definitions.get_opt(TERMINATIONS).await?.is_some() {
        ensure!(gone.elapsed() < Duration::from_secs(60), "{TERMINATIONS} does not go");
        sleep(Duration::from_millis(200)).await;
    }
    let position = cluster.audit_position();
    let away = ground.length.seconds(6, 60);
    sleep(away).await;
    ensure!(
        operator.process.exit_status().is_none(),
        "the operator ended{}",
        operator.process.tail()
    );
    let asked = stage.requests_since(Some(position))?.len();
    ensure!(
        u64::try_from(asked)? <= 3 * away.as_secs() + 10,
        "{asked} requests in {away:?} while there is no such kind"
    );
    findings.add(
        "requests while there was no such kind",
        format!("{asked} in {} s", away.as_secs()),
    );

    stage::install(cluster).await?;
    stage.create(ground.length.pick(10, 100)).await?;
    findings.time(
        "all settled after it was there again",
        stage.settled(Duration::from_secs(120)).await?,
    );
    stage.quiet(Duration::from_secs(2)).await?;
    stage.stop(operator).await?;
    stage
        .judge(&Rules {
            lost,
            ..Rules::default()
        })
        .await?;
    Ok(findings)
}

/// The definition of a version that knew no intents.
fn old() -> anyhow::Result<CustomResourceDefinition> {
    let crd = crds().into_iter().find(|crd| crd.name_any() == TERMINATIONS);
    let mut crd = serde_json::to_value(crd.context("the kind is missing")?)?;
    let status = crd
        .pointer_mut("/spec/versions/0/schema/openAPIV3Schema/properties/status")
        .context("the kind has no status")?;
    status["properties"]
        .as_object_mut()
        .context("the status has no fields")?
        .remove("currentAttempt")
        .context("the status has no currentAttempt")?;
    // Rules that speak of the field would not compile without it.
    without_rules(&mut crd);
    Ok(serde_json::from_value(crd)?)
}

fn without_rules(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            fields.remove("x-kubernetes-validations");
            fields.values_mut().for_each(without_rules);
        }
        Value::Array(items) => items.iter_mut().for_each(without_rules),
        _ => {}
    }
}
