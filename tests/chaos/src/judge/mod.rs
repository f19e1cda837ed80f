//! The judge: what the servers saw and stored against what was promised (`docs/reliability.md`, I1 to I13).
//!
//! It believes the simulator's ledger, the API server's objects and audit log, and, for what the operator must have
//! announced, its audit lines. It never asks the operator how it did.

mod promises;
mod story;
#[cfg(test)]
mod tests;

use std::fmt;

use anyhow::Context;
use control_plane::AuditEvent;
use guest_termination_operator::api::GuestTermination;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use simulator::api::Ledger;

pub use promises::judge;
pub use story::{Attempt, Story, Write};

use crate::operator::Life;

/// Everything that can be held against the operator.
#[derive(Clone, Debug, Default)]
pub struct Evidence {
    /// How many objects must be there.
    pub expected: usize,
    /// The objects as they are at the end.
    pub objects: Vec<GuestTermination>,
    /// What the vendor and the webhook receiver saw.
    pub ledger: Ledger,
    /// What the operator's user asked of the API server, with the content of its status writes.
    pub requests: Vec<AuditEvent>,
    /// The operator's processes, all of them ended.
    pub lives: Vec<Life>,
    /// Secrets that were found outside of the logs.
    pub leaks: Vec<String>,
}

/// What holds in one run and not in another.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// Calls that any 60 s may hold.
    pub allowance: Option<u64>,
    /// The API server was killed: a write may be durable and missing in its log.
    pub server_was_killed: bool,
    /// Objects that were removed with their kind: what was done for them cannot be judged any more.
    pub lost: usize,
    /// How long a call may be under way between the operator and the vendor, beyond the 5 s of the send fence.
    pub slack: Option<SignedDuration>,
}

/// A promise that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which, by its number in `docs/reliability.md`.
    pub promise: &'static str,
    /// Whose: an object, a webhook's id, or a process of the operator.
    pub who: String,
    /// What shows it.
    pub evidence: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}: {}", self.promise, self.who, self.evidence)
    }
}

/// What came of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// The promises that were broken.
    pub violations: Vec<Violation>,
    /// The run in numbers.
    pub figures: Figures,
}

/// A run in numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Objects.
    pub objects: usize,
    /// Processes of the operator, and how many of them were killed.
    pub processes: usize,
    /// See `processes`.
    pub killed: usize,
    /// Intents that became durable.
    pub intents: usize,
    /// Intents that were open when their process was killed.
    pub orphans: usize,
    /// Terminate calls.
    pub terminates: usize,
    /// Terminate calls whose answer left open whether they took effect.
    pub unclear: usize,
    /// Sessions that were ended.
    pub ended: usize,
    /// Sessions that were ended although the object had ended one before, each after an unclear answer or a crash.
    pub ended_again: usize,
    /// Webhooks that were taken.
    pub webhooks: usize,
    /// Of these, repetitions of one that had been taken.
    pub repeated_webhooks: usize,
    /// The most calls in any 60 s.
    pub densest_minute: usize,
}

impl Figures {
    /// The numbers with their names, but for the processes.
    pub fn rows(&self) -> [(&'static str, usize); 10] {
        [
            ("objects, all finished and settled", self.objects),
            ("intents", self.intents),
            ("  whose process was killed before the result was written", self.orphans),
            ("terminate calls", self.terminates),
            ("  whose answer did not arrive or decided nothing", self.unclear),
            ("sessions ended", self.ended),
            ("  of a guest who came back, after an unclear call", self.ended_again),
            ("webhooks accepted", self.webhooks),
            ("  of which repetitions", self.repeated_webhooks),
            ("most calls in 60 s", self.densest_minute),
        ]
    }
}

/// An instant of the ledger, of the API server's audit log or of an audit line.
fn instant(text: &str) -> anyhow::Result<Timestamp> {
    text.parse().with_context(|| format!("{text:?} is no instant"))
}
