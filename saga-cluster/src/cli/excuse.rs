//! What the service's errors mean to a person, and what they can do.

use super::desk::record;
use super::similar::similar;
use super::trouble::{Exit, Trouble, chain};
use crate::model::{ClusterName, ScaleError, ScaleProblem};
use crate::repository::RepositoryError;
use crate::service::{Service, ServiceError};

/// Puts an error of the service into words. `name` is the cluster that the request was about.
pub(super) async fn excuse(error: ServiceError, name: Option<&ClusterName>, service: &Service) -> Trouble {
    let show = |trouble: Trouble| match name {
        Some(name) => trouble.next(format!("`saga-cluster show {name}` tells how it is")),
        None => trouble,
    };
    match error {
        ServiceError::NoSuchCluster { name } => no_such_cluster(&name, service).await,
        ServiceError::Scale(error) => scale(&error, name, service).await,
        ServiceError::AlreadyExists { ref name } => Trouble::new(error.to_string())
            .untouched()
            .next(format!("choose another name, or delete that one: `saga-cluster delete {name}`")),
        ServiceError::Busy { ref name, ref run, kind } => {
            Trouble::new(format!("cluster `{name}` is busy: {kind} is going on (run {run})"))
                .untouched()
                .next(format!("wait for that to end, or `saga-cluster delete {name}`, which is always possible"))
        }
        ServiceError::Parked { ref name, .. } => Trouble::new(chain(&error))
            .untouched()
            .next(format!("use a release that has what it needs, or `saga-cluster delete {name} --force`")),
        ServiceError::NotAllowed { ref name, status, ref why, ref allowed } => {
            let trouble = Trouble::new(format!("cluster `{name}` is {status}, {why}")).untouched();
            match allowed.is_empty() {
                true => show(trouble),
                false => show(trouble.next(format!("allowed now: {}", allowed.join(", ")))),
            }
        }
        ServiceError::EngineNotConfigured { .. } => Trouble::usage(chain(&error)).next("configure it and try again"),
        ServiceError::Spec(_) | ServiceError::UnknownEngine { .. } | ServiceError::UnknownPlugin { .. } => {
            Trouble::usage(error.to_string()).next("mend the spec and try again")
        }
        ServiceError::Refused(_) | ServiceError::RefusedByEngine(_) => {
            Trouble { exit: Exit::Usage, ..Trouble::new(chain(&error)) }.untouched()
        }
        ServiceError::Stopped => {
            Trouble::unfinished("the process that holds the data was told to stop").state(goes_on(service))
        }
        ServiceError::Repository(RepositoryError::Unreadable { ref name, .. }) => Trouble::new(chain(&error))
            .untouched()
            .next(format!("use the release that wrote it, or `saga-cluster delete {name}`")),
        error => show(Trouble::new(chain(&error)).state(goes_on(service))),
    }
}

/// What becomes of what was begun.
fn goes_on(service: &Service) -> &'static str {
    match service.worker() {
        Some(_) => "what was begun is journaled, and goes on when any saga-cluster command is run next",
        None => "what was begun is journaled, and the workers go on with it",
    }
}

async fn no_such_cluster(name: &ClusterName, service: &Service) -> Trouble {
    let trouble = Trouble::new(format!("there is no cluster `{name}`")).untouched();
    let listing = service.list().await.unwrap_or_default();
    let known: Vec<&str> = listing.clusters.iter().map(|cluster| cluster.name().as_str()).collect();
    let alike = similar(name.as_str(), known.iter().copied());
    match (alike.as_slice(), known.is_empty()) {
        ([], true) => trouble.next("there is none at all; `saga-cluster create SPEC.toml` makes one"),
        ([], false) => trouble.next("`saga-cluster list` tells which there are"),
        (alike, _) => trouble.next(format!("did you mean {}?", quoted(alike.iter().copied()))),
    }
}

async fn scale(error: &ScaleError, name: Option<&ClusterName>, service: &Service) -> Trouble {
    let trouble = match error.problems.as_slice() {
        [problem] => Trouble::usage(format!("it cannot be scaled like that: {problem}")),
        _ => Trouble::usage(error.to_string()),
    };
    let unknown = |problem: &ScaleProblem| matches!(problem, ScaleProblem::UnknownGroup(_));
    let Some(name) = name.filter(|_| error.problems.iter().any(unknown)) else { return trouble };
    match record(service, name).await {
        Some(record) => trouble
            .next(format!("its groups are {}", quoted(record.spec.groups.iter().map(|group| group.name.as_str()))))
            .next("to add one, write --new-group GROUP=COUNT"),
        None => trouble,
    }
}

fn quoted<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}
