//! `make demo`: a cluster that comes and goes with the run.

use crate::their_cluster::demo;
use control_plane::Process;
use std::path::Path;
use std::time::Duration;

#[tokio::test]
async fn it_ends_as_it_must_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let process = Process::spawn("demo", &demo(folder.path(), &["run"]), folder.path()).unwrap();
    let status = process.wait_exit(Duration::from_secs(180)).await.unwrap();
    let output = process.stdout();
    assert!(status.success(), "{status}: {}", process.tail());
    for promised in [
        "all 9 ended as they must",
        "4 sessions were ended, each by exactly one call; no other call took effect",
        "7 webhooks came, all verified, one id each",
    ] {
        assert!(
            output.iter().any(|line| line.contains(promised)),
            "{promised}: {output:#?}"
        );
    }
    let place = output
        .iter()
        .find_map(|line| line.strip_prefix("logs and kubeconfigs are in "));
    assert!(!Path::new(place.unwrap()).exists(), "{place:?} is left");
    assert!(!folder.path().join("runs").exists(), "a record is left");
}
