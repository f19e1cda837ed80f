//! The subcommands of the program.

pub mod crd;
