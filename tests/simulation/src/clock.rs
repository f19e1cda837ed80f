//! The clocks of one machine in the world: wall time can jump and its rate can be off, monotonic time never goes back.

use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use futures::future::BoxFuture;
use guest_termination_operator::clock::Clock;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

/// When every run begins, by the true wall clock.
pub const EPOCH: &str = "2026-11-24T08:00:00Z";

/// The true wall-clock time, `at` after the beginning of the run.
pub fn wall(at: Duration) -> Timestamp {
    let epoch: Timestamp = EPOCH.parse().unwrap_or(Timestamp::UNIX_EPOCH);
    epoch
        .checked_add(SignedDuration::try_from(at).unwrap_or(SignedDuration::MAX))
        .unwrap_or(Timestamp::MAX)
}

/// The clock that a process of the operator reads.
pub struct MachineClock {
    /// The beginning of the run.
    origin: Instant,
    /// Milliseconds by which the wall clock is ahead.
    ahead: Arc<AtomicI64>,
    /// How fast the monotonic clock runs, in thousandths of the true rate.
    rate: u32,
    /// The process stands still (SIGSTOP) until then.
    stopped_until: Mutex<Option<Instant>>,
}

impl MachineClock {
    /// A clock of a machine whose wall clock is `ahead` milliseconds ahead, and whose seconds are 1,000/`rate` long.
    pub fn new(origin: Instant, ahead: Arc<AtomicI64>, rate: u32) -> Self {
        Self {
            origin,
            ahead,
            rate,
            stopped_until: Mutex::new(None),
        }
    }

    /// The process stands still for that long from now on.
    pub fn stop_for(&self, span: Duration) {
        *self.stopped_until.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now() + span);
    }

    /// Completes when the process goes on, at once if it does not stand still.
    pub async fn goes_on(&self) {
        // In a block of its own: the guard must not live across the wait.
        while let Some(until) = { *self.stopped_until.lock().unwrap_or_else(PoisonError::into_inner) } {
            if until <= Instant::now() {
                return;
            }
            tokio::time::sleep_until(until).await;
        }
    }

    fn scaled(&self, true_time: Duration) -> Duration {
        true_time * self.rate / 1000
    }
}

impl fmt::Debug for MachineClock {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("MachineClock").finish_non_exhaustive()
    }
}

/// The same clock, as the operator takes it.
#[derive(Clone, Debug)]
pub struct ProcessClock(pub Arc<MachineClock>);

impl Clock for ProcessClock {
    fn now(&self) -> Timestamp {
        let ahead = SignedDuration::from_millis(self.0.ahead.load(Ordering::Relaxed));
        let now = wall(self.0.scaled(self.0.origin.elapsed()));
        now.checked_add(ahead).unwrap_or(now)
    }

    fn monotonic(&self) -> Duration {
        self.0.scaled(self.0.origin.elapsed())
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        let clock = self.0.clone();
        let true_time = duration.saturating_mul(1000) / clock.rate.max(1);
        Box::pin(async move {
            tokio::time::sleep(true_time).await;
            clock.goes_on().await;
        })
    }
}
