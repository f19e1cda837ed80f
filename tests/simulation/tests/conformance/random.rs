//! Many short random sequences, each to both servers.

use std::time::Instant;

use serde_json::json;
use simulation::apiserver::requests::{self, LEASES, Preconditions, Side, TERMINATIONS};

use crate::{
    pair::{Memory, Pair, Watches},
    plan::{NAMES, Plan, Step},
};

/// How many sequences are run.
const SEQUENCES: u64 = 2_000;
/// How many at the same time, each in a namespace of its own.
const WORKERS: u64 = 12;

/// One of those who run sequences, one after the other.
struct Worker {
    pair: Pair,
    namespace: String,
    watches: Vec<Watches>,
}

impl Worker {
    async fn new(namespace: &str) -> Self {
        let mut pair = Pair::new(namespace).await;
        let mut watches = Vec::new();
        for (resource, parameters) in [
            (TERMINATIONS, vec![("fieldSelector", "status.settled!=true")]),
            (TERMINATIONS, vec![("fieldSelector", "status.settled=true")]),
            (TERMINATIONS, vec![("labelSelector", "team=care")]),
            (LEASES, vec![]),
        ] {
            watches.push(pair.watch(&resource, namespace, &parameters, |_| None).await);
        }
        Self {
            pair,
            namespace: namespace.to_owned(),
            watches,
        }
    }

    async fn run(&mut self, plan: &Plan) -> Result<(), String> {
        self.pair.log.clear();
        self.pair.real_memory.forget();
        self.pair.model_memory.forget();
        for step in &plan.steps {
            self.step(plan, step).await?;
        }
        self.clean_up(plan).await?;
        for watches in &mut self.watches {
            self.pair.compare_events(watches).await?;
        }
        Ok(())
    }

    async fn step(&mut self, plan: &Plan, step: &Step) -> Result<(), String> {
        let (resource, namespace) = (&plan.resource, self.namespace.as_str());
        if let Step::Watch { selector, back } = step {
            let parameters: Vec<_> = selector.iter().copied().collect();
            let from = |memory: &Memory| {
                let object = memory
                    .object(NAMES[0], (*back)?)
                    .or_else(|| memory.object(NAMES[0], 0))?;
                object["metadata"]["resourceVersion"].as_str().map(str::to_owned)
            };
            let mut watches = self.pair.watch(resource, namespace, &parameters, from).await;
            return self.pair.compare_events(&mut watches).await;
        }
        loop {
            let request = |memory: &_| step.request(resource, namespace, memory);
            self.pair.ask_each(request).await?;
            if self.pair.real_memory.next().is_none() {
                return Ok(());
            }
        }
    }

    /// Leaves nothing to the next sequence.
    async fn clean_up(&mut self, plan: &Plan) -> Result<(), String> {
        for name in NAMES {
            let delete = requests::delete(&plan.resource, &self.namespace, name, &Preconditions::default());
            let answer = self.pair.ask(&delete).await?;
            if !answer["body"]["metadata"]["finalizers"].is_null() {
                let patch = json!({"metadata": {"finalizers": null}});
                let release = requests::merge_patch(&plan.resource, &self.namespace, name, Side::Main, &patch);
                self.pair.ask(&release).await?;
            }
        }
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_sequences_are_answered_alike() {
    let begun = Instant::now();
    let workers = (0..WORKERS).map(|worker| tokio::spawn(work(worker)));
    let mut all = Tally::default();
    for worker in futures::future::join_all(workers).await {
        let tally = worker.unwrap();
        all.answers += tally.answers;
        all.events += tally.events;
        all.late_repetitions += tally.late_repetitions;
        all.failures.extend(tally.failures);
    }
    println!(
        "{SEQUENCES} sequences, {} answers and {} events compared in {:.1} s; the real server's cache was behind {} times",
        all.answers,
        all.events,
        begun.elapsed().as_secs_f64(),
        all.late_repetitions
    );
    let failures = all.failures;
    assert!(
        failures.is_empty(),
        "{} differ:\n{}",
        failures.len(),
        failures.join("\n\n")
    );
    // Otherwise the exception would hide that the model is wrong.
    assert!(all.late_repetitions * 100 < all.answers, "{}", all.late_repetitions);
}

/// What came of the sequences of one worker.
#[derive(Default)]
struct Tally {
    answers: usize,
    events: usize,
    late_repetitions: usize,
    failures: Vec<String>,
}

/// Runs every sequence whose number is `worker` modulo [`WORKERS`]. After one that differs it begins anew elsewhere.
async fn work(worker: u64) -> Tally {
    let mut tally = Tally::default();
    let mut sequences = (worker..SEQUENCES)
        .step_by(usize::try_from(WORKERS).unwrap())
        .peekable();
    while sequences.peek().is_some() && tally.failures.len() < 10 {
        let mut server = Worker::new(&format!("random-{worker}-{}", tally.failures.len())).await;
        for sequence in sequences.by_ref() {
            if let Err(why) = server.run(&Plan::of(sequence)).await {
                let asked = server.pair.log.join("\n    ");
                tally
                    .failures
                    .push(format!("sequence {sequence}: {why}\n  asked:\n    {asked}"));
                break;
            }
        }
        tally.answers += server.pair.answers;
        tally.events += server.pair.events;
        tally.late_repetitions += server.pair.late_repetitions;
    }
    tally
}
