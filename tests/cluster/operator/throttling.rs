//! 429, `Retry-After`, and the allowance of a connection.

use std::time::Duration;

use rstest::rstest;
use serde_json::{Value, json};
use simulator::api::{FaultSpec, GuestSpec, Operation, RetryAfter, ScriptedAnswer};

use crate::stage::{Stage, condition, verdict};

/// Terminates active guests of these names.
async fn terminate(stage: &Stage<'_>, names: &[String]) {
    for name in names {
        stage.simulator.add_guest(GuestSpec::active(name));
        stage.terminate(name, json!({})).await;
    }
}

fn names(prefix: &str, count: usize) -> Vec<String> {
    (0..count).map(|index| format!("{prefix}-{index}")).collect()
}

#[rstest]
#[case::in_seconds(RetryAfter::Seconds(9), 0, 9_000)]
// A server whose clock is an hour ahead; dates are whole seconds.
#[case::as_a_date(RetryAfter::DateAfterSeconds(9), 3_600, 8_000)]
#[tokio::test(flavor = "multi_thread")]
async fn a_pause_that_the_vendor_asks_for_is_everybodys_and_outlives_the_process(
    #[case] retry_after: RetryAfter,
    #[case] ahead: i64,
    #[case] at_least_ms: u64,
) {
    let stage = Stage::set("paused").await;
    let operator = stage.operate().await;
    stage.warm_up().await;
    let answer = ScriptedAnswer {
        date_offset_seconds: ahead,
        ..ScriptedAnswer::vendor(429).retry_after(retry_after)
    };
    let once = FaultSpec::on(Operation::Observe).times(1).answer(answer);
    stage.simulator.add_fault(once).unwrap();
    terminate(&stage, &names("first", 1)).await;
    let object = stage.waits("first-0", "Unknown/RateLimited").await;
    assert_eq!(object["status"]["retries"].as_i64().unwrap_or(0), 0);
    stage.events_with("first-0", "RateLimited").await;
    let connection = stage.connection_says("default", "Unknown/RateLimited").await;
    assert_ne!(connection["status"]["rateLimit"]["pausedUntil"], Value::Null);

    let others = names("other", 5);
    terminate(&stage, &others).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    operator.stop().await;
    let _operator = stage.operate().await;
    for name in others.iter().map(String::as_str).chain(["first-0"]) {
        let object = stage.settled(name).await;
        assert_eq!(object["status"]["outcome"], "Terminated");
        assert_eq!(object["status"]["retries"].as_i64().unwrap_or(0), 0);
    }
    let calls = stage.simulator.ledger().calls;
    let paused = calls.iter().position(|call| call.status == Some(429)).unwrap();
    let after = calls[paused + 1..]
        .iter()
        .find(|call| call.operation.is_guest_call())
        .unwrap();
    let waited = after.at_ms - calls[paused].answered_at_ms.unwrap();
    assert!(waited >= at_least_ms, "called again after {waited} ms");
    let connection = stage.connection_says("default", "True/TokenValid").await;
    assert_eq!(verdict(&connection, "Reconciling"), "absent");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_ends_though_nobody_is_left_to_ask() {
    let stage = Stage::set("pauseend").await;
    let _operator = stage.operate().await;
    let answer = ScriptedAnswer::vendor(429).retry_after(RetryAfter::Seconds(7));
    stage
        .simulator
        .add_fault(FaultSpec::on(Operation::Observe).answer(answer))
        .unwrap();
    terminate(&stage, &names("guest", 1)).await;
    stage.connection_says("default", "Unknown/RateLimited").await;
    stage
        .terminations()
        .delete("guest-0", &Default::default())
        .await
        .unwrap();
    let connection = stage.connection_says("default", "True/TokenValid").await;
    assert_eq!(connection["status"]["rateLimit"]["pausedUntil"], Value::Null);
    assert_eq!(stage.calls(Operation::Observe), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_that_came_together_are_one_pause() {
    let stage = Stage::set("together").await;
    let _operator = stage.operate().await;
    stage.warm_up().await;
    let throttled = FaultSpec {
        delay_before_ms: 500,
        ..FaultSpec::on(Operation::Observe).times(10)
    };
    stage
        .simulator
        .add_fault(throttled.answer(ScriptedAnswer::vendor(429)))
        .unwrap();
    let guests = names("guest", 12);
    terminate(&stage, &guests).await;
    let began = std::time::Instant::now();
    for name in &guests {
        let object = stage.settled(name).await;
        assert_eq!(object["status"]["outcome"], "Terminated");
        assert_eq!(object["status"]["retries"].as_i64().unwrap_or(0), 0);
    }
    // Each counted by itself, the last of them would have meant minutes.
    assert!(began.elapsed() < Duration::from_secs(45), "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_429_on_the_call_itself_proves_that_nothing_happened() {
    let stage = Stage::set("callpaused").await;
    let _operator = stage.operate().await;
    stage.warm_up().await;
    let answer = ScriptedAnswer::vendor(429).retry_after(RetryAfter::Seconds(2));
    let once = FaultSpec::on(Operation::Terminate).times(1).answer(answer);
    stage.simulator.add_fault(once).unwrap();
    terminate(&stage, &names("guest", 1)).await;
    let object = stage.settled("guest-0").await;
    assert_eq!(object["status"]["outcome"], "Terminated");
    assert_eq!(object["status"]["audit"]["confirmedBy"], "Response");
    assert_eq!(object["status"]["attempts"], 2);
    assert_eq!(object["status"]["retries"].as_i64().unwrap_or(0), 0);
    assert_ne!(object["status"]["mayHaveApplied"], true);
    assert_eq!(object["status"]["history"][1]["result"], "NotApplied");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_minute_holds_more_calls_than_allowed_over_a_restart() {
    let stage = Stage::bare("allowance").await;
    let mut connection = stage.connection("default");
    connection["spec"]["rateLimit"] = json!({"requestsPerMinute": 240, "maxInFlight": 10});
    stage.connect(connection).await;
    // The vendor's word is the smaller one.
    let settings = simulator::api::Settings {
        requests_per_minute: Some(30),
        ..stage.simulator.settings()
    };
    stage.simulator.set_settings(settings);
    let operator = stage.operate().await;
    terminate(&stage, &names("guest", 40)).await;
    tokio::time::sleep(Duration::from_secs(15)).await;
    let connection = stage.connections().get("default").await.unwrap();
    let limit = connection.status.and_then(|status| status.rate_limit);
    assert_eq!(limit.and_then(|limit| limit.allowed), Some(30));
    operator.stop().await;
    let _operator = stage.operate().await;
    tokio::time::sleep(Duration::from_secs(50)).await;
    let summary = stage.simulator.summary();
    assert!(summary.max_calls_in_60s <= 30, "{}", summary.max_calls_in_60s);
    assert!(summary.effective_total >= 5, "{}", summary.effective_total);
    let refused = stage
        .simulator
        .ledger()
        .calls
        .iter()
        .filter(|call| call.status == Some(429))
        .count();
    assert_eq!(refused, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_allowance_too_small_for_anything_is_left_again_by_itself() {
    let stage = Stage::set("strangled").await;
    let mut settings = stage.settings();
    settings.pacing.trial_cap = Duration::from_secs(3);
    let _operator = stage.operate_with(settings).await;
    stage.warm_up().await;
    let answer = ScriptedAnswer::vendor(503).header("inin-ratelimit-allowed", "3");
    let once = FaultSpec::on(Operation::Observe).times(1).answer(answer);
    stage.simulator.add_fault(once).unwrap();
    let guests = names("guest", 3);
    terminate(&stage, &guests).await;
    let connection = stage.connection_says("default", "Unknown/RateLimited").await;
    assert_eq!(connection["status"]["rateLimit"]["allowed"], 3);
    for name in &guests {
        assert_eq!(stage.settled(name).await["status"]["outcome"], "Terminated");
    }
    stage.connection_says("default", "True/TokenValid").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_below_five_calls_a_minute_stops_everything_and_says_so() {
    let stage = Stage::bare("toofew").await;
    let mut connection = stage.connection("default");
    connection["spec"]["rateLimit"]["requestsPerMinute"] = json!(4);
    stage.connect(connection).await;
    let _operator = stage.operate().await;
    terminate(&stage, &names("guest", 1)).await;
    stage.connection_says("default", "Unknown/RateLimited").await;
    let object = stage.waits("guest-0", "Unknown/RateLimited").await;
    let message = condition(&object, "Ready")["message"].as_str().unwrap();
    assert!(message.contains("Raise spec.rateLimit.requestsPerMinute"), "{message}");
    assert_eq!(stage.calls(Operation::Observe), 0);
    stage
        .edit_connection("default", json!({"rateLimit": {"requestsPerMinute": 6000}}))
        .await;
    assert_eq!(stage.settled("guest-0").await["status"]["outcome"], "Terminated");
    stage.connection_says("default", "True/TokenValid").await;
}
