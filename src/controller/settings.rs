//! What the shell is told once, at its start.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rand::{RngExt, SeedableRng, rngs::StdRng};

use crate::{
    clock::Reading,
    leadership::{Lead, spans::Spans},
    schedule::{breaker::BreakerPolicy, lane::ProofPolicy},
    termination::policy::Policy,
    webhook::guard::GuardPolicy,
};

/// How the operator works.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The namespace that is watched; all of them if unset.
    pub namespace: Option<String>,
    /// Passes over objects at the same time.
    pub workers: usize,
    /// Tries of webhooks at the same time.
    pub deliveries: usize,
    /// Tries of webhooks at one endpoint at the same time.
    pub deliveries_per_endpoint: usize,
    /// A connection may use http to loopback addresses and Services of the cluster.
    pub allow_insecure_endpoints: bool,
    /// Where webhooks may go.
    pub guard: GuardPolicy,
    /// The spans of the termination core.
    pub policy: Policy,
    /// The spans of a connection's breaker.
    pub breaker: BreakerPolicy,
    /// The spans of the proof that a route is right.
    pub proof: ProofPolicy,
    /// The shell's own spans.
    pub pacing: Pacing,
}

/// The shell's own spans.
#[derive(Clone, Debug)]
pub struct Pacing {
    /// How old the last look at a connection's Secrets may be when a call is made through it, and how often they are
    /// looked at while the connection is not ready.
    pub secrets: Duration,
    /// The status of a connection is not written more often for what is not urgent.
    pub connection_status: Duration,
    /// The first pause of a connection whose calls are refused with 401.
    pub trial: Duration,
    /// The longest pause of a connection whose calls are refused, and the pause after 403.
    pub trial_cap: Duration,
    /// How long a webhook is tried for after its object was deleted.
    pub deletion_grace: Duration,
    /// How long work in flight may take when the operator stops.
    pub drain: Duration,
    /// How long the server keeps a watch open, in seconds.
    pub watch_timeout_seconds: u32,
    /// A watch that did nothing at all for three times its timeout and this is stuck, and only a restart helps.
    ///
    /// One that is in order does something at least once in its timeout and 14 s: five more before it is given up, a
    /// pause of at most eight after an error, and one between two starts. While the API server is away it asks again and
    /// again, which is no reason for a restart: that would help nobody, and cost what this process remembers.
    pub stuck_margin: Duration,
    /// A runtime that has not gone round for so long is stuck, and only a restart helps.
    pub stuck_runtime: Duration,
}

impl Default for Pacing {
    fn default() -> Self {
        Self {
            secrets: Duration::from_secs(3),
            connection_status: Duration::from_secs(60),
            trial: Duration::from_secs(30),
            trial_cap: Duration::from_secs(300),
            deletion_grace: Duration::from_secs(60),
            drain: Duration::from_secs(20),
            watch_timeout_seconds: crate::cluster::WATCH_TIMEOUT_SECONDS,
            stuck_margin: Duration::from_secs(60),
            stuck_runtime: Duration::from_secs(30),
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            namespace: None,
            workers: 64,
            deliveries: 64,
            deliveries_per_endpoint: 8,
            allow_insecure_endpoints: false,
            guard: GuardPolicy::default(),
            policy: Policy::default(),
            breaker: BreakerPolicy::default(),
            proof: ProofPolicy::default(),
            pacing: Pacing::default(),
        }
    }
}

impl Settings {
    /// Passes that one connection may hold: half of all, so that a vendor that hangs does not hold up every other one.
    pub fn flights_of_a_connection(&self) -> u32 {
        u32::try_from(self.workers / 2).unwrap_or(u32::MAX).max(1)
    }

    /// The same settings with every wait `factor` times as long, for rehearsals. What guards a call stays as it is: the
    /// send fence, the timeouts, and how long somebody else's intent is left alone.
    #[must_use]
    pub fn scaled(self, factor: f64) -> Self {
        let scale = |span: Duration| span.mul_f64(factor);
        Self {
            policy: self.policy.scaled(factor),
            breaker: BreakerPolicy {
                failures: self.breaker.failures,
                first_probe: scale(self.breaker.first_probe),
                probe_cap: scale(self.breaker.probe_cap),
            },
            proof: ProofPolicy {
                first: scale(self.proof.first),
                cap: scale(self.proof.cap),
            },
            pacing: Pacing {
                trial: scale(self.pacing.trial),
                trial_cap: scale(self.pacing.trial_cap),
                deletion_grace: scale(self.pacing.deletion_grace),
                ..self.pacing
            },
            ..self
        }
    }
}

/// Chance, from one generator: a run can be replayed from its seed.
#[derive(Clone, Debug)]
pub struct Chance(Arc<Mutex<StdRng>>);

impl Chance {
    /// The chance of a seed.
    pub fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(StdRng::seed_from_u64(seed))))
    }

    /// A share from 0 to 1.
    pub fn share(&self) -> f64 {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .random_range(0.0..=1.0)
    }

    /// A random id, 32 hexadecimal digits.
    pub fn id(&self) -> String {
        format!(
            "{:032x}",
            self.0.lock().unwrap_or_else(PoisonError::into_inner).random::<u128>()
        )
    }
}

/// The Lease that replicas elect their leader by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Election {
    /// The Lease's namespace.
    pub namespace: String,
    /// The Lease's name.
    pub name: String,
    /// How long a lease lasts.
    pub spans: Spans,
}

/// Whether this process leads. An input of the send fence. Clones share.
#[derive(Clone, Debug)]
pub struct Leadership {
    election: Option<Election>,
    lead: Arc<Mutex<Option<Lead>>>,
}

impl Leadership {
    /// The leadership of a process that is alone: it always leads.
    pub fn alone() -> Self {
        Self {
            election: None,
            lead: Arc::new(Mutex::new(Some(Lead::FOREVER))),
        }
    }

    /// The leadership of one replica of several. It leads once it was elected.
    pub fn elected(election: Election) -> Self {
        Self {
            election: Some(election),
            lead: Arc::default(),
        }
    }

    /// How the leader is elected, if it is.
    pub fn election(&self) -> Option<&Election> {
        self.election.as_ref()
    }

    /// The term in which this process leads at `at`, if it does. What began in one term is not begun again in another.
    ///
    /// By the clocks, not by who runs: a process that was frozen past its lease is told so by its first question. A lead
    /// that was denied once is over, whatever the clocks say later.
    pub fn term(&self, at: Reading) -> Option<u64> {
        let mut lead = self.lock();
        *lead = lead.filter(|lead| lead.holds(at));
        lead.map(|lead| lead.term)
    }

    /// Sets, prolongs or ends the lead.
    pub fn set(&self, lead: Option<Lead>) {
        *self.lock() = lead;
    }

    fn lock(&self) -> MutexGuard<'_, Option<Lead>> {
        self.lead.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::jiff::Timestamp;

    use super::*;

    fn reading(wall: i64, monotonic: u64) -> Reading {
        Reading {
            wall: Timestamp::from_second(wall).unwrap(),
            monotonic: Duration::from_secs(monotonic),
        }
    }

    fn lead(term: u64) -> Option<Lead> {
        Some(Lead {
            term,
            until: reading(1_010, 10),
        })
    }

    /// A process that was frozen past its lease asks before anybody could tell it.
    #[test]
    fn a_lead_ends_by_itself_and_what_was_denied_once_stays_denied() {
        let leadership = Leadership::elected(Election {
            namespace: "system".to_owned(),
            name: "operator".to_owned(),
            spans: Spans::default(),
        });
        assert_eq!(
            leadership.term(reading(1_000, 0)),
            None,
            "nobody leads before an election"
        );
        leadership.set(lead(1));
        assert_eq!(leadership.term(reading(1_009, 9)), Some(1));
        assert_eq!(leadership.term(reading(1_010, 10)), None);
        assert_eq!(leadership.term(reading(1_009, 9)), None);
        for over in [reading(1_010, 9), reading(1_009, 10)] {
            leadership.set(lead(2));
            assert_eq!(leadership.term(over), None, "by either clock");
        }
        assert_eq!(Leadership::alone().term(reading(5_000_000, 5_000_000)), Some(0));
    }
}
