//! The third pure core: who of several replicas leads. Leader election by a `coordination.k8s.io/v1` Lease, by client-go's
//! algorithm, over clocks and chance that are handed in.
//!
//! * [`elector`]: what to do next with the Lease, and whether this process leads.
//! * [`spans`]: how long a lease lasts, and how long its holder believes in it.
//!
//! What it promises: a process leads for at most the renew deadline after it *began* the last renewal that succeeded, and
//! nobody takes a lease before it saw it unchanged for the lease's whole duration, by its own monotonic clock. So two
//! processes never lead at the same time as long as their clocks run alike within the ratio of the two spans (15 s to 10 s
//! by default); instants of another machine are never compared with the own clock. What it cannot promise is that a request
//! that left in time also arrives in time: for that there are the intents and the send fence.
//!
//! Deleting the Lease, or emptying its holder by hand, while somebody leads, is beyond this promise.

pub mod elector;
pub mod spans;

use std::time::Duration;

use k8s_openapi::jiff::Timestamp;

use crate::clock::Reading;

/// A time of leading: from an election that was won until the lead is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lead {
    /// Which of this process's times of leading it is.
    pub term: u64,
    /// When it ends, if the lease is not renewed before. By both clocks, and the earlier one counts.
    pub until: Reading,
}

impl Lead {
    /// A lead that never ends: of a process that is alone.
    pub const FOREVER: Self = Self {
        term: 0,
        until: Reading {
            monotonic: Duration::MAX,
            wall: Timestamp::MAX,
        },
    };

    /// Whether it still holds.
    pub fn holds(&self, at: Reading) -> bool {
        at.monotonic < self.until.monotonic && at.wall < self.until.wall
    }
}
