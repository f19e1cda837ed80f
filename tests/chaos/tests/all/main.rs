//! The short forms: every scenario, and some kills.
//!
//! A control plane takes 400 MB, so those who disturb theirs take turns, and the rest share one.

// `cfg(test)` is always set here; it tells clippy that helpers may panic as tests may.
#[cfg(test)]
mod fixture;
#[cfg(test)]
mod kills;
#[cfg(test)]
mod scenarios;
