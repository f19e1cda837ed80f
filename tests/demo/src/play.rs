//! The demo itself, from the definitions to the last webhook.

use crate::cases::{CASES, Case, FIRST, HELD};
use crate::check::{Found, Problem, problems};
use crate::definitions;
use crate::operator::Operator;
use crate::progress::{heading, say, waiting};
use crate::scene::{Scene, rendered};
use crate::show;
use crate::vendor::{Secrets, Vendor};
use anyhow::{Context, bail, ensure};
use k8s_openapi::api::core::v1::Secret;

/// The manifests of the terminations.
pub(crate) const TERMINATIONS: &str = "tests/demo/manifests/terminations";
const SECRET: &str = "tests/demo/manifests/secret.yaml";
const CONNECTION: &str = "tests/demo/manifests/connection.yaml";
/// The simulator's address in the manifest of the connection.
const ADDRESS: &str = "http://127.0.0.1:8080";

/// The rules for an operator that watches every namespace, and for one that watches one.
const RBAC: [&str; 2] = ["docs/install/namespace.yaml", "docs/install/rbac.yaml"];
const RBAC_NAMESPACE: &str = "docs/install/rbac-namespace.yaml";
/// The rules for the Lease, for both.
const RBAC_LEASE: &str = "docs/install/leader-election.yaml";
/// The service account in them, and its namespace. What opens the Secrets of a namespace is another role.
const ACCOUNT: &str = "guest-termination-operator";
const SECRETS_ROLE: &str = "guest-termination-operator-secrets";

/// How long `kubectl wait` waits for anything, in its own words. The longest, two backoffs and a pause, is below 20 s.
const TIMEOUT: &str = "--timeout=60s";

/// Plays it, and fails if anything ended otherwise than it must.
pub(crate) async fn play(scene: &Scene) -> anyhow::Result<()> {
    let secrets = secrets(scene)?;
    heading("The vendor is played by a simulator; the operator runs as its own service account");
    let vendor = waiting("the simulator", Vendor::start(&secrets, scene.folder())).await?;
    vendor.script().await?;
    say(&format!("  the simulator is at {}", vendor.url));
    let vendor = scene.vendor.get_or_init(|| vendor);
    definitions::create(&scene.cluster, &scene.absent).await?;
    let operator = start_operator(scene).await?;
    let operator = scene.operator.get_or_init(|| operator);
    waiting("the operator to be ready", operator.ready()).await?;

    let performed = perform(scene, vendor).await;
    let found = found(scene, vendor, operator).await;
    if let Err(error) = performed {
        // Which object it is, and how it stands, says more than that something did not come.
        if let Ok(found) = found {
            heading("Against what had to be");
            let names: Vec<_> = found.objects.iter().map(|object| &object["metadata"]["name"]).collect();
            let there = |case: &&Case| names.iter().any(|name| **name == case.name);
            let there: Vec<_> = CASES.iter().filter(there).copied().collect();
            report(&problems(&there, &found));
        }
        return Err(error);
    }
    let found = found?;

    let cluster = &scene.cluster;
    heading("How they ended");
    cluster.show(&["get", "gterm", "-o", "wide"]).await?;
    heading("The Events");
    cluster.show(&["get", "events", "--sort-by=.eventTime"]).await?;
    heading("The audit lines of the operator");
    operator.audit().iter().for_each(|line| say(line));
    heading("The webhooks received");
    show::webhooks(&found.ledger.webhooks);
    heading("Against what had to be");
    judge(&found, &secrets, scene, operator)
}

/// Applies the manifests, resumes the one that is held, and waits until all is over.
async fn perform(scene: &Scene, vendor: &Vendor) -> anyhow::Result<()> {
    heading("Nine terminations");
    let cluster = &scene.cluster;
    cluster.show(&["apply", "-f", SECRET]).await?;
    let connection = rendered(scene.folder(), CONNECTION, &[(ADDRESS, &vendor.url)])?;
    cluster.show(&["apply", "-f", &connection]).await?;
    cluster
        .show(&["apply", "-f", &format!("{TERMINATIONS}/{FIRST}.yaml")])
        .await?;
    wait_for(scene, "the first to finish", "condition=Finished", &[FIRST]).await?;
    cluster.show(&["apply", "-f", TERMINATIONS]).await?;
    wait_for(scene, "one to be held", "jsonpath={.status.phase}=Suspended", &[HELD]).await?;
    let others: Vec<_> = CASES
        .iter()
        .map(|case| case.name)
        .filter(|name| *name != HELD)
        .collect();
    wait_for(scene, "all others to finish", "condition=Finished", &others).await?;
    ensure_untouched(vendor).await?;
    let resume = r#"{"spec":{"suspend":false}}"#;
    cluster
        .show(&["patch", "gterm", HELD, "--type=merge", "-p", resume])
        .await?;
    wait_for(scene, "it to finish, too", "condition=Finished", &[HELD]).await?;
    wait_for(
        scene,
        "all webhooks",
        "jsonpath={.status.settled}=true",
        &CASES.map(|case| case.name),
    )
    .await
}

/// As the manifest has them: the simulator is to know the same.
fn secrets(scene: &Scene) -> anyhow::Result<Secrets> {
    let path = crate::place::checkout().join(SECRET);
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let secret: Secret = serde_saphyr::from_str(&text).with_context(|| format!("{SECRET} is no Secret"))?;
    let mut data = secret.string_data.unwrap_or_default();
    let mut take = |key: &str| data.remove(key).with_context(|| format!("{SECRET} has no {key}"));
    let secrets = Secrets {
        client_id: take("clientId")?,
        client_secret: take("clientSecret")?,
        signing_key: take("signingKey")?,
    };
    say(&format!("logs and kubeconfigs are in {}", scene.folder().display()));
    Ok(secrets)
}

/// Makes the namespace and the operator's account with its rules, and starts it with a token of that account.
async fn start_operator(scene: &Scene) -> anyhow::Result<Operator> {
    let (cluster, namespace) = (&scene.cluster, scene.cluster.namespace.as_str());
    cluster.show_global(&["create", "namespace", namespace]).await?;
    let (home, watched) = if scene.is_theirs() {
        // All of it in the demo's namespace, the account too: the usual one may be that of an operator of theirs.
        cluster.show(&["create", "serviceaccount", ACCOUNT]).await?;
        let subject = [format!("namespace: {ACCOUNT}"), format!("namespace: {namespace}")];
        let rules = rendered(scene.folder(), RBAC_NAMESPACE, &[(&subject[0], &subject[1])])?;
        let lease = rendered(scene.folder(), RBAC_LEASE, &[(&subject[0], &subject[1])])?;
        cluster.show(&["apply", "-f", &rules, "-f", &lease]).await?;
        (namespace, Some(namespace))
    } else {
        cluster
            .show_global(&["apply", "-f", RBAC[0], "-f", RBAC[1], "-f", RBAC_LEASE])
            .await?;
        let (role, account) = (
            format!("--clusterrole={SECRETS_ROLE}"),
            format!("--serviceaccount={ACCOUNT}:{ACCOUNT}"),
        );
        cluster
            .show(&["create", "rolebinding", SECRETS_ROLE, &role, &account])
            .await?;
        (ACCOUNT, None)
    };
    let kubeconfig = scene.folder().join("operator.kubeconfig");
    cluster.write_kubeconfig_of(home, ACCOUNT, &kubeconfig).await?;
    say(&format!(
        "the operator is system:serviceaccount:{home}:{ACCOUNT} and watches {}",
        watched.map_or("every namespace".to_owned(), |namespace| format!(
            "the namespace {namespace} only"
        ))
    ));
    Operator::start(&kubeconfig, watched, scene.folder()).await
}

/// Waits as a user would.
async fn wait_for(scene: &Scene, what: &str, condition: &str, names: &[&str]) -> anyhow::Result<()> {
    let condition = format!("--for={condition}");
    let mut arguments = vec!["wait", condition.as_str(), TIMEOUT, "gterm"];
    arguments.extend(names);
    match waiting(what, scene.cluster.show(&arguments)).await {
        // kubectl looks at one after the other; when the time is over it also blames those that it did not come to.
        Err(error) if error.to_string().contains("timed out waiting") => {
            bail!("waited in vain for {what}; see WRONG above for what is not as it must be")
        }
        other => other.with_context(|| format!("cannot wait for {what}")),
    }
}

/// While it is held, the vendor hears nothing of it.
async fn ensure_untouched(vendor: &Vendor) -> anyhow::Result<()> {
    for case in CASES.iter().filter(|case| case.name == HELD) {
        let calls = vendor.calls_about(&case.guest()).await?.len();
        ensure!(
            calls == 0,
            "{HELD}: calls to the vendor while it is suspended: expected 0, found {calls}; look at {}/_control/ledger",
            vendor.url
        );
    }
    say(&format!(
        "  {HELD} is suspended, and the vendor saw no call about its guest"
    ));
    Ok(())
}

async fn found(scene: &Scene, vendor: &Vendor, operator: &Operator) -> anyhow::Result<Found> {
    let lines = operator.audit();
    let audit = lines.iter().map(|line| serde_json::from_str(line));
    Ok(Found {
        objects: scene.cluster.list("guestterminations.guestops.dev").await?,
        events: scene.cluster.list("events.events.k8s.io").await?,
        audit: audit.collect::<Result<_, _>>().context("an audit line is no JSON")?,
        ledger: vendor.ledger().await?,
    })
}

fn report(problems: &[Problem]) {
    for problem in problems {
        say(&format!("WRONG  {problem}"));
    }
}

fn judge(found: &Found, secrets: &Secrets, scene: &Scene, operator: &Operator) -> anyhow::Result<()> {
    let problems = problems(&CASES, found);
    report(&problems);
    let output = [operator.process.stdout(), operator.process.stderr()].concat();
    let leaked = |secret: &&String| output.iter().any(|line| line.contains(secret.as_str()));
    if [&secrets.client_secret, &secrets.signing_key].iter().any(leaked) {
        bail!(
            "a secret stands in the operator's output in {}",
            scene.folder().display()
        );
    }
    ensure!(
        problems.is_empty(),
        "{} of the demo's expectations are not met, see WRONG above; run it with KEEP=1 to look around afterwards",
        problems.len()
    );
    let count = |of: fn(&&Case) -> bool| CASES.iter().filter(of).count();
    let (ended, announced) = (count(|case| case.expected.ended), count(|case| case.expected.announced));
    say(&format!("  all {} ended as they must", CASES.len()));
    say(&format!(
        "  {ended} sessions were ended, each by exactly one call; no other call took effect"
    ));
    say(&format!("  {announced} webhooks came, all verified, one id each"));
    say("  no secret stands in the operator's logs");
    Ok(())
}
