//! The pure core: what to do with one termination. No clock, no randomness, no client; time and jitter are arguments.

pub mod answer;
pub mod request;
