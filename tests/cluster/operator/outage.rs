//! An outage of the vendor's that is longer than the whole retry budget fails nobody.
//!
//! The waits run at a fiftieth of their length; the fence, the timeouts and the patience with somebody else's intent do
//! not. Instants in a status are whole seconds, so the longest budget is computed as it really is, after rounding.

use std::time::Duration;

use guest_termination_operator::{controller::settings::Settings, schedule::breaker::BreakerPolicy};
use serde_json::{Value, json};
use simulator::api::{GuestSpec, Outage, OutageKind};

use super::at_scale::{all_settled, apply, guests};
use crate::stage::Stage;

const FACTOR: f64 = 0.02;
/// The default of `spec.backoffLimit`.
const RETRIES: u32 = 6;

fn everything() -> Outage {
    Outage {
        webhooks: None,
        ..Outage::vendor(OutageKind::Unavailable)
    }
}

fn writes() -> Outage {
    Outage {
        writes: Some(OutageKind::Unavailable),
        ..Outage::default()
    }
}

/// 1.2 times the longest that a budget can last: every delay drawn long, and rounded up to the next second.
fn outage_span(settings: &Settings) -> Duration {
    let second = Duration::from_secs(1);
    let longest: Duration = (0..RETRIES)
        .map(|retry| settings.policy.backoff(retry, 1.0, None) + second)
        .sum();
    longest.mul_f64(1.2)
}

/// A stage whose connection has been used with success before.
async fn seasoned(prefix: &str, settings: &Settings) -> (Stage<'static>, crate::stage::Operator) {
    let stage = Stage::set(prefix).await;
    let settings = Settings {
        namespace: Some(stage.namespace.clone()),
        ..settings.clone()
    };
    stage.simulator.add_guest(GuestSpec::active("before"));
    let operator = stage.operate_with(settings).await;
    stage.terminate("before", json!({})).await;
    stage.settled("before").await;
    (stage, operator)
}

fn settings() -> Settings {
    Settings {
        allow_insecure_endpoints: true,
        guard: guest_termination_operator::webhook::guard::GuardPolicy::new(vec!["127.0.0.0/8".parse().unwrap()], true),
        ..Settings::default()
    }
    .scaled(FACTOR)
}

fn none_failed(objects: &[Value]) {
    for object in objects {
        assert_eq!(object["status"]["outcome"], "Terminated", "{object:#}");
    }
}

async fn ride_out(prefix: &str, count: usize, outage: Outage) {
    let settings = settings();
    let (stage, operator) = seasoned(prefix, &settings).await;
    guests(&stage, "guest-", count);
    stage.simulator.set_outage(outage);
    apply(&stage, "guest-", count).await;
    tokio::time::sleep(outage_span(&settings)).await;
    stage.simulator.set_outage(Outage::default());
    none_failed(&all_settled(&stage, count + 1).await);
    assert_eq!(stage.simulator.summary().max_effective_per_incarnation, 1);
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_open_objects_ride_it_out() {
    ride_out("outage-many", 200, everything()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_single_object_rides_it_out() {
    ride_out("outage-one", 1, everything()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn so_they_do_when_only_terminations_fail() {
    ride_out("outage-writes", 200, writes()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_single_object_rides_out_failing_terminations() {
    ride_out("outage-write", 1, writes()).await;
}

async fn ride_out_restarted(prefix: &str, count: usize, outage: Outage) {
    let settings = settings();
    let (stage, mut operator) = seasoned(prefix, &settings).await;
    let settings = Settings {
        namespace: Some(stage.namespace.clone()),
        ..settings
    };
    guests(&stage, "guest-", count);
    stage.simulator.set_outage(outage);
    apply(&stage, "guest-", count).await;
    let end = tokio::time::Instant::now() + outage_span(&settings);
    while tokio::time::Instant::now() < end {
        tokio::time::sleep(Duration::from_secs(1)).await;
        drop(operator);
        operator = stage.operate_with(settings.clone()).await;
    }
    stage.simulator.set_outage(Outage::default());
    none_failed(&all_settled(&stage, count + 1).await);
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn so_they_do_with_the_operator_restarted_every_second() {
    ride_out_restarted("outage-restart", 200, everything()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn and_when_only_terminations_fail_and_it_is_restarted() {
    ride_out_restarted("outage-restart-writes", 20, writes()).await;
}

/// The same run without a breaker fails: this is what shows that the runs above can.
#[tokio::test(flavor = "multi_thread")]
async fn without_a_breaker_the_outage_fails_them() {
    let settings = Settings {
        breaker: BreakerPolicy {
            failures: u32::MAX,
            ..settings().breaker
        },
        ..settings()
    };
    let (stage, operator) = seasoned("outage-no-breaker", &settings).await;
    guests(&stage, "guest-", 20);
    stage.simulator.set_outage(everything());
    apply(&stage, "guest-", 20).await;
    tokio::time::sleep(outage_span(&settings)).await;
    stage.simulator.set_outage(Outage::default());
    let objects = all_settled(&stage, 21).await;
    let exhausted = objects
        .iter()
        .filter(|object| object["status"]["outcome"] == "RetriesExhausted")
        .count();
    assert_eq!(
        exhausted, 20,
        "the budget outlives the outage: the other runs prove nothing"
    );
    operator.stop().await;
}
