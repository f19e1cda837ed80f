//! The simulator through its sockets: every feature really acts.

mod caller;
mod faults;
mod ledger;
mod program;
mod vendor;
mod webhooks;
