//! The shell: the only place that knows all sides. It carries out what the pure cores decide.
//!
//! The way of one termination: [`watch`] sees the object and puts it in the [`index`]; [`dispatch`] gives it a turn when
//! the queue says so; [`pass`] asks the core for the next step and carries it out, one effect at a time ([`vendor`] for
//! the look and the call, [`findings`] for what their answers mean for the connection, [`record`] for every status write), until there is nothing to do now; [`delivery`] announces
//! the end. [`keeper`] looks after the connections. All of this but the watch happens on the replica that leads alone;
//! [`leader`] takes part in the election.
//!
//! Why not `kube_runtime::Controller`: it picks the next object from a `HashSet` and polls its reconciles in a
//! `HashMap`, both with a random hasher, so there is no order, no fairness between namespaces, no bound for one
//! connection, no backoff of one object's own, and no run that a seed replays; and a panic in one reconcile ends all.
//! Each of these is promised here, and the queue is where "limits belong to a connection" is kept.

pub mod connection;
pub mod connection_status;
pub mod connections;
pub mod delivery;
pub mod dispatch;
pub mod findings;
pub mod index;
pub mod keeper;
pub mod leader;
pub mod memory;
pub mod moments;
pub mod notices;
pub mod pass;
mod past;
pub mod record;
pub mod secrets;
pub mod settings;
pub mod shared;
pub mod signing_keys;
mod term;
pub mod vendor;
mod versions;
pub mod watch;
