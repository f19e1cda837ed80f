//! guest-termination-operator ends Genesys Cloud web-messaging guest sessions that are declared as `GuestTermination`
//! objects.
//!
//! * [`api`]: the kinds. Without the default feature `operator` this is all there is, for other controllers to use.
//! * `termination`, `schedule` and `leadership`: the pure cores; what to do with one object, whose turn it is, and which
//!   replica leads.
//! * `controller`: the shell around them; the only place that knows all sides.
//! * `genesys`, `webhook`, `cluster`, `telemetry`: the sides: the vendor, the webhook endpoints, the API server, and
//!   those who watch the operator.
//! * `app`, `supervisor`: what runs, and what happens when a part of it ends.
//! * `clock`, `transport` and a `kube::Client`: the three seams that a simulation replaces.

#![cfg_attr(not(test), warn(clippy::disallowed_methods, clippy::disallowed_types))]

pub mod api;

#[cfg(feature = "operator")]
pub mod app;
#[cfg(feature = "operator")]
pub mod cli;
#[cfg(feature = "operator")]
pub mod clock;
#[cfg(feature = "operator")]
pub mod cluster;
#[cfg(feature = "operator")]
pub mod controller;
#[cfg(feature = "operator")]
pub mod genesys;
#[cfg(feature = "operator")]
pub mod leadership;
#[cfg(feature = "operator")]
pub mod schedule;
#[cfg(feature = "operator")]
pub mod supervisor;
#[cfg(feature = "operator")]
pub mod telemetry;
#[cfg(feature = "operator")]
pub mod termination;
#[cfg(feature = "operator")]
pub mod transport;
#[cfg(feature = "operator")]
pub mod webhook;
