//! The election, one step at a time: it says what to do with the Lease, is told what came of it, and knows whether this
//! process leads.

use std::time::Duration;

use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
};

use super::{Lead, spans::Spans};
use crate::{clock::Reading, termination::instants::later};

/// What is to be done next.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Nothing for so long.
    Wait(Duration),
    /// Read the Lease, and tell [`Elector::read`].
    Read,
    /// Create the Lease, and tell [`Elector::wrote`].
    Create(Lease),
    /// Replace the Lease, with the resourceVersion that it carries, and tell [`Elector::wrote`].
    Replace(Lease),
}

/// What a read of the Lease found.
#[derive(Clone, Debug, PartialEq)]
pub enum Found {
    /// The Lease.
    Lease(Box<Lease>),
    /// There is none.
    Absent,
    /// Nothing is known.
    Failed,
}

/// What came of a write of the Lease.
#[derive(Clone, Debug, PartialEq)]
pub enum Written {
    /// It is stored, as the server gave it back.
    Stored(Box<Lease>),
    /// Somebody else wrote, or deleted it; nothing of it is stored.
    Overtaken,
    /// It was not stored, or nobody knows.
    Failed,
}

/// What is known of the Lease, and since when nothing of it has changed.
#[derive(Clone, Debug, PartialEq)]
enum Known {
    Nothing,
    /// It was there before, and is gone since then; or it never was there.
    Absent(Option<Duration>),
    Lease {
        lease: Box<Lease>,
        since: Duration,
    },
}

/// One replica in the election.
#[derive(Clone, Debug)]
pub struct Elector {
    spans: Spans,
    identity: String,
    namespace: String,
    name: String,
    known: Known,
    /// The Lease is read before anything is written.
    stale: bool,
    next: Duration,
    lead: Option<Lead>,
    terms: u64,
}

impl Elector {
    /// A replica that knows nothing yet. `identity` is unique for each process: one that starts anew is another one.
    pub fn new(spans: Spans, identity: String, namespace: String, name: String) -> Self {
        Self {
            spans,
            identity,
            namespace,
            name,
            known: Known::Nothing,
            stale: true,
            next: Duration::ZERO,
            lead: None,
            terms: 0,
        }
    }

    /// The lead that this process has at `at`, if any.
    pub fn lead(&self, at: Reading) -> Option<Lead> {
        self.lead.filter(|lead| lead.holds(at))
    }

    /// The Lease, as it was last seen.
    pub fn lease(&self) -> Option<&Lease> {
        match &self.known {
            Known::Lease { lease, .. } => Some(lease),
            Known::Nothing | Known::Absent(_) => None,
        }
    }

    /// Who holds the Lease, by what was last seen. Empty: nobody.
    pub fn holder(&self) -> &str {
        self.lease().map(holder).unwrap_or_default()
    }

    /// How long a request that begins now may take: none of a leader's outlasts the lead.
    pub fn patience(&self, at: Reading) -> Duration {
        let left = |lead: Lead| lead.until.monotonic.saturating_sub(at.monotonic);
        let request = self.spans.request();
        self.lead(at).map_or(request, |lead| left(lead).min(request))
    }

    /// What to do at `at`.
    pub fn next(&mut self, at: Reading) -> Step {
        self.lapse(at);
        if at.monotonic < self.next {
            let pause = self.next - at.monotonic;
            let left = self.lead.map(|lead| lead.until.monotonic.saturating_sub(at.monotonic));
            return Step::Wait(left.map_or(pause, |left| pause.min(left)));
        }
        match &self.known {
            _ if self.stale => Step::Read,
            Known::Lease { lease, .. } => Step::Replace(self.claim(lease, at)),
            Known::Absent(_) => Step::Create(self.first(at)),
            Known::Nothing => Step::Read,
        }
    }

    /// Takes in what a read found whose answer came at `at`. `share`: chance, 0 to 1.
    pub fn read(&mut self, found: Found, at: Reading, share: f64) {
        self.lapse(at);
        let free = match found {
            Found::Failed => {
                self.stale = true;
                self.next = at.monotonic + self.spans.retry(share);
                return;
            }
            Found::Absent => {
                let since = match &self.known {
                    Known::Nothing => None,
                    Known::Absent(since) => *since,
                    // Whoever holds it may not know yet that it was deleted.
                    Known::Lease { .. } => Some(at.monotonic),
                };
                self.known = Known::Absent(since);
                since.map_or(at.monotonic, |since| since + self.spans.lease())
            }
            Found::Lease(lease) => self.see(lease, at),
        };
        if self.lead.is_some() || free <= at.monotonic {
            self.stale = false;
            self.next = at.monotonic;
        } else {
            self.stale = true;
            self.next = free.min(at.monotonic + self.spans.look(share));
        }
    }

    /// Takes in what came of a write that began at `began` and was answered, or given up, at `at`. `share`: chance, 0 to
    /// 1.
    pub fn wrote(&mut self, written: Written, began: Reading, at: Reading, share: f64) {
        self.lapse(at);
        match written {
            Written::Stored(lease) => {
                let until = Reading {
                    monotonic: began.monotonic + self.spans.renew_deadline(),
                    wall: later(began.wall, self.spans.renew_deadline()),
                };
                let term = self.lead.map_or(self.terms + 1, |lead| lead.term);
                // From the begin of the write: others may have seen it at any moment since.
                self.lead = Some(Lead { term, until });
                self.terms = term;
                self.known = Known::Lease {
                    lease,
                    since: at.monotonic,
                };
                self.stale = false;
                self.next = at.monotonic + self.spans.retry(share);
                self.lapse(at);
            }
            Written::Overtaken => {
                self.stale = true;
                self.next = at.monotonic + self.spans.look(share);
            }
            Written::Failed => {
                self.stale = true;
                self.next = at.monotonic + self.spans.retry(share);
            }
        }
    }

    /// The Lease without a holder, if this process holds it by what was last seen: others need not wait then.
    pub fn release(&self, at: Reading) -> Option<Lease> {
        let lease = self.lease()?;
        (holder(lease) == self.identity).then(|| {
            let spec = LeaseSpec {
                holder_identity: Some(String::new()),
                lease_duration_seconds: Some(1),
                acquire_time: Some(MicroTime(at.wall)),
                renew_time: Some(MicroTime(at.wall)),
                ..lease.spec.clone().unwrap_or_default()
            };
            Lease {
                spec: Some(spec),
                ..lease.clone()
            }
        })
    }

    /// Gives up the lead, not the Lease: what follows is another term.
    pub fn resign(&mut self) {
        self.lead = None;
        self.next = Duration::ZERO;
        self.stale = true;
    }

    /// A lead that was not renewed in time is over.
    fn lapse(&mut self, at: Reading) {
        if self.lead.is_some_and(|lead| !lead.holds(at)) {
            self.lead = None;
            // There may still be time before others may take it.
            self.next = self.next.min(at.monotonic);
            self.stale = true;
        }
    }

    /// A Lease was read. Gives back from when on this process may take it.
    fn see(&mut self, lease: Box<Lease>, at: Reading) -> Duration {
        let since = match &self.known {
            Known::Lease { lease: known, since } if version(known) == version(&lease) => *since,
            _ => at.monotonic,
        };
        let free = match holder(&lease) {
            "" => at.monotonic,
            other if other != self.identity => {
                self.lead = None;
                since + duration(&lease).unwrap_or(self.spans.lease())
            }
            _ => at.monotonic,
        };
        self.known = Known::Lease { lease, since };
        free
    }

    /// The Lease as this process takes or renews it.
    fn claim(&self, lease: &Lease, at: Reading) -> Lease {
        let before = lease.spec.clone().unwrap_or_default();
        let renews = holder(lease) == self.identity;
        let transitions = before.lease_transitions.unwrap_or_default();
        let spec = LeaseSpec {
            acquire_time: before
                .acquire_time
                .clone()
                .filter(|_| renews)
                .or(Some(MicroTime(at.wall))),
            lease_transitions: Some(if renews {
                transitions
            } else {
                transitions.saturating_add(1)
            }),
            ..self.mine(before, at)
        };
        Lease {
            spec: Some(spec),
            ..lease.clone()
        }
    }

    /// The first Lease of that name.
    fn first(&self, at: Reading) -> Lease {
        Lease {
            metadata: ObjectMeta {
                namespace: Some(self.namespace.clone()),
                name: Some(self.name.clone()),
                ..ObjectMeta::default()
            },
            spec: Some(LeaseSpec {
                acquire_time: Some(MicroTime(at.wall)),
                lease_transitions: Some(0),
                ..self.mine(LeaseSpec::default(), at)
            }),
        }
    }

    fn mine(&self, before: LeaseSpec, at: Reading) -> LeaseSpec {
        LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: i32::try_from(self.spans.lease().as_secs()).ok(),
            renew_time: Some(MicroTime(at.wall)),
            ..before
        }
    }
}

fn holder(lease: &Lease) -> &str {
    let spec = lease.spec.as_ref();
    spec.and_then(|spec| spec.holder_identity.as_deref())
        .unwrap_or_default()
}

/// How long the holder asked others to wait.
fn duration(lease: &Lease) -> Option<Duration> {
    let seconds = lease.spec.as_ref()?.lease_duration_seconds?;
    u64::try_from(seconds).ok().map(Duration::from_secs)
}

/// Which state of the object it is: every write makes another one, and any of them may be the holder's.
fn version(lease: &Lease) -> (Option<&str>, Option<&str>) {
    let metadata = &lease.metadata;
    (metadata.uid.as_deref(), metadata.resource_version.as_deref())
}

#[cfg(test)]
mod tests;
