//! Announcing ended sessions: what is said, how it is signed, and where it may go.

pub mod deliver;
#[cfg(test)]
mod fuzz;
pub mod guard;
pub mod payload;
pub mod sign;
