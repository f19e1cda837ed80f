//! Shows the main job on a real API server: nine GuestTerminations are applied with kubectl, the operator ends guest
//! sessions at a simulated vendor, and every outcome is held against what it must be.

mod cases;
mod check;
mod cluster;
mod definitions;
mod operator;
mod place;
mod play;
mod progress;
mod runs;
mod scene;
mod show;
mod vendor;

use crate::progress::say;
use crate::runs::Run;
use crate::scene::{Options, Scene};
use anyhow::bail;
use clap::{Parser, Subcommand};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;
use tokio::signal::unix::{SignalKind, signal};

/// Shows the main job of the operator on a real API server.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// Where the records of runs are kept; a folder beside this program, if it is not given.
    #[arg(long, value_name = "FOLDER", global = true)]
    runs: Option<PathBuf>,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Run the demo.
    Run {
        /// Leave all of it running at the end.
        #[arg(long)]
        keep: bool,
        /// Run on the cluster of this context of your kubeconfig, and not on one of our own.
        #[arg(long, value_name = "NAME")]
        context: Option<String>,
    },
    /// Stop what runs left running, and remove what they made.
    Stop,
}

#[tokio::main]
async fn main() -> ExitCode {
    match act(Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\ndemo: FAILED: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn act(arguments: Arguments) -> anyhow::Result<()> {
    let runs = match arguments.runs {
        Some(runs) => runs,
        None => place::runs()?,
    };
    match arguments.action {
        Action::Run { keep, context } => run(&Options { context, keep, runs }).await,
        Action::Stop => stop(&runs).await,
    }
}

async fn run(options: &Options) -> anyhow::Result<()> {
    let since = Instant::now();
    let scene = Scene::open(options).await?;
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let played = tokio::select! {
        played = play::play(&scene) => played,
        _ = interrupt.recv() => Err(anyhow::anyhow!("interrupted")),
        _ = terminate.recv() => Err(anyhow::anyhow!("asked to end")),
    };
    if played.is_err() {
        say(&format!(
            "\n== It failed, after {} s; what there is to see:",
            since.elapsed().as_secs()
        ));
        show::last_words(&scene).await;
    }
    let closed = if options.keep {
        scene.keep(options)
    } else {
        scene.close().await
    };
    match (played, closed) {
        (Ok(()), Ok(())) => {
            say(&format!(
                "\ndemo: all as it must be, in {} s",
                since.elapsed().as_secs()
            ));
            Ok(())
        }
        (Err(error), Ok(())) | (Ok(()), Err(error)) => Err(error),
        (Err(error), Err(end)) => bail!("{error:#}; and at the end: {end:#}"),
    }
}

/// Tries all of them, whatever becomes of one.
async fn stop(runs: &Path) -> anyhow::Result<()> {
    let mut errors = Vec::new();
    let all = Run::all(runs)?;
    if all.is_empty() {
        say("nothing was left running");
    }
    for run in all {
        if let Err(error) = run.undo().await {
            errors.push(format!("{error:#}"));
        }
    }
    if !errors.is_empty() {
        bail!("{}", errors.join("\n"));
    }
    Ok(())
}
