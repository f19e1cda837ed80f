//! The program.

use clap::Parser;
use guest_termination_operator::cli::{Cli, Command, crd, run};

fn main() -> anyhow::Result<()> {
    match Cli::parse().command {
        Command::Run(options) => run::run(&options),
        Command::Crd { output: Some(folder) } => Ok(crd::write(&folder)?),
        Command::Crd { output: None } => {
            use std::io::Write;
            Ok(std::io::stdout().write_all(crd::stream()?.as_bytes())?)
        }
    }
}
