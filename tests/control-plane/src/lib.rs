//! A real kube-apiserver and etcd for tests and for the demo, and the programs that are started beside them.
//!
//! [`ControlPlane`] starts both on their own ports with their own data and certificates, RBAC and the audit log on,
//! and hands out clients and kubeconfigs for any user or service account. The programs come from
//! [`Program`]: built once from the pinned versions of `go.mod`, or taken from `KUBEBUILDER_ASSETS`.
//! Whatever runs as a [`Process`] ends with the process that started it, even if that one is killed.

mod audit;
mod certificates;
mod control_plane;
mod controllers;
mod data_dir;
mod detached;
mod identity;
mod kubectl;
mod output;
mod process;
mod program;
mod start;
mod store;
mod toolchain;
mod watchdog;

pub use audit::AuditEvent;
pub use control_plane::{Builder, ControlPlane};
pub use detached::stop_detached;
pub use identity::Identity;
pub use kubectl::run;
pub use process::{Process, Signal};
pub use program::Program;
