//! What goes wrong around an object while a call of it is under way: the API server, its rules, a second process, an
//! audit log that takes nothing.

use std::{
    io::{self, Write},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use control_plane::{ControlPlane, Signal};
use k8s_openapi::api::rbac::v1::RoleBinding;
use kube::{
    Api,
    api::{DeleteParams, PostParams},
};
use serde_json::json;
use simulator::api::{FaultSpec, GuestSpec, Moment, Operation};

use super::{
    lifecycle_stage::{A_WHILE, seconds, with_pacing},
    process::Program,
};
use crate::{
    fixture,
    kstatus::{Kstatus, kstatus},
    stage::{Lines, Stage},
};

fn slow(operation: Operation, delay_after_ms: u64) -> FaultSpec {
    FaultSpec {
        delay_after_ms,
        ..FaultSpec::on(operation).guest("guest").times(1)
    }
}

/// The API server stands still for longer than any of its calls may take: once when an intent is about to be written,
/// once when a result is.
#[tokio::test(flavor = "multi_thread")]
async fn an_api_server_that_stands_still_costs_no_second_call() {
    let cluster = ControlPlane::start().await.unwrap();
    for (operation, attempts) in [(Operation::Observe, 1..=2), (Operation::Terminate, 1..=1)] {
        let stage = Stage::on(&cluster, "frozen").await;
        fixture::install(stage.client.clone()).await;
        stage.connect(stage.connection("default")).await;
        let operator = stage.operate().await;
        stage.warm_up().await;
        stage.simulator.add_guest(GuestSpec::active("guest"));
        stage.simulator.add_fault(slow(operation, 1000)).unwrap();
        stage.terminate("guest", json!({})).await;
        stage.happens(operation, Moment::Received, "guest").await;
        cluster.apiserver().signal(Signal::STOP).unwrap();
        tokio::time::sleep(seconds(9)).await;
        let sent = stage.asked(Operation::Terminate, "guest");
        cluster.apiserver().signal(Signal::CONT).unwrap();
        assert_eq!(
            sent,
            usize::from(operation == Operation::Terminate),
            "no intent, no call"
        );
        let object = stage.settled("guest").await;
        assert_eq!(object["status"]["outcome"], "Terminated");
        assert_eq!(object["status"]["audit"]["confirmedBy"], "Response");
        assert!(attempts.contains(&object["status"]["attempts"].as_i64().unwrap()));
        assert_eq!(stage.asked(Operation::Terminate, "guest"), 1);
        let story = operator.story("guest");
        assert_eq!(
            story.iter().filter(|line| line.starts_with("outcome")).count(),
            1,
            "{story:?}"
        );
        operator.stop().await;
    }
    cluster.stop().await.unwrap();
}

/// Asked to stop while a result cannot be written: the end is not put off for ever, and nothing is lost by it.
#[tokio::test(flavor = "multi_thread")]
async fn a_result_that_cannot_be_written_does_not_keep_the_process() {
    let cluster = ControlPlane::start().await.unwrap();
    let stage = Stage::on(&cluster, "frozen").await;
    fixture::install(stage.client.clone()).await;
    stage.connect(stage.connection("default")).await;
    let program = Program::start(&stage, "info");
    stage.simulator.add_guest(GuestSpec::active("guest"));
    stage.simulator.add_fault(slow(Operation::Terminate, 1000)).unwrap();
    stage.terminate("guest", json!({})).await;
    stage.happens(Operation::Terminate, Moment::Received, "guest").await;
    cluster.apiserver().signal(Signal::STOP).unwrap();
    program.process.signal(Signal::TERM).unwrap();
    let status = program.process.wait_exit(seconds(25)).await.unwrap();
    cluster.apiserver().signal(Signal::CONT).unwrap();
    assert!(status.success(), "{status}{}", program.process.tail());
    assert!(
        program
            .process
            .stdout()
            .iter()
            .any(|line| line.contains("attempt_result"))
    );

    let next = Program::start(&stage, "info");
    let object = stage.settled("guest").await;
    assert_eq!(object["status"]["outcome"], "Terminated");
    assert_eq!(stage.calls_of("guest").1, 1);
    assert_eq!(stage.asked(Operation::Terminate, "guest"), 1);
    assert!(next.process.stop(seconds(20)).await.unwrap().success());
    cluster.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_is_kept_until_it_may_be_written() {
    let stage = Stage::set("revoked").await;
    let operator = stage.operate().await;
    stage.warm_up().await;
    stage.simulator.add_guest(GuestSpec::active("guest"));
    stage.simulator.add_fault(slow(Operation::Terminate, 3000)).unwrap();
    stage.terminate("guest", json!({})).await;
    stage.happens(Operation::Terminate, Moment::Received, "guest").await;
    let bindings: Api<RoleBinding> = Api::namespaced(stage.client.clone(), &stage.namespace);
    let mut binding = bindings.get("guest-termination-operator").await.unwrap();
    bindings
        .delete("guest-termination-operator", &DeleteParams::default())
        .await
        .unwrap();
    tokio::time::sleep(seconds(8)).await;
    let object = serde_json::to_value(stage.terminations().get("guest").await.unwrap()).unwrap();
    assert!(
        !object["status"]["currentAttempt"].is_null(),
        "the result was not written: {object:#}"
    );

    binding.metadata.resource_version = None;
    binding.metadata.uid = None;
    bindings.create(&PostParams::default(), &binding).await.unwrap();
    let object = stage.settled("guest").await;
    assert_eq!(object["status"]["outcome"], "Terminated");
    assert_eq!(object["status"]["audit"]["confirmedBy"], "Response");
    assert_eq!(stage.calls_of("guest"), (2, 1));
    assert_eq!(
        operator.story("guest"),
        ["attempt_started", "attempt_result Applied", "outcome Terminated"],
        "each line once, however often the write was tried"
    );
    operator.stop().await;
}

/// Both take themselves for the only one. The write of the intent lets one of them through.
#[tokio::test(flavor = "multi_thread")]
async fn two_processes_at_once_end_nobody_twice() {
    const MANY: usize = 20;
    let stage = Stage::set("pair").await;
    let operators = [stage.operate().await, stage.operate().await];
    stage.warm_up().await;
    let names: Vec<_> = (0..MANY).map(|index| format!("guest-{index}")).collect();
    for name in &names {
        stage.simulator.add_guest(GuestSpec::active(name));
        stage.terminate(name, json!({})).await;
    }
    for name in &names {
        let object = stage.settled(name).await;
        assert_eq!(object["status"]["outcome"], "Terminated", "{object:#}");
        assert_eq!(object["status"]["attempts"], 1);
        assert_eq!(stage.asked(Operation::Terminate, name), 1);
        assert_eq!(stage.calls_of(name).1, 1);
        let id = object["status"]["webhooks"][0]["messageId"].as_str().unwrap();
        assert_eq!(stage.simulator.summary().webhooks[id].distinct_bodies, 1);
    }
    for operator in operators {
        operator.stop().await;
    }
}

/// Somebody else's finalizer keeps the object. Its owner has deleted it all the same.
#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_is_being_deleted_begins_nothing() {
    let stage = Stage::bare("leaving").await;
    stage.simulator.add_guest(GuestSpec::active("guest"));
    let operator = stage.operate().await;
    stage.terminate("guest", json!({})).await;
    stage
        .edit("guest", json!({"metadata": {"finalizers": ["example.com/archive"]}}))
        .await;
    stage.delete("guest").await;
    stage
        .until("guest", "being deleted", |object| {
            !object["metadata"]["deletionTimestamp"].is_null()
        })
        .await;
    stage.connect(stage.connection("default")).await;
    stage.simulator.add_guest(GuestSpec::active("other"));
    stage.terminate("other", json!({})).await;
    stage.settled("other").await;
    tokio::time::sleep(A_WHILE).await;
    assert_eq!(stage.calls_of("guest"), (0, 0));
    let object = serde_json::to_value(stage.terminations().get("guest").await.unwrap()).unwrap();
    assert_eq!(kstatus(&object), Kstatus::Terminating);
    stage.edit("guest", json!({"metadata": {"finalizers": null}})).await;
    for _ in 0..100 {
        if !operator.story("guest").is_empty() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert_eq!(operator.story("guest"), ["outcome"]);
    operator.stop().await;
}

/// The same, with the call on its way: what it does is recorded while the object is still there.
#[tokio::test(flavor = "multi_thread")]
async fn the_call_of_an_object_that_is_being_deleted_is_recorded() {
    let stage = Stage::set("leaving").await;
    stage.simulator.add_guest(GuestSpec::active("guest"));
    stage.simulator.add_fault(slow(Operation::Terminate, 2000)).unwrap();
    let operator = stage.operate().await;
    stage.terminate("guest", json!({})).await;
    stage.happens(Operation::Terminate, Moment::Received, "guest").await;
    stage
        .edit("guest", json!({"metadata": {"finalizers": ["example.com/archive"]}}))
        .await;
    stage.delete("guest").await;
    let object = stage.settled("guest").await;
    assert_eq!(object["status"]["outcome"], "Terminated");
    assert_eq!(object["status"]["webhooks"][0]["state"], "Delivered");
    stage.edit("guest", json!({"metadata": {"finalizers": null}})).await;
    operator.stop().await;
}

/// An audit log whose disk is full for a while.
struct Full {
    lines: Lines,
    full: Arc<AtomicBool>,
}

impl Write for Full {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.full.load(Ordering::SeqCst) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.lines.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_audit_log_nothing_is_ended() {
    let stage = Stage::set("full").await;
    let (lines, full) = (Lines::default(), Arc::new(AtomicBool::new(false)));
    let sink = Full {
        lines: lines.clone(),
        full: full.clone(),
    };
    let operator = stage.operate_audited(stage.settings(), Box::new(sink), lines).await;
    stage.warm_up().await;
    full.store(true, Ordering::SeqCst);
    stage.simulator.add_guest(GuestSpec::active("guest"));
    stage.terminate("guest", json!({})).await;
    stage.happens(Operation::Observe, Moment::Answered, "guest").await;
    let position = stage.cluster.audit_position();
    tokio::time::sleep(seconds(5)).await;
    assert_eq!(stage.asked(Operation::Terminate, "guest"), 0);
    let writes = stage.writes_since(position);
    let about = writes.iter().filter(|write| write.name == "guest");
    assert!(about.count() <= 2, "{writes:?}");

    full.store(false, Ordering::SeqCst);
    let object = stage.settled("guest").await;
    assert_eq!(object["status"]["outcome"], "Terminated");
    assert_eq!(stage.asked(Operation::Terminate, "guest"), 1);
    // Every call that was announced is accounted for.
    let story = operator.story("guest");
    let count = |kind: &str| story.iter().filter(|line| line.starts_with(kind)).count();
    assert_eq!(count("attempt_result Applied"), 1, "{story:?}");
    assert_eq!(count("outcome Terminated"), 1, "{story:?}");
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn watches_that_end_all_the_time_lose_nothing_and_repeat_nothing() {
    let stage = Stage::bare("watches").await;
    let settings = with_pacing(&stage, |pacing| pacing.watch_timeout_seconds = 1);
    let operator = stage.operate_with(settings).await;
    stage
        .terminate(
            "waiting",
            json!({"connectionRef": {"kind": "GenesysConnection", "name": "missing"}}),
        )
        .await;
    stage.connect(stage.connection("default")).await;
    let names: Vec<_> = (0..10).map(|index| format!("guest-{index}")).collect();
    for name in &names {
        stage.simulator.add_guest(GuestSpec::active(name));
        stage.terminate(name, json!({})).await;
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    }
    for name in &names {
        assert_eq!(stage.settled(name).await["status"]["outcome"], "Terminated");
        assert_eq!(stage.calls_of(name), (2, 1));
    }
    tokio::time::sleep(A_WHILE).await;
    let (position, calls) = (stage.cluster.audit_position(), stage.simulator.ledger().calls.len());
    tokio::time::sleep(seconds(5)).await;
    assert_eq!(
        stage.writes_since(position),
        [],
        "nothing is written while nothing changes"
    );
    assert_eq!(stage.simulator.ledger().calls.len(), calls);
    operator.stop().await;
}
