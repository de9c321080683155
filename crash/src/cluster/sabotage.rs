//! Faults that are built in on purpose, to see that they are found.

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use clap::ValueEnum;
use saga_postgres::testing;

use super::evidence::Evidence;
use super::machines::Machines;
use super::town::Town;
use super::{COMMAND, told::Line};
use crate::Fail;

/// What is done wrong on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Sabotage {
    /// A machine that nobody knows is left when all is deleted.
    LeaveProcess,
    /// A machine that nobody knows stands when all is calm.
    StrayProcess,
    /// A block is removed from a machine's disk.
    LoseBlock,
    /// A status is put back (on PostgreSQL only).
    PutStatusBack,
    /// A command says that it was rolled back though it is done.
    Lie,
}

impl Sabotage {
    /// What is done to the world when all is calm.
    pub(crate) async fn of_the_world(self, town: &Town) -> Result<(), Fail> {
        match self {
            Self::StrayProcess => drop(stray(town)?),
            Self::LoseBlock => lose_a_block(town)?,
            Self::PutStatusBack => {
                let Some(url) = &town.place.database else { return Err("this takes a database".into()) };
                // As if somebody who knows nothing of the transitions had written it, and taken it back.
                let put = |from: &str, to: &str, by: i32| {
                    format!(
                        "UPDATE saga.clusters SET version = version + {by},
                         record = replace(replace(record::text, '\"status\":\"{from}\"', '\"status\":\"{to}\"'),
                             '\"version\":' || (version), '\"version\":' || (version + {by}))::json
                         WHERE record->'cluster'->>'status' = '{from}'"
                    )
                };
                testing::execute(url, &put("active", "creating", 1)).await;
                testing::execute(url, &put("creating", "active", 1)).await;
            }
            Self::LeaveProcess | Self::Lie => {}
        }
        Ok(())
    }

    /// What is done to what was gathered.
    pub(crate) fn of_the_evidence(self, evidence: &mut Evidence) -> Result<(), Fail> {
        if self != Self::Lie {
            return Ok(());
        }
        let lines = evidence.told.iter_mut().flat_map(|told| &mut told.lines);
        let mut ends = lines.filter_map(|line| if let Line::End(end) = line { Some(end) } else { None });
        let end = ends.find(|end| end.verdict == "done").ok_or("nobody was told that it is done")?;
        end.verdict = "rolled_back".to_owned();
        Ok(())
    }
}

/// Leaves a machine, and looks again.
pub(crate) async fn leave_a_process(town: &Town) -> Result<Machines, Fail> {
    let machine = stray(town)?;
    loop {
        let machines = Machines::look(&town.place.machines())?;
        if machines.processes.contains_key(&machine) {
            return Ok(machines);
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Starts a machine that no record names. It ends when its directory goes.
fn stray(town: &Town) -> Result<String, Fail> {
    let machine = "stray/east-1@stray";
    let directory: PathBuf = town.place.machines().join(machine);
    std::fs::create_dir_all(&directory)?;
    std::process::Command::new(town.place.folder().join(COMMAND))
        .args(["node", "--cluster", "stray", "--name", "east-1", "--token", "stray", "--dir"])
        .arg(directory)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()?;
    Ok(machine.to_owned())
}

/// Removes a block that must be kept, wherever it is.
fn lose_a_block(town: &Town) -> Result<(), Fail> {
    let blocks = town.notes().blocks.clone();
    for (cluster, keys) in blocks {
        for machine in town.place.machines_of(&cluster)? {
            if keys.iter().any(|key| std::fs::remove_file(machine.join("blocks").join(key)).is_ok()) {
                return Ok(());
            }
        }
    }
    Err("there is no block that could be lost: a trial of more clusters has some".into())
}
