//! What is wrong in the world right now, and until when.

use std::time::Duration;

use crate::{
    plan::{Calls, Shape},
    vendor::Operation,
};

/// Something that holds until a moment.
#[derive(Clone, Debug)]
pub(super) struct Spell<T> {
    until: Duration,
    what: T,
}

/// Everything that is wrong. Several spells of one kind may overlap: any of them holds.
#[derive(Default)]
pub(super) struct Conditions {
    pub(super) outages: Vec<Spell<Calls>>,
    pub(super) throttles: Vec<Spell<Option<u32>>>,
    pub(super) lost_routes: Vec<Spell<Shape>>,
    pub(super) forbidden_guests: Vec<Spell<String>>,
    pub(super) receiver: Vec<Spell<u16>>,
    pub(super) cluster_down: Vec<Spell<()>>,
    pub(super) read_only: Vec<Spell<()>>,
    pub(super) no_status_writes: Vec<Spell<()>>,
    pub(super) no_leases: Vec<Spell<()>>,
    pub(super) lag: Vec<Spell<Duration>>,
    pub(super) time_travel: Vec<Spell<Duration>>,
    pub(super) mess: Vec<Spell<()>>,
    pub(super) swallowing: Vec<Spell<()>>,
}

/// Adds a spell.
pub(super) fn begin<T>(spells: &mut Vec<Spell<T>>, until: Duration, what: T) {
    spells.push(Spell { until, what });
}

/// The spell that holds now, if one does.
pub(super) fn holding<T>(spells: &[Spell<T>], at: Duration) -> Option<&T> {
    spells.iter().find(|spell| spell.until > at).map(|spell| &spell.what)
}

impl Conditions {
    /// An outage that strikes a call; `None` for a token request.
    pub(super) fn outage(&self, at: Duration, operation: Option<Operation>) -> bool {
        self.outages.iter().any(|spell| {
            spell.until > at
                && match (spell.what, operation) {
                    (Calls::All, _) => true,
                    (Calls::Observe, operation) => operation == Some(Operation::Observe),
                    (Calls::Terminate, operation) => operation == Some(Operation::Terminate),
                }
        })
    }

    pub(super) fn forbids(&self, at: Duration, guest: &str) -> bool {
        self.forbidden_guests
            .iter()
            .any(|spell| spell.until > at && spell.what == guest)
    }

    /// How far watches are behind.
    pub(super) fn lag(&self, at: Duration) -> Duration {
        holding(&self.lag, at).copied().unwrap_or_default()
    }
}
