//! Many runs at once, with progress.

use std::{
    io::{IsTerminal, Write},
    ops::Range,
    process::ExitCode,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use simulation::{
    plan::{self, Plan},
    run::run,
};

/// Runs the plans of all numbers on all cores, shows how far it is, and prints the failures.
pub(crate) fn run_all(
    what: &str,
    numbers: Range<u64>,
    threads: Option<usize>,
    keep_going: bool,
    plan: impl Fn(u64) -> Plan + Sync,
) -> ExitCode {
    let threads = threads.unwrap_or_else(|| thread::available_parallelism().map_or(1, usize::from));
    let next = AtomicU64::new(numbers.start);
    let done = AtomicU64::new(0);
    let requests = AtomicU64::new(0);
    let stop = AtomicBool::new(false);
    let failures = Mutex::new(Vec::new());
    let started = Instant::now();
    let total = numbers.end - numbers.start;
    thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|_| {
                scope.spawn(|| {
                    while !stop.load(Ordering::Relaxed) {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        if number >= numbers.end {
                            return;
                        }
                        let outcome = run(&plan(number));
                        requests.fetch_add(outcome.requests, Ordering::Relaxed);
                        done.fetch_add(1, Ordering::Relaxed);
                        if let Some(violation) = outcome.violation {
                            // At once: a long run is not waited for.
                            eprintln!("\nFAILED {number}: {violation}");
                            let mut failures = failures.lock().unwrap_or_else(PoisonError::into_inner);
                            failures.push((number, violation));
                            if !keep_going {
                                stop.store(true, Ordering::Relaxed);
                            }
                        }
                    }
                })
            })
            .collect();
        let progress = || {
            let done = done.load(Ordering::Relaxed);
            let seconds = started.elapsed().as_secs_f64();
            let failed = failures.lock().unwrap_or_else(PoisonError::into_inner).len();
            format!(
                "{done} of {total} {what}, {:.0} a second, {} requests, {failed} failed",
                done as f64 / seconds.max(0.001),
                requests.load(Ordering::Relaxed)
            )
        };
        let mut told = Instant::now();
        while !workers.iter().all(thread::ScopedJoinHandle::is_finished) {
            thread::sleep(Duration::from_millis(50));
            let terminal = std::io::stderr().is_terminal();
            let pause = Duration::from_secs(if terminal { 1 } else { 30 });
            if told.elapsed() >= pause {
                told = Instant::now();
                let mut stderr = std::io::stderr();
                let _ = if terminal {
                    write!(stderr, "\r{}", progress())
                } else {
                    writeln!(stderr, "{}", progress())
                };
            }
        }
        println!(
            "{}, in {:.1} s on {threads} threads",
            progress(),
            started.elapsed().as_secs_f64()
        );
    });
    let mut failures = failures.into_inner().unwrap_or_else(PoisonError::into_inner);
    failures.sort_by_key(|(number, _)| *number);
    for (number, violation) in &failures {
        println!("FAILED {number}: {violation}");
    }
    if failures.is_empty() {
        ExitCode::SUCCESS
    } else {
        println!(
            "`replay` prints a run, `shrink` cuts its plan down first (for plans of the enumeration: --enumerated)"
        );
        ExitCode::FAILURE
    }
}

/// Cuts a plan down, as long as it breaks the same rule.
pub(crate) fn shrink(mut plan: Plan) -> Plan {
    let Some(violation) = run(&plan).violation else {
        return plan;
    };
    let rule = violation.invariant();
    'smaller: loop {
        for candidate in plan::smaller(&plan) {
            if run(&candidate)
                .violation
                .is_some_and(|violation| violation.invariant() == rule)
            {
                plan = candidate;
                continue 'smaller;
            }
        }
        return plan;
    }
}
