//! Two replicas as two processes: one leads, the other stands by and takes over, however the first one goes.

use std::time::Duration;

use control_plane::Signal;
use k8s_openapi::api::{coordination::v1::Lease, events::v1::Event, rbac::v1::RoleBinding};
use kube::{
    Api,
    api::{DeleteParams, ListParams, PostParams},
};
use serde_json::json;
use simulator::api::{FaultSpec, GuestSpec, Moment, Operation};
use tokio::time::Instant;

use super::{
    lifecycle_stage::{A_WHILE, seconds},
    process::Program,
};
use crate::stage::Stage;

const LEASE: &str = "guest-termination-operator";
/// That of [`super::process::SHORT_LEASE`].
const LEASE_DURATION: Duration = Duration::from_secs(6);
/// What a machine that runs many tests may add to a promised span. What was measured is printed.
const SLACK: Duration = Duration::from_secs(2);

impl Program {
    async fn says(&self, words: &str) {
        let line = self
            .process
            .wait_for_line(|line| line.contains(words), seconds(60))
            .await;
        line.unwrap();
    }

    /// Waits until it leads, and nothing else.
    async fn leads(&self) {
        self.metric("guest_termination_leader 1").await;
    }

    async fn stands_by(&self) {
        self.metric("guest_termination_leader 0").await;
    }

    async fn metric(&self, wanted: &str) {
        let mut last = String::new();
        for _ in 0..1200 {
            last = self.get("/metrics").await.1;
            if last.lines().any(|line| line == wanted) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("never {wanted}: {last}{}", self.process.tail());
    }
}

impl Stage<'_> {
    fn leases(&self) -> Api<Lease> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    fn state_of(&self, guest: &str) -> Option<String> {
        let guests = self.simulator.guests();
        guests.into_iter().find(|known| known.id == guest)?.state
    }

    /// A guest with an active session, and the termination of it.
    async fn another(&self, guest: &str) {
        self.simulator.add_guest(GuestSpec::active(guest));
        self.terminate(guest, json!({})).await;
    }

    /// A leader, and one that stands by, warm.
    async fn pair(&self, flags: &[&str]) -> (Program, Program) {
        let leader = Program::start_with(self, "info", flags);
        leader.leads().await;
        let standby = Program::start_with(self, "info", flags);
        standby.ready().await;
        standby.says("another replica leads").await;
        standby.stands_by().await;
        (leader, standby)
    }
}

fn names(prefix: &str, count: usize) -> Vec<String> {
    (0..count).map(|index| format!("{prefix}-{index}")).collect()
}

/// The leader is frozen in the middle of its work, for longer than its lease, and goes on when others have done all of it
/// and the guests are back: what it was about to do it must not do any more.
#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_was_frozen_past_its_lease_does_no_harm() {
    const MANY: usize = 40;
    let stage = Stage::set("frozen").await;
    let (first, second) = stage.pair(&super::process::SHORT_LEASE).await;
    stage.warm_up().await;
    // Looks and calls take long, so that the freeze meets both.
    for operation in [Operation::Observe, Operation::Terminate] {
        let slow = FaultSpec {
            delay_before_ms: 300,
            delay_after_ms: 300,
            ..FaultSpec::on(operation)
        };
        stage.simulator.add_fault(slow).unwrap();
    }
    let guests = names("guest", MANY);
    for guest in &guests {
        stage.another(guest).await;
    }
    stage.happens(Operation::Terminate, Moment::Effective, "guest-3").await;
    first.process.signal(Signal::STOP).unwrap();
    let frozen = Instant::now();
    stage.simulator.clear_faults();
    second.leads().await;
    println!("measured: the standby led {:?} after the freeze", frozen.elapsed());
    assert!(
        frozen.elapsed() <= LEASE_DURATION + seconds(2) + SLACK,
        "{:?}",
        frozen.elapsed()
    );
    for guest in &guests {
        let object = stage.settled(guest).await;
        assert_eq!(object["status"]["outcome"], "Terminated", "{object:#}");
        assert_eq!(stage.calls_of(guest).1, 1, "{guest}");
    }
    let begun = first
        .audit()
        .iter()
        .filter(|line| line["kind"] == "attempt_started")
        .count();
    assert!((1..=MANY).contains(&begun), "{begun} attempts of the first");

    // Everybody is back, and something is left to do for whoever thinks that it leads.
    for guest in &guests {
        stage.simulator.return_guest(guest).unwrap();
    }
    let before = stage.calls(Operation::Terminate);
    first.process.signal(Signal::CONT).unwrap();
    first.says("no longer leading").await;
    first.stands_by().await;
    stage.another("late").await;
    stage.settled("late").await;
    tokio::time::sleep(A_WHILE).await;
    assert_eq!(stage.calls(Operation::Terminate), before + 1, "the late one's alone");
    for guest in &guests {
        assert_eq!(stage.calls_of(guest).1, 1, "{guest}");
        assert_eq!(stage.state_of(guest).as_deref(), Some("active"));
    }
    assert!(first.process.exit_status().is_none(), "it goes on as a standby");
    first.ready().await;

    // And it can lead again.
    second.process.kill_9().await.unwrap();
    stage.another("later").await;
    let object = stage.settled("later").await;
    assert_eq!(object["status"]["attempts"], 1);
    first.leads().await;
    assert!(first.process.stop(seconds(20)).await.unwrap().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_is_killed_is_followed_within_the_lease_and_two_seconds() {
    let stage = Stage::set("killed").await;
    let (first, second) = stage.pair(&super::process::SHORT_LEASE).await;
    stage.another("one").await;
    stage.settled("one").await;
    assert!(!first.audit().is_empty());
    assert_eq!(second.audit().len(), 0, "one works");

    stage.simulator.reset_ledger();
    first.process.kill_9().await.unwrap();
    let killed = Instant::now();
    stage.another("two").await;
    stage.happens(Operation::Observe, Moment::Received, "two").await;
    let took = killed.elapsed();
    println!("measured: a standby looked {took:?} after the kill, with a lease of {LEASE_DURATION:?}");
    assert!(took <= LEASE_DURATION + seconds(2) + SLACK, "{took:?}");
    stage.settled("two").await;
    assert_eq!(stage.calls_of("two"), (2, 1));

    let lease = stage.leases().get(LEASE).await.unwrap().spec.unwrap();
    assert_eq!(lease.lease_transitions, Some(1));
    assert_eq!(lease.lease_duration_seconds, Some(6));
    let events: Api<Event> = Api::namespaced(stage.client.clone(), &stage.namespace);
    let elected = || async {
        let events = events.list(&ListParams::default()).await.unwrap();
        let mine = |event: &&Event| event.reason.as_deref() == Some("LeaderElection");
        events.iter().filter(mine).count()
    };
    for _ in 0..100 {
        if elected().await == 2 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(
        elected().await,
        2,
        "one Event for each change, as client-go writes them"
    );
    assert!(second.process.stop(seconds(20)).await.unwrap().success());
}

/// With the spans that are the default: no lease lapses within this test.
#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_is_asked_to_stop_is_followed_within_a_second() {
    let stage = Stage::set("released").await;
    let (first, second) = stage.pair(&[]).await;
    stage.warm_up().await;
    let slow = FaultSpec {
        delay_after_ms: 2000,
        ..FaultSpec::on(Operation::Terminate).guest("in-flight")
    };
    stage.simulator.add_fault(slow).unwrap();
    stage.another("in-flight").await;
    stage
        .happens(Operation::Terminate, Moment::Effective, "in-flight")
        .await;
    first.process.signal(Signal::TERM).unwrap();
    stage.another("next").await;
    first.says("the lease is released").await;
    let released = Instant::now();
    stage.happens(Operation::Observe, Moment::Received, "next").await;
    let took = released.elapsed();
    println!("measured: a standby looked {took:?} after the release");
    assert!(took <= seconds(1) + SLACK, "{took:?}");
    assert!(first.process.wait_exit(seconds(5)).await.unwrap().success());
    for guest in ["in-flight", "next"] {
        let object = stage.settled(guest).await;
        assert_eq!(object["status"]["audit"]["confirmedBy"], "Response", "{object:#}");
        assert_eq!(stage.calls_of(guest), (2, 1));
    }
    let ended = |program: &Program, guest: &str| {
        let lines = program.audit();
        lines
            .iter()
            .any(|line| line["kind"] == "attempt_result" && line["name"] == guest)
    };
    assert!(ended(&first, "in-flight") && ended(&second, "next"));
    assert!(second.process.stop(seconds(20)).await.unwrap().success());
    let lease = stage.leases().get(LEASE).await.unwrap().spec.unwrap();
    assert_eq!(
        lease.holder_identity.as_deref().unwrap_or_default(),
        "",
        "nobody holds it"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_right_to_the_lease_nobody_works_until_it_is_back() {
    let stage = Stage::set("unleased").await;
    let program = Program::start(&stage, "info");
    stage.warm_up().await;
    let bindings: Api<RoleBinding> = Api::namespaced(stage.client.clone(), &stage.namespace);
    let name = "guest-termination-operator-leader-election";
    let mut binding = bindings.get(name).await.unwrap();
    bindings.delete(name, &DeleteParams::default()).await.unwrap();
    let revoked = Instant::now();
    program.stands_by().await;
    let took = revoked.elapsed();
    println!("measured: the leader stepped down {took:?} after the right to the Lease was taken");
    assert!(took <= seconds(5) + SLACK, "{took:?}");
    program.says("forbidden").await;
    let position = stage.cluster.audit_position();
    stage.another("guest").await;
    tokio::time::sleep(seconds(3)).await;
    assert_eq!(stage.calls_of("guest").0, 0);
    let writes = stage.writes_since(position);
    assert!(writes.iter().all(|write| write.resource == "leases"), "{writes:?}");
    assert_eq!(program.get("/readyz").await.0, 200, "a standby is ready");
    assert_eq!(program.get("/livez").await.0, 200);

    binding.metadata.resource_version = None;
    binding.metadata.uid = None;
    bindings.create(&PostParams::default(), &binding).await.unwrap();
    let object = stage.settled("guest").await;
    assert_eq!(object["status"]["outcome"], "Terminated");
    assert_eq!(stage.calls_of("guest"), (2, 1));
    assert!(program.process.stop(seconds(20)).await.unwrap().success());
}

/// What others settle and delete leaves a standby's memory, and its gauges say that nothing waits for it.
#[tokio::test(flavor = "multi_thread")]
async fn a_standby_asks_nothing_and_writes_nothing() {
    let stage = Stage::set("idle").await;
    let (first, second) = stage.pair(&super::process::SHORT_LEASE).await;
    let guests = names("guest", 10);
    for guest in &guests {
        stage.another(guest).await;
    }
    for guest in &guests {
        stage.settled(guest).await;
        assert_eq!(stage.calls_of(guest), (2, 1));
    }
    second.metric("guest_termination_passes_total 0").await;
    second
        .metric("guest_termination_token_refreshes_total{result=\"granted\"} 0")
        .await;
    second.metric("guest_termination_queue_depth{state=\"ready\"} 0").await;
    for program in [first, second] {
        assert!(program.process.stop(seconds(20)).await.unwrap().success());
    }
}

/// A standby has its connections and objects at hand, and none of the allowance: the one before it spent that. Two calls are
/// allowed every 20 s here.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_begins_to_lead_has_saved_nothing() {
    let stage = Stage::bare("allowance").await;
    let mut connection = stage.connection("default");
    connection["spec"]["rateLimit"] = json!({"requestsPerMinute": 12, "maxInFlight": 5});
    stage.connect(connection).await;
    let (first, second) = stage.pair(&super::process::SHORT_LEASE).await;
    tokio::time::sleep(seconds(22)).await;
    first.process.kill_9().await.unwrap();
    stage.another("guest").await;
    second.leads().await;
    let began = Instant::now();
    stage.happens(Operation::Observe, Moment::Received, "guest").await;
    assert!(began.elapsed() >= seconds(18), "{:?}", began.elapsed());
    stage.settled("guest").await;
    assert!(second.process.stop(seconds(20)).await.unwrap().success());
}
