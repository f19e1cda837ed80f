//! The long runs, as commands. Each ends with a table, and with exit code 1 if a promise was broken.

mod paced;

use std::{
    path::PathBuf,
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::bail;
use chaos::{
    kills,
    operator::Program,
    scenarios::{self, Ground, Length, Needs},
    stage::{self, Stage},
};
use clap::{Args, Parser, Subcommand};
use guest_termination_operator::cli::{self, run};

/// Disturbs the operator on a real API server, and judges what came of it.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Kill the operator with SIGKILL at seeded moments while objects are being created.
    Kills(Kills),
    /// Play scenarios, in their long form: each disturbs one thing.
    Scenarios {
        /// Their names; all, if none is given.
        names: Vec<String>,
        /// The short forms, as in the tests.
        #[arg(long)]
        short: bool,
        /// A build of the operator to be disturbed, instead of the one that is in this program.
        #[arg(long)]
        operator: Option<PathBuf>,
    },
    /// The operator itself: the same `main` from the same sources.
    #[command(hide = true)]
    Operator {
        #[command(subcommand)]
        command: cli::Command,
    },
    /// The operator with other spans than in production.
    #[command(hide = true)]
    Paced(paced::Options),
}

#[derive(Debug, Args)]
struct Kills {
    /// How often it is killed.
    #[arg(long, default_value_t = 200)]
    count: usize,
    /// How many objects are created meanwhile.
    #[arg(long, default_value_t = 2000)]
    objects: usize,
    /// Seeds the moments.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Calls that the vendor allows in a minute.
    #[arg(long, default_value_t = 1200)]
    allowance: u32,
    /// Processes of the operator at the same time.
    #[arg(long, default_value_t = 1)]
    replicas: usize,
    /// A build of the operator to be killed, instead of the one that is in this program.
    #[arg(long)]
    operator: Option<PathBuf>,
    /// An empty folder that keeps the API server's audit log and what the operators wrote.
    #[arg(long)]
    evidence: Option<PathBuf>,
}

fn main() -> ExitCode {
    let done = match Arguments::parse().action {
        // Neither may run inside of another runtime.
        Action::Operator {
            command: cli::Command::Run(options),
        } => run::run(&options),
        Action::Operator { .. } => Err(anyhow::anyhow!("only `run` is of use here")),
        Action::Paced(options) => paced::run(&options),
        Action::Scenarios { names, short, operator } => {
            runtime().and_then(|runtime| runtime.block_on(play(&names, short, operator.as_ref())))
        }
        Action::Kills(options) => runtime().and_then(|runtime| runtime.block_on(kill(&options))),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("chaos: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().enable_all().build()?)
}

fn program(built: Option<&PathBuf>) -> anyhow::Result<Program> {
    Ok(match built {
        Some(path) => Program::built(path),
        None => Program::own(std::env::current_exe()?),
    })
}

async fn play(names: &[String], short: bool, operator: Option<&PathBuf>) -> anyhow::Result<()> {
    let known: Vec<_> = scenarios::ALL.iter().map(|scenario| scenario.name).collect();
    if let Some(unknown) = names.iter().find(|name| !known.contains(&name.as_str())) {
        bail!("there is no scenario {unknown}; there are {}", known.join(", "));
    }
    let program = program(operator)?;
    let length = if short { Length::Short } else { Length::Long };
    let mut broken = Vec::new();
    let mut shared = None;
    for scenario in scenarios::ALL {
        if !names.is_empty() && !names.iter().any(|name| name == scenario.name) {
            continue;
        }
        println!("{:<20} {}", scenario.name, scenario.about);
        let began = Instant::now();
        let cluster = match (scenario.needs, shared.take()) {
            (Needs::Shared, Some(cluster)) => cluster,
            (needs, _) => needs.start().await?,
        };
        let ground = Ground {
            cluster: &cluster,
            program: &program,
            length,
        };
        match (scenario.play)(ground).await {
            Ok(findings) => {
                for (name, value) in findings.0 {
                    println!("  {name:<58}{value:>14}");
                }
                println!(
                    "  {:<58}{:>14}",
                    "kept its promises",
                    format!("{:.0?}", began.elapsed())
                );
            }
            Err(error) => {
                println!("  BROKEN: {error:#}");
                broken.push(scenario.name);
            }
        }
        if scenario.needs == Needs::Shared {
            shared = Some(cluster);
        } else {
            cluster.stop().await?;
        }
    }
    if broken.is_empty() {
        Ok(())
    } else {
        bail!("broken: {}", broken.join(", "))
    }
}

async fn kill(options: &Kills) -> anyhow::Result<()> {
    let mut builder = stage::control_plane();
    if let Some(folder) = &options.evidence {
        builder = builder.data_dir(folder);
    }
    let cluster = builder.start().await?;
    stage::install(&cluster).await?;
    let program = program(options.operator.as_ref())?;
    let stage = Stage::set(&cluster, &program, "kills", options.allowance).await?;
    let options = kills::Options {
        seed: options.seed,
        count: options.count,
        objects: options.objects,
        respite_every: 40,
        replicas: options.replicas,
        settle_within: Duration::from_secs(1800),
        quiet: Duration::from_secs(30),
    };
    let report = kills::run(&stage, &options, |line| println!("{line}")).await?;
    println!("\n{report}");
    cluster.stop().await
}
