//! Every planted bug is found, by the invariant that it breaks; and where no bug is on, the same plans hold.

// `cfg(test)` is always true here. It tells clippy that helpers, too, may end a test by `unwrap`.
#[cfg(test)]
mod found {
    use std::{
        sync::Mutex,
        thread,
        time::{Duration, Instant},
    };

    use guest_termination_operator::planted::{self as switch, BUGS, Bug};
    use planted::{
        oracle::Violation,
        plan::{self, Pace, Plan},
        run::run,
    };

    /// A bug that takes longer is as good as not found.
    const PATIENCE: Duration = Duration::from_secs(60);

    /// The plan that shows a bug.
    struct Found {
        plan: Plan,
        violation: Violation,
        /// Plans that were run before.
        before: u64,
    }

    /// The plans that may show a bug, in the order in which they are run, for as long as there is patience: words that no
    /// plan holds must not be looked for for ever.
    fn plans(bug: &Bug) -> impl Iterator<Item = Plan> {
        let started = Instant::now();
        let words: Vec<_> = bug.plan.split(", ").filter(|word| !word.is_empty()).collect();
        let all = plan::singles()
            .into_iter()
            .chain([plan::scarce_workers(Pace::Slow)])
            .chain((0..).map(plan::random));
        all.take_while(move |_| started.elapsed() < PATIENCE)
            .filter(move |plan| {
                let text = plan.to_string();
                words.iter().all(|word| text.contains(word))
            })
    }

    /// Runs plans until one shows the bug.
    fn find(bug: &Bug) -> Option<Found> {
        switch::set(Some(bug.name));
        let found = plans(bug).zip(0..).find_map(|(plan, before)| {
            let violation = run(&plan).violation?;
            Some(Found {
                plan,
                violation,
                before,
            })
        });
        switch::set(None);
        found
    }

    /// What is wrong with how a bug was found, if anything is.
    fn complaint(bug: &Bug, found: Option<&Found>) -> Option<String> {
        let name = bug.name;
        let Some(Found { plan, violation, .. }) = found else {
            return Some(format!("{name} was not found in {} s", PATIENCE.as_secs()));
        };
        if !bug
            .breaks
            .split(", ")
            .any(|invariant| invariant == format!("{:?}", violation.invariant()))
        {
            return Some(format!(
                "{name} breaks {:?}, not {}: {violation}\n{plan}",
                violation.invariant(),
                bug.breaks
            ));
        }
        let without = run(plan).violation?;
        Some(format!(
            "the plan that shows {name} fails without it: {without}\n{plan}"
        ))
    }

    #[test]
    fn every_bug_is_found_by_what_it_breaks_and_nothing_where_none_is() {
        let only = std::env::var("PLANTED").unwrap_or_default();
        let queue = Mutex::new(BUGS.iter().filter(|bug| only.is_empty() || only == bug.name));
        let complaints = Mutex::new(Vec::new());
        thread::scope(|scope| {
            for _ in 0..thread::available_parallelism().map_or(2, usize::from) {
                scope.spawn(|| {
                    loop {
                        let Some(bug) = queue.lock().unwrap().next() else {
                            return;
                        };
                        let started = Instant::now();
                        let found = find(bug);
                        if let Some(found) = &found {
                            println!(
                                "{:40} {:?} after {:4} plans, {:5.1} s: {}",
                                bug.name,
                                found.violation.invariant(),
                                found.before,
                                started.elapsed().as_secs_f64(),
                                found.violation
                            );
                        }
                        complaints.lock().unwrap().extend(complaint(bug, found.as_ref()));
                    }
                });
            }
        });
        let complaints = complaints.into_inner().unwrap();
        assert!(
            complaints.is_empty(),
            "{} complaints:\n{}",
            complaints.len(),
            complaints.join("\n")
        );
    }
}
