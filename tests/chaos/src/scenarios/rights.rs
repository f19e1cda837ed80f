//! What the operator may do is taken away, and given back.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use control_plane::Identity;
use k8s_openapi::api::{
    authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec},
    core::v1::{Secret, ServiceAccount},
    rbac::v1::RoleBinding,
};
use kube::{
    Api,
    api::{DeleteParams, ObjectMeta, PostParams},
};
use simulator::api::{FaultSpec, Moment, Operation};
use tokio::time::{Instant, sleep};

use super::{Findings, Ground};
use crate::{
    judge::Rules,
    operator::Launch,
    stage::{OPERATOR, Stage},
};

/// The role binding goes while calls are in flight: their results are kept, and nothing new leaves. It comes back.
pub async fn revoked(ground: Ground<'_>) -> anyhow::Result<Findings> {
    let stage = Stage::set(ground.cluster, ground.program, "revoked", 6_000).await?;
    let operator = stage.operate()?;
    operator.ready().await?;
    stage.simulator.add_fault(FaultSpec {
        delay_after_ms: 4_000,
        ..FaultSpec::on(Operation::Terminate)
    })?;
    stage.create(ground.length.pick(60, 500)).await?;
    stage
        .happens(Operation::Terminate, Moment::Effective, &Stage::name_of(2))
        .await?;
    let bindings: Api<RoleBinding> = Api::namespaced(stage.client.clone(), &stage.namespace);
    let mut binding = bindings.get(OPERATOR).await?;
    bindings.delete(OPERATOR, &DeleteParams::default()).await?;
    // The API server learns of it from its own watch; and what has its intent may still leave for 5 s.
    sleep(Duration::from_secs(7)).await;
    let sent = stage.calls(Operation::Terminate);
    sleep(ground.length.seconds(4, 60)).await;
    let later = stage.calls(Operation::Terminate);
    ensure!(
        later == sent,
        "{} terminate calls left without a durable intent",
        later - sent
    );
    let refused = stage.requests_since(None)?.into_iter();
    let refused = refused
        .filter(|event| event.subresource == "status" && event.code == 403)
        .count();
    ensure!(refused > 0, "no status write was refused");
    ensure!(
        operator.process.exit_status().is_none(),
        "the operator ended{}",
        operator.process.tail()
    );

    binding.metadata = ObjectMeta {
        name: Some(OPERATOR.to_owned()),
        ..ObjectMeta::default()
    };
    bindings.create(&PostParams::default(), &binding).await?;
    stage.simulator.clear_faults();
    let mut findings = Findings::default();
    findings.add("status writes refused", refused);
    findings.time(
        "all settled after it was given back",
        stage.settled(Duration::from_secs(180)).await?,
    );
    stage.quiet(Duration::from_secs(2)).await?;
    stage.stop(operator).await?;
    let verdict = stage.judge(&Rules::default()).await?;
    ensure!(
        verdict.figures.terminates == verdict.figures.objects,
        "{} terminate calls for {} objects, though the vendor answered each",
        verdict.figures.terminates,
        verdict.figures.objects
    );
    Ok(findings)
}

/// The token in the operator's file becomes invalid, and the file gets another one.
pub async fn token_replaced(ground: Ground<'_>) -> anyhow::Result<Findings> {
    let stage = Stage::set(ground.cluster, ground.program, "token", 6_000).await?;
    let file = stage.folder().join("token");
    std::fs::write(&file, bound_token(&stage, "first").await?)?;
    let identity = Identity::TokenFile(file.clone());
    let operator = stage.operate_as(&Launch {
        kubeconfig: ground.cluster.kubeconfig(&identity, &stage.namespace)?,
        ..stage.launch.clone()
    })?;
    operator.ready().await?;
    stage.create(5).await?;
    stage.settled(Duration::from_secs(60)).await?;

    // A token that is bound to an object dies with it, within the 10 s for which the API server remembers it.
    let secrets: Api<Secret> = Api::namespaced(stage.client.clone(), &stage.namespace);
    let second = bound_token(&stage, "second").await?;
    secrets.delete("first", &DeleteParams::default()).await?;
    sleep(Duration::from_secs(12)).await;
    stage.create(ground.length.pick(10, 100)).await?;
    sleep(ground.length.seconds(3, 60)).await;
    ensure!(
        operator.process.exit_status().is_none(),
        "the operator ended{}",
        operator.process.tail()
    );
    std::fs::write(&file, second)?;
    let replaced = Instant::now();
    stage.settled(Duration::from_secs(120)).await?;
    let recovered = replaced.elapsed();
    let mut findings = Findings::default();
    findings.time("all settled after the file had another token", recovered);
    // The file is read again within a minute; then come the backoff of what failed and the work.
    ensure!(recovered < Duration::from_secs(100), "it recovered after {recovered:?}");
    stage.stop(operator).await?;
    stage.judge(&Rules::default()).await?;
    Ok(findings)
}

/// A token of the operator's account that is valid as long as a Secret of that name exists.
async fn bound_token(stage: &Stage<'_>, secret: &str) -> anyhow::Result<String> {
    stage.secret(secret, &[]).await?;
    let spec = TokenRequestSpec {
        bound_object_ref: Some(BoundObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Secret".to_owned()),
            name: Some(secret.to_owned()),
            uid: None,
        }),
        expiration_seconds: Some(3600),
        ..TokenRequestSpec::default()
    };
    let request = TokenRequest {
        spec,
        ..TokenRequest::default()
    };
    let accounts: Api<ServiceAccount> = Api::namespaced(stage.client.clone(), &stage.namespace);
    let answer = accounts
        .create_token_request(OPERATOR, &PostParams::default(), &request)
        .await?;
    Ok(answer
        .status
        .context("a token request was answered without a token")?
        .token)
}
