//! The whole operator in one process, under a paused clock, against models of everything around it.
//!
//! A [`plan`] says who asks for what and what goes wrong; [`run`] carries it out in a [`world`] that is made of models
//! of the API server ([`apiserver`]), the vendor and the webhook receiver ([`vendor`]); everything that happens becomes
//! a [`history`], which the [`oracle`] judges as it grows. The operator is the composition that `main` builds
//! (`guest_termination_operator::app::run`), over its three seams and a seed; nothing of it is replaced.
//!
//! The same plan is the same run, in every process: time is virtual, chance comes from seeds, and no map with a random
//! order, no thread and no real clock is on the way.

pub mod apiserver;
pub mod clock;
pub mod faults;
pub mod history;
mod logs;
pub mod oracle;
pub mod plan;
pub mod run;
pub mod trace;
pub mod vendor;
pub mod world;
