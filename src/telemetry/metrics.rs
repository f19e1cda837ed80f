//! Metrics for Prometheus. Labels come from closed sets: the number of series does not grow with objects.

use std::{sync::Arc, time::Duration};

use k8s_openapi::jiff::SignedDuration;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric},
    metrics::{
        MetricType, counter::Counter, family::Family, gauge::ConstGauge, gauge::Gauge, histogram::Histogram, info::Info,
    },
    registry::{Registry, Unit},
};

mod labels;

pub use labels::{
    BreakerState, ConnectionState, EventResult, Operation, QueueState, TokenResult, VendorClass, WatchedKind,
    WebhookResult, WriteOutcome,
};

use super::WatchPulse;
use crate::{api::Outcome, clock::SharedClock};

/// Upper bounds of the buckets of a vendor call's duration, in seconds. A call's total timeout is 10 s.
const CALL_BUCKETS: [f64; 9] = [0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CallLabels {
    operation: Operation,
    class: VendorClass,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WriteLabels {
    kind: WatchedKind,
    outcome: WriteOutcome,
}

macro_rules! single_label {
    ($($name:ident { $field:ident: $type:ty })*) => {
        $(
            #[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
            struct $name { $field: $type }
        )*
    };
}

single_label! {
    OperationLabel { operation: Operation }
    EventLabel { result: EventResult }
    WebhookLabel { result: WebhookResult }
    TokenLabel { result: TokenResult }
    QueueLabel { state: QueueState }
    BreakerLabel { state: BreakerState }
    ConnectionLabel { state: ConnectionState }
    OutcomeLabel { outcome: labels::OutcomeValue }
    KindLabel { kind: WatchedKind }
}

/// The handles of every metric. Cheap to clone; clones count together.
#[derive(Clone, Debug)]
pub struct Metrics {
    vendor_calls: Family<CallLabels, Counter>,
    vendor_call_duration: Family<OperationLabel, Histogram, fn() -> Histogram>,
    token_refreshes: Family<TokenLabel, Counter>,
    passes: Counter,
    panics: Counter,
    status_writes: Family<WriteLabels, Counter>,
    events: Family<EventLabel, Counter>,
    webhook_tries: Family<WebhookLabel, Counter>,
    outcomes: Family<OutcomeLabel, Counter>,
    undecodable: Family<KindLabel, Counter>,
    audit_failures: Counter,
    log_lines_dropped: Counter,
    queue: Family<QueueLabel, Gauge>,
    in_flight: Gauge,
    leader: Gauge,
    clock_skew: Gauge,
    breakers: Family<BreakerLabel, Gauge>,
    connections: Family<ConnectionLabel, Gauge>,
    watches: Arc<Watches>,
}

impl Metrics {
    /// Every metric, at zero, and the registry that exposes them.
    pub fn new(clock: &SharedClock) -> (Self, Registry) {
        let metrics = Self {
            vendor_calls: Family::default(),
            vendor_call_duration: Family::new_with_constructor(|| Histogram::new(CALL_BUCKETS)),
            token_refreshes: Family::default(),
            passes: Counter::default(),
            panics: Counter::default(),
            status_writes: Family::default(),
            events: Family::default(),
            webhook_tries: Family::default(),
            outcomes: Family::default(),
            undecodable: Family::default(),
            audit_failures: Counter::default(),
            log_lines_dropped: Counter::default(),
            queue: Family::default(),
            in_flight: Gauge::default(),
            leader: Gauge::default(),
            clock_skew: Gauge::default(),
            breakers: Family::default(),
            connections: Family::default(),
            watches: Arc::new(Watches::new(clock)),
        };
        let registry = metrics.register();
        metrics.preset();
        (metrics, registry)
    }

    fn register(&self) -> Registry {
        let mut all = Registry::with_prefix("guest_termination");
        let version = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        all.register("build", "The version of the operator", version);
        all.register(
            "vendor_calls",
            "Calls to the vendor, by what they asked and what the answer means",
            self.vendor_calls.clone(),
        );
        all.register_with_unit(
            "vendor_call_duration",
            "Time between a vendor call's departure and its answer",
            Unit::Seconds,
            self.vendor_call_duration.clone(),
        );
        all.register(
            "token_refreshes",
            "Token requests, by result",
            self.token_refreshes.clone(),
        );
        all.register("passes", "Passes over a termination", self.passes.clone());
        all.register(
            "panics",
            "Panics, in a pass or anywhere else: bugs",
            self.panics.clone(),
        );
        all.register(
            "status_writes",
            "Status writes, by what came of them",
            self.status_writes.clone(),
        );
        all.register("events", "Kubernetes Events, by what came of them", self.events.clone());
        all.register(
            "webhook_tries",
            "Tries to deliver a webhook, by result",
            self.webhook_tries.clone(),
        );
        all.register(
            "outcomes",
            "Terminations that became final, by outcome",
            self.outcomes.clone(),
        );
        all.register(
            "undecodable_objects",
            "Times that an object was seen that does not fit this version's types",
            self.undecodable.clone(),
        );
        all.register(
            "audit_write_failures",
            "Audit lines that could not be written",
            self.audit_failures.clone(),
        );
        all.register(
            "log_lines_dropped",
            "Log lines, never audit lines, dropped because nobody read them fast enough",
            self.log_lines_dropped.clone(),
        );
        all.register(
            "queue_depth",
            "Open terminations that are due, or wait for their time",
            self.queue.clone(),
        );
        all.register(
            "in_flight",
            "Terminations that are worked on now",
            self.in_flight.clone(),
        );
        all.register(
            "leader",
            "1 on the replica that leads, 0 on the others",
            self.leader.clone(),
        );
        all.register_with_unit(
            "clock_skew",
            "By how much the own clock is ahead of the API server's",
            Unit::Seconds,
            self.clock_skew.clone(),
        );
        all.register(
            "breakers",
            "Connections, by the state of their breaker",
            self.breakers.clone(),
        );
        all.register(
            "connections",
            "Connections, by their condition Ready",
            self.connections.clone(),
        );
        all.register_collector(Box::new(Arc::clone(&self.watches)));
        all
    }

    /// Makes every series of a small set exist at zero: a rate over a series that appears with its first error misses
    /// that error.
    fn preset(&self) {
        for outcome in labels::OutcomeValue::ALL {
            let _ = self.outcomes.get_or_create(&OutcomeLabel { outcome });
        }
        for result in WebhookResult::ALL {
            let _ = self.webhook_tries.get_or_create(&WebhookLabel { result });
        }
        for result in EventResult::ALL {
            let _ = self.events.get_or_create(&EventLabel { result });
        }
        for result in TokenResult::ALL {
            let _ = self.token_refreshes.get_or_create(&TokenLabel { result });
        }
        for kind in WatchedKind::ALL {
            let _ = self.undecodable.get_or_create(&KindLabel { kind });
            for outcome in WriteOutcome::ALL {
                let _ = self.status_writes.get_or_create(&WriteLabels { kind, outcome });
            }
        }
        for state in QueueState::ALL {
            self.queue(state, 0);
        }
        for state in BreakerState::ALL {
            self.breakers(state, 0);
        }
        for state in ConnectionState::ALL {
            self.connections(state, 0);
        }
    }

    /// A call to the vendor was answered, or given up, after that time.
    pub fn vendor_call(&self, operation: Operation, class: VendorClass, duration: Duration) {
        self.vendor_calls.get_or_create(&CallLabels { operation, class }).inc();
        let label = OperationLabel { operation };
        self.vendor_call_duration
            .get_or_create(&label)
            .observe(duration.as_secs_f64());
    }

    /// A token was asked for.
    pub fn token_refresh(&self, result: TokenResult) {
        self.token_refreshes.get_or_create(&TokenLabel { result }).inc();
    }

    /// A pass over a termination ended.
    pub fn pass(&self) {
        self.passes.inc();
    }

    /// Something panicked.
    pub fn panic(&self) {
        self.panics.inc();
    }

    /// A status was written, or not.
    pub fn status_write(&self, kind: WatchedKind, outcome: WriteOutcome) {
        self.status_writes.get_or_create(&WriteLabels { kind, outcome }).inc();
    }

    /// An Event was published, or not.
    pub fn event(&self, result: EventResult) {
        self.events.get_or_create(&EventLabel { result }).inc();
    }

    /// A webhook was tried.
    pub fn webhook_try(&self, result: WebhookResult) {
        self.webhook_tries.get_or_create(&WebhookLabel { result }).inc();
    }

    /// A termination became final.
    pub fn outcome(&self, outcome: Outcome) {
        let outcome = outcome.into();
        self.outcomes.get_or_create(&OutcomeLabel { outcome }).inc();
    }

    /// An object was seen that does not fit the types of this version.
    pub fn undecodable(&self, kind: WatchedKind) {
        self.undecodable.get_or_create(&KindLabel { kind }).inc();
    }

    /// An audit line could not be written.
    pub fn audit_failure(&self) {
        self.audit_failures.inc();
    }

    /// The counter of dropped log lines, for [`super::logs`].
    pub fn log_lines_dropped(&self) -> Counter {
        self.log_lines_dropped.clone()
    }

    /// How many open terminations are in that state.
    pub fn queue(&self, state: QueueState, count: usize) {
        self.queue.get_or_create(&QueueLabel { state }).set(saturate(count));
    }

    /// How many terminations are worked on.
    pub fn in_flight(&self, count: usize) {
        self.in_flight.set(saturate(count));
    }

    /// Whether this replica leads.
    pub fn leading(&self, leads: bool) {
        self.leader.set(leads.into());
    }

    /// By how much the own clock is ahead of the API server's.
    pub fn clock_skew(&self, ahead: SignedDuration) {
        self.clock_skew.set(ahead.as_secs());
    }

    /// How many connections have a breaker in that state.
    pub fn breakers(&self, state: BreakerState, count: usize) {
        self.breakers
            .get_or_create(&BreakerLabel { state })
            .set(saturate(count));
    }

    /// How many connections are in that state.
    pub fn connections(&self, state: ConnectionState, count: usize) {
        self.connections
            .get_or_create(&ConnectionLabel { state })
            .set(saturate(count));
    }

    /// What the watch of that kind shows of itself; to be handed to it, and to the probes.
    pub fn watch(&self, kind: WatchedKind) -> WatchPulse {
        self.watches.of(kind).clone()
    }
}

fn saturate(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// The staleness of each watch, measured at each scrape.
#[derive(Debug)]
struct Watches {
    terminations: WatchPulse,
    connections: WatchPulse,
}

impl Watches {
    fn new(clock: &SharedClock) -> Self {
        Self {
            terminations: WatchPulse::new(clock),
            connections: WatchPulse::new(clock),
        }
    }

    fn of(&self, kind: WatchedKind) -> &WatchPulse {
        match kind {
            WatchedKind::GuestTermination => &self.terminations,
            WatchedKind::GenesysConnection => &self.connections,
        }
    }
}

impl Collector for Watches {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let help = "Time since the watch of a kind heard of the API server";
        let mut family = encoder.encode_descriptor("watch_staleness", help, Some(&Unit::Seconds), MetricType::Gauge)?;
        for kind in WatchedKind::ALL {
            let age = ConstGauge::new(self.of(kind).heard.age().as_secs_f64());
            age.encode(family.encode_family(&KindLabel { kind })?)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
