//! What a process remembers of an object beside its status.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use k8s_openapi::jiff::Timestamp;

use super::moments::Moments;
use crate::{
    api::{GuestTerminationStatus, Outcome},
    clock::Reading,
    cluster::Notice,
    schedule::Moment,
    termination::{answer::Look, fact::Fact},
};

/// What a process remembers of an object. Lost with the process; nothing rests on it but economy, the promise not to send
/// what was not written, and that no time is counted by a clock that jumps or by another machine's.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    /// The last look.
    pub look: Option<SeenLook>,
    /// What happened and is not in the status yet.
    pub kept: Option<Fact>,
    /// What the instants of the status are on the monotonic clock.
    pub moments: Moments,
    /// The own open intent.
    pub intent: Option<OwnIntent>,
    /// Own intents whose calls will never leave, and why.
    pub withheld: BTreeMap<String, String>,
    /// Somebody else's open intent, and when it was first seen.
    pub foreign: Option<(String, Moment)>,
    /// What came of tries of webhooks and is not in the status yet, by the webhook's name.
    pub tried: BTreeMap<String, Fact>,
    /// Statuses whose write was not answered.
    pub unanswered: Vec<Unanswered>,
    /// What is to be told of those that turned out to be stored.
    pub overdue: Vec<Telling>,
    /// Writes that failed in a row.
    pub failed_writes: u32,
    /// When it was found to be deleted.
    pub deleted_at: Option<Moment>,
    /// The vendor was asked about it before.
    pub asked: bool,
    /// The connection's word on 404s was edited since the last look: what could not be believed is asked anew.
    pub reconsider: bool,
    /// The audit lines that were written, so that a write that is tried again tells nothing twice.
    pub told: BTreeSet<String>,
}

/// What a status that was written holds: if it turns out to be stored, that is durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Holds {
    /// The kept fact, or one that is found anew.
    Kept,
    /// The intent of a call.
    Intent,
    /// Nothing that would be written a second time.
    Nothing,
    /// What came of a try of that webhook.
    Try(String),
}

/// A status whose write was not answered.
#[derive(Clone, Debug)]
pub struct Unanswered {
    /// What was written.
    pub written: GuestTerminationStatus,
    /// What it holds.
    pub holds: Holds,
    /// What is to be told of it, if it is stored.
    pub telling: Telling,
}

/// What is told of a status, once, when it is durable.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Telling {
    /// How the termination ended, if it did with it.
    pub outcome: Option<Outcome>,
    /// Its Events.
    pub notices: Vec<Notice>,
}

/// A look that was made.
#[derive(Clone, Debug)]
pub struct SeenLook {
    /// What it saw.
    pub verdict: Look,
    /// The uid of the connection that it went through.
    pub connection: Arc<str>,
    /// When it was asked for: what it saw is not older.
    pub asked: Reading,
    /// When it was answered.
    pub answered: Moment,
    /// Looks that failed in a row, this one included.
    pub failures: u32,
    /// Its share of chance.
    pub jitter: f64,
}

/// The own open intent.
#[derive(Clone, Debug)]
pub struct OwnIntent {
    /// Its id.
    pub id: String,
    /// When its write began, by the wall clock.
    pub began: Timestamp,
    /// When its write began, by the monotonic clock.
    pub began_moment: Moment,
    /// Its call has left.
    pub in_flight: bool,
}
