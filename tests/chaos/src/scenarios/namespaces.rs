//! A namespace is deleted, by the real namespace controller, with objects in all phases.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use anyhow::ensure;
use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, api::DeleteParams};
use serde_json::json;
use simulator::api::{FaultAction, FaultSpec, Moment, Operation, ScriptedAnswer};
use tokio::time::{Instant, sleep};

use super::{Findings, Ground};
use crate::{
    operator::Launch,
    stage::{OPERATOR, Stage},
};

/// What a webhook of a deleted object is given, and what everything else may take.
const GONE_WITHIN: Duration = Duration::from_secs(60 + 30);
const CLUSTER_ROLES: &str = include_str!("../../../../docs/install/rbac.yaml");

/// The operator, which watches all namespaces, serves the others on.
pub async fn deleted(ground: Ground<'_>) -> anyhow::Result<Findings> {
    let cluster = ground.cluster;
    let controllers = cluster.controllers(&["namespace-controller"]).await?;
    let doomed = Stage::set(cluster, ground.program, "doomed", 6_000).await?;
    let other = Stage::set(cluster, ground.program, "other", 6_000).await?;
    let launch = cluster_wide(&other, &[&doomed.namespace]).await?;

    // In flight, with a webhook that fails, waiting for a retry, and waiting for a connection.
    let fault = |guest: usize, operation, action, delay_after_ms| FaultSpec {
        delay_after_ms,
        ..FaultSpec::on(operation).guest(Stage::name_of(guest)).action(action)
    };
    let unavailable = || FaultAction::Answer {
        answer: ScriptedAnswer::vendor(503),
        after_effect: false,
    };
    for guest in 0..10 {
        doomed
            .simulator
            .add_fault(fault(guest, Operation::Terminate, FaultAction::Pass, 4_000))?;
    }
    for guest in 10..15 {
        doomed
            .simulator
            .add_fault(fault(guest, Operation::Terminate, unavailable(), 0))?;
    }
    doomed.simulator.add_fault(FaultSpec {
        skip: 5,
        ..FaultSpec::on(Operation::Webhook).action(unavailable())
    })?;
    let operator = other.operate_as(&launch)?;
    operator.ready().await?;
    doomed.create(ground.length.pick(40, 400)).await?;
    doomed
        .happens(Operation::Terminate, Moment::Effective, &Stage::name_of(3))
        .await?;
    other.create(5).await?;

    let namespaces: Api<Namespace> = Api::all(doomed.client.clone());
    namespaces.delete(&doomed.namespace, &DeleteParams::default()).await?;
    let began = Instant::now();
    while let Some(namespace) = namespaces.get_opt(&doomed.namespace).await? {
        ensure!(
            began.elapsed() < GONE_WITHIN,
            "the namespace is still there after {GONE_WITHIN:?}: {:#?}{}",
            namespace.status,
            controllers.tail()
        );
        sleep(Duration::from_millis(200)).await;
    }
    let mut findings = Findings::default();
    findings.time("the namespace was gone after", began.elapsed());

    other.create(5).await?;
    findings.time(
        "the other namespace settled after",
        other.settled(Duration::from_secs(90)).await?,
    );
    // What was in flight is over: a call takes at most 10 s.
    sleep(Duration::from_secs(6)).await;
    let seen = doomed.simulator.ledger().calls.len();
    sleep(ground.length.seconds(3, 60)).await;
    let later = doomed.simulator.ledger().calls.len();
    ensure!(
        later == seen,
        "{} calls more were made for objects that are gone",
        later - seen
    );
    ensure!(
        operator.process.exit_status().is_none(),
        "the operator ended{}",
        operator.process.tail()
    );
    let lines = operator.audit();
    other.stop(operator).await?;

    // There are no objects to be judged any more: every call was announced, every announcement has its result, and no
    // guest's session was ended twice.
    let mut announced: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let mut told: BTreeSet<&str> = BTreeSet::new();
    for line in lines.iter().filter(|line| line["namespace"] == json!(doomed.namespace)) {
        let (guest, id) = (line["guest_id"].as_str(), line["attempt_id"].as_str());
        let (guest, id) = (guest.unwrap_or_default(), id.unwrap_or_default());
        if line["kind"] == "attempt_started" {
            announced.entry(guest).or_default().insert(id);
        } else if line["kind"] == "attempt_result" {
            told.insert(id);
        }
    }
    let mut calls: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    for call in doomed.simulator.ledger().calls {
        if let (Operation::Terminate, Some(guest)) = (call.operation, call.guest) {
            let count = calls.entry(guest).or_default();
            count.0 += 1;
            count.1 += usize::from(call.effective);
        }
    }
    for (guest, (calls, effective)) in &calls {
        let announced = announced.get(guest.as_str()).map_or(0, BTreeSet::len);
        ensure!(
            *calls <= announced,
            "{calls} calls about {guest}, {announced} were announced"
        );
        ensure!(*effective <= 1, "{effective} sessions of {guest} were ended");
    }
    for id in announced.values().flatten() {
        ensure!(
            told.contains(id),
            "attempt {id} was announced, and its result was never told"
        );
    }
    let effective: usize = calls.values().map(|(_, effective)| effective).sum();
    findings.add("sessions ended before it was gone", effective);
    Ok(findings)
}

/// The stage's account may do everywhere what `rbac.yaml` says, and read Secrets in its own and these namespaces.
async fn cluster_wide(stage: &Stage<'_>, others: &[&str]) -> anyhow::Result<Launch> {
    let name = format!("{OPERATOR}-{}", stage.namespace);
    let roles = CLUSTER_ROLES
        .replace(
            &format!("namespace: {OPERATOR}"),
            &format!("namespace: {}", stage.namespace),
        )
        .replace(&format!("name: {OPERATOR}\n"), &format!("name: {name}\n"))
        .replace(
            &format!("name: {OPERATOR}-secrets\n"),
            &format!("name: {name}-secrets\n"),
        )
        // The account keeps its name.
        .replace(
            &format!("kind: ServiceAccount\n  name: {name}\n"),
            &format!("kind: ServiceAccount\n  name: {OPERATOR}\n"),
        );
    stage.cluster.apply_yaml(&roles, &stage.namespace).await?;
    for namespace in others {
        let binding = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
            "metadata": {"name": format!("{name}-secrets"), "namespace": namespace},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole",
                        "name": format!("{name}-secrets")},
            "subjects": [{"kind": "ServiceAccount", "name": OPERATOR, "namespace": stage.namespace}],
        });
        stage.cluster.apply_yaml(&binding.to_string(), namespace).await?;
        for (group, resource) in [("guestops.dev", "guestterminations/status"), ("", "secrets")] {
            let verb = if group.is_empty() { "get" } else { "update" };
            stage
                .cluster
                .wait_until_allowed(&stage.identity, verb, group, resource, namespace)
                .await?;
        }
    }
    Ok(Launch {
        namespace: None,
        ..stage.launch.clone()
    })
}
