//! Which machines there are, and which are gone; and the blocks on them.

use std::collections::BTreeSet;

use crate::check::Finding;
use crate::cluster::evidence::Evidence;
use crate::cluster::finale::paths;

use super::journals::Story;

pub(super) fn what_is_deleted_is_gone(evidence: &Evidence) -> Finding {
    let mut finding = Finding::of("a cluster that was said to be deleted has no record, no process and no directory");
    for deleted in &evidence.deleted {
        let holds = deleted.left.is_empty() && deleted.record.is_none();
        finding.look_at(&deleted.by, holds, || format!("{:?}, {:?}", deleted.left, deleted.record));
    }
    finding
}

pub(super) fn every_machine_is_of_a_record(evidence: &Evidence) -> Finding {
    let mut finding =
        Finding::of("when nothing moves, each node of a record has one process, and there is no other machine");
    let (records, machines) = (&evidence.calm.records, &evidence.calm.machines);
    let known: BTreeSet<String> = records.values().flat_map(paths).collect();
    for node in &known {
        let pids = machines.processes.get(node).map_or(0, Vec::len);
        finding.look_at(node, pids == 1, || format!("it has {pids} processes"));
    }
    for (machine, pids) in machines.processes.iter().filter(|(machine, _)| !known.contains(*machine)) {
        finding.look_at(machine, false, || format!("processes {pids:?} are of no record"));
    }
    for directory in machines.directories.iter().filter(|path| path.contains('/')) {
        finding.look_at(directory, known.contains(directory), || "the directory is of no record".to_owned());
    }
    finding
}

pub(super) fn nothing_is_left(evidence: &Evidence) -> Finding {
    let mut finding = Finding::of("when all is deleted there is no record, no process and no directory");
    finding.look_at("records", evidence.left_records.is_empty(), || format!("{:?}", evidence.left_records));
    finding.look_at("processes", evidence.left.processes.is_empty(), || format!("{:?}", evidence.left.processes));
    finding.look_at("directories", evidence.left.directories.is_empty(), || format!("{:?}", evidence.left.directories));
    finding
}

/// By then no cluster that stands was to be deleted, so whatever is gone was decommissioned, or made in vain.
pub(super) fn every_machine_that_went_was_meant_to(evidence: &Evidence) -> Finding {
    let mut finding =
        Finding::of("a machine went only if it was decommissioned, made in vain, or of a cluster to be deleted");
    let mut meant: BTreeSet<String> = BTreeSet::new();
    let mut deleted: BTreeSet<String> = BTreeSet::new();
    for story in evidence.runs.iter().map(Story::of) {
        meant
            .extend(story.decommissioned.iter().chain(&story.undone).map(|token| format!("{}@{token}", story.cluster)));
        if story.is_delete {
            deleted.insert(story.cluster);
        }
    }
    let standing: BTreeSet<&String> =
        evidence.calm.machines.directories.iter().filter(|path| path.contains('/')).collect();
    for machine in &evidence.machines {
        let (cluster, token) = machine
            .split_once('/')
            .and_then(|(cluster, node)| Some((cluster, node.split_once('@')?.1)))
            .unwrap_or_default();
        let holds =
            standing.contains(machine) || deleted.contains(cluster) || meant.contains(&format!("{cluster}@{token}"));
        finding.look_at(machine, holds, || "it is gone, and nobody was to destroy it".to_owned());
    }
    finding
}

pub(super) fn no_block_is_lost(evidence: &Evidence) -> Finding {
    let mut finding = Finding::of("every block whose writing was acknowledged is there, byte for byte");
    for look in &evidence.blocks {
        let key = format!("{} of {}, {}", look.key, look.cluster, look.when);
        finding.look_at(&key, look.wrong.is_none(), || look.wrong.clone().unwrap_or_default());
    }
    finding
}
