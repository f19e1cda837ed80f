//! Every plan with one fault, and with two: seven effects, eight faults, three scenarios.

use serde::{Deserialize, Serialize};

use super::{Connection, Event, Happening, Object, Pace, Plan, Replicas, WORKERS};
use crate::faults::{Effect, Fault, FaultKind};

/// In which world the faults of an enumerated plan strike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Scenario {
    /// One object, one process.
    Plain,
    /// The object is deleted while its call is in flight, and created again.
    DeletedInFlight,
    /// Two processes that both believe that they lead.
    TwoLeaders,
}

impl Scenario {
    /// All three.
    pub const ALL: [Self; 3] = [Self::Plain, Self::DeletedInFlight, Self::TwoLeaders];

    /// The plan of this scenario with those faults. In every second one the guest comes back while work is under way.
    fn plan(self, seed: u64, faults: Vec<Fault>) -> Plan {
        let at = |at, what| Event { at, what };
        let mut events = Vec::new();
        if self == Self::DeletedInFlight {
            // A look, an intent and the start of a call take some 5 × 10 to 20 ms.
            events.push(at(1_000 + 30 * (seed % 7), Happening::Delete { object: 0 }));
            events.push(at(4_000, Happening::Recreate { object: 0 }));
        }
        if seed % 2 == 1 {
            events.push(at(1_000 + 700 * (seed % 5), Happening::GuestReturns { guest: 0 }));
            events.push(at(24_000, Happening::GuestReturns { guest: 0 }));
        }
        Plan {
            seed,
            pace: if seed.is_multiple_of(3) {
                Pace::Ties
            } else {
                Pace::Brisk
            },
            replicas: match self {
                Self::TwoLeaders => Replicas::TwoLeaders,
                Self::Plain | Self::DeletedInFlight => Replicas::One,
            },
            workers: WORKERS,
            restart_after: [200, 1_500, 6_000, 25_000][(seed % 4) as usize],
            rules: true,
            connection: Connection {
                at: 0,
                requests_per_minute: 600,
                max_in_flight: 10,
                webhooks: 1,
                trusted: false,
                accepts_after: None,
            },
            objects: vec![Object {
                namespace: 0,
                at: 900,
                guest: 0,
                hostile: false,
                active: true,
                retain_data: true,
                suspend: false,
                backoff_limit: 6,
                active_deadline_seconds: 3_600,
                not_after: None,
            }],
            faults,
            events,
        }
    }
}

fn faults() -> impl Iterator<Item = (Effect, FaultKind)> + Clone {
    Effect::ALL
        .into_iter()
        .flat_map(|effect| FaultKind::ENUMERATED.into_iter().map(move |kind| (effect, kind)))
}

/// Every plan with one fault.
pub fn singles() -> Vec<Plan> {
    let mut plans = Vec::new();
    for scenario in Scenario::ALL {
        for (effect, kind) in faults() {
            let fault = Fault { effect, nth: 1, kind };
            // With and without a guest that comes back.
            for _ in 0..2 {
                plans.push(scenario.plan(plans.len() as u64, vec![fault]));
            }
        }
    }
    plans
}

/// Every plan with two faults: of two effects, or the second one at the next request of the same effect.
pub fn pairs() -> Vec<Plan> {
    let mut plans = Vec::new();
    for scenario in Scenario::ALL {
        for (number, (effect, kind)) in faults().enumerate() {
            for (other, (other_effect, other_kind)) in faults().enumerate() {
                let same = effect == other_effect;
                if !same && other < number {
                    continue;
                }
                let first = Fault { effect, nth: 1, kind };
                let second = Fault {
                    effect: other_effect,
                    nth: if same { 2 } else { 1 },
                    kind: other_kind,
                };
                plans.push(scenario.plan(1_000_000 + plans.len() as u64, vec![first, second]));
            }
        }
    }
    plans
}
