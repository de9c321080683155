//! The three sagas: create, scale, delete.
//!
//! | saga | steps |
//! |---|---|
//! | create | `prepare` → `create` → `admit` → `configure` → `start` |
//! | scale | `decommission` → `terminate` and, beside it, `create` → `admit`; then `configure` → `start` |
//! | delete | `find` → `destroy` → `sweep` → `remove` |
//!
//! Error handling is at the top, in the shape of these sagas: no step asks whether its cluster still exists. Two things
//! do: the guard, when an error has reached the top, and every wait ([`wait`]). The status of a cluster and its reason
//! are written in one place, the finalizer ([`settle`]).

mod app;
pub(crate) mod create;
pub(crate) mod delete;
pub(crate) mod live;
mod nodes;
pub(crate) mod order;
mod policy;
pub(crate) mod reason;
pub(crate) mod record;
pub(crate) mod scale;
pub(crate) mod settle;
mod wait;

pub(crate) use app::ClusterApp;
pub(crate) use live::Live;
pub(crate) use wait::chain;

/// The names of the steps. Journals refer to them, so they stay.
pub(crate) mod phase {
    pub(crate) const PREPARE: &str = "prepare";
    pub(crate) const CREATE: &str = "create";
    pub(crate) const ADMIT: &str = "admit";
    pub(crate) const CONFIGURE: &str = "configure";
    pub(crate) const START: &str = "start";
    pub(crate) const DECOMMISSION: &str = "decommission";
    pub(crate) const TERMINATE: &str = "terminate";
    pub(crate) const FIND: &str = "find";
    pub(crate) const DESTROY: &str = "destroy";
    pub(crate) const SWEEP: &str = "sweep";
    pub(crate) const REMOVE: &str = "remove";
}

#[cfg(test)]
mod proven;
#[cfg(test)]
mod tests;
