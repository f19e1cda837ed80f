//! The pure core: what to do with one termination. No clock, no randomness, no client; time and jitter are arguments.
//!
//! [`decide::decide`] says the next step, the shell carries it out and brings back a [`fact::Fact`],
//! [`evolve::evolve`] makes the next status of it, and [`records::between`] says what to tell the world about the
//! difference. Vendor calls, writes, Events and audit lines all follow from these three, so they cannot disagree.

pub mod answer;
mod answered;
pub mod deadline;
pub mod decide;
pub mod end;
pub mod evolve;
pub mod fact;
pub mod fence;
pub mod instants;
pub mod messages;
pub mod phase;
pub mod policy;
pub mod records;
pub mod request;
#[cfg(test)]
mod tests;
