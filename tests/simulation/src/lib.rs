//! The whole operator in one process, under a paused clock, against models of everything around it.

pub mod history;
pub mod oracle;
pub mod vendor;
