//! What a run is made of: who asks for what, and what goes wrong when. A plan is data: it can be printed, cut down and
//! run again.

mod crowd;
mod enumerate;
mod generate;
mod shrink;

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

pub use crowd::{crowd, scarce_workers};
pub use enumerate::{Scenario, pairs, singles};
pub use generate::random;
pub use shrink::{Smaller, smaller};

use crate::faults::{Fault, FaultKind};

/// As many as the operator has unless it is told otherwise: more than any random plan keeps busy.
pub const WORKERS: usize = 64;

/// Milliseconds of true time since the start of the run.
pub type Millis = u64;

/// Everything that decides a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Where the latencies, the operator's chance and the ids come from.
    pub seed: u64,
    /// How long requests and answers take.
    pub pace: Pace,
    /// Replicas of the operator.
    pub replicas: Replicas,
    /// How many terminations each process works on at a time.
    pub workers: usize,
    /// How long a replica is away after it died.
    pub restart_after: Millis,
    /// The definitions carry the rules that hold specs and statuses to their promises. Without them the operator is its
    /// own second lock.
    pub rules: bool,
    /// The connection.
    pub connection: Connection,
    /// The terminations that users ask for.
    pub objects: Vec<Object>,
    /// What strikes single requests.
    pub faults: Vec<Fault>,
    /// What happens at some time.
    pub events: Vec<Event>,
}

/// How long requests and answers take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Pace {
    /// Every request and every answer takes 10 ms: whatever can happen at the same time does.
    Ties,
    /// From 1 to 40 ms each.
    Brisk,
    /// Now and then up to some seconds.
    Slow,
}

/// Who works.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Replicas {
    /// One process, without an election.
    One,
    /// Two processes that both believe that they lead: what intent and send fence are for.
    TwoLeaders,
    /// Two processes that elect one of them by a Lease.
    Elected,
}

impl Replicas {
    /// How many.
    pub fn count(self) -> u32 {
        match self {
            Self::One => 1,
            Self::TwoLeaders | Self::Elected => 2,
        }
    }

    /// How many lead all the time.
    pub fn leaders(self) -> u32 {
        match self {
            Self::One | Self::Elected => 1,
            Self::TwoLeaders => 2,
        }
    }
}

/// The connection that all objects of a namespace use: each namespace has such a one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connection {
    /// When it is created.
    pub at: Millis,
    /// `spec.rateLimit.requestsPerMinute`.
    pub requests_per_minute: u32,
    /// `spec.rateLimit.maxInFlight`.
    pub max_in_flight: u32,
    /// How many webhooks it has.
    pub webhooks: u32,
    /// The route is proven at the vendor, or the user vouches for it, or there are only guests that are gone.
    pub trusted: bool,
    /// Terminations are answered with 202 and take effect that much later.
    pub accepts_after: Option<Millis>,
}

/// One termination.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Object {
    /// When it is created.
    pub at: Millis,
    /// In which namespace: each has a connection `default` to the same vendor, with a limit of its own.
    pub namespace: u32,
    /// Which guest: two objects can name the same one.
    pub guest: u32,
    /// The guest's id is none, but a way out of its place in a path. Only definitions without rules let it in.
    pub hostile: bool,
    /// The guest is there when the run begins.
    pub active: bool,
    /// `spec.retainData`.
    pub retain_data: bool,
    /// `spec.suspend`, at first.
    pub suspend: bool,
    /// `spec.backoffLimit`.
    pub backoff_limit: u32,
    /// `spec.activeDeadlineSeconds`.
    pub active_deadline_seconds: u32,
    /// `spec.notAfter`, as that much after the start of the run.
    pub not_after: Option<Millis>,
}

/// Something that happens at some time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// When.
    pub at: Millis,
    /// What.
    pub what: Happening,
}

/// What can happen. Whatever lasts has its end in `lasts`.
#[expect(missing_docs, reason = "the fields are what the lines above them name")]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Happening {
    /// A guest comes back under the same id.
    GuestReturns { guest: u32 },
    /// A guest leaves by itself.
    GuestLeaves { guest: u32 },
    /// A user deletes an object.
    Delete { object: u32 },
    /// A user creates an object again, from the same manifest.
    Recreate { object: u32 },
    /// A user suspends an object or resumes it.
    Suspend { object: u32, suspend: bool },
    /// A user gives an object another deadline.
    Deadline { object: u32, seconds: u32 },
    /// Somebody edits labels of an object, again and again.
    Labels { object: u32, times: u32, every: Millis },
    /// The vendor answers every call of that kind with 503.
    Outage { calls: Calls, lasts: Millis },
    /// The vendor answers every call with 429.
    Throttle { retry_after: Option<u32>, lasts: Millis },
    /// The vendor's gateway has lost its route: it answers every guest call with a 404 of its own.
    LostRoute { shape: Shape, lasts: Millis },
    /// The vendor answers every call about that guest with 403.
    Forbid { guest: u32, lasts: Millis },
    /// The vendor answers every call about that guest with 400.
    Refuse { guest: u32, lasts: Millis },
    /// The vendor shows that guest, while it is active, in a state that no client knows.
    Odd { guest: u32, lasts: Millis },
    /// Every token that was issued is dead.
    RevokeTokens,
    /// The client's secret is another one; the Secret follows after `late`.
    RotateSecret { late: Millis },
    /// The Secret of the first namespace's connection is gone.
    LoseSecret { lasts: Millis },
    /// A user gives the webhooks of the first namespace's connection another format.
    Reformat,
    /// A user gives the webhooks of the first namespace's connection another address.
    Readdress,
    /// A user takes the webhooks out of the first namespace's connection.
    RemoveWebhooks,
    /// The first namespace's connection is deleted, and after a while created again: to the same place, or to another organisation's.
    Reconnect { elsewhere: bool, lasts: Millis },
    /// The webhook receiver answers with that.
    Receiver { status: u16, lasts: Millis },
    /// A replica is killed.
    Kill { replica: u32 },
    /// A replica is killed again and again.
    CrashLoop { replica: u32, times: u32, every: Millis },
    /// A replica is asked to stop, and started again when it has.
    Stop { replica: u32 },
    /// A replica stands still (SIGSTOP).
    Freeze { replica: u32, lasts: Millis },
    /// The wall clock of a replica's machine jumps.
    ClockJump { replica: u32, seconds: i64 },
    /// Every open watch breaks off.
    CutWatches { how: Cut },
    /// Watches hear nothing any more, without an end, until they are started anew.
    BlackHole,
    /// The answers to lists, and to the starts of watches, are lost.
    Swallow { lasts: Millis },
    /// The API server forgets its past: older versions are 410.
    Compact,
    /// Watches lag.
    Lag { by: Millis, lasts: Millis },
    /// Lists come from a server that is behind.
    TimeTravel { by: Millis, lasts: Millis },
    /// Watches deliver events twice and out of order.
    Mess { lasts: Millis },
    /// The API server is away.
    ClusterDown { lasts: Millis },
    /// The API server takes no writes (its disk is full).
    ReadOnly { lasts: Millis },
    /// The operator may not write statuses.
    Forbidden { lasts: Millis },
    /// The operator may not touch Leases.
    NoLeases { lasts: Millis },
}

/// Which calls of the vendor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Calls {
    /// All, tokens included.
    All,
    /// Looks.
    Observe,
    /// Terminations.
    Terminate,
}

/// How a gateway says 404.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Shape {
    /// An empty body, without the vendor's request id.
    Empty,
    /// A page.
    Html,
    /// A Kubernetes `Status`.
    KubernetesStatus,
    /// The vendor's error shape with the code `not.found`.
    NotFound,
}

/// How a watch breaks off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Cut {
    /// At the end of a line.
    Clean,
    /// In the middle of one.
    MidLine,
    /// The connection fails.
    Error,
}

impl Happening {
    /// How long it lasts.
    pub fn lasts(&self) -> Millis {
        match self {
            Self::Outage { lasts, .. }
            | Self::Throttle { lasts, .. }
            | Self::LostRoute { lasts, .. }
            | Self::Forbid { lasts, .. }
            | Self::Refuse { lasts, .. }
            | Self::Odd { lasts, .. }
            | Self::Reconnect { lasts, .. }
            | Self::LoseSecret { lasts }
            | Self::Receiver { lasts, .. }
            | Self::Freeze { lasts, .. }
            | Self::Lag { lasts, .. }
            | Self::TimeTravel { lasts, .. }
            | Self::Mess { lasts }
            | Self::Swallow { lasts }
            | Self::ClusterDown { lasts }
            | Self::ReadOnly { lasts }
            | Self::Forbidden { lasts }
            | Self::NoLeases { lasts }
            | Self::RotateSecret { late: lasts } => *lasts,
            Self::Labels { times, every, .. } | Self::CrashLoop { times, every, .. } => Millis::from(*times) * every,
            _ => 0,
        }
    }
}

impl Plan {
    /// How many namespaces there are.
    pub fn namespaces(&self) -> u32 {
        let last = self.objects.iter().map(|object| object.namespace).max();
        last.unwrap_or(0) + 1
    }

    /// When everything that happens at some time is over.
    pub fn calm_from(&self) -> Duration {
        let events = self.events.iter().map(|event| event.at + event.what.lasts());
        let objects = self.objects.iter().map(|object| object.at);
        Duration::from_millis(events.chain(objects).max().unwrap_or(0).max(self.connection.at))
    }

    /// How often a process dies.
    pub fn crashes(&self) -> usize {
        let faults = self.faults.iter().filter(|fault| fault.kind.is_crash()).count();
        let deaths = self.events.iter().map(|event| match event.what {
            Happening::Kill { .. } | Happening::Stop { .. } => 1,
            Happening::CrashLoop { times, .. } => times as usize,
            _ => 0,
        });
        faults + deaths.sum::<usize>()
    }

    /// How long a lease lasts, how long its holder tries to renew it, and how often. Where one is elected, it is looked at
    /// and renewed all the time, for nothing most of the time: long ones let more runs run.
    pub fn lease(&self) -> [Duration; 3] {
        let seconds = match self.seed % 16 {
            0 => [15, 10, 2],
            1..=3 => [150, 100, 20],
            _ => [600, 400, 80],
        };
        seconds.map(Duration::from_secs)
    }

    /// Whether a pass panics.
    pub fn panics(&self) -> bool {
        self.faults.iter().any(|fault| fault.kind == FaultKind::Panic)
    }
}

impl fmt::Display for Plan {
    /// As somebody who looks for the cause wants to read it.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            formatter,
            "seed {}, {:?}, {:?}, restarts after {} ms",
            self.seed, self.pace, self.replicas, self.restart_after
        )?;
        if !self.rules {
            writeln!(formatter, "  definitions without rules")?;
        }
        if self.workers != WORKERS {
            writeln!(formatter, "  {} workers", self.workers)?;
        }
        writeln!(formatter, "  {:?}", self.connection)?;
        for (number, object) in self.objects.iter().enumerate() {
            writeln!(formatter, "  object {number}: {object:?}")?;
        }
        for fault in &self.faults {
            writeln!(formatter, "  fault: {fault}")?;
        }
        for event in &self.events {
            writeln!(formatter, "  at {} ms: {:?}", event.at, event.what)?;
        }
        Ok(())
    }
}
