//! Control planes beside each other, and that nothing is left of one that ended, however it ended.

use crate::machine::{eventually, running_with};
use control_plane::{ControlPlane, Process, stop_detached};
use k8s_openapi::api::core::v1::Namespace;
use kube::api::Api;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const START: Duration = Duration::from_secs(120);

/// Our own program, which keeps what it makes in `folder`.
fn program(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_control-plane"));
    command.env("TMPDIR", folder).args(arguments);
    command
}

/// Nothing runs that was told of the folder, and nothing is in it.
async fn assert_nothing_left(folder: &Path) {
    eventually("nothing is left", || {
        let left: Vec<_> = folder.read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
        let running = running_with(folder);
        if left.is_empty() && running.is_empty() {
            Ok(())
        } else {
            Err(format!("{left:?} {running:?}"))
        }
    })
    .await;
}

#[tokio::test]
async fn two_run_beside_each_other_and_know_nothing_of_each_other() {
    let (one, two) = tokio::join!(ControlPlane::start(), ControlPlane::start());
    let (one, two) = (one.unwrap(), two.unwrap());
    assert_ne!(one.url(), two.url());
    assert_ne!(one.ca(), two.ca());
    let namespace = one.namespace("only-here").await.unwrap();
    let namespaces = Api::<Namespace>::all(two.admin_client().await.unwrap());
    assert!(namespaces.get_opt(&namespace).await.unwrap().is_none());
    // The certificate of the one is nothing to the other.
    let mut stranger = two.kubectl();
    stranger.args(["get", "namespaces", "--server", one.url()]);
    assert!(control_plane::run(&mut stranger).await.is_err());

    let folders = [one.data_dir().to_owned(), two.data_dir().to_owned()];
    assert_eq!(
        running_with(&folders[0]).len(),
        3,
        "etcd, the API server, and the watchdog of the folder"
    );
    one.stop().await.unwrap();
    drop(two);
    for folder in &folders {
        assert!(!folder.exists());
        assert_eq!(running_with(folder), Vec::<String>::new());
    }
}

#[tokio::test]
async fn of_a_killed_process_nothing_is_left() {
    let (folder, logs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let process = Process::spawn("run", &program(folder.path(), &["run"]), logs.path()).unwrap();
    process
        .wait_for_line(|line| line.ends_with("admin.kubeconfig"), START)
        .await
        .unwrap();
    assert_eq!(running_with(folder.path()).len(), 3);
    process.kill_9().await.unwrap();
    assert_nothing_left(folder.path()).await;
}

#[tokio::test]
async fn of_a_process_that_is_killed_while_it_starts_nothing_is_left() {
    let (folder, logs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for step in 0..12 {
        let process = Process::spawn("run", &program(folder.path(), &["run"]), logs.path()).unwrap();
        tokio::time::sleep(Duration::from_millis(step * 15)).await;
        process.kill_9().await.unwrap();
    }
    assert_nothing_left(folder.path()).await;
}

#[tokio::test]
async fn one_that_is_asked_to_stop_stops_in_good_order() {
    let (folder, logs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let process = Process::spawn("run", &program(folder.path(), &["run"]), logs.path()).unwrap();
    process
        .wait_for_line(|line| line.ends_with("admin.kubeconfig"), START)
        .await
        .unwrap();
    assert!(process.stop(Duration::from_secs(20)).await.unwrap().success());
    assert_nothing_left(folder.path()).await;
}

#[tokio::test]
async fn a_detached_one_outlives_its_starter_until_it_is_stopped() {
    let (folder, logs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let data = folder.path().join("data");
    let start = program(folder.path(), &["start", data.to_str().unwrap()]);
    let process = Process::spawn("start", &start, logs.path()).unwrap();
    assert!(process.wait_exit(START).await.unwrap().success(), "{}", process.tail());
    let kubeconfig = process.stdout().pop().unwrap();
    drop(process);

    let mut kubectl = tokio::process::Command::new(control_plane::Program::Kubectl.path().unwrap());
    kubectl.env("KUBECONFIG", kubeconfig).args(["get", "--raw", "/readyz"]);
    assert_eq!(control_plane::run(&mut kubectl).await.unwrap(), "ok");
    assert_eq!(
        running_with(&data).len(),
        2,
        "etcd and the API server, without watchdogs"
    );

    let again = ControlPlane::builder()
        .data_dir(&data)
        .start()
        .await
        .unwrap_err()
        .to_string();
    assert!(again.contains("is not empty"), "{again}");
    let stopping = data.clone();
    let mut stopped = tokio::task::spawn_blocking(move || stop_detached(&stopping))
        .await
        .unwrap()
        .unwrap();
    stopped.sort();
    assert_eq!(stopped, ["etcd", "kube-apiserver"]);
    assert_eq!(running_with(&data), Vec::<String>::new());
    assert_eq!(stop_detached(&data).unwrap(), Vec::<String>::new());
}
