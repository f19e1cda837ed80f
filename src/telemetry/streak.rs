//! Failures in a row of something that is tried again and again.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use crate::clock::SharedClock;

/// Failures in a row of something that the operator cannot do without. Cheap to clone; clones share.
///
/// What fails is tried again at least every half a minute while there is work. So a streak whose last failure is older
/// than [`Streak::FRESH`] is over, too: whoever needed it is gone.
#[derive(Clone, Debug)]
pub struct Streak {
    clock: SharedClock,
    failures: Arc<Mutex<Failures>>,
}

#[derive(Debug, Default)]
struct Failures {
    count: u32,
    last: Duration,
    why: String,
}

impl Streak {
    /// How long a failure says something.
    pub const FRESH: Duration = Duration::from_secs(120);

    /// No failure yet.
    pub fn new(clock: SharedClock) -> Self {
        Self {
            clock,
            failures: Arc::default(),
        }
    }

    /// It worked.
    pub fn worked(&self) {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner).count = 0;
    }

    /// It failed. `why` is shown to whoever may read the probes.
    pub fn failed(&self, why: impl Into<String>) {
        let now = self.clock.monotonic();
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        failures.count = failures.count.saturating_add(1);
        failures.last = now;
        failures.why = why.into();
    }

    /// A check that fails from that many failures in a row on.
    pub fn fewer_than(&self, bound: u32) -> impl Fn() -> Result<(), String> + Send + Sync + 'static {
        let streak = self.clone();
        move || {
            let now = streak.clock.monotonic();
            let failures = streak.failures.lock().unwrap_or_else(PoisonError::into_inner);
            if failures.count < bound || now.saturating_sub(failures.last) > Self::FRESH {
                return Ok(());
            }
            Err(format!(
                "failed {} times in a row, last: {}",
                failures.count, failures.why
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;

    #[tokio::test(start_paused = true)]
    async fn a_check_fails_while_nothing_works_and_somebody_tries() {
        let streak = Streak::new(SystemClock::shared());
        let check = streak.fewer_than(2);
        streak.failed("500");
        assert_eq!(check(), Ok(()));
        streak.failed("no space");
        assert_eq!(check(), Err("failed 2 times in a row, last: no space".to_owned()));
        streak.worked();
        streak.failed("500");
        assert_eq!(check(), Ok(()));
        streak.failed("500");
        assert!(check().is_err());
        tokio::time::advance(Streak::FRESH + Duration::from_secs(1)).await;
        assert_eq!(check(), Ok(()));
    }
}
