//! The command: runs seeds, plans and replays, and shows what they do.

mod search;

use std::{fs, path::PathBuf, process::ExitCode};

use anyhow::Context;
use clap::{Parser, Subcommand};
use simulation::{
    plan::{self, Plan},
    run::{Outcome, run},
};

#[derive(Parser)]
#[command(about = "Runs the whole operator in a world of models, under a paused clock")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs that many random seeds on all cores, and stops at the first one that fails.
    Seeds {
        /// How many.
        count: u64,
        /// The first one.
        #[arg(long, default_value_t = 0)]
        from: u64,
        /// Threads; unset: as many as there are cores.
        #[arg(long)]
        threads: Option<usize>,
        /// Go on after a failure, and list the seeds that fail.
        #[arg(long)]
        keep_going: bool,
    },
    /// Runs every plan with one fault and with two.
    Enumerate {
        /// Threads; unset: as many as there are cores.
        #[arg(long)]
        threads: Option<usize>,
        /// Go on after a failure, and list the plans that fail.
        #[arg(long)]
        keep_going: bool,
    },
    /// Runs one seed, or one plan, and prints what happened.
    Replay {
        /// The seed of a random plan, or the number of an enumerated one with --enumerated.
        #[arg(required_unless_present = "plan")]
        seed: Option<u64>,
        /// The number is that of an enumerated plan.
        #[arg(long)]
        enumerated: bool,
        /// A plan, as JSON.
        #[arg(long)]
        plan: Option<PathBuf>,
        /// Print the plan as JSON instead.
        #[arg(long)]
        json: bool,
    },
    /// Cuts a failing plan down to the least that still breaks the same rule, and prints its run.
    Shrink {
        /// The seed of a random plan, or the number of an enumerated one with --enumerated.
        seed: u64,
        /// The number is that of an enumerated plan.
        #[arg(long)]
        enumerated: bool,
    },
    /// Prints the trace hash of each seed: two processes must print the same.
    Hashes {
        /// How many.
        count: u64,
        /// The first one.
        #[arg(long, default_value_t = 0)]
        from: u64,
        /// Everything takes equally long, so that whatever can happen at the same time does.
        #[arg(long)]
        ties: bool,
    },
}

fn main() -> anyhow::Result<ExitCode> {
    Ok(match Cli::parse().command {
        Command::Seeds {
            count,
            from,
            threads,
            keep_going,
        } => search::run_all(
            "seeds",
            from..from.saturating_add(count),
            threads,
            keep_going,
            plan::random,
        ),
        Command::Enumerate { threads, keep_going } => {
            let plans = enumerated();
            let plan = |number: u64| plans[usize::try_from(number).unwrap_or(usize::MAX)].clone();
            search::run_all("plans", 0..plans.len() as u64, threads, keep_going, plan)
        }
        Command::Replay {
            seed,
            enumerated,
            plan,
            json,
        } => {
            let plan = match plan {
                Some(path) => serde_json::from_slice(&fs::read(&path).context("the plan cannot be read")?)
                    .context("this is no plan")?,
                None => chosen(seed.unwrap_or_default(), enumerated)?,
            };
            if json {
                println!("{}", serde_json::to_string_pretty(&plan)?);
                return Ok(ExitCode::SUCCESS);
            }
            print(&plan, &run(&plan))
        }
        Command::Shrink { seed, enumerated } => {
            let plan = search::shrink(chosen(seed, enumerated)?);
            println!("{}", serde_json::to_string(&plan)?);
            print(&plan, &run(&plan))
        }
        Command::Hashes { count, from, ties } => {
            for seed in from..from.saturating_add(count) {
                let mut plan = plan::random(seed);
                if ties {
                    plan.pace = plan::Pace::Ties;
                }
                println!("{seed} {:016x}", run(&plan).hash);
            }
            ExitCode::SUCCESS
        }
    })
}

fn enumerated() -> Vec<Plan> {
    let mut plans = plan::singles();
    plans.extend(plan::pairs());
    plans
}

fn chosen(number: u64, of_the_enumeration: bool) -> anyhow::Result<Plan> {
    if !of_the_enumeration {
        return Ok(plan::random(number));
    }
    let plans = enumerated();
    let plan = usize::try_from(number).ok().and_then(|number| plans.get(number));
    plan.cloned()
        .with_context(|| format!("there are {} enumerated plans", plans.len()))
}

/// Prints a run, its plan first.
fn print(plan: &Plan, outcome: &Outcome) -> ExitCode {
    println!("{plan}");
    for record in &outcome.records {
        println!("{record}");
    }
    println!(
        "\n{} requests in {:.0} s of the world, trace {:016x}",
        outcome.requests,
        outcome.span.as_secs_f64(),
        outcome.hash
    );
    match &outcome.violation {
        None => {
            println!("every invariant holds");
            ExitCode::SUCCESS
        }
        Some(violation) => {
            println!("VIOLATED: {violation}");
            ExitCode::FAILURE
        }
    }
}
