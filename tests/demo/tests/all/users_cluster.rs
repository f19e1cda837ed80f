//! `make demo CONTEXT=name`: a guest on a cluster of the user.

use crate::their_cluster::{PREFIX, TheirCluster};
use control_plane::{Process, Signal};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::ResourceExt as _;
use kube::api::{Api, PostParams};
use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

const WITHIN: Duration = Duration::from_secs(180);
const AS_IT_MUST: &str = "all 9 ended as they must";

async fn must_succeed(process: &Process) {
    let status = process.wait_exit(WITHIN).await.unwrap();
    assert!(status.success(), "{status}: {}", process.tail());
}

fn said(process: &Process, what: &str) -> bool {
    [process.stdout(), process.stderr()]
        .concat()
        .iter()
        .any(|line| line.contains(what))
}

#[tokio::test]
async fn what_it_made_goes_with_it_however_it_ends_and_it_asks_for_nothing_outside_its_namespace() {
    let theirs = TheirCluster::start().await;
    let before = theirs.inventory().await;

    let halfway = |line: &str| line.contains("plain-success created");
    let killed = theirs.demo("killed", &[]);
    killed.wait_for_line(halfway, WITHIN).await.unwrap();
    killed.kill_9().await.unwrap();
    assert_eq!(theirs.records().len(), 1);
    must_succeed(&theirs.spawn("stop", &["stop"])).await;
    assert_eq!(theirs.inventory().await, before);

    let interrupted = theirs.demo("interrupted", &[]);
    interrupted.wait_for_line(halfway, WITHIN).await.unwrap();
    interrupted.signal(Signal::INT).unwrap();
    let status = interrupted.wait_exit(WITHIN).await.unwrap();
    assert!(
        !status.success() && said(&interrupted, "interrupted"),
        "{}",
        interrupted.tail()
    );
    assert_eq!(theirs.inventory().await, before);

    let whole = theirs.demo("whole", &[]);
    must_succeed(&whole).await;
    assert!(said(&whole, AS_IT_MUST), "{}", whole.tail());
    assert_eq!(theirs.inventory().await, before);
    assert_eq!(theirs.records(), Vec::<std::path::PathBuf>::new());

    let asked = theirs.asked_by_operators();
    let operators: BTreeSet<_> = asked.iter().map(|(namespace, _)| namespace).collect();
    assert_eq!(operators.len(), 3, "{operators:?}");
    for (namespace, event) in &asked {
        assert!(namespace.starts_with(PREFIX), "{event:?}");
        // The document that tells what is served is in no namespace, and everybody may read it.
        let open = event.uri.starts_with("/openapi/");
        assert!(open || event.namespace == *namespace, "{event:?}");
        assert_ne!(event.code, 403, "{event:?}");
    }
}

#[tokio::test]
async fn the_kinds_of_the_cluster_stay_as_they_are() {
    let theirs = TheirCluster::start().await;
    let crds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../crds");
    theirs.control_plane.apply_path(&crds, "default").await.unwrap();
    let before = theirs.inventory().await;

    let kept = theirs.demo("kept", &["--keep"]);
    must_succeed(&kept).await;
    assert!(
        said(&kept, AS_IT_MUST) && said(&kept, "make demo-stop"),
        "{}",
        kept.tail()
    );
    let url = kept.stdout().into_iter().find_map(|line| {
        let url = line.trim_start().strip_prefix("the simulator is at http://")?;
        Some(url.to_owned())
    });
    let address = url.unwrap();
    assert!(
        std::net::TcpStream::connect(&address).is_ok(),
        "the simulator does not run on"
    );
    assert_eq!(theirs.records().len(), 1);

    let stop = theirs.spawn("stop", &["stop"]);
    must_succeed(&stop).await;
    assert!(
        std::net::TcpStream::connect(&address).is_err(),
        "the simulator still runs"
    );
    assert_eq!(theirs.records(), Vec::<std::path::PathBuf>::new());
    assert_eq!(theirs.inventory().await, before);

    // Another version of a kind: neither changed nor used.
    let api: Api<CustomResourceDefinition> = Api::all(theirs.client.clone());
    let mut other = theirs.definitions().await.swap_remove(0);
    other.spec.names.categories = Some(vec!["theirs".to_owned()]);
    api.replace(&other.name_any(), &PostParams::default(), &other)
        .await
        .unwrap();
    let before = theirs.inventory().await;
    let refused = theirs.demo("refused", &[]);
    assert!(!refused.wait_exit(WITHIN).await.unwrap().success());
    let why = format!(
        "another version of {} (it differs at spec.names.categories",
        other.name_any()
    );
    assert!(said(&refused, &why), "{}", refused.tail());
    assert_eq!(theirs.inventory().await, before);
}
