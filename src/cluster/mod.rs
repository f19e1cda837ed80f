//! Everything that speaks to the API server, over a [`kube::Client`] that is handed in: the second of the three seams.
//!
//! [`Cluster`] bundles that client with the clock. Each call of it has one deadline and makes one request: retrying is
//! a decision, and decisions are made elsewhere.

mod call;
mod client;
mod compatibility;
mod events;
mod lease;
mod objects;
mod secrets;
mod skew;
mod status;
#[cfg(test)]
mod testing;
mod text;
mod watch;

use std::fmt;

use crate::clock::SharedClock;

pub use call::{CALL_TIMEOUT, ReadError};
pub use client::{
    ANSWER_TIMEOUT, BODY_TIMEOUT, ClientOptions, ConnectError, DeadlineExceeded, Deadlines, connect, with_deadlines,
};
pub use compatibility::Compatibility;
pub use events::{Notice, NoticeKind, Publisher, REPORTING_CONTROLLER, Regarding};
pub use lease::LeaseWrite;
pub use secrets::{Defect, Secret, SecretError, SecretVersion};
pub use skew::Skew;
pub use status::StatusWrite;
pub(crate) use text::is_object_name;
pub use watch::{Identity, Jitter, PAGE_SIZE, WATCH_TIMEOUT_SECONDS, WatchEvent, WatchSettings};

/// A client of the API server, and the clock that its calls are bounded by. Cheap to clone.
#[derive(Clone)]
pub struct Cluster {
    client: kube::Client,
    clock: SharedClock,
    skew: Skew,
}

impl Cluster {
    /// The cluster behind that client. The client should carry [`Deadlines`]; see [`connect`] and [`with_deadlines`].
    pub fn new(client: kube::Client, clock: SharedClock) -> Self {
        Self {
            client,
            clock,
            skew: Skew::default(),
        }
    }

    /// How far that clock is from the API server's.
    pub fn skew(&self) -> &Skew {
        &self.skew
    }

    /// The clock that bounds the calls.
    pub fn clock(&self) -> &SharedClock {
        &self.clock
    }
}

impl fmt::Debug for Cluster {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Cluster").finish_non_exhaustive()
    }
}
