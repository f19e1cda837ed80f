//! The core held against the documented behaviour: row by row, state by state, and by random runs.

mod answers;
mod bench;
mod conditions;
mod driver;
mod ends;
mod enumeration;
mod intents;
#[path = "../../../tests/cluster/kstatus.rs"]
mod kstatus;
mod laws;
mod messages;
mod random_answers;
mod random_ends;
mod random_runs;
mod records;
mod requests;
mod vendor;
mod webhooks;
