//! The command line.

pub mod crd;
mod election;
pub mod run;

use std::path::PathBuf;

use clap::{Parser, Subcommand};

/// Ends Genesys Cloud web-messaging guest sessions that are declared as GuestTermination objects.
#[derive(Debug, Parser)]
#[command(name = "guest-termination-operator", version)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the operator.
    Run(Box<run::Options>),
    /// Print the CustomResourceDefinitions, or write them into a folder.
    Crd {
        /// The folder to write into, one file a kind.
        #[arg(long)]
        output: Option<PathBuf>,
    },
}
