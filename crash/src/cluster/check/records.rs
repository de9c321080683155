//! What the records say, and how they got there.

use std::collections::BTreeMap;

use saga_cluster::model::Status;

use crate::check::Finding;
use crate::cluster::evidence::{Evidence, Look};
use crate::cluster::town::rests;

pub(super) fn every_cluster_rests(evidence: &Evidence) -> Finding {
    let mut finding = Finding::of("when nobody is killed any more, every cluster is active, or in error with a reason");
    for (name, record) in &evidence.calm.records {
        let said = record.status != Status::Error || !record.status_description.is_empty();
        finding.look_at(name, rests(record) && said, || {
            format!("it is {}, `{}`, {:?}", record.status, record.status_description, record.live_run)
        });
    }
    finding
}

pub(super) fn an_error_is_no_grave(evidence: &Evidence) -> Finding {
    let mut finding =
        Finding::of("once nothing is broken any more, retry leads to an active cluster, and delete to none");
    for helped in &evidence.helped {
        let wanted = if helped.verb == "delete" { None } else { Some(Status::Active) };
        let holds = helped.code == Some(0) && helped.status == wanted;
        finding.look_at(&helped.cluster, holds, || {
            format!(
                "after {}, which ended with {:?}, it is {:?}: {}",
                helped.verb, helped.code, helped.status, helped.why
            )
        });
    }
    finding
}

/// A record counts its changes, so between two looks there are as many steps as their numbers differ by. Not every change
/// is of the status.
pub(super) fn statuses_move_along_drawn_transitions(evidence: &Evidence) -> Finding {
    let mut finding =
        Finding::of("statuses move only along drawn transitions, beginning with creating, and an error has a reason");
    let mut clusters: BTreeMap<&str, Vec<&Look>> = BTreeMap::new();
    for look in &evidence.looks {
        clusters.entry(&look.id).or_default().push(look);
        let said = look.status != Status::Error || !look.why.is_empty();
        finding
            .look_at(&look.name, said, || format!("it is in error in version {}, and nobody says why", look.version));
    }
    for looks in clusters.values_mut() {
        looks.sort_by_key(|look| look.version);
        let mut before = (1, Status::Creating);
        for look in looks {
            let (version, status) = before;
            let leads = leads(status, look.status, look.version.saturating_sub(version));
            finding.look_at(&look.name, leads, || {
                format!("it was {status} in version {version}, and {} in version {}", look.status, look.version)
            });
            before = (look.version, look.status);
        }
    }
    finding
}

/// Whether so many changes can lead there.
fn leads(from: Status, to: Status, changes: u64) -> bool {
    let mut reached = vec![from];
    // Every status that can be reached at all is reached in four.
    for _ in 0..changes.min(4) {
        let next: Vec<Status> = reached.iter().flat_map(|status| drawn(*status)).copied().collect();
        reached.extend(next);
    }
    reached.contains(&to)
}

/// The lifecycle, as it is drawn in the design.
fn drawn(from: Status) -> &'static [Status] {
    use Status::{Active, Creating, Deleting, Error, Scaling};
    match from {
        Creating => &[Active, Error, Deleting],
        Active => &[Scaling, Deleting],
        Scaling => &[Active, Error, Deleting],
        Error => &[Scaling, Active, Deleting],
        Deleting => &[Error],
    }
}
