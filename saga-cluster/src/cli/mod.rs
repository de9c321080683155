//! The command line: what `saga-cluster` does.
//!
//! `args` reads what is asked for and `session` does it: in this process, if it gets hold of the data directory
//! (`holder`), or else by asking the process that has it (`control`); or, on a database, by asking the workers (`remote`,
//! `worker`). Either way a request is a `request::Request`,
//! what is told is a stream of `reply::Reply`s, and `render` shows them. `demo` shows it all.

mod args;
mod change;
mod check;
mod control;
mod demo;
mod desk;
mod excuse;
mod hold;
mod holder;
mod interrupt;
mod kit;
mod moving;
mod paths;
mod place;
mod remote;
mod render;
mod reply;
mod request;
mod session;
mod similar;
mod spec_file;
mod stores;
mod trouble;
mod worker;

use std::process::ExitCode;

use clap::Parser;
use tracing_subscriber::EnvFilter;

use self::args::{Cli, Command, EngineCommand, Options, StoreCommand};
use self::change::Set;
use self::reply::Reply;
use self::request::Request;
use self::trouble::{Exit, Trouble};
use crate::node::{self, NodeArgs};

/// Runs the program: reads the command line of the process, does what it says, and tells how the process should end.
pub fn main() -> ExitCode {
    let Cli { options, command } = Cli::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: no thread can be started: {error}");
            return Exit::Error.into();
        }
    };
    // A machine is no command: it prints into a log, and is never told to be quiet.
    if let Command::Node(args) = command {
        return runtime.block_on(run_node(args)).into();
    }
    trace(options.verbose);
    let exit = runtime.block_on(run(&options, command));
    // What still hangs on a thread is as safe as after a kill, and nobody should wait for it.
    runtime.shutdown_background();
    exit.into()
}

async fn run(options: &Options, command: Command) -> Exit {
    let request = match command {
        Command::Demo { keep, fast } => return demo::run(options, keep, fast).await,
        Command::Node(args) => return run_node(args).await,
        Command::Worker(args) => {
            let work = async |replies| worker::run(options, args, &replies).await;
            return session::shown(render::lines(options), work).await;
        }
        Command::Store(StoreCommand::Copy { from, to }) => {
            let work = async |replies| moving::copy(&from, &to, &replies).await;
            return session::shown(render::lines(options), work).await;
        }
        Command::Engine(EngineCommand::Check { spec }) => {
            let work = async |replies| check::run(options, &spec, &replies).await;
            return session::shown(render::screen(options), work).await;
        }
        command => read(command),
    };
    match request {
        Ok(request) => session::run(options, request, render::screen(options)).await,
        Err(trouble) => {
            let exit = trouble.exit;
            render::screen(options).show(&Reply::Error(trouble));
            exit
        }
    }
}

async fn run_node(args: NodeArgs) -> Exit {
    let Err(error) = node::run(args).await;
    eprintln!("{error}");
    Exit::Error
}

fn read(command: Command) -> Result<Request, Trouble> {
    Ok(match command {
        Command::Create { spec } => Request::Create { spec: Box::new(spec_file::read(&spec)?) },
        Command::Scale { name, changes, mut new_groups, settings } => {
            Set::apply(settings, &mut new_groups).map_err(Trouble::usage)?;
            Request::Scale { name, changes, new_groups }
        }
        Command::Delete { name, force } => Request::Delete { name, force },
        Command::Show { name } => Request::Show { name },
        Command::History { name } => Request::History { name },
        Command::Retry { name, reason } => Request::Retry { name, reason },
        Command::Abandon { name, reason } => Request::Abandon { name, reason },
        Command::List
        | Command::Demo { .. }
        | Command::Node(_)
        | Command::Worker(_)
        | Command::Store(_)
        | Command::Engine(_) => Request::List,
    })
}

/// Tells to standard error what goes on inside. `RUST_LOG` has the last word.
fn trace(verbose: u8) {
    let level = match verbose {
        // A store that has no room, or does not answer, is waited for: whoever waits has to know what for.
        0 => "off,saga_core::runtime::committer=warn",
        1 => "saga_cluster=info,saga_core=info",
        _ => "saga_cluster=debug,saga_core=debug",
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
}
