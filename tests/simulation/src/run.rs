//! One run: a plan, from its first second to the quiet after everything.

use std::{
    panic,
    sync::{Arc, Once},
    time::Duration,
};

use tokio::time::Instant;

use crate::{
    history::{History, Record, What},
    oracle::{Facts, Oracle, Violation},
    plan::{Happening, Plan},
    world::World,
};

/// How often it is asked whether everything has come to its end.
const LOOK: Duration = Duration::from_secs(5);
/// After the end, nothing may happen for so long.
const QUIET: Duration = Duration::from_secs(180);
/// A webhook's last slot is 75 h 35 min and its jitter away; nothing takes longer.
const HORIZON: Duration = Duration::from_secs(100 * 3600);
/// More requests than this in one run are a loop.
const MOST_REQUESTS: u64 = 60_000;

/// What came of a run.
pub struct Outcome {
    /// The same for every run of the plan.
    pub hash: u64,
    /// What should not have happened.
    pub violation: Option<Violation>,
    /// Everything that did.
    pub records: Vec<Record>,
    /// Requests that left a process.
    pub requests: u64,
    /// How much time went by in the world.
    pub span: Duration,
}

/// Runs a plan.
///
/// # Panics
/// If there is no memory for a runtime.
pub fn run(plan: &Plan) -> Outcome {
    quieten_planned_panics();
    #[expect(
        clippy::expect_used,
        reason = "a runtime without I/O needs nothing that could be missing"
    )]
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    let _logs = crate::logs::keep();
    runtime.block_on(drive(plan))
}

/// Something that a plan does, at its time.
enum Deed {
    Create(usize),
    Connect,
    Happen(Happening),
}

async fn drive(plan: &Plan) -> Outcome {
    let plan = Arc::new(plan.clone());
    let world = World::new(plan.clone(), History::new(Oracle::new(Facts::of(&plan))));
    let (origin, over) = {
        let state = world.lock();
        (state.origin, state.over.clone())
    };
    for replica in 0..plan.replicas.count() {
        world.start(replica);
    }
    let script = async {
        for (at, deed) in deeds(&plan) {
            tokio::time::sleep_until(origin + Duration::from_millis(at)).await;
            match deed {
                Deed::Create(object) => world.create(object),
                Deed::Connect => world.connect(),
                Deed::Happen(what) => world.happen(&what),
            }
        }
        tokio::time::sleep_until(origin + plan.calm_from()).await;
        world.lock().record(What::Calm);
        world.come_to_rest(origin).await;
    };
    tokio::select! {
        biased;
        () = over.notified() => {}
        () = script => {}
    }
    let mut state = world.lock();
    let span = state.at();
    state.history.finish(span);
    Outcome {
        hash: state.history.hash(),
        violation: state.history.violation().cloned(),
        records: state.history.records().to_vec(),
        requests: state.requests(),
        span,
    }
}

fn deeds(plan: &Plan) -> Vec<(u64, Deed)> {
    let objects = plan.objects.iter().enumerate();
    let mut deeds: Vec<_> = objects
        .map(|(number, object)| (object.at, Deed::Create(number)))
        .collect();
    if plan.connection.at > 0 {
        deeds.push((plan.connection.at, Deed::Connect));
    }
    let events = plan.events.iter();
    deeds.extend(events.map(|event| (event.at, Deed::Happen(event.what.clone()))));
    // Stable: what happens at the same time happens in the order of the plan.
    deeds.sort_by_key(|(at, _)| *at);
    deeds
}

impl World {
    /// Waits until nothing is open any more, and then for the quiet that must follow.
    async fn come_to_rest(&self, origin: Instant) {
        loop {
            let (rests, requests) = {
                let state = self.lock();
                (state.rests(), state.requests())
            };
            if rests || origin.elapsed() > HORIZON || requests > MOST_REQUESTS {
                break;
            }
            tokio::time::sleep(LOOK).await;
        }
        tokio::time::sleep(QUIET).await;
    }
}

/// The panics that a plan asks for are no news; all others are.
fn quieten_planned_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let planned = info
                .payload_as_str()
                .is_some_and(|text| text == crate::world::PLANNED_PANIC);
            if !planned {
                before(info);
            }
        }));
    });
}
