//! The second pure core: whose turn it is. Synchronous, no clock (monotonic time is an argument), no randomness.
//!
//! * [`queue`]: every open object, due at a time or waiting for its connection's lane.
//! * [`lane`]: one connection: allowance ([`bucket`]), in-flight bound, breaker ([`breaker`]), fairness over namespaces,
//!   fresh work before retries, one flight for each guest.
//! * [`outbox`]: webhooks waiting for their endpoints.
//!
//! An object that waits costs an entry here, never a task or a worker.

pub mod breaker;
pub mod bucket;
pub mod lane;
pub mod outbox;
pub mod queue;
#[cfg(test)]
mod tests;
mod timers;

use std::{sync::Arc, time::Duration};

/// A moment on the process's monotonic clock, as time since its origin.
pub type Moment = Duration;

/// The uid of an object.
pub type Uid = Arc<str>;
