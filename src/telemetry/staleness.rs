//! When something was last heard of.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use crate::clock::SharedClock;

/// The last time that a watch heard of the API server, or that a loop went round. Cheap to clone; clones share.
#[derive(Clone, Debug)]
pub struct LastHeard {
    clock: SharedClock,
    millis: Arc<AtomicU64>,
}

impl LastHeard {
    /// Starts now, so that a process that never hears anything becomes stale too.
    pub fn new(clock: SharedClock) -> Self {
        let heard = Self {
            clock,
            millis: Arc::default(),
        };
        heard.mark();
        heard
    }

    /// Something was heard now.
    pub fn mark(&self) {
        self.millis.store(self.now(), Ordering::Relaxed);
    }

    /// Time since something was heard.
    pub fn age(&self) -> Duration {
        Duration::from_millis(self.now().saturating_sub(self.millis.load(Ordering::Relaxed)))
    }

    fn now(&self) -> u64 {
        u64::try_from(self.clock.monotonic().as_millis()).unwrap_or(u64::MAX)
    }
}

/// What a watch shows of itself. The two differ when the API server is away: then nothing is heard, and a watch that is
/// in order asks again and again. Cheap to clone; clones share.
#[derive(Clone, Debug)]
pub struct WatchPulse {
    /// The last time that the API server was heard of: a successful answer, or a frame of the watch.
    pub heard: LastHeard,
    /// The last time that the watch did anything at all: asked, was refused, or heard.
    pub tried: LastHeard,
}

impl WatchPulse {
    /// Both start now.
    pub fn new(clock: &SharedClock) -> Self {
        Self {
            heard: LastHeard::new(clock.clone()),
            tried: LastHeard::new(clock.clone()),
        }
    }
}
