//! Builds the programs of the control plane ahead of need, tells where they are, and runs a control plane.

use anyhow::Context;
use clap::{Parser, Subcommand};
use control_plane::{ControlPlane, Program, stop_detached};
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use tokio::signal::unix::{SignalKind, signal};

/// A real kube-apiserver and etcd for tests and for the demo.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Build programs, so that nothing waits for them later.
    Build {
        /// Their names; those that every control plane needs, if none is given.
        #[arg(value_parser = program)]
        programs: Vec<Program>,
    },
    /// Print where a program is; build it if that was not done before.
    Path {
        /// Its name, such as `kubectl`.
        #[arg(value_parser = program)]
        program: Program,
    },
    /// Run a control plane, print the path of its kubeconfig, and stop it at SIGINT or SIGTERM.
    Run,
    /// Start a control plane that runs on, and print the path of its kubeconfig.
    Start {
        /// A folder for its data, which must be empty or not exist.
        folder: PathBuf,
    },
    /// Stop what was started in a folder. The folder stays.
    Stop {
        /// The folder that was given to `start`.
        folder: PathBuf,
    },
}

fn program(name: &str) -> Result<Program, String> {
    let names = Program::ALL.map(Program::name).join(", ");
    Program::named(name).ok_or_else(|| format!("it is none of {names}"))
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match act(Arguments::parse().action).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("control-plane: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn act(action: Action) -> anyhow::Result<()> {
    match action {
        Action::Build { programs } => {
            let programs = if programs.is_empty() {
                Program::BASE.to_vec()
            } else {
                programs
            };
            for program in programs {
                program.path()?;
            }
            Ok(())
        }
        Action::Path { program } => print(&program.path()?.display().to_string()),
        Action::Run => run().await,
        Action::Start { folder } => {
            let control_plane = ControlPlane::builder().data_dir(folder).start().await?;
            let kubeconfig = control_plane.admin_kubeconfig().display().to_string();
            control_plane.detach()?;
            print(&kubeconfig)
        }
        Action::Stop { folder } => {
            let stopped = stop_detached(&folder)?;
            print(&format!(
                "stopped: {}",
                if stopped.is_empty() {
                    "nothing ran".to_owned()
                } else {
                    stopped.join(", ")
                }
            ))
        }
    }
}

async fn run() -> anyhow::Result<()> {
    let control_plane = ControlPlane::start().await?;
    // Not listened to before: during the start a signal ends us at once, and what we started ends with us.
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    print(&control_plane.admin_kubeconfig().display().to_string())?;
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    control_plane.stop().await
}

/// A line for whoever reads our output, which may be a pipe that is read at once.
fn print(line: &str) -> anyhow::Result<()> {
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{line}")
        .and_then(|()| stdout.flush())
        .context("cannot write to standard output")
}
