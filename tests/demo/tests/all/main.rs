//! The demo as its user runs it: on a cluster of its own, and on one of the user's.
//!
//! The programs that the demo starts are those that cargo put beside it: `cargo test --workspace` builds them all.

// `cfg(test)` is always set here; it tells clippy that helpers may panic as tests may.
#[cfg(test)]
mod own_cluster;
#[cfg(test)]
mod their_cluster;
#[cfg(test)]
mod users_cluster;
