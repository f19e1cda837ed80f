//! Chaos on a real kube-apiserver and etcd: the operator's own program is killed, its API server is stopped, starved and
//! lied about, its rights, Secrets and definitions are taken away, and then it is judged.
//!
//! * [`stage`]: a namespace with everything that the operator needs, and the operator as processes of their own.
//! * [`judge`]: what is held against the operator: the simulator's ledger, the API server's objects and audit log, and
//!   the operator's audit lines; never its own counters.
//! * [`kills`]: `kill -9` at seeded moments while objects are being created.
//! * [`scenarios`]: one fault each, with a short form for `cargo test` and a long one for the command.
//! * [`proxy`]: what stands between the operator and the API server and spoils what passes.

pub mod judge;
pub mod kills;
pub mod operator;
pub mod proxy;
pub mod scenarios;
pub mod stage;
pub mod vendor;
