//! Every interleaving of up to three faults over the seven effects, enumerated: no run is drawn, none is left out.
//!
//! A state is the API server's object, what the processes remember (in the shell's own index), the vendor's session, what
//! is still under way, and the oracle's books. From each state everything follows that may: the next effect of a process
//! going well, or befallen by any of the eight faults; the guest leaving, or coming back under the same id, whenever that
//! can be seen; a late effect taking place; the watch bringing news, or not yet; the object's deletion. States from which
//! the same can happen are one (`key`). The oracle checks each transition and each end, and since no state is met again
//! on the way from it, every run ends.

mod actions;
mod effects;
mod faults;
mod key;
mod oracle;
mod shell;
mod world;
mod writes;

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use self::{
    actions::Action,
    faults::Detail,
    world::{Scenario, World},
};
use super::{
    bench::{Bench, at},
    laws::check_status,
};
use crate::termination::instants;

/// What follows from a state.
#[derive(Clone, Copy)]
struct Sequel {
    /// Runs from here.
    runs: u128,
    /// The longest time until the object is finished, from here on without a fault.
    calm: Duration,
}

/// Walks through the states.
struct Walk {
    bench: Bench,
    /// What follows from each state that was met; nothing yet for those on the way to the present one.
    met: HashMap<u64, Option<Sequel>>,
    /// Where it began, and what led to the present state.
    root: World,
    way: Vec<Action>,
    transitions: u64,
    ends: u64,
    after_end: u64,
    calm: Duration,
}

impl Walk {
    fn new(bench: Bench, root: World) -> Self {
        Self {
            bench,
            root,
            met: HashMap::new(),
            way: Vec::new(),
            transitions: 0,
            ends: 0,
            after_end: 0,
            calm: Duration::ZERO,
        }
    }

    fn from(&mut self, world: &World, before: Option<&World>) -> Sequel {
        let key = world.key();
        match self.met.get(&key) {
            Some(Some(sequel)) => return *sequel,
            Some(None) => panic!("I13: it comes back to where it was, and so it need not end"),
            None => {}
        }
        self.met.insert(key, None);
        if before.is_none_or(|before| before.server.version != world.server.version) {
            self.bench.status = world.status().clone();
            check_status(&self.bench);
        }
        let actions = world.actions();
        let mut sequel = Sequel {
            runs: 0,
            calm: Duration::ZERO,
        };
        if actions.is_empty() {
            world.check_end();
            self.ends += 1;
            sequel.runs = 1;
        }
        for action in actions {
            self.transitions += 1;
            self.way.push(action);
            let next = world.after(action);
            self.after_end += u64::from(next.books.after_end && !world.books.after_end);
            let after = self.from(&next, Some(world));
            self.way.pop();
            sequel.runs += after.runs;
            if !matches!(action, Action::Step(_, Some(_))) && !world.status().is_finished() {
                let calm = instants::between(world.now, next.now) + after.calm;
                sequel.calm = sequel.calm.max(calm);
            }
        }
        self.calm = self.calm.max(sequel.calm);
        self.met.insert(key, Some(sequel));
        sequel
    }
}

impl Drop for Walk {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("what led there, in seconds after the object's creation:");
            let mut world = self.root.clone();
            for (index, action) in self.way.iter().enumerate() {
                let seconds = instants::between(at(0), world.now).as_secs_f64();
                let what = match action {
                    Action::Step(process, _) => world.work(*process).name(),
                    _ => String::new(),
                };
                eprintln!("{seconds:9.3} {action:?} {what}");
                // The last one is what failed.
                if index + 1 < self.way.len() {
                    world = world.after(*action);
                }
            }
        }
    }
}

/// Walks through a scenario, and tells how much there was to walk through.
fn walk(bench: Bench, scenario: Scenario, faults: u8, detail: Detail) -> Duration {
    let walk = move || {
        let began = Instant::now();
        let world = World::new(&bench, scenario, faults, detail);
        let mut walk = Walk::new(bench, world.clone());
        let sequel = walk.from(&world, None);
        println!(
            "{scenario:?}, up to {faults} faults by {detail:?}: {} states, {} transitions, {} ends, {} runs, {} calls after the end; without further faults it is finished within {:?}. {:.1} s",
            walk.met.len(),
            walk.transitions,
            walk.ends,
            sequel.runs,
            walk.after_end,
            walk.calm,
            began.elapsed().as_secs_f64(),
        );
        walk.calm
    };
    // As deep as the longest run.
    let thread = std::thread::Builder::new().stack_size(512 << 20).spawn(walk).unwrap();
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// The longest pause that any answer asks for (403), and a little.
const CALM: Duration = Duration::from_secs(310);

#[test]
fn one_process() {
    assert!(walk(Bench::new(), Scenario::Plain, 3, Detail::Kinds) < CALM);
}

#[test]
fn one_process_and_every_face_of_an_error() {
    assert!(walk(Bench::new(), Scenario::Plain, 2, Detail::Faces) < CALM);
}

#[test]
fn one_process_with_tight_limits() {
    let mut bench = Bench::new();
    bench.object.spec.backoff_limit = 1;
    bench.object.spec.active_deadline_seconds = 120;
    bench.object.spec.not_after = Some(Time(at(40)));
    assert!(walk(bench, Scenario::Plain, 2, Detail::Faces) < CALM);
}

#[test]
fn deleted_in_flight() {
    walk(Bench::new(), Scenario::Deleted, 3, Detail::Kinds);
}

/// One fault takes seconds, two a minute or more: `TWO_LEADERS_FAULTS=2` asks for them.
#[test]
fn two_leaders() {
    let faults = std::env::var("TWO_LEADERS_FAULTS").map_or(1, |faults| faults.parse().unwrap());
    walk(Bench::new(), Scenario::TwoLeaders, faults, Detail::Kinds);
}
