//! One fault each, against the operator under load: what is disturbed, what must hold meanwhile, and the judge at the
//! end. A short form runs in `cargo test`, a long one by the command.

pub mod calls;
pub mod definitions;
pub mod leaders;
pub mod namespaces;
pub mod rights;
pub mod scale;
pub mod secrets;
pub mod servers;
pub mod space;
pub mod stops;
pub mod watches;

use std::{fmt, time::Duration};

use control_plane::{Builder, ControlPlane};
use futures::future::BoxFuture;

use crate::{operator::Program, stage};

/// How much of a scenario is played.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    /// Some seconds, for `cargo test`.
    Short,
    /// As long as the promises speak of.
    Long,
}

impl Length {
    /// One or the other.
    pub fn pick<T>(self, short: T, long: T) -> T {
        match self {
            Self::Short => short,
            Self::Long => long,
        }
    }

    /// One or the other, in seconds.
    pub fn seconds(self, short: u64, long: u64) -> Duration {
        Duration::from_secs(self.pick(short, long))
    }
}

/// Where a scenario is played.
#[derive(Clone, Copy, Debug)]
pub struct Ground<'a> {
    /// A control plane such as [`Needs::builder`] starts.
    pub cluster: &'a ControlPlane,
    /// The operator.
    pub program: &'a Program,
    /// How much of it.
    pub length: Length,
}

/// What control plane a scenario needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// One that others use at the same time.
    Shared,
    /// One of its own, whose store survives `kill -9`.
    Own,
    /// One of its own, whose store holds 24 MiB.
    Small,
    /// One of its own, without the kinds.
    Bare,
}

impl Needs {
    /// How such a control plane is started.
    pub fn builder(self) -> Builder {
        let builder = stage::control_plane();
        match self {
            Self::Shared | Self::Bare => builder,
            Self::Own => builder.durable(),
            Self::Small => builder.quota_bytes(24 * 1024 * 1024),
        }
    }

    /// Starts such a control plane.
    pub async fn start(self) -> anyhow::Result<ControlPlane> {
        let cluster = self.builder().start().await?;
        if self != Self::Bare {
            stage::install(&cluster).await?;
        }
        Ok(cluster)
    }
}

/// What was measured, with its name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings(pub Vec<(String, String)>);

impl Findings {
    /// Adds a finding.
    pub fn add(&mut self, name: &str, value: impl fmt::Display) {
        self.0.push((name.to_owned(), value.to_string()));
    }

    /// Adds a span of time, in tenths of seconds.
    pub fn time(&mut self, name: &str, value: Duration) {
        self.add(name, format!("{:.1} s", value.as_secs_f64()));
    }
}

type Play = for<'a> fn(Ground<'a>) -> BoxFuture<'a, anyhow::Result<Findings>>;

/// A scenario.
#[derive(Clone, Copy)]
pub struct Scenario {
    /// Its name, for the command.
    pub name: &'static str,
    /// What it is about, with the numbers of the faults that it plays.
    pub about: &'static str,
    /// What it needs.
    pub needs: Needs,
    /// Plays it. An error says which promise was broken.
    pub play: Play,
}

impl fmt::Debug for Scenario {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name)
    }
}

macro_rules! scenarios {
    ($($name:literal, $needs:ident, $play:path, $about:literal;)*) => {
        /// All of them, in the order in which the command plays them.
        pub const ALL: &[Scenario] = &[$(Scenario {
            name: $name,
            about: $about,
            needs: Needs::$needs,
            play: |ground| Box::pin($play(ground)),
        },)*];
    };
}

scenarios! {
    "apiserver-restarted", Own, servers::restarted, "the API server is restarted under load (32)";
    "apiserver-stopped", Own, servers::stopped, "the API server stands still (SIGSTOP) and goes on (33, 38)";
    "apiserver-killed", Own, servers::killed, "the API server is killed, its store compacted, and it is started again (28, 32)";
    "etcd-stopped", Own, servers::store_stopped, "the store stands still and goes on (34)";
    "etcd-slow", Own, servers::store_slow, "the store stands still for a moment, again and again (34)";
    "etcd-killed", Own, servers::store_killed, "the store is killed and started again (34)";
    "no-space", Small, space::exhausted, "the store is full, and is freed (35)";
    "black-hole", Shared, watches::black_hole, "the watches fall silent without an end (26)";
    "watches-closed", Shared, watches::closed_all_the_time, "every watch ends after 100 ms (27)";
    "old-list", Shared, watches::old_list, "a LIST is answered from before the work was done (22, 23)";
    "answers-cut", Shared, calls::answers_cut, "status writes are carried out and their answers cut off (6, 37)";
    "answers-late", Shared, calls::answers_late, "API calls are slow, throttled, or never answered (36, 38)";
    "rights-revoked", Shared, rights::revoked, "the role binding is removed with calls in flight, and given back (41)";
    "token-replaced", Shared, rights::token_replaced, "the service account's token becomes invalid and is replaced (42)";
    "secret-changed", Shared, secrets::changed, "the credentials are rotated, broken, removed and restored (105 to 108)";
    "definitions", Bare, definitions::come_and_go, "the kinds are missing, too old, there, removed, there again (43 to 45)";
    "namespace-deleted", Own, namespaces::deleted, "a namespace is deleted with objects in all phases (55)";
    "many-objects", Own, scale::many_objects, "many objects are open, and then settled, when the operator starts (13, 138, 143 to 145, 148)";
    "leader-paused", Shared, leaders::paused, "the leader of two stands still past its lease with calls under way (17, 69)";
    "leader-starved", Shared, leaders::starved, "the leader of two gets a tenth of the time (147)";
    "asked-to-stop", Shared, stops::asked, "SIGTERM with 50 calls in flight (11)";
    "stopped-and-killed", Shared, stops::asked_and_killed, "SIGTERM, then SIGKILL before the drain is over (12)";
}
