//! The operator's own sources, copied by the build, with the bugs of `../bugs` planted in them.
//!
//! No bug is on unless [`planted::set`] says so, and then in that thread alone.

// The sources are linted where they live; here they hold mistakes on purpose.
#![allow(warnings, clippy::all)]

pub mod planted;

include!(concat!(env!("OUT_DIR"), "/src/lib.rs"));
