use super::*;
use crate::{
    clock::SystemClock,
    termination::answer::{Call, Failure, Look, Suspicion},
};

fn text(registry: &Registry) -> String {
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, registry).unwrap();
    text
}

fn series(text: &str) -> usize {
    text.lines().filter(|line| !line.starts_with('#')).count()
}

#[tokio::test(start_paused = true)]
async fn names_units_and_labels_are_as_prometheus_wants_them() {
    let (metrics, registry) = Metrics::new(&SystemClock::shared());
    metrics.vendor_call(
        Operation::Observe,
        (&Look::Failed(Failure::Suspicious(Suspicion::Redirect))).into(),
        Duration::from_millis(30),
    );
    metrics.vendor_call(Operation::Terminate, (&Call::Applied).into(), Duration::from_secs(1));
    metrics.outcome(Outcome::AlreadyTerminated);
    metrics.queue(QueueState::Waiting, 3);
    metrics.status_write(WatchedKind::GuestTermination, WriteOutcome::Conflict);
    metrics.leading(true);
    metrics.clock_skew(SignedDuration::from_secs(-312));
    tokio::time::advance(Duration::from_millis(2_500)).await;
    metrics.watch(WatchedKind::GenesysConnection).heard.mark();
    let text = text(&registry);
    for line in [
        "guest_termination_vendor_calls_total{operation=\"observe\",class=\"suspicious\"} 1",
        "guest_termination_vendor_calls_total{operation=\"terminate\",class=\"applied\"} 1",
        "guest_termination_vendor_call_duration_seconds_bucket{le=\"0.05\",operation=\"observe\"} 1",
        "guest_termination_outcomes_total{outcome=\"AlreadyTerminated\"} 1",
        "guest_termination_outcomes_total{outcome=\"Unconfirmed\"} 0",
        "guest_termination_leader 1",
        "guest_termination_clock_skew_seconds -312",
        "guest_termination_queue_depth{state=\"waiting\"} 3",
        "guest_termination_status_writes_total{kind=\"GuestTermination\",outcome=\"conflict\"} 1",
        "guest_termination_watch_staleness_seconds{kind=\"GuestTermination\"} 2.5",
        "guest_termination_watch_staleness_seconds{kind=\"GenesysConnection\"} 0.0",
        concat!(
            "guest_termination_build_info{version=\"",
            env!("CARGO_PKG_VERSION"),
            "\"} 1"
        ),
    ] {
        assert!(text.lines().any(|have| have == line), "{line} is not in\n{text}");
    }
}

/// Fault 138: with everything that can happen having happened, there are few series, and no more come.
#[test]
fn the_number_of_series_has_a_bound() {
    let (metrics, registry) = Metrics::new(&SystemClock::shared());
    let everything = || {
        for operation in Operation::ALL {
            for class in VendorClass::ALL {
                metrics.vendor_call(operation, class, Duration::from_secs(1));
            }
        }
        metrics.pass();
        metrics.panic();
        metrics.audit_failure();
    };
    everything();
    let first = series(&text(&registry));
    everything();
    assert_eq!(series(&text(&registry)), first);
    assert!(first <= 150, "{first}");
}
