//! What can be done to one request, and to which.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The effects of one termination. A fault strikes one of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Effect {
    /// The status write that announces a call.
    Intent,
    /// A look.
    Observe,
    /// The call that ends a session.
    Terminate,
    /// The status write that says how it ended.
    Result,
    /// A try to deliver a webhook.
    Webhook,
    /// The status write after a try.
    Delivered,
    /// An Event.
    Event,
}

impl Effect {
    /// All seven.
    pub const ALL: [Self; 7] = [
        Self::Intent,
        Self::Observe,
        Self::Terminate,
        Self::Result,
        Self::Webhook,
        Self::Delivered,
        Self::Event,
    ];
}

/// What a fault does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum FaultKind {
    /// The process dies before the request leaves.
    CrashBefore,
    /// The server acts, and the process dies before it hears of it.
    CrashAfter,
    /// The server acts, and its answer is lost.
    AnswerLost,
    /// The server answers with an error and does nothing.
    ErrorWithoutEffect,
    /// The server acts and answers with an error.
    ErrorWithEffect,
    /// The request is held up for longer than anybody waits, and then the server acts.
    Late,
    /// What is read from now on, for a while, is older than what is known: the watch lags, and delivers twice.
    Stale,
    /// Somebody else changes the same thing right before.
    Conflict,
    /// The connection breaks before the server sees the request.
    Reset,
    /// The process panics in the middle of it.
    Panic,
    /// The server itself refuses, for now: it throttles, or knows neither who asks nor what it may.
    Refuse,
}

impl FaultKind {
    /// The eight of the enumeration.
    pub const ENUMERATED: [Self; 8] = [
        Self::CrashBefore,
        Self::CrashAfter,
        Self::AnswerLost,
        Self::ErrorWithoutEffect,
        Self::ErrorWithEffect,
        Self::Late,
        Self::Stale,
        Self::Conflict,
    ];
    /// All that random plans use.
    pub const ALL: [Self; 11] = [
        Self::CrashBefore,
        Self::CrashAfter,
        Self::AnswerLost,
        Self::ErrorWithoutEffect,
        Self::ErrorWithEffect,
        Self::Late,
        Self::Stale,
        Self::Conflict,
        Self::Reset,
        Self::Panic,
        Self::Refuse,
    ];

    /// The process that asked dies of it.
    pub fn is_crash(self) -> bool {
        matches!(self, Self::CrashBefore | Self::CrashAfter)
    }
}

/// One fault: the `nth` request (from 1) of that effect, in the whole run, meets it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Fault {
    /// Which effect.
    pub effect: Effect,
    /// Which request of that effect, from 1.
    pub nth: u32,
    /// What happens to it.
    pub kind: FaultKind,
}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:?} of {:?} {}", self.kind, self.effect, self.nth)
    }
}
