//! What the oracle remembers of a run.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fmt,
    sync::Arc,
    time::Duration,
};

use k8s_openapi::jiff::Timestamp;

use super::{
    budget::{Row, Spends},
    connections::Connections,
};
use crate::{
    history::{Ordinal, Process},
    vendor::{Call, Effect, Operation, Told},
};

/// A request, as it left.
#[derive(Clone, Copy, Debug)]
pub(super) struct Request {
    pub(super) process: Process,
    pub(super) at: Duration,
    pub(super) wall: Timestamp,
}

/// A process of the operator.
#[derive(Clone, Copy, Debug)]
pub(super) struct Life {
    pub(super) started: Duration,
    /// When it was asked to stop.
    pub(super) stopping: Option<Duration>,
    /// When it ended.
    pub(super) ended: Option<Duration>,
}

/// A guest call.
#[derive(Clone, Debug)]
pub(super) struct GuestCall {
    pub(super) sent: Request,
    pub(super) operation: Operation,
    pub(super) host: String,
    pub(super) guest: String,
    /// The object whose call it is, and, of a termination, under which attempt; of a look, only where one object alone
    /// is about the guest.
    pub(super) owner: Option<(String, Option<String>)>,
    /// What the vendor did and meant, once it took the call in.
    pub(super) taken: Option<Taken>,
    /// What reached the process, once something did.
    pub(super) heard: Option<Heard>,
    pub(super) spends: Spends,
}

/// What the vendor did with a call.
#[derive(Clone, Copy, Debug)]
pub(super) struct Taken {
    pub(super) effect: Effect,
    pub(super) life: Option<u32>,
    pub(super) active: bool,
    pub(super) told: Told,
    pub(super) allowed: Option<u32>,
    pub(super) retry_after: Option<Duration>,
}

/// What a process heard of a call.
#[derive(Clone, Copy, Debug)]
pub(super) struct Heard {
    pub(super) at: Duration,
    /// What the vendor meant; [`Told::Nothing`] where the answer is not the vendor's own and whole.
    pub(super) told: Told,
    pub(super) status: Option<u16>,
    /// At that time, `not.found` might be taken for a session that is gone: a guest had been shown through a connection to
    /// this host, or the object itself had an attempt.
    pub(super) proven: bool,
    /// The latter.
    pub(super) tried: bool,
    /// The process itself cannot but know that `not.found` means that.
    pub(super) known: bool,
}

impl Heard {
    /// It may say that the session is over.
    pub(super) fn gone(&self) -> bool {
        self.told == Told::Over || (self.told == Told::NotFound && self.proven)
    }

    /// It says so, and the process that heard it knows.
    pub(super) fn surely_gone(&self) -> bool {
        self.told == Told::Over || (self.told == Told::NotFound && self.known)
    }
}

/// An attempt of an object.
#[derive(Clone, Debug)]
pub(super) struct Attempt {
    /// The request that wrote its intent, as it left; nothing if the world wrote it.
    pub(super) written: Option<Request>,
    pub(super) stored: Duration,
    /// When the process heard that the write succeeded.
    pub(super) durable: Option<Duration>,
    /// The version of the object that holds the intent: an index into [`Object::versions`].
    pub(super) version: usize,
    /// Who wrote its `attempt_started` line.
    pub(super) announced: Option<Process>,
    /// When its intent left the status, and who took it out.
    pub(super) cleared: Option<(Duration, Option<Process>)>,
    pub(super) calls: Vec<Ordinal>,
    /// Results that audit lines tell.
    pub(super) results: BTreeSet<String>,
}

/// What of a version of an object a departure is judged by.
#[derive(Clone, Copy, Debug)]
pub(super) struct Version {
    pub(super) suspend: bool,
    /// The deadline, or nothing while the clock stands.
    pub(super) deadline: Option<Timestamp>,
}

/// How an object ended.
#[derive(Clone, Debug)]
pub(super) struct End {
    pub(super) at: Duration,
    /// The write that said it; nothing if the world did.
    pub(super) by: Option<Request>,
    pub(super) outcome: String,
}

/// One `GuestTermination`.
#[derive(Clone, Debug)]
pub(super) struct Object {
    pub(super) uid: String,
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) created: Duration,
    /// When its spec last changed.
    pub(super) edited: Duration,
    pub(super) guest: String,
    /// Name and value, as the query must say them.
    pub(super) parameters: Vec<(&'static str, String)>,
    pub(super) not_after: Option<Timestamp>,
    pub(super) versions: Vec<Version>,
    /// Host and connection uid that the status names.
    pub(super) pinned: Option<(String, String)>,
    pub(super) current_attempt: Option<String>,
    pub(super) may_have_applied: bool,
    pub(super) settled: bool,
    pub(super) suspended: bool,
    /// Since when its status says so, and for how long it said so before.
    pub(super) suspended_since: Option<Duration>,
    pub(super) suspended_for: Duration,
    pub(super) end: Option<End>,
    pub(super) deleted: Option<Duration>,
    pub(super) attempts: BTreeMap<String, Attempt>,
    /// All terminate calls, in order.
    pub(super) calls: Vec<Ordinal>,
    /// Lives that its calls ended: which, when, and by which call.
    pub(super) lives: Vec<(u32, Duration, Ordinal)>,
    /// Outcomes that audit lines told, and who told them.
    pub(super) told: BTreeSet<(Process, String)>,
    /// Bodies of its webhooks, by format: the first one seen, and the request.
    pub(super) bodies: BTreeMap<&'static str, (bytes::Bytes, Ordinal)>,
    /// The id of its webhooks.
    pub(super) message_id: Option<String>,
    /// The last version stored.
    pub(super) last: Arc<serde_json::Value>,
}

impl fmt::Display for Object {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{} ({})", self.namespace, self.name, self.uid)
    }
}

/// A webhook on its way.
#[derive(Clone, Debug)]
pub(super) struct Sent {
    pub(super) sent: Request,
    pub(super) uid: String,
    pub(super) endpoint: String,
    /// The status that the process heard.
    pub(super) heard: Option<u16>,
}

/// A pause that an answer asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pause {
    pub(super) heard: Duration,
    pub(super) until: Duration,
    /// The call that was answered so.
    pub(super) answer: Ordinal,
}

/// What the oracle remembers.
#[derive(Clone, Debug, Default)]
pub(super) struct Books {
    pub(super) processes: BTreeMap<Process, Life>,
    /// Writes to the API server: one may be stored long after its sender gave it up.
    pub(super) writes: BTreeMap<Ordinal, Request>,
    /// Writes of intents: of which object and attempt.
    pub(super) intents: BTreeMap<Ordinal, (String, String)>,
    pub(super) calls: BTreeMap<Ordinal, GuestCall>,
    pub(super) objects: BTreeMap<String, Object>,
    /// Objects by guest.
    pub(super) guests: BTreeMap<String, Vec<String>>,
    pub(super) connections: Connections,
    /// Answered calls by process, host and guest, in the order of their answers.
    pub(super) heard: BTreeMap<(Process, String, String), Vec<Ordinal>>,
    /// What a process announced last, by host and guest: object and attempt.
    pub(super) announced: BTreeMap<(Process, String, String), (String, String)>,
    pub(super) webhooks: BTreeMap<Ordinal, Sent>,
    /// Departures of the last minute, by host.
    pub(super) window: BTreeMap<String, VecDeque<(Duration, Ordinal)>>,
    /// Calls in flight, by process and host: guest and departure.
    pub(super) flights: BTreeMap<(Process, String), BTreeMap<Ordinal, (String, Duration)>>,
    /// Pauses that a host asked a process for.
    pub(super) pauses: BTreeMap<(Process, String), Vec<Pause>>,
    /// Pauses that the statuses of connections tell of, by host: since when, and until when.
    pub(super) pauses_told: BTreeMap<String, (Duration, Timestamp)>,
    /// When a host first showed a process a guest.
    pub(super) shown: BTreeMap<(Process, String), Duration>,
    /// Failures in a row.
    pub(super) rows: BTreeMap<(Process, String, Operation), Row>,
    /// Token requests that were not answered yet: of which process, to which host, and when they left.
    pub(super) renewals: BTreeMap<Ordinal, (Process, String, Duration)>,
    /// When somebody last changed a connection or a Secret. What is there for the first time replaces nothing.
    pub(super) reconfigured: Option<Duration>,
    /// When the calm began.
    pub(super) calm: Option<Duration>,
    /// When something last happened that work follows from.
    pub(super) stirred: Duration,
    /// Ends, by namespace and time, for fairness.
    pub(super) ends: Vec<(Duration, String)>,
}

impl Books {
    pub(super) fn started(&mut self, process: Process, at: Duration) {
        let life = Life {
            started: at,
            stopping: None,
            ended: None,
        };
        self.processes.insert(process, life);
        self.stir(at);
    }

    pub(super) fn stopping(&mut self, process: Process, at: Duration) {
        if let Some(life) = self.processes.get_mut(&process) {
            life.stopping.get_or_insert(at);
        }
    }

    pub(super) fn ended(&mut self, process: Process, at: Duration) {
        if let Some(life) = self.processes.get_mut(&process) {
            life.ended.get_or_insert(at);
        }
        self.flights.retain(|(whose, _), _| *whose != process);
    }

    pub(super) fn is_alive(&self, process: Process) -> bool {
        self.processes.get(&process).is_some_and(|life| life.ended.is_none())
    }

    /// Something happened that work follows from.
    pub(super) fn stir(&mut self, at: Duration) {
        self.stirred = self.stirred.max(at);
    }

    /// Somebody changed a connection or a Secret: one that was there before, or one that comes again.
    pub(super) fn reconfigured(&mut self, at: Duration, was_there: bool) {
        if was_there || self.reconfigured.is_some() {
            self.reconfigured = Some(at);
        }
    }

    /// The vendor took a call in.
    pub(super) fn taken(&mut self, ordinal: Ordinal, call: &Call) {
        // A second time is the network's doing: it delivered the request twice.
        if let Some(note) = self.calls.get_mut(&ordinal).filter(|note| note.taken.is_none()) {
            note.taken = Some(Taken {
                effect: call.effect,
                life: call.life,
                active: call.active,
                told: call.told,
                allowed: call.allowed,
                retry_after: call.retry_after,
            });
        }
    }

    /// The one object that a look at a guest can be for: the others about that guest have been over for a minute.
    pub(super) fn sole_owner(&self, guest: &str, at: Duration) -> Option<&str> {
        let long_over = |object: &Object| {
            let over = object
                .deleted
                .into_iter()
                .chain(object.end.as_ref().map(|end| end.at))
                .min();
            over.is_some_and(|over| at > over + Duration::from_secs(60))
        };
        let mut about = self
            .guests
            .get(guest)?
            .iter()
            .filter(|uid| self.objects.get(*uid).is_some_and(|object| !long_over(object)));
        let only = about.next()?;
        about.next().is_none().then_some(only.as_str())
    }
}
