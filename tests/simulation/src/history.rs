//! What happened in a run, in order: what the oracle judges, what the trace prints, and what the replay's hash covers.

use std::{
    collections::hash_map::DefaultHasher,
    hash::{Hash, Hasher},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use k8s_openapi::jiff::Timestamp;
use serde_json::Value;

use crate::oracle::{Oracle, Violation};

/// One process of the operator: every start is another one, whichever replica it is of.
pub type Process = u32;

/// The number of a request in its run, across all servers.
pub type Ordinal = u64;

/// Everything that happened so far, judged as it comes in.
pub struct History {
    records: Vec<Record>,
    hasher: DefaultHasher,
    oracle: Oracle,
    violation: Option<Violation>,
}

impl History {
    /// Nothing yet.
    pub fn new(oracle: Oracle) -> Self {
        Self {
            records: Vec::new(),
            hasher: DefaultHasher::new(),
            oracle,
            violation: None,
        }
    }

    /// Something happened.
    pub fn push(&mut self, at: Duration, what: What) {
        at.hash(&mut self.hasher);
        what.cover(&mut self.hasher);
        let record = Record { at, what };
        if self.violation.is_none() {
            self.violation = self.oracle.see(&record).err();
        }
        self.records.push(record);
    }

    /// Bytes that a process wrote: they belong to what a replay must repeat.
    pub fn cover(&mut self, bytes: &[u8]) {
        self.hasher.write(bytes);
    }

    /// The run is over: what must hold at the end is judged.
    pub fn finish(&mut self, at: Duration) {
        if self.violation.is_none() {
            self.violation = self.oracle.finish(at).err();
        }
    }

    /// The first thing that should not have happened.
    pub fn violation(&self) -> Option<&Violation> {
        self.violation.as_ref()
    }

    /// Everything, in order.
    pub fn records(&self) -> &[Record] {
        &self.records
    }

    /// The same for the same run, and for no other.
    pub fn hash(&self) -> u64 {
        self.hasher.finish()
    }
}

impl What {
    /// What a replay must repeat of it. The bytes of audit lines are covered where they are seen.
    fn cover(&self, hasher: &mut impl Hasher) {
        std::mem::discriminant(self).hash(hasher);
        match self {
            Self::Started { process, replica } => (process, replica).hash(hasher),
            Self::Killed { process } | Self::Stopping { process } | Self::Audit { process, .. } => process.hash(hasher),
            Self::Ended { process, error } => (process, error).hash(hasher),
            Self::Asked {
                ordinal,
                process,
                server,
                line,
                body,
                wall,
            } => (ordinal, process, server, line, body, wall).hash(hasher),
            Self::Stored { ordinal, before, after } => (ordinal, before.is_some(), after.is_some()).hash(hasher),
            Self::Vendor { ordinal, .. } | Self::Webhook { ordinal, .. } => ordinal.hash(hasher),
            Self::Token { ordinal, status } => (ordinal, status).hash(hasher),
            Self::Answered {
                ordinal,
                status,
                intact,
            } => (ordinal, status, intact).hash(hasher),
            Self::Life(life) => (life.at, &life.guest, life.life).hash(hasher),
            Self::Log { text } => text.hash(hasher),
            Self::Calm => {}
            Self::World(what) => what.hash(hasher),
        }
    }
}

/// One thing that happened.
#[derive(Clone, Debug)]
pub struct Record {
    /// True time since the start of the run.
    pub at: Duration,
    /// What.
    pub what: What,
}

/// What happened.
#[derive(Clone, Debug)]
pub enum What {
    /// A process of the operator started.
    Started {
        /// Which.
        process: Process,
        /// The replica that it belongs to.
        replica: u32,
    },
    /// A process was killed: from here on nothing that it sent is answered, and it sends nothing more.
    Killed {
        /// Which.
        process: Process,
    },
    /// A process was asked to stop (SIGTERM).
    Stopping {
        /// Which.
        process: Process,
    },
    /// A process ended by itself: after [`What::Stopping`] as it should, otherwise with the reason that it gave.
    Ended {
        /// Which.
        process: Process,
        /// Why, unless it was asked to.
        error: Option<String>,
    },
    /// A request left a process.
    Asked {
        /// Its number.
        ordinal: Ordinal,
        /// Who asked.
        process: Process,
        /// Whom.
        server: Server,
        /// The method and the URI: absolute, but for the API server.
        line: String,
        /// The body.
        body: Bytes,
        /// The wall clock of the process that asked.
        wall: Timestamp,
    },
    /// The API server stored a change of an object, whoever asked for it.
    Stored {
        /// The request that did it; `None` if the world did (a user, another controller).
        ordinal: Option<Ordinal>,
        /// The object before; `None` if it was created.
        before: Option<Arc<Value>>,
        /// The object after; `None` if it was deleted.
        after: Option<Arc<Value>>,
    },
    /// The vendor took a guest call in. Token requests are [`What::Token`].
    Vendor {
        /// The request.
        ordinal: Ordinal,
        /// What it did.
        call: crate::vendor::Call,
    },
    /// The vendor's token endpoint answered.
    Token {
        /// The request.
        ordinal: Ordinal,
        /// The answer's status.
        status: u16,
    },
    /// A life of a guest began or ended.
    Life(crate::vendor::Life),
    /// The webhook receiver took a delivery in.
    Webhook {
        /// The request.
        ordinal: Ordinal,
        /// What it was.
        delivery: crate::vendor::Delivery,
    },
    /// An answer reached the process that asked.
    Answered {
        /// The request.
        ordinal: Ordinal,
        /// The answer's status; `None` if the connection failed.
        status: Option<u16>,
        /// It is the very answer that the server gave, all of it, and the process had not given it up before.
        intact: bool,
    },
    /// A line of a process's audit log.
    Audit {
        /// Whose.
        process: Process,
        /// The line.
        line: Arc<Value>,
    },
    /// A line of some process's log.
    Log {
        /// The text.
        text: String,
    },
    /// From here on nothing goes wrong any more: every fault has ended, and nobody changes anything.
    Calm,
    /// Something in the world changed that is no request: a guest came back, an outage began, a clock jumped.
    World(String),
}

/// Whom a process talks to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Server {
    /// The API server.
    Cluster,
    /// The vendor: guest calls and tokens.
    Vendor,
    /// The webhook receiver.
    Receiver,
}
