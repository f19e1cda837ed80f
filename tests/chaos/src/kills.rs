//! `kill -9` of the operator at seeded moments, while objects are being created and the vendor has a bad day.

use std::{
    collections::BTreeMap,
    fmt::{self, Write as _},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::ensure;
use futures::StreamExt as _;
use guest_termination_operator::api::GuestTermination;
use kube::runtime::{WatchStreamExt as _, watcher};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng, seq::IndexedRandom as _};
use simulator::api::{Moment, Operation, RevokeTokens, WaitFor};
use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{Instant, timeout},
};

use crate::{
    judge::{Rules, Verdict},
    operator::Operator,
    stage::Stage,
    vendor,
};

/// The longest life of a process whose moment does not come.
const LONGEST_LIFE: Duration = Duration::from_secs(3);
/// A life that is long enough to give up what the dead left open.
pub const RESPITE: Duration = Duration::from_secs(26);
/// After so many kills the tokens die too.
const KILLS_PER_REVOCATION: usize = 25;
/// How often progress is told.
const PROGRESS: Duration = Duration::from_secs(5);

/// What a run of kills does.
#[derive(Clone, Debug)]
pub struct Options {
    /// Seeds the moments of the kills.
    pub seed: u64,
    /// Kills.
    pub count: usize,
    /// Objects, which are created while processes are killed.
    pub objects: usize,
    /// After so many kills a process lives for [`RESPITE`]. An intent that a dead process left open is looked at by
    /// each process first of all, and given up only by one that has lived for 20 s: where none does, those looks become
    /// all that is done, and the kills meet nothing else.
    pub respite_every: usize,
    /// Processes of the operator at the same time.
    pub replicas: usize,
    /// How long the objects may take to settle once nobody is killed any more.
    pub settle_within: Duration,
    /// For how long nothing may happen at the end.
    pub quiet: Duration,
}

/// When a process is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Trigger {
    /// At any time, the first milliseconds of its life included.
    AnyTime,
    /// An intent became durable: its call is about to leave.
    IntentWritten,
    /// The vendor has a terminate call, and has done nothing yet.
    TerminateReceived,
    /// A session has ended, and the answer is on its way.
    TerminateEffective,
    /// A terminate call is answered, and the result is about to be written.
    TerminateAnswered,
    /// An end became durable: its webhook is about to leave.
    EndWritten,
    /// The receiver has a webhook.
    WebhookReceived,
    /// The receiver has answered, and that is about to be written.
    WebhookAnswered,
}

impl Trigger {
    const ALL: [Self; 8] = [
        Self::AnyTime,
        Self::IntentWritten,
        Self::TerminateReceived,
        Self::TerminateEffective,
        Self::TerminateAnswered,
        Self::EndWritten,
        Self::WebhookReceived,
        Self::WebhookAnswered,
    ];

    fn moment(self) -> Option<(Operation, Moment)> {
        match self {
            Self::TerminateReceived => Some((Operation::Terminate, Moment::Received)),
            Self::TerminateEffective => Some((Operation::Terminate, Moment::Effective)),
            Self::TerminateAnswered => Some((Operation::Terminate, Moment::Answered)),
            Self::WebhookReceived => Some((Operation::Webhook, Moment::Received)),
            Self::WebhookAnswered => Some((Operation::Webhook, Moment::Answered)),
            Self::AnyTime | Self::IntentWritten | Self::EndWritten => None,
        }
    }
}

/// What came of a run of kills.
#[derive(Clone, Debug)]
pub struct Report {
    /// The judge's word. There is no violation in it, or there would be no report.
    pub verdict: Verdict,
    /// The seed of the run.
    pub seed: u64,
    /// Kills by what triggered them.
    kills: BTreeMap<String, usize>,
    /// How long it took until the last kill, and from then until all was settled.
    killing: Duration,
    settling: Duration,
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let figures = &self.verdict.figures;
        let mut row = |name: &str, value: String| writeln!(formatter, "  {name:<58}{value:>12}");
        row("seed", self.seed.to_string())?;
        row("kill -9", figures.killed.to_string())?;
        for (trigger, count) in &self.kills {
            row(&format!("  at {trigger}"), count.to_string())?;
        }
        row("time of killing", format!("{:.0?}", self.killing))?;
        row(
            "time until all was settled after the last kill",
            format!("{:.1?}", self.settling),
        )?;
        for (name, value) in figures.rows() {
            row(name, value.to_string())?;
        }
        row("promises broken", self.verdict.violations.len().to_string())
    }
}

/// What the API server says of the objects, as it happens.
struct Seen {
    intents: watch::Receiver<usize>,
    ends: watch::Receiver<usize>,
    settled: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Seen {
    fn by(stage: &Stage<'_>) -> Self {
        let (intents_in, intents) = watch::channel(0);
        let (ends_in, ends) = watch::channel(0);
        let settled = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&settled);
        let objects = watcher(stage.terminations(), watcher::Config::default()).default_backoff();
        let task = tokio::spawn(async move {
            let mut objects = std::pin::pin!(objects.applied_objects());
            let mut last: BTreeMap<String, (Option<String>, bool, bool)> = BTreeMap::new();
            while let Some(object) = objects.next().await {
                // The watcher bridges what interrupts it.
                let Ok(object) = object else { continue };
                let object: GuestTermination = object;
                let status = object.status.unwrap_or_default();
                let intent = status.current_attempt.as_ref().map(|open| open.id.clone());
                let now = (intent, status.is_finished(), status.is_settled());
                let uid = object.metadata.uid.unwrap_or_default();
                let before = last.insert(uid, now.clone()).unwrap_or_default();
                if now.0.is_some() && now.0 != before.0 {
                    intents_in.send_modify(|count| *count += 1);
                }
                if now.1 && !before.1 {
                    ends_in.send_modify(|count| *count += 1);
                }
                if now.2 && !before.2 {
                    count.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        Self {
            intents,
            ends,
            settled,
            task,
        }
    }
}

impl Drop for Seen {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Kills the operator, and judges it. An error names what was broken.
pub async fn run(stage: &Stage<'_>, options: &Options, tell: impl Fn(&str)) -> anyhow::Result<Report> {
    ensure!(options.replicas > 0 && options.count > 0, "nobody would be killed");
    ensure!(options.respite_every > 0, "a respite after no kill at all is no plan");
    vendor::bad_weather(&stage.simulator)?;
    let mut run = Run {
        stage,
        options,
        random: StdRng::seed_from_u64(options.seed),
        seen: Seen::by(stage),
        latest: BTreeMap::new(),
        kills: BTreeMap::new(),
        began: Instant::now(),
        told: Instant::now(),
    };
    run.all(&tell).await
}

struct Run<'a, 'b> {
    stage: &'a Stage<'b>,
    options: &'a Options,
    random: StdRng,
    seen: Seen,
    /// The latest call that was waited for, of each kind.
    latest: BTreeMap<Operation, u64>,
    kills: BTreeMap<String, usize>,
    began: Instant,
    told: Instant,
}

impl Run<'_, '_> {
    async fn all(&mut self, tell: &impl Fn(&str)) -> anyhow::Result<Report> {
        let (stage, options) = (self.stage, self.options);
        let mut operators = Vec::new();
        for _ in 0..options.replicas {
            operators.push(stage.operate()?);
        }
        // Enough for a beginning; the rest comes while processes die, so that none of them is idle.
        let first = options.objects.div_ceil(16);
        stage.create(first).await?;
        for kill in 1..=options.count {
            let wanted = first + (options.objects - first) * kill / options.count;
            let due = wanted.saturating_sub(stage.created());
            let (created, trigger) = tokio::join!(stage.create(due), self.moment());
            created?;
            if kill.is_multiple_of(options.respite_every) {
                tokio::time::sleep(RESPITE).await;
            }
            *self.kills.entry(trigger).or_default() += 1;
            let victim = operators.swap_remove(self.random.random_range(0..operators.len()));
            stage.kill(victim).await?;
            if kill.is_multiple_of(KILLS_PER_REVOCATION) {
                stage.simulator.revoke_tokens(&RevokeTokens::default());
            }
            operators.push(stage.operate()?);
            self.progress(kill, tell);
        }
        let killing = self.began.elapsed();
        tell(&format!("{} kills; waiting for all to settle", options.count));
        let settling = stage.settled(options.settle_within).await?;
        stage.quiet(options.quiet).await?;
        self.end(operators).await?;
        Ok(Report {
            verdict: stage.judge(&Rules::default()).await?,
            seed: options.seed,
            kills: std::mem::take(&mut self.kills),
            killing,
            settling,
        })
    }

    async fn end(&self, operators: Vec<Operator>) -> anyhow::Result<()> {
        for operator in operators {
            self.stage.stop(operator).await?;
        }
        Ok(())
    }

    /// Waits for the next moment to kill, and says what it was.
    async fn moment(&mut self) -> String {
        let trigger = *Trigger::ALL.choose(&mut self.random).unwrap_or(&Trigger::AnyTime);
        // Some die before they have begun, some long after.
        let life = LONGEST_LIFE.mul_f64(self.random.random::<f64>().powi(2));
        let after = Duration::from_micros(self.random.random_range(0..8_000));
        let came = match trigger {
            Trigger::AnyTime => {
                tokio::time::sleep(life).await;
                return name(trigger);
            }
            Trigger::IntentWritten => changed(&mut self.seen.intents).await,
            Trigger::EndWritten => changed(&mut self.seen.ends).await,
            Trigger::TerminateReceived
            | Trigger::TerminateEffective
            | Trigger::TerminateAnswered
            | Trigger::WebhookReceived
            | Trigger::WebhookAnswered => self.call(trigger).await,
        };
        if !came {
            return name(Trigger::AnyTime);
        }
        // Not always at the very first such moment.
        tokio::time::sleep(after).await;
        name(trigger)
    }

    /// Waits for a call that was not there before.
    async fn call(&mut self, trigger: Trigger) -> bool {
        let Some((operation, moment)) = trigger.moment() else {
            return false;
        };
        let latest = self.latest.entry(operation).or_default();
        let wait = |after, timeout_ms| WaitFor {
            after,
            timeout_ms,
            ..WaitFor::new(operation, moment)
        };
        while let Some(found) = self.stage.simulator.wait_for(&wait(*latest, 0)).await {
            *latest = found.sequence;
        }
        let longest = u64::try_from(LONGEST_LIFE.as_millis()).unwrap_or(u64::MAX);
        match self.stage.simulator.wait_for(&wait(*latest, longest)).await {
            Some(found) => {
                *latest = found.sequence;
                true
            }
            None => false,
        }
    }

    fn progress(&mut self, kill: usize, tell: &impl Fn(&str)) {
        if self.told.elapsed() < PROGRESS && kill < self.options.count {
            return;
        }
        self.told = Instant::now();
        let seconds = self.began.elapsed().as_secs_f64();
        let (created, settled) = (self.stage.created(), self.seen.settled.load(Ordering::Relaxed));
        let mut line = String::new();
        // Writing to a string does not fail.
        let _ = write!(
            line,
            "{seconds:>6.0} s   kills {kill}/{count} ({rate:.2}/s)   objects {created}/{objects} created, {settled} settled \
             ({settling:.2}/s)",
            count = self.options.count,
            objects = self.options.objects,
            rate = f64_of(kill) / seconds,
            settling = f64_of(settled) / seconds,
        );
        tell(&line);
    }
}

fn f64_of(count: usize) -> f64 {
    u32::try_from(count).map_or(f64::INFINITY, f64::from)
}

fn name(trigger: Trigger) -> String {
    let words = match trigger {
        Trigger::AnyTime => "any time",
        Trigger::IntentWritten => "an intent that was written",
        Trigger::TerminateReceived => "a terminate call that came in",
        Trigger::TerminateEffective => "a session that ended",
        Trigger::TerminateAnswered => "a terminate call that was answered",
        Trigger::EndWritten => "an end that was written",
        Trigger::WebhookReceived => "a webhook that came in",
        Trigger::WebhookAnswered => "a webhook that was answered",
    };
    words.to_owned()
}

async fn changed(counter: &mut watch::Receiver<usize>) -> bool {
    counter.mark_unchanged();
    timeout(LONGEST_LIFE, counter.changed())
        .await
        .is_ok_and(|changed| changed.is_ok())
}
