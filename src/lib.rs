//! guest-termination-operator ends Genesys Cloud web-messaging guest sessions that are declared as `GuestTermination`
//! objects.
//!
//! * [`api`]: the kinds. Without the default feature `operator` this is all there is, for other controllers to use.

pub mod api;
#[cfg(feature = "operator")]
pub mod clock;
#[cfg(feature = "operator")]
pub mod cluster;
#[cfg(feature = "operator")]
pub mod telemetry;
#[cfg(feature = "operator")]
pub mod termination;
