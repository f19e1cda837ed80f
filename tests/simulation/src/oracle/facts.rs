//! What holds for a run beyond what its records show.

use std::{collections::BTreeSet, time::Duration};

use crate::{
    plan::{Happening, Plan, Replicas},
    world::{NAMESPACE, object_name},
};

/// The longest pause that the operator makes of its own: backoff, probes, 403.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);
/// How long a 202 is waited for.
const ACCEPTED: Duration = Duration::from_secs(120);

/// What holds for a run beyond what its records show.
#[derive(Clone, Debug)]
pub struct Facts {
    /// Objects (`namespace/name`) whose trouble stays for good: they may wait until their deadline.
    pub stuck: BTreeSet<String>,
    /// How long after the calm began an object may take to finish.
    pub bound: Duration,
    /// Processes that lead at the same time, all the time: each keeps the vendor's limit, and knows nothing of the others.
    pub leaders: u32,
    /// Wall clocks jump.
    pub clocks_jump: bool,
    /// Lists come from a server that is behind.
    pub lists_lag: bool,
    /// Processes stand still.
    pub processes_freeze: bool,
    /// Leads begin and end.
    pub leads_change: bool,
    /// Passes panic.
    pub passes_panic: bool,
    /// Receivers and signers may disagree on the key for a while.
    pub keys_rotate: bool,
    /// Namespaces that have work all the time, and when.
    pub fairness: Option<Fairness>,
}

/// A scenario in which several namespaces want more than there is.
#[derive(Clone, Debug)]
pub struct Fairness {
    /// The namespaces.
    pub namespaces: Vec<String>,
    /// From when to when all of them have work that is due.
    pub between: (Duration, Duration),
}

impl Default for Facts {
    fn default() -> Self {
        Self {
            stuck: BTreeSet::new(),
            bound: 4 * LONGEST_PAUSE,
            leaders: 1,
            clocks_jump: false,
            lists_lag: false,
            processes_freeze: false,
            leads_change: false,
            passes_panic: false,
            keys_rotate: false,
            fairness: None,
        }
    }
}

impl Facts {
    /// The facts of a plan.
    ///
    /// The bound: a pause that was begun just before the calm; faults strike single requests also afterwards, and each may
    /// cost another pause; a vendor that accepts and never does it costs 120 s and a pause for each retry; instants in a
    /// status are wall time, so a clock that jumps moves them by so much.
    pub fn of(plan: &Plan) -> Self {
        let jumps = plan.events.iter().map(|event| match event.what {
            Happening::ClockJump { seconds, .. } => Duration::from_secs(seconds.unsigned_abs()),
            _ => Duration::ZERO,
        });
        let jumped: Duration = jumps.sum();
        let faults = LONGEST_PAUSE * u32::try_from(plan.faults.len()).unwrap_or(u32::MAX);
        let never = plan
            .connection
            .accepts_after
            .is_some_and(|after| u128::from(after) > ACCEPTED.as_millis());
        let retries = plan
            .objects
            .iter()
            .map(|object| object.backoff_limit + 1)
            .max()
            .unwrap_or(0);
        let accepted = if never {
            (ACCEPTED + LONGEST_PAUSE) * retries
        } else {
            Duration::ZERO
        };
        let any = |what: fn(&Happening) -> bool| plan.events.iter().any(|event| what(&event.what));
        // Its attempts went out through a connection that never comes back.
        let stuck = if any(|what| matches!(what, Happening::Reconnect { .. })) {
            let objects = 0..plan.objects.len();
            objects
                .map(|number| format!("{NAMESPACE}/{}", object_name(number)))
                .collect()
        } else {
            BTreeSet::new()
        };
        Self {
            stuck,
            clocks_jump: jumped > Duration::ZERO,
            lists_lag: any(|what| matches!(what, Happening::TimeTravel { .. })),
            processes_freeze: any(|what| matches!(what, Happening::Freeze { .. })),
            leads_change: plan.replicas == Replicas::Elected,
            passes_panic: plan.panics(),
            bound: 3 * LONGEST_PAUSE + faults + accepted + 2 * jumped,
            leaders: plan.replicas.leaders(),
            ..Self::default()
        }
    }
}
