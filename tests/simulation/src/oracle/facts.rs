//! What holds for a run beyond what its records show.

use std::{collections::BTreeSet, time::Duration};

use crate::{
    plan::{Happening, Plan, Replicas},
    world::{NAMESPACE, namespace, namespace_of, object_name},
};

/// The longest pause that the operator makes of its own: backoff, probes, 403.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);
/// How long it takes until everything that was created is known.
const FIRST_LOOKS: Duration = Duration::from_secs(5);
/// How long a 202 is waited for.
const ACCEPTED: Duration = Duration::from_secs(120);

/// What holds for a run beyond what its records show.
#[derive(Clone, Debug)]
pub struct Facts {
    /// Objects (`namespace/name`) whose trouble stays for good: they may wait until their deadline.
    pub stuck: BTreeSet<String>,
    /// How long after the calm began an object may take to finish.
    pub bound: Duration,
    /// How long the takeovers may take that crashes after the calm can bring: faults strike single requests also then.
    pub takeovers: Duration,
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
            takeovers: Duration::ZERO,
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
    /// status are wall time, so a clock that jumps moves them by so much; a leader that crashes is followed when its lease is
    /// over; and the connection's limit lets so many calls through.
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
        // A look and a call each, at half of what the connection allows: a slot keeps some back.
        let calls = 4 * u32::try_from(plan.objects.len()).unwrap_or(u32::MAX);
        let work = Duration::from_secs(60) * calls / plan.connection.requests_per_minute.max(1);
        let [lease, _, retry] = plan.lease();
        let crashes = plan.faults.iter().filter(|fault| fault.kind.is_crash()).count();
        let takeovers = match plan.replicas {
            // And one that was killed just before.
            Replicas::Elected => (lease + retry) * u32::try_from(crashes + 1).unwrap_or(u32::MAX),
            Replicas::One | Replicas::TwoLeaders => Duration::ZERO,
        };
        let any = |what: fn(&Happening) -> bool| plan.events.iter().any(|event| what(&event.what));
        // Its attempts went out through a connection that never comes back.
        let stuck = if any(|what| matches!(what, Happening::Reconnect { .. })) {
            let objects = (0..plan.objects.len()).filter(|number| namespace_of(plan, *number) == NAMESPACE);
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
            bound: 3 * LONGEST_PAUSE + faults + accepted + 2 * jumped + work + takeovers,
            takeovers,
            leaders: plan.replicas.leaders(),
            fairness: Fairness::of(plan),
            ..Self::default()
        }
    }
}

impl Fairness {
    /// Where nothing goes wrong and every namespace has work for longer than its limit lets it be done in.
    fn of(plan: &Plan) -> Option<Self> {
        let namespaces = 0..plan.namespaces();
        let undisturbed = plan.events.is_empty() && plan.faults.is_empty();
        let fewest = namespaces
            .clone()
            .map(|number| plan.objects.iter().filter(|object| object.namespace == number).count())
            .min()?;
        let last = Duration::from_millis(plan.objects.iter().map(|object| object.at).max()?) + FIRST_LOOKS;
        // A look and a call each, and a burst at the beginning.
        let calls = (2 * u32::try_from(fewest).ok()?).saturating_sub(plan.connection.requests_per_minute);
        let until = Duration::from_secs(60) * calls / plan.connection.requests_per_minute.max(1);
        (namespaces.len() > 1 && undisturbed && until > 2 * last).then(|| Self {
            namespaces: namespaces.map(namespace).collect(),
            between: (last, until),
        })
    }
}
