//! A supervised program: its output, its signals, its end.

use crate::machine::{eventually, running_with};
use control_plane::{Process, Signal, stop_detached};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(20);

fn sh(script: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", script]);
    command
}

fn spawn(command: &Command, logs: &Path) -> Process {
    Process::spawn("program", command, logs).unwrap()
}

#[tokio::test]
async fn its_streams_are_kept_apart_and_its_status_is_its_own() {
    let logs = tempfile::tempdir().unwrap();
    let process = spawn(&sh("echo to-out; echo to-err >&2; exit 7"), logs.path());
    assert_eq!(process.wait_exit(SOON).await.unwrap().code(), Some(7));
    assert_eq!(process.stdout(), ["to-out"]);
    assert_eq!(process.stderr(), ["to-err"]);
    assert!(process.signal(Signal::TERM).is_err());
    // A second one under the same name appends to the files, and gives its own lines only.
    let second = spawn(&sh("echo second"), logs.path());
    second.wait_exit(SOON).await.unwrap();
    assert_eq!(second.stdout(), ["second"]);
    assert_eq!(
        std::fs::read_to_string(logs.path().join("program.out")).unwrap(),
        "to-out\nsecond\n"
    );
}

#[tokio::test]
async fn it_gets_its_environment_its_folder_and_no_input() {
    let logs = tempfile::tempdir().unwrap();
    let mut command = sh(r#"echo "$GREETING"; echo "${HOME-none}"; pwd -P; cat; echo end"#);
    command
        .env("GREETING", "a b\tc")
        .env_remove("HOME")
        .current_dir(logs.path());
    let process = spawn(&command, logs.path());
    process.wait_exit(SOON).await.unwrap();
    let folder = logs.path().canonicalize().unwrap();
    assert_eq!(process.stdout(), ["a b\tc", "none", folder.to_str().unwrap(), "end"]);
}

#[tokio::test]
async fn signals_reach_the_program_itself() {
    let logs = tempfile::tempdir().unwrap();
    let trapping = spawn(
        &sh("trap 'echo asked; exit 3' TERM; echo ready; while :; do sleep 0.05; done"),
        logs.path(),
    );
    trapping.wait_for_line(|line| line == "ready", SOON).await.unwrap();
    assert_eq!(trapping.stop(SOON).await.unwrap().code(), Some(3));
    assert_eq!(trapping.stdout(), ["ready", "asked"]);

    let deaf = spawn(
        &sh("trap '' TERM; echo deaf; while :; do sleep 0.05; done"),
        logs.path(),
    );
    deaf.wait_for_line(|line| line == "deaf", SOON).await.unwrap();
    assert_eq!(deaf.stop(Duration::from_millis(200)).await.unwrap().signal(), Some(9));
}

#[tokio::test]
async fn it_can_be_halted_and_let_go_on() {
    let logs = tempfile::tempdir().unwrap();
    let process = spawn(&sh("while :; do echo tick; sleep 0.02; done"), logs.path());
    process.wait_for_line(|line| line == "tick", SOON).await.unwrap();
    process.signal(Signal::STOP).unwrap();
    let mut halted_at = 0;
    eventually("no more lines", || {
        let before = std::mem::replace(&mut halted_at, process.stdout().len());
        if before == halted_at {
            Ok(())
        } else {
            Err(format!("{halted_at} lines"))
        }
    })
    .await;
    process.signal(Signal::CONT).unwrap();
    eventually("lines again", || {
        if process.stdout().len() > halted_at {
            Ok(())
        } else {
            Err("none".to_owned())
        }
    })
    .await;
    assert_eq!(process.kill_9().await.unwrap().signal(), Some(9));
}

#[tokio::test]
async fn a_line_is_awaited_in_vain_no_longer_than_the_program_runs() {
    let logs = tempfile::tempdir().unwrap();
    let process = spawn(&sh("echo last words; exit 1"), logs.path());
    let error = process
        .wait_for_line(|line| line == "never", SOON)
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("exit status: 1") && error.contains("last words"),
        "{error}"
    );
    assert_eq!(
        process
            .wait_for_line(|line| line.starts_with("last"), SOON)
            .await
            .unwrap(),
        "last words"
    );
    let absent = spawn(&Command::new("/nonexistent/program"), logs.path());
    assert_eq!(absent.wait_exit(SOON).await.unwrap().code(), Some(127));
    assert!(absent.tail().contains("/nonexistent/program"), "{}", absent.tail());
}

#[tokio::test]
async fn a_dropped_one_dies_with_all_its_children() {
    let logs = tempfile::tempdir().unwrap();
    let marker = logs.path().join("marker");
    let mut command = sh(r#"sh -c 'while :; do sleep 0.05; done' "$0" & wait"#);
    command.arg(&marker);
    let process = spawn(&command, logs.path());
    eventually("both run", || match running_with(&marker) {
        running if running.len() == 2 => Ok(()),
        running => Err(format!("{running:?}")),
    })
    .await;
    drop(process);
    eventually("both are gone", || match running_with(&marker) {
        running if running.is_empty() => Ok(()),
        running => Err(format!("{running:?}")),
    })
    .await;
}

#[test]
fn it_outlives_the_runtime_that_it_was_started_in() {
    let logs = tempfile::tempdir().unwrap();
    let runtime = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
    };
    let process = runtime().block_on(async { spawn(&sh("sleep 0.3; echo done"), logs.path()) });
    runtime().block_on(async { process.wait_for_line(|line| line == "done", SOON).await.unwrap() });
    assert!(
        runtime()
            .block_on(async { process.wait_exit(SOON).await.unwrap() })
            .success()
    );
}

#[tokio::test]
async fn a_record_whose_id_is_now_somebody_elses_stops_nobody() {
    let logs = tempfile::tempdir().unwrap();
    let bystander = spawn(&sh("while :; do sleep 0.05; done"), logs.path());
    let record = serde_json::json!({ "pid": bystander.id(), "program": "/somewhere/etcd" });
    std::fs::write(logs.path().join("etcd.pid"), record.to_string()).unwrap();
    assert_eq!(stop_detached(logs.path()).unwrap(), Vec::<String>::new());
    assert_eq!(bystander.exit_status(), None);
    assert!(!logs.path().join("etcd.pid").exists());
}
