//! `kill -9` of the coordinator at every journal append, of every operation.
//!
//! Each case is a coordinator in a process of its own that kills itself (SIGKILL: nothing is flushed, no destructor runs)
//! right before or right after its k-th append became durable. Then a new coordinator opens the same data, and either
//! goes on, or is asked to delete the cluster. Whatever k was, the end is the same: the cluster is what was asked for,
//! with all that it holds, or it is gone; and no machine is left that no record knows of.
//!
//! What the machines are, and how they are looked at, a target says by its [`World`]. The cases need processes that die,
//! so a target has a `main` of its own: with the task of a dying coordinator it is that coordinator ([`died`]), and
//! without one an ordinary test program.

mod case;
mod coordinator;
mod dying;
mod site;

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use libtest_mimic::{Failed, Trial};
use saga_cluster::engine::Engine;
use saga_cluster::model::{Cluster, ClusterName};
use saga_cluster::service::ServiceBuilder;
use serde::Serialize;
use serde::de::DeserializeOwned;

pub(crate) use case::{Case, Then};
pub(crate) use coordinator::died;
pub(crate) use dying::Moment;
#[allow(unused_imports, reason = "not every target has trials of its own beside the series")]
pub(crate) use site::{Asked, CREATED, SCALED, Site, expect};

/// More appends than any of the operations makes: the cases of an operation end where a coordinator survives.
const MOST_APPENDS: u64 = 200;
/// Fewer would mean that the kills hit nothing.
const FEWEST_KILLS: usize = 4;

/// What the clusters are made of, and a look at it past the service.
pub(crate) trait World: fmt::Debug + Clone + Serialize + DeserializeOwned + Send + 'static {
    /// How long a coordinator may take to die, and the next one to come to an end.
    const PATIENCE: Duration;
    /// How many cases of a series go on side by side.
    const AT_ONCE: u64;

    /// The plugin, the engine and the settings of a spec, in TOML.
    fn ordered(&self) -> String;

    /// A service that has them, and keeps what they know in that directory.
    fn equip(&self, builder: ServiceBuilder, data: &Path) -> Result<ServiceBuilder, String>;

    fn engine(&self, data: &Path) -> Result<Arc<dyn Engine>, String>;

    /// Puts something on a new cluster that has to be there still when it was scaled.
    async fn load(&self, record: &Cluster) -> Result<(), String>;

    /// Whether outside there is exactly what the record says, or nothing if there is none; with its load, if it has one.
    async fn look(&self, cluster: &ClusterName, record: Option<&Cluster>, loaded: bool) -> Result<(), String>;

    /// Leaves nothing of a case, whatever came of it.
    async fn clean(site: &Site<Self>) -> Result<(), String>;
}

pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
}

/// Each operation killed before and after each append, and then resumed or deleted. Their names begin with `prefix`.
pub(crate) fn series<W: World>(world: &W, prefix: &str) -> Vec<Trial> {
    let mut series = Vec::new();
    for asked in [Asked::Create, Asked::Scale, Asked::Delete] {
        for then in [Then::Resumed, Then::Deleted] {
            for moment in [Moment::Before, Moment::After] {
                let name = format!("{asked:?}_killed_{moment:?}_every_append_then_{then:?}").to_lowercase();
                let world = world.clone();
                let body = move || runtime().block_on(kill_at_every_append(&world, asked, then, moment));
                series.push(Trial::test(format!("{prefix}{name}"), body));
            }
        }
    }
    series
}

/// Kills at the first append, the second, … until the operation comes to its end before the k-th.
async fn kill_at_every_append<W: World>(world: &W, asked: Asked, then: Then, moment: Moment) -> Result<(), Failed> {
    let mut kills = 0;
    for first in (1..=MOST_APPENDS).step_by(usize::try_from(W::AT_ONCE).expect("a few")) {
        let cases = (first..first + W::AT_ONCE).map(|append| Case { asked, then, moment, append });
        let run = async |case: Case| case.run(world.clone()).await.map_err(|why| format!("{case}: {why}"));
        // All come to their end, even if one does not go well: what they made has to go.
        let killed: Vec<bool> = join_all(cases.map(run)).await.into_iter().collect::<Result<_, _>>()?;
        kills += killed.iter().filter(|killed| **killed).count();
        if killed.contains(&false) {
            println!("{asked:?}, killed {moment:?}, then {then:?}: {kills} kills");
            return match kills {
                0..FEWEST_KILLS => Err(format!("the operation makes hardly any appends: {kills} kills").into()),
                _ => Ok(()),
            };
        }
    }
    Err("the operation makes more appends than it can".into())
}
