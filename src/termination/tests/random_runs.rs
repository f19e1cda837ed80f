//! Whole terminations under a random vendor, random faults and a random user.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use proptest::prelude::*;

use super::{bench::*, driver::Run};

/// Runs in one test.
const CASES: u32 = 1_500;

fn bench(not_after: Option<i64>, deadline: i64, budget: i32, proven: bool, webhook: bool) -> Bench {
    let mut bench = Bench::new();
    bench.object.spec.not_after = not_after.map(|seconds| Time(at(seconds)));
    bench.object.spec.active_deadline_seconds = deadline;
    bench.object.spec.backoff_limit = budget;
    bench.route_proven = proven;
    assert!(webhook || std::mem::take(&mut bench.context.webhooks).len() == 1);
    bench
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(CASES) })]

    /// Never twice, always final, never falsely green: whatever the vendor answers, wherever the process is killed,
    /// however the user meddles.
    #[test]
    fn every_run_keeps_the_promises(
        not_after in proptest::option::weighted(0.3, 0i64..600),
        deadline in prop_oneof![Just(21_600i64), 1i64..400],
        budget in 0i32..7,
        proven in any::<bool>(),
        dead in any::<bool>(),
        tape in proptest::collection::vec(any::<u16>(), 0..300),
    ) {
        Run::new(bench(not_after, deadline, budget, proven, true), tape, dead).run();
    }
}

/// The happy path, counted: two calls, and no write but intent and result.
#[test]
fn the_happy_path_writes_twice() {
    let mut run = Run::new(bench(None, 21_600, 6, false, true), Vec::new(), false);
    run.run();
    let kinds: Vec<&str> = run.audit.iter().map(|(kind, _)| kind.as_str()).collect();
    assert_eq!(kinds, ["attempt_started", "attempt_result", "outcome"]);
    assert_eq!((run.sends, run.bench.status.attempts), (1, 1));
}
