//! The real program: its probes, its signals, its death, and what it never tells.

use std::{process::Command, time::Duration};

use control_plane::{Process, Signal};
use serde_json::{Value, json};
use simulator::api::{FaultAction, FaultSpec, GuestSpec, Moment, Operation, ScriptedAnswer};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::lifecycle_stage::seconds;
use crate::stage::{SIGNING_KEY, Stage, verdict};

/// A lease that a test can wait for: a leader that was killed is followed 6 s later. Not shorter: where many tests share few
/// cores, an API server may well take a second to answer, and a lead that lapses withdraws an attempt.
pub(super) const SHORT_LEASE: [&str; 3] = [
    "--leader-elect-lease-duration=6s",
    "--leader-elect-renew-deadline=5s",
    "--leader-elect-retry-period=500ms",
];
/// The health port of a program that runs.
pub(super) mod probe {
    use super::*;

    /// Where it listens, as it says in its logs.
    pub(crate) async fn address(process: &Process) -> String {
        let health = |line: &str| -> Option<String> {
            let line: Value = serde_json::from_str(line).ok()?;
            let field = line.get("health").or_else(|| line["fields"].get("health"))?;
            Some(field.as_str()?.to_owned())
        };
        let line = process.wait_for_line(|line| health(line).is_some(), seconds(30)).await;
        health(&line.unwrap()).unwrap()
    }

    /// Status and body of a path.
    pub(crate) async fn get(address: &str, path: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.0\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
        let body = answer.split_once("\r\n\r\n").unwrap().1.to_owned();
        (status, body)
    }
}

/// The operator's program, on a stage.
pub(super) struct Program {
    pub(super) process: Process,
    _logs: tempfile::TempDir,
}

impl Program {
    /// Starts it with a lease that a test can wait for.
    pub(super) fn start(stage: &Stage<'_>, log_filter: &str) -> Self {
        Self::start_with(stage, log_filter, &SHORT_LEASE)
    }

    pub(super) fn start_with(stage: &Stage<'_>, log_filter: &str, flags: &[&str]) -> Self {
        let kubeconfig = stage.cluster.kubeconfig(&stage.operator, &stage.namespace).unwrap();
        let logs = tempfile::tempdir().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_guest-termination-operator"));
        command
            .args(["run", "--allow-insecure-endpoints", "--webhook-allow-http"])
            .args(["--webhook-allow-cidr", "127.0.0.0/8", "--health-address", "127.0.0.1:0"])
            .args(["--log-filter", log_filter])
            .args(["--namespace", &stage.namespace])
            .args(flags)
            .arg("--kubeconfig")
            .arg(kubeconfig);
        let process = Process::spawn("operator", &command, logs.path()).unwrap();
        Self { process, _logs: logs }
    }

    /// Status and body of a path of its health port.
    pub(super) async fn get(&self, path: &str) -> (u16, String) {
        probe::get(&probe::address(&self.process).await, path).await
    }

    pub(super) async fn ready(&self) {
        for _ in 0..600 {
            if self.get("/readyz").await.0 == 200 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("never ready: {:?}{}", self.get("/readyz").await, self.process.tail());
    }

    /// The audit lines, which have standard output to themselves.
    pub(super) fn audit(&self) -> Vec<Value> {
        let lines = self.process.stdout();
        lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_between_terminate_and_result_it_makes_good_by_a_look() {
    let stage = Stage::set("kill").await;
    stage.simulator.add_guest(GuestSpec::active("guest"));
    let fault = FaultSpec::on(Operation::Terminate)
        .times(1)
        .action(FaultAction::Hang { after_effect: true });
    stage.simulator.add_fault(fault).unwrap();
    let first = Program::start(&stage, "info");
    stage.terminate("guest", json!({})).await;
    stage.happens(Operation::Terminate, Moment::Effective, "guest").await;
    first.process.kill_9().await.unwrap();
    let started = first.audit();
    assert_eq!(started.len(), 1, "the line was out before the call: {started:?}");
    assert_eq!(started[0]["kind"], "attempt_started");
    assert_eq!(started[0]["message"], "session_termination_audit");

    let second = Program::start(&stage, "info");
    let object = stage.settled("guest").await;
    assert_eq!(object["status"]["outcome"], "Terminated");
    assert_eq!(object["status"]["audit"]["confirmedBy"], "Observation");
    assert_eq!(verdict(&object, "WebhookDelivered"), "True/Delivered");
    assert_eq!(stage.calls_of("guest"), (3, 1));
    assert_eq!(stage.simulator.summary().webhooks.len(), 1);
    let kinds: Vec<_> = second.audit().iter().map(|line| line["kind"].clone()).collect();
    assert_eq!(kinds, ["attempt_result", "outcome"]);
    assert_eq!(second.audit()[0]["attempt_id"], started[0]["attempt_id"]);
    assert!(second.process.stop(seconds(20)).await.unwrap().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn asked_to_stop_it_finishes_what_is_in_flight_and_begins_nothing() {
    const MANY: usize = 30;
    const SLOTS: usize = 5;
    let stage = Stage::bare("term").await;
    let mut connection = stage.connection("default");
    connection["spec"]["rateLimit"]["maxInFlight"] = json!(SLOTS);
    stage.connect(connection).await;
    let program = Program::start(&stage, "info");
    stage.warm_up().await;
    let slow = FaultSpec {
        delay_after_ms: 4000,
        ..FaultSpec::on(Operation::Terminate)
    };
    stage.simulator.add_fault(slow).unwrap();
    let names: Vec<_> = (0..MANY).map(|index| format!("guest-{index}")).collect();
    for name in &names {
        stage.simulator.add_guest(GuestSpec::active(name));
        stage.terminate(name, json!({})).await;
    }
    let under_way = || {
        let calls = stage.simulator.ledger().calls;
        let terminates = calls.iter().filter(|call| call.operation == Operation::Terminate);
        terminates.filter(|call| call.answered_at_ms.is_none()).count()
    };
    for _ in 0..600 {
        if under_way() == SLOTS {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(under_way(), SLOTS);
    program.process.signal(Signal::TERM).unwrap();
    let sent = stage.simulator.summary().calls[&Operation::Terminate];
    let status = program.process.wait_exit(seconds(20)).await.unwrap();
    assert!(status.success(), "{status}{}", program.process.tail());
    assert_eq!(stage.simulator.summary().calls[&Operation::Terminate], sent);

    let mut finished = 0;
    for name in &names {
        let object = serde_json::to_value(stage.terminations().get(name).await.unwrap()).unwrap();
        assert!(object["status"]["currentAttempt"].is_null(), "{object:#}");
        if object["status"]["finished"] == true {
            assert_eq!(object["status"]["audit"]["confirmedBy"], "Response");
            finished += 1;
        } else {
            assert_eq!(object["status"]["attempts"].as_i64().unwrap_or_default(), 0);
        }
    }
    assert_eq!(finished, usize::try_from(sent).unwrap());
    let count = |kind: &str| program.audit().iter().filter(|line| line["kind"] == kind).count();
    assert_eq!(count("attempt_started"), count("attempt_result"));
    assert_eq!(count("attempt_started"), count("outcome"));

    stage.simulator.clear_faults();
    let next = Program::start(&stage, "info");
    for name in &names {
        let object = stage.settled(name).await;
        assert_eq!(object["status"]["outcome"], "Terminated");
        assert_eq!(object["status"]["attempts"], 1);
        assert_eq!(stage.calls_of(name).1, 1);
    }
    assert!(next.process.stop(seconds(20)).await.unwrap().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn it_answers_probes_and_tells_no_secret() {
    let stage = Stage::set("probe").await;
    let program = Program::start(&stage, "debug");
    program.ready().await;
    assert_eq!(program.get("/livez").await.0, 200);

    // Ways on which a careless program would print what it holds: refusals, redirects, retries, refreshes.
    let once = |operation| FaultSpec::on(operation).times(1);
    for fault in [
        once(Operation::Token).answer(ScriptedAnswer::vendor(503)),
        once(Operation::Observe).answer(ScriptedAnswer::vendor(401)),
        once(Operation::Terminate).answer(ScriptedAnswer::vendor(503)),
        once(Operation::Webhook).answer(ScriptedAnswer::vendor(500)),
    ] {
        stage.simulator.add_fault(fault).unwrap();
    }
    stage.simulator.add_guest(GuestSpec::active("guest"));
    stage.terminate("guest", json!({})).await;
    let object = stage.settled("guest").await;
    assert_eq!(object["status"]["outcome"], "Terminated");

    let (status, metrics) = program.get("/metrics").await;
    assert_eq!(status, 200);
    assert!(metrics.contains("guest_termination_events_total{"), "{metrics}");
    assert_eq!(program.get("/nothing").await.0, 404);
    assert!(program.process.stop(seconds(20)).await.unwrap().success());

    let events: kube::Api<k8s_openapi::api::events::v1::Event> =
        kube::Api::namespaced(stage.client.clone(), &stage.namespace);
    let events = events.list(&kube::api::ListParams::default()).await.unwrap().items;
    assert!(!events.is_empty());
    let connection = stage.connections().get("default").await.unwrap();
    let ledger = stage.simulator.ledger();
    let bodies: Vec<_> = ledger
        .webhooks
        .iter()
        .map(|call| String::from_utf8_lossy(&call.body).into_owned())
        .collect();
    let told = [
        ("stdout", program.process.stdout().join("\n")),
        ("stderr", program.process.stderr().join("\n")),
        ("metrics", metrics),
        ("status", object.to_string()),
        ("connection", serde_json::to_string(&connection).unwrap()),
        ("events", serde_json::to_string(&events).unwrap()),
        ("webhooks", bodies.join("\n")),
    ];
    for (place, text) in told {
        assert!(!text.is_empty(), "{place}");
        let key = SIGNING_KEY.trim_start_matches("whsec_");
        for secret in [simulator::CLIENT_SECRET, key, "canary-signing-key", "simulated-token-"] {
            assert!(!text.contains(secret), "{place} tells {secret}");
        }
    }
}
