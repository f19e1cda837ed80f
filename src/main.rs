//! The program.

use std::process::ExitCode;

use clap::Parser;
use guest_termination_operator::cli::{Cli, Command, crd, run};

fn main() -> anyhow::Result<ExitCode> {
    match Cli::parse().command {
        Command::Run(options) => return run::run(&options),
        Command::Crd { output: Some(folder) } => crd::write(&folder)?,
        Command::Crd { output: None } => {
            use std::io::Write;
            std::io::stdout().write_all(crd::stream()?.as_bytes())?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
