//! The first of the three seams: time.
//!
//! What the process waits for by itself uses the monotonic clock: a wall clock that jumps neither cuts such a wait short
//! nor stretches it. Instants that a status, a spec or an answer names are wall time, because they outlive the process.

use std::{fmt, sync::Arc, time::Duration};

use futures::future::BoxFuture;
use k8s_openapi::jiff::{SignedDuration, Timestamp};

/// Wall time, monotonic time and sleep, from one source.
pub trait Clock: fmt::Debug + Send + Sync + 'static {
    /// The wall clock's time, for records and for instants that others named.
    fn now(&self) -> Timestamp;
    /// Time since an arbitrary origin of this process; never goes back.
    fn monotonic(&self) -> Duration;
    /// Completes when that much monotonic time has passed.
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()>;
}

/// A clock that every part of the operator shares.
pub type SharedClock = Arc<dyn Clock>;

/// Both clocks, read together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// See [`Clock::now`].
    pub wall: Timestamp,
    /// See [`Clock::monotonic`].
    pub monotonic: Duration,
}

impl Reading {
    /// What a clock shows.
    pub fn of(clock: &dyn Clock) -> Self {
        Self {
            wall: clock.now(),
            monotonic: clock.monotonic(),
        }
    }

    /// How far the wall clock is ahead of the monotonic one. Two readings with another offset are apart by a jump.
    pub fn offset(&self) -> SignedDuration {
        let monotonic = SignedDuration::try_from(self.monotonic).unwrap_or(SignedDuration::MAX);
        self.wall
            .duration_since(Timestamp::UNIX_EPOCH)
            .saturating_sub(monotonic)
    }
}

/// The machine's own clocks.
#[derive(Debug)]
pub struct SystemClock {
    origin: tokio::time::Instant,
}

impl SystemClock {
    /// A clock whose monotonic time starts at zero now.
    #[cfg_attr(not(test), expect(clippy::disallowed_methods, reason = "this is the clock"))]
    pub fn shared() -> SharedClock {
        Arc::new(Self {
            origin: tokio::time::Instant::now(),
        })
    }
}

impl Clock for SystemClock {
    #[cfg_attr(not(test), expect(clippy::disallowed_methods, reason = "this is the clock"))]
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    fn monotonic(&self) -> Duration {
        self.origin.elapsed()
    }

    #[cfg_attr(not(test), expect(clippy::disallowed_methods, reason = "this is the clock"))]
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(duration))
    }
}
