//! A wall clock that jumps: waits of the operator's own go on as they were, and nothing is sent twice.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use futures::future::BoxFuture;
use guest_termination_operator::clock::{Clock, SharedClock, SystemClock};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use serde_json::json;
use simulator::api::{FaultSpec, GuestSpec, Moment, Operation, RetryAfter, ScriptedAnswer};

use super::{
    lifecycle_stage::{A_WHILE, seconds, with_policy},
    supervision_stage::Rig,
};
use crate::stage::Stage;

const HOUR: i64 = 3600;

/// The machine's clocks, the wall clock put forward by so many seconds.
#[derive(Clone, Debug)]
struct Jumping {
    clock: SharedClock,
    ahead: Arc<AtomicI64>,
}

impl Jumping {
    fn new() -> Self {
        Self {
            clock: SystemClock::shared(),
            ahead: Arc::default(),
        }
    }

    fn jump(&self, seconds: i64) {
        self.ahead.fetch_add(seconds, Ordering::SeqCst);
    }
}

impl Clock for Jumping {
    fn now(&self) -> Timestamp {
        self.clock.now() + SignedDuration::from_secs(self.ahead.load(Ordering::SeqCst))
    }

    fn monotonic(&self) -> Duration {
        self.clock.monotonic()
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        self.clock.sleep(duration)
    }
}

async fn rig(stage: &Stage<'_>, clock: &Jumping) -> Rig {
    let settings = with_policy(stage, |policy| {
        // A retry comes between 5 and 10 s after the failure.
        policy.backoff_base = seconds(10);
        policy.webhook_delays = [0, 5, 5, 5].map(seconds).to_vec();
    });
    let rig = stage.rig(settings, |seams| seams.clock = Arc::new(clock.clone())).await;
    stage.warm_up().await;
    rig
}

/// Milliseconds between the last two calls of that kind.
fn apart(stage: &Stage<'_>, operation: Operation) -> u64 {
    let calls = stage.calls_about(operation, |_| true);
    let [.., before, last] = calls.as_slice() else {
        panic!("{calls:#?}");
    };
    last.at_ms - before.at_ms
}

async fn retried_after_a_jump(prefix: &str, jump: i64) {
    let stage = Stage::set(prefix).await;
    let clock = Jumping::new();
    let rig = rig(&stage, &clock).await;
    let fails = FaultSpec::on(Operation::Terminate)
        .times(1)
        .answer(ScriptedAnswer::vendor(503));
    stage.simulator.add_fault(fails).unwrap();
    stage.simulator.add_guest(GuestSpec::active("guest"));
    stage.terminate("guest", json!({})).await;
    stage.waits("guest", "Unknown/RetryScheduled").await;
    clock.jump(jump);
    let object = stage.finished("guest").await;
    assert_eq!(object["status"]["outcome"], "Terminated");
    assert_eq!(object["status"]["attempts"], 2);
    let apart = apart(&stage, Operation::Terminate);
    assert!((5_000..15_000).contains(&apart), "{apart} ms");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_put_back_stretches_no_retry() {
    retried_after_a_jump("clock-back", -HOUR).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_put_forward_cuts_no_retry_short() {
    retried_after_a_jump("clock-forward", HOUR).await;
}

/// The same of a webhook's next try.
#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_s_next_try_comes_when_it_was_meant_to() {
    for jump in [-HOUR, HOUR] {
        let stage = Stage::set("clock-webhook").await;
        let clock = Jumping::new();
        let rig = rig(&stage, &clock).await;
        let fails = FaultSpec::on(Operation::Webhook)
            .times(1)
            .answer(ScriptedAnswer::vendor(500));
        stage.simulator.add_fault(fails).unwrap();
        stage.simulator.add_guest(GuestSpec::active("guest"));
        stage.terminate("guest", json!({})).await;
        stage
            .until("guest", "a failed try", |object| {
                object["status"]["webhooks"][0]["attempts"] == 1
            })
            .await;
        clock.jump(jump);
        // An edit wakes it, and must not be what it goes by.
        stage
            .edit_connection("default", json!({"rateLimit": {"maxInFlight": 9}}))
            .await;
        // Whether it is accepted is another matter: receivers refuse a signature that is an hour old.
        stage
            .until("guest", "a second try", |object| {
                object["status"]["webhooks"][0]["attempts"] == 2
            })
            .await;
        let tries = stage.simulator.ledger().webhooks;
        let apart = tries[1].at_ms - tries[0].at_ms;
        assert!((4_900..9_000).contains(&apart), "jump {jump}: {apart} ms");
        rig.stop().await;
    }
}

/// A pause that the vendor asked for lasts as long as it asked for.
#[tokio::test(flavor = "multi_thread")]
async fn a_pause_lasts_as_long_as_the_vendor_asked_for() {
    for jump in [-HOUR, HOUR] {
        let stage = Stage::set("clock-pause").await;
        let clock = Jumping::new();
        let rig = rig(&stage, &clock).await;
        let throttled = ScriptedAnswer::vendor(429).retry_after(RetryAfter::Seconds(8));
        let fails = FaultSpec::on(Operation::Observe).times(1).answer(throttled);
        stage.simulator.add_fault(fails).unwrap();
        stage.simulator.add_guest(GuestSpec::active("guest"));
        stage.terminate("guest", json!({})).await;
        stage.connection_says("default", "Unknown/RateLimited").await;
        clock.jump(jump);
        stage
            .edit_connection("default", json!({"rateLimit": {"maxInFlight": 9}}))
            .await;
        assert_eq!(stage.finished("guest").await["status"]["outcome"], "Terminated");
        let calls = stage.calls_about(Operation::Observe, |_| true);
        let apart = calls[1].at_ms - calls[0].at_ms;
        assert!((8_000..13_000).contains(&apart), "jump {jump}: {apart} ms");
        stage.connection_says("default", "True/TokenValid").await;
        rig.stop().await;
    }
}

/// A deadline is an instant of the wall clock: one that has passed is seen at once, though its timer was set for later.
#[tokio::test(flavor = "multi_thread")]
async fn a_deadline_that_a_jump_goes_past_is_seen() {
    let stage = Stage::bare("clock-deadline").await;
    let clock = Jumping::new();
    let rig = stage
        .rig(stage.settings(), |seams| seams.clock = Arc::new(clock.clone()))
        .await;
    stage.terminate("guest", json!({"activeDeadlineSeconds": 1800})).await;
    stage.waits("guest", "Unknown/WaitingForConnection").await;
    tokio::time::sleep(A_WHILE).await;
    clock.jump(HOUR);
    let object = stage.finished("guest").await;
    assert_eq!(object["status"]["outcome"], "DeadlineExceeded");
    rig.stop().await;
}

/// What is waited for after a send is real time: the effect of the call may still be on its way.
#[tokio::test(flavor = "multi_thread")]
async fn the_last_look_of_an_end_waits_in_real_time() {
    let stage = Stage::set("clock-effect").await;
    let clock = Jumping::new();
    let settings = with_policy(&stage, |policy| policy.effect_lag = seconds(6));
    let rig = stage.rig(settings, |seams| seams.clock = Arc::new(clock.clone())).await;
    stage.warm_up().await;
    stage.break_off("guest", false);
    stage.simulator.add_guest(GuestSpec::active("guest"));
    stage.terminate("guest", json!({"backoffLimit": 0})).await;
    stage.happens(Operation::Terminate, Moment::Answered, "guest").await;
    stage
        .until("guest", "in doubt", |object| object["status"]["mayHaveApplied"] == true)
        .await;
    clock.jump(HOUR);
    let object = stage.finished("guest").await;
    assert_eq!(object["status"]["outcome"], "RetriesExhausted");
    let sent = stage.calls_about(Operation::Terminate, |_| true)[0].at_ms;
    let looks = stage.calls_about(Operation::Observe, |_| true);
    let waited = looks[looks.len() - 1].at_ms - sent;
    assert!((6_000..20_000).contains(&waited), "{waited} ms");
    rig.stop().await;
}
