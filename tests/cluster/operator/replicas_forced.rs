//! Two that both take themselves for the leader, and one that loses the lead at the worst moment: what holds then are the
//! intents and the send fence, not the lease.

use std::{
    io::{self, Write},
    sync::mpsc::{Receiver, Sender, channel},
    time::Duration,
};

use guest_termination_operator::{controller::settings::Leadership, leadership::Lead};
use serde_json::json;
use simulator::api::{FaultSpec, GuestSpec, Moment, Operation};

use super::lifecycle_stage::{A_WHILE, seconds};
use crate::stage::{Lines, Operator, Stage};

/// An audit log that stands still at the first `attempt_started`: the intent is durable, and its call has not left.
struct Gate {
    lines: Lines,
    reached: Sender<()>,
    opened: Option<Receiver<()>>,
}

impl Write for Gate {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if String::from_utf8_lossy(bytes).contains("attempt_started")
            && let Some(opened) = self.opened.take()
        {
            self.reached.send(()).unwrap();
            let _ = opened.recv_timeout(Duration::from_secs(60));
        }
        self.lines.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The answer of such a call takes a while.
fn slow(operation: Operation) -> FaultSpec {
    FaultSpec {
        delay_after_ms: 1500,
        ..FaultSpec::on(operation).guest("guest").times(1)
    }
}

/// The operator between the intent and the call of `guest`, a hand on its lead, and what lets it go on.
async fn at_the_gate(stage: &Stage<'_>) -> (Operator, Leadership, Sender<()>) {
    stage.simulator.add_guest(GuestSpec::active("guest"));
    let (reached, arrival) = channel();
    let (open, opened) = channel();
    let (lines, leadership) = (Lines::default(), Leadership::alone());
    let gate = Gate {
        lines: lines.clone(),
        reached,
        opened: Some(opened),
    };
    let operator = stage
        .operate_led(stage.settings(), Box::new(gate), lines, leadership.clone())
        .await;
    stage.terminate("guest", json!({})).await;
    let arrival = tokio::task::spawn_blocking(move || arrival.recv_timeout(Duration::from_secs(60)));
    arrival.await.unwrap().unwrap();
    (operator, leadership, open)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_lead_that_is_lost_between_intent_and_call_holds_the_call_back() {
    let stage = Stage::set("lost").await;
    let (first, leadership, open) = at_the_gate(&stage).await;
    leadership.set(None);
    open.send(()).unwrap();
    let object = stage
        .until("guest", "withdrawn", |object| {
            object["status"]["history"][0]["result"] == "NotSent"
        })
        .await;
    assert!(object["status"]["mayHaveApplied"].as_bool().is_none_or(|may| !may));
    tokio::time::sleep(seconds(3)).await;
    assert_eq!(
        stage.asked(Operation::Terminate, "guest"),
        0,
        "who does not lead sends nothing"
    );
    assert_eq!(stage.asked(Operation::Observe, "guest"), 1, "and asks nothing");

    let second = stage.operate().await;
    let object = stage.settled("guest").await;
    assert_eq!(object["status"]["outcome"], "Terminated");
    assert_eq!(object["status"]["retries"].as_i64().unwrap_or_default(), 0);
    assert_eq!(stage.asked(Operation::Terminate, "guest"), 1);
    assert_eq!(first.story("guest"), ["attempt_started", "attempt_result NotSent"]);
    first.stop().await;
    second.stop().await;
}

/// A process that is frozen between intent and call, and wakes as the leader again: that is another term, whose allowance
/// and whose looks are others.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_one_term_began_is_not_sent_in_another() {
    let stage = Stage::set("terms").await;
    let (operator, leadership, open) = at_the_gate(&stage).await;
    leadership.set(Some(Lead {
        term: 1,
        ..Lead::FOREVER
    }));
    open.send(()).unwrap();
    let object = stage.settled("guest").await;
    assert_eq!(object["status"]["outcome"], "Terminated");
    assert_eq!(object["status"]["attempts"], 2);
    assert_eq!(object["status"]["history"][1]["result"], "NotSent", "{object:#}");
    assert_eq!(stage.asked(Operation::Terminate, "guest"), 1);
    operator.stop().await;
}

/// The look of a leader whose lead is over is on its way: what it sees leads to nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_look_in_flight_is_followed_by_no_intent() {
    let stage = Stage::set("look").await;
    let (lines, leadership) = (Lines::default(), Leadership::alone());
    let first = stage
        .operate_led(stage.settings(), Box::new(lines.clone()), lines, leadership.clone())
        .await;
    stage.warm_up().await;
    stage.simulator.add_guest(GuestSpec::active("guest"));
    stage.simulator.add_fault(slow(Operation::Observe)).unwrap();
    stage.terminate("guest", json!({})).await;
    stage.happens(Operation::Observe, Moment::Received, "guest").await;
    leadership.set(None);
    let position = stage.cluster.audit_position();
    tokio::time::sleep(seconds(4)).await;
    assert_eq!(stage.writes_since(position), [], "neither an intent nor anything else");
    assert_eq!(first.story("guest"), Vec::<String>::new());

    let second = stage.operate().await;
    let object = stage.settled("guest").await;
    assert_eq!(object["status"]["attempts"], 1);
    assert_eq!(stage.asked(Operation::Terminate, "guest"), 1);
    first.stop().await;
    second.stop().await;
}

/// The call of a leader whose lead is over is on its way: its result is written all the same.
#[tokio::test(flavor = "multi_thread")]
async fn a_call_in_flight_is_recorded_by_whoever_sent_it() {
    let stage = Stage::set("result").await;
    let (lines, leadership) = (Lines::default(), Leadership::alone());
    let operator = stage
        .operate_led(stage.settings(), Box::new(lines.clone()), lines, leadership.clone())
        .await;
    stage.warm_up().await;
    stage.simulator.add_guest(GuestSpec::active("guest"));
    stage.simulator.add_fault(slow(Operation::Terminate)).unwrap();
    stage.terminate("guest", json!({})).await;
    stage.happens(Operation::Terminate, Moment::Effective, "guest").await;
    leadership.set(None);
    let object = stage.finished("guest").await;
    assert_eq!(object["status"]["audit"]["confirmedBy"], "Response");
    tokio::time::sleep(A_WHILE).await;
    let object = serde_json::to_value(stage.terminations().get("guest").await.unwrap()).unwrap();
    assert!(
        object["status"]["settled"].as_bool().is_none_or(|settled| !settled),
        "the webhook is the next leader's: {object:#}"
    );
    let next = stage.operate().await;
    stage.settled("guest").await;
    assert_eq!(stage.calls_of("guest"), (2, 1));
    operator.stop().await;
    next.stop().await;
}

/// Both lead for five seconds, with more work than the allowance: the vendor never sees more of it in a minute than is
/// allowed, and no guest twice. Takes about 70 s.
#[tokio::test(flavor = "multi_thread")]
async fn an_overlap_of_two_leaders_stays_within_the_vendors_allowance() {
    const ALLOWED: usize = 120;
    const WINDOW_MS: u64 = 60_000;
    const MANY: usize = 150;
    let stage = Stage::bare("overlap").await;
    let mut connection = stage.connection("default");
    connection["spec"]["rateLimit"] = json!({"requestsPerMinute": ALLOWED, "maxInFlight": 5});
    stage.connect(connection).await;
    let guests: Vec<_> = (0..MANY).map(|index| format!("guest-{index}")).collect();
    for guest in &guests {
        stage.simulator.add_guest(GuestSpec::active(guest));
        stage.terminate(guest, json!({})).await;
    }
    let (lines, leadership) = (Lines::default(), Leadership::alone());
    let first = stage
        .operate_led(stage.settings(), Box::new(lines.clone()), lines, leadership.clone())
        .await;
    tokio::time::sleep(seconds(25)).await;
    let second = stage.operate().await;
    tokio::time::sleep(seconds(5)).await;
    leadership.set(None);
    tokio::time::sleep(seconds(40)).await;
    let calls = stage.simulator.ledger().calls;
    second.stop().await;
    first.stop().await;

    let mut at: Vec<_> = calls
        .iter()
        .filter(|call| call.operation != Operation::Token && call.operation != Operation::Webhook)
        .map(|call| call.at_ms)
        .collect();
    at.sort_unstable();
    let busiest = at.iter().enumerate().map(|(index, start)| {
        let inside = at[index..].iter().take_while(|at| **at < start + WINDOW_MS);
        inside.count()
    });
    let busiest = busiest.max().unwrap_or_default();
    println!(
        "measured: at most {busiest} calls in 60 s, of {ALLOWED} that are allowed, {} in all",
        at.len()
    );
    assert!(busiest <= ALLOWED, "{busiest}");
    assert!(busiest > ALLOWED / 2, "{busiest}: there was no load");
    for guest in &guests {
        let effective = calls
            .iter()
            .filter(|call| call.effective && call.guest.as_deref() == Some(guest));
        assert!(effective.count() <= 1, "{guest}");
    }
}
