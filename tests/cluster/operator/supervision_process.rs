//! The real program: it dies aloud, and lives on where it is only held up.

use std::{
    fs::File,
    io::{BufRead as _, BufReader},
    os::unix::process::ExitStatusExt as _,
    path::Path,
    process::Command,
    time::Duration,
};

use control_plane::{Process, Signal};
use serde_json::{Value, json};
use simulator::api::{FaultAction, FaultSpec, GuestSpec, Moment, Operation};

use super::{
    lifecycle_stage::seconds,
    process::{Program, probe},
};
use crate::stage::Stage;

/// The lines of standard error, each of which is JSON.
fn logs(process: &Process) -> Vec<Value> {
    let lines = process.stderr().into_iter();
    lines
        .map(|line| serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_is_one_json_line_that_quotes_nothing() {
    for backtrace in ["0", "1"] {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_guest-termination-operator"));
        command.args(["run", "--health-address", "127.0.0.1:0"]);
        // The runtime's own check of this variable panics, and quotes its name.
        command
            .env("TOKIO_WORKER_THREADS", "0")
            .env("RUST_BACKTRACE", backtrace);
        let process = Process::spawn("operator", &command, folder.path()).unwrap();
        let status = process.wait_exit(seconds(30)).await.unwrap();
        assert!(!status.success() && status.signal().is_none(), "{status}");
        let lines = logs(&process);
        let told: Vec<_> = lines.iter().filter(|line| !line["location"].is_null()).collect();
        assert_eq!(told.len(), 1, "{lines:?}");
        assert_eq!(told[0]["level"], "ERROR");
        assert_eq!(told[0]["thread"], "main");
        assert!(told[0]["location"].as_str().unwrap().contains(".rs:"), "{}", told[0]);
        assert_eq!(told[0]["backtrace"].is_string(), backtrace == "1", "{}", told[0]);
        let quoted = told[0]["message"].as_str().unwrap();
        assert!(!quoted.contains("TOKIO"), "{quoted}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_it_at_once_and_the_next_start_makes_good() {
    let stage = Stage::set("twice").await;
    stage.simulator.add_guest(GuestSpec::active("guest"));
    let fault = FaultSpec::on(Operation::Terminate)
        .times(1)
        .action(FaultAction::Hang { after_effect: true });
    stage.simulator.add_fault(fault).unwrap();
    let first = Program::start(&stage, "info");
    stage.terminate("guest", json!({})).await;
    stage.happens(Operation::Terminate, Moment::Effective, "guest").await;
    first.process.signal(Signal::TERM).unwrap();
    let asked = |line: &str| line.contains("asked to stop");
    first.process.wait_for_line(asked, seconds(10)).await.unwrap();
    first.process.signal(Signal::TERM).unwrap();
    let status = first.process.wait_exit(seconds(5)).await.unwrap();
    assert_eq!(status.code(), Some(1));
    let lines = logs(&first.process);
    let why = lines.last().unwrap()["error"].as_str().unwrap();
    assert!(why.contains("second time"), "{why}");

    let second = Program::start(&stage, "info");
    let object = stage.settled("guest").await;
    assert_eq!(object["status"]["audit"]["confirmedBy"], "Observation");
    assert_eq!(stage.asked(Operation::Terminate, "guest"), 1);
    assert!(second.process.stop(seconds(20)).await.unwrap().success());
}

/// The operator whose standard output is a named pipe.
fn piped(stage: &Stage<'_>, pipe: &Path, folder: &Path) -> Process {
    let made = Command::new("mkfifo").arg(pipe).status().unwrap();
    assert!(made.success());
    let kubeconfig = stage.cluster.kubeconfig(&stage.operator, &stage.namespace).unwrap();
    let mut command = Command::new("sh");
    command
        .args(["-c", r#"exec "$@" >"$PIPE""#, "operator"])
        .arg(env!("CARGO_BIN_EXE_guest-termination-operator"))
        .args(["run", "--allow-insecure-endpoints", "--webhook-allow-http"])
        .args(["--webhook-allow-cidr", "127.0.0.0/8", "--health-address", "127.0.0.1:0"])
        .args(["--namespace", &stage.namespace])
        .arg("--kubeconfig")
        .arg(kubeconfig)
        .env("PIPE", pipe)
        // One worker is held up sooner than many.
        .env("TOKIO_WORKER_THREADS", "1");
    Process::spawn("operator", &command, folder).unwrap()
}

/// A reader of the audit log that stops reading holds the operator up: no call leaves without its line. Liveness says
/// so, the probes answer, and when it reads on nothing is lost.
#[tokio::test(flavor = "multi_thread")]
async fn a_reader_of_the_audit_log_that_stops_fails_liveness_and_loses_nothing() {
    const GUESTS: usize = 60;
    let stage = Stage::set("stopped-reader").await;
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("audit");
    let process = piped(&stage, &pipe, folder.path());
    // Opening a named pipe waits for its other end.
    let reader = tokio::task::spawn_blocking(move || File::open(pipe).unwrap())
        .await
        .unwrap();
    let address = probe::address(&process).await;
    let names: Vec<_> = (0..GUESTS).map(|index| format!("guest-{index}")).collect();
    let reference = "x".repeat(256);
    for name in &names {
        stage.simulator.add_guest(GuestSpec::active(name));
        stage.terminate(name, json!({"externalRef": reference})).await;
    }
    let mut body = String::new();
    for _ in 0..900 {
        let (code, answer) = probe::get(&address, "/livez").await;
        body = answer;
        if code == 503 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(
        body.contains("[-]runtime failed: nothing heard for"),
        "{body}{}",
        process.tail()
    );
    assert_eq!(probe::get(&address, "/readyz").await.0, 200);
    assert!(probe::get(&address, "/metrics").await.1.contains("guest_termination_"));

    let lines = std::thread::spawn(move || {
        let lines = BufReader::new(reader).lines().map(Result::unwrap);
        lines
            .map(|line| serde_json::from_str(&line).unwrap())
            .collect::<Vec<Value>>()
    });
    for name in &names {
        assert_eq!(stage.settled(name).await["status"]["outcome"], "Terminated");
    }
    assert_eq!(probe::get(&address, "/livez").await.0, 200);
    assert!(process.stop(seconds(20)).await.unwrap().success());
    let lines = lines.join().unwrap();
    let count = |kind: &str| lines.iter().filter(|line| line["kind"] == kind).count();
    assert_eq!(count("outcome"), GUESTS);
    for call in stage.calls_about(Operation::Terminate, |_| true) {
        let told =
            |line: &&Value| line["kind"] == "attempt_started" && line["guest_id"].as_str() == call.guest.as_deref();
        assert!(lines.iter().any(|line| told(&line)), "{call:?}");
    }
}
