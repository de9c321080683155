//! What can be asked for on the command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args, Parser, Subcommand};
use saga_core::WorkerId;

use super::change::{Change, NewGroup, Set};
use super::place::{StorePlace, StoreUrl};
use crate::model::ClusterName;
use crate::node::NodeArgs;

/// Where the URL of the store may be said too.
pub(super) const STORE_VARIABLE: &str = "SAGA_CLUSTER_STORE";

const SHORTEST_LEASE: Duration = Duration::from_millis(500);
const LONGEST_LEASE: Duration = Duration::from_secs(3600);

// Lines of at most 80 columns: what comes after the options is not broken by the library.
macro_rules! examples {
    () => {
        "\
Examples:
  saga-cluster demo                        watch it happen, on this computer
  saga-cluster create store.toml           create the cluster of a file
  saga-cluster scale store east=+2 west=3  two more in one group, three in another
  saga-cluster show store                  how it is, why, and what is allowed
  saga-cluster delete store                end it, whatever else is going on

A spec is a TOML file:
  name = \"store\"
  plugin = \"blocks\"
  engine = \"process\"

  [[groups]]
  name = \"east\"
  count = 3
"
    };
}

const AFTER_HELP: &str = concat!(
    examples!(),
    "
`saga-cluster help COMMAND` tells more of a command. `saga-cluster --help` also
tells what becomes of unfinished operations, of several commands at once and of
Ctrl-C, and what the exit codes mean."
);

const AFTER_LONG_HELP: &str = concat!(
    examples!(),
    "
Unfinished operations:
  Each operation is journaled before it acts. If this program is killed in the
  middle of one, the next command takes it up, says so, and does not leave
  before it has come to an end: `list`, `show` and `history` finish it first and
  answer then. With --no-wait they answer at once and leave it for the next
  command.

Several commands at once:
  One process holds the data directory. A command that finds it held passes its
  request on through `control.sock` in that directory, and prints what comes
  back as its own. So a cluster can be deleted from a second terminal while it
  is being created in the first. The process that holds the data stays until all
  that it was asked for has ended.

Many workers:
  With --store URL (or the variable SAGA_CLUSTER_STORE) clusters and journals
  are in a PostgreSQL database. Processes of `saga-cluster worker` do the work
  then, as many as you like; all other commands ask for it, and watch. If no
  worker is there, what was asked for waits for one.

Ctrl-C:
  The first one parks what is going on: the next command takes it up. The second
  one ends the program at once, which leaves nothing behind that the next
  command does not find. If another process does the work, it goes on there.

Exit codes:
    0  done
    1  an error; the message says what was touched
    2  the command line or the spec is wrong; nothing was touched
    3  the operation was undone, or given up by somebody else; the message says why
    4  the operation halted or is stuck, or something is left: a person decides,
       by `retry`, `abandon` or `delete`
    5  the operation is not finished: it goes on when any command is run next,
       or when a worker has it
  130  ended by a second Ctrl-C"
);

/// Creates, scales and deletes clusters of machines, without leaking a machine and without destroying data.
#[derive(Debug, Parser)]
#[command(name = "saga-cluster", version, max_term_width = 100)]
#[command(after_help = AFTER_HELP, after_long_help = AFTER_LONG_HELP, subcommand_required = true)]
pub(super) struct Cli {
    #[command(flatten)]
    pub(super) options: Options,
    #[command(subcommand)]
    pub(super) command: Command,
}

/// What every command understands.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Options of every command")]
pub(super) struct Options {
    /// Where clusters, journals and machines are kept. By default, where this platform keeps the data of programs
    #[arg(long, global = true, value_name = "DIR", env = "SAGA_CLUSTER_DATA", hide_env_values = true)]
    pub(super) data: Option<PathBuf>,

    /// Use the clusters and journals of a PostgreSQL database, which many workers share, instead of those in the data
    /// directory: postgresql://USER:PASSWORD@HOST:PORT/DATABASE. Machines are in the data directory all the same
    #[arg(long, global = true, value_name = "URL", env = STORE_VARIABLE, hide_env_values = true)]
    pub(super) store: Option<StoreUrl>,

    /// Print one JSON object per line, and nothing else, to standard output
    #[arg(long, global = true)]
    pub(super) json: bool,

    /// Tell to standard error what is done. Twice: in detail
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub(super) verbose: u8,

    /// Who asks. Written into the journal
    #[arg(long, global = true, value_name = "WHO", env = "USER", hide_env_values = true, default_value = "someone")]
    pub(super) by: String,

    /// Do not wait for operations that an earlier command left unfinished: leave them for the next one
    #[arg(long, global = true)]
    pub(super) no_wait: bool,

    /// How long operations that have ended are remembered: 12h, 30d, forever. `history` tells of them that long. By
    /// default, workers forget them after 90d, when they start and every day; other commands that do the work themselves
    /// forget nothing unless this is given
    #[arg(long, global = true, value_name = "TIME", value_parser = keep,
          env = "SAGA_CLUSTER_KEEP_RUNS", hide_env_values = true)]
    pub(super) keep_runs: Option<Keep>,

    /// The program that is run for each machine, instead of this one. For tests of slow or broken machines
    #[arg(long, global = true, hide = true, value_name = "FILE", env = "SAGA_CLUSTER_NODE_PROGRAM")]
    pub(super) node_program: Option<PathBuf>,
}

/// How long ended operations are remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keep {
    /// So long.
    For(Duration),
    /// Nothing is forgotten.
    Forever,
}

impl Keep {
    /// What a worker does that was told nothing.
    pub(super) const OF_WORKERS: Self = Self::For(Duration::from_secs(90 * 24 * 3600));
}

fn keep(text: &str) -> Result<Keep, String> {
    if text == "forever" {
        return Ok(Keep::Forever);
    }
    let wrong = || "write it as a number and a unit, 12h or 30d, or as `forever`".to_owned();
    let (number, hours) = match (text.strip_suffix('h'), text.strip_suffix('d')) {
        (Some(number), _) => (number, 1),
        (_, Some(number)) => (number, 24),
        _ => return Err(wrong()),
    };
    let number: u32 = number.parse().map_err(|_| wrong())?;
    if number == 0 {
        // Whoever waits for the end of an operation is to find it there.
        return Err("it is to be 1h at least".to_owned());
    }
    Ok(Keep::For(Duration::from_secs(u64::from(number) * hours * 3600)))
}

/// How a worker works.
#[derive(Debug, Clone, Args)]
pub(super) struct WorkerArgs {
    /// The name of this worker, which no other one has. By default, one that nobody else has
    #[arg(long, value_name = "NAME")]
    pub(super) name: Option<WorkerId>,
    /// How soon others take over if this worker dies or cannot reach the database: 500ms, 30s, 2m
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = lease)]
    pub(super) lease: Duration,
    /// How many operations it works on at the same time
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u16).range(1..))]
    pub(super) max_in_flight: Option<u16>,
}

fn lease(text: &str) -> Result<Duration, String> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let millis: u64 = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        _ => return Err("write it with its unit: 500ms, 30s, 2m".to_owned()),
    };
    let number: u64 = number.parse().map_err(|_| "write it as a number and a unit: 500ms, 30s, 2m".to_owned())?;
    let lease = Duration::from_millis(number.saturating_mul(millis));
    let allowed = SHORTEST_LEASE..=LONGEST_LEASE;
    if allowed.contains(&lease) { Ok(lease) } else { Err("it is to be from 500ms to 60m".to_owned()) }
}

/// What can be done with stores.
#[derive(Debug, Subcommand)]
pub(super) enum StoreCommand {
    /// Copy all clusters and journals to another store
    ///
    /// First it looks at everything, and copies nothing if anything is in the way. A copy that was interrupted can be made
    /// again. Stop all workers on both stores first, and do not start them on the first one again: a data directory that was
    /// copied is marked, and refused from then on. Machines stay where they are.
    #[command(
        after_help = "Example:\n  saga-cluster store copy ~/.local/share/saga-cluster postgresql://ada@db/clusters"
    )]
    Copy {
        /// A data directory, or the URL of a database
        from: StorePlace,
        /// A data directory, or the URL of a database
        to: StorePlace,
    },
}

/// What can be asked of engines.
#[derive(Debug, Subcommand)]
pub(super) enum EngineCommand {
    /// Tell whether a cluster could be created, without making anything
    ///
    /// The engine of the spec looks whether it has all that the spec names, and room for it: credentials, programs, flavors,
    /// images, networks, quotas. All that is in the way is told at once. What is free now may be taken when the cluster is
    /// created. With --store it is the workers who create: this looks with the settings and from the place of this command.
    ///
    /// The exit code is 2 if there is a problem, as for a spec that is wrong.
    #[command(after_help = "Example:\n  saga-cluster engine check store.toml")]
    Check {
        /// The file. `-` reads standard input
        #[arg(value_name = "SPEC.toml")]
        spec: PathBuf,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Create the cluster that a TOML file describes
    ///
    /// If anything fails, every machine that was made is killed, and the cluster is left in Error with the reason, so
    /// that its name stays taken until it is deleted.
    #[command(after_help = "Example:\n  saga-cluster create store.toml")]
    Create {
        /// The file. `-` reads standard input
        #[arg(value_name = "SPEC.toml")]
        spec: PathBuf,
    },

    /// Change the number of machines of groups, up and down at once
    ///
    /// Machines that leave are emptied first, and only then killed. If emptying one fails, or starting a new one, the
    /// cluster is in Error and no machine is killed: one of them might hold data. If making a new one fails, the new
    /// ones are killed, those that were emptied go all the same, and the cluster serves on.
    #[command(
        after_help = "Examples:\n  saga-cluster scale store east=5\n  saga-cluster scale store east=+2 west=-1\n  \
                            saga-cluster scale store --new-group north=3 --set north.flavor=large"
    )]
    Scale {
        /// Which cluster
        name: ClusterName,
        /// A group and the number of machines that it should have (east=5), or how many more or fewer (east=+2, east=-1)
        #[arg(value_name = "GROUP=COUNT", required_unless_present = "new_groups")]
        changes: Vec<Change>,
        /// Add a group of so many machines
        #[arg(long = "new-group", value_name = "GROUP=COUNT")]
        new_groups: Vec<NewGroup>,
        /// A setting of a group that is added, as a spec has it under `settings`. The value is one of TOML, or plain text:
        /// north.flavor=large, north.port=80, 'north.networks=["a", "b"]'
        #[arg(long = "set", value_name = "GROUP.NAME=VALUE", requires = "new_groups")]
        settings: Vec<Set>,
    },

    /// Delete a cluster, in whatever state it is, with all that it holds
    ///
    /// What is going on with it is cancelled and undone first. Every machine that carries the cluster's tag is killed,
    /// whether or not the record knows of it.
    #[command(after_help = "Example:\n  saga-cluster delete store")]
    Delete {
        /// Which cluster
        name: ClusterName,
        /// Give up on machines that will not die, and print what is left
        #[arg(long)]
        force: bool,
    },

    /// List the clusters
    List,

    /// Show one cluster: its machines, why it is as it is, and what is allowed now
    Show {
        /// Which cluster
        name: ClusterName,
    },

    /// Tell what was done to a cluster, when, by whom, and how it ended
    History {
        /// Which cluster
        name: ClusterName,
    },

    /// Try again what an operation rests at
    ///
    /// A halted operation does the stage again and goes on from there; a stuck one tries again to clean up.
    Retry {
        /// Which cluster
        name: ClusterName,
        /// Why now. Written into the journal
        #[arg(long, default_value = "")]
        reason: String,
    },

    /// Give up an operation that rests, as it stands
    ///
    /// Nothing is undone and nothing is killed. What is left behind is printed.
    Abandon {
        /// Which cluster
        name: ClusterName,
        /// Why. Written into the journal
        #[arg(long)]
        reason: String,
    },

    /// Do what others ask for, until Ctrl-C
    ///
    /// With --store, any number of workers share the work on one database; commands with the same --store only ask for
    /// it, and watch. If a worker dies, the others take over what it did when its lease has run out; one that is told to
    /// end hands it over at once. Workers that run machines on one computer share its data directory.
    ///
    /// Without --store it holds the data directory, and does what other commands ask for.
    #[command(after_help = "Example:\n  saga-cluster worker --store postgresql://ada@db/clusters")]
    Worker(WorkerArgs),

    /// Move clusters and journals from one store to another
    #[command(subcommand)]
    Store(StoreCommand),

    /// Ask an engine something
    #[command(subcommand)]
    Engine(EngineCommand),

    /// See it all happen: create, scale, failures, kill -9, delete; and the proof that nothing is left or lost
    ///
    /// The machines are processes of this computer, in a temporary directory (or --data). It takes less than a minute.
    Demo {
        /// Leave the cluster as it is before it would be deleted, to look around
        #[arg(long)]
        keep: bool,
        /// Do not pause for reading
        #[arg(long)]
        fast: bool,
    },

    /// Run one node. The process engine starts it; people don't
    #[command(hide = true)]
    Node(NodeArgs),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_said_in_hours_or_days_or_is_kept_forever() {
        assert_eq!(keep("12h"), Ok(Keep::For(Duration::from_secs(12 * 3600))));
        assert_eq!(keep("30d"), Ok(Keep::For(Duration::from_secs(30 * 24 * 3600))));
        assert_eq!(keep("forever"), Ok(Keep::Forever));
        for wrong in ["30", "d", "-1d", "0h", "0d", "1w", "", "99999999999d", "ever"] {
            assert!(keep(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_lease_has_a_unit_and_bounds() {
        assert_eq!(lease("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(lease("30s"), Ok(Duration::from_secs(30)));
        assert_eq!(lease("2m"), Ok(Duration::from_secs(120)));
        for wrong in ["30", "s", "1h", "499ms", "61m", "99999999999999999999s", "18446744073709551615m", "-1s"] {
            assert!(lease(wrong).is_err(), "{wrong}");
        }
    }
}
