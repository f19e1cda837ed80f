//! The simulator through its sockets: every feature really acts.
#![allow(
    clippy::unwrap_used,
    reason = "clippy's exception for tests does not reach their helpers"
)]

mod answers;
mod caller;
mod faults;
mod ledger;
mod program;
mod vendor;
mod webhooks;
