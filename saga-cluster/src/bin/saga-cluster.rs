//! The `saga-cluster` command.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use saga_cluster::node::{self, NodeArgs};

/// Creates, scales and deletes clusters of machines.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs one node. The process engine starts it; people don't.
    #[command(hide = true)]
    Node(NodeArgs),
}

#[tokio::main]
async fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Node(args) => {
            let Err(error) = node::run(args).await;
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
