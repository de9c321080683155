//! Clusters of machines, created, scaled and deleted by sagas.
//!
//! - [`model`]: what a cluster is, and which nodes may be destroyed;
//! - [`repository`]: where the records of clusters are kept, changed by compare-and-set;
//! - [`engine`]: makes and kills machines. The [process engine](engine::ProcessEngine) makes real ones, of one process
//!   each;
//! - [`plugin`]: makes machines a cluster. The [blocks plugin](plugin::BlocksPlugin) is a miniature block store, whose
//!   data is really lost if one of its nodes is killed before it was decommissioned; the Redis plugin (feature `redis`)
//!   makes Redis Clusters, and the [commands plugin](plugin::CommandsPlugin) runs programs of the user's;
//! - [`service`]: the clusters of one repository, and the operations on them;
//! - [`cli`]: the `saga-cluster` command;
//! - [`node`]: what runs on a machine of the process engine;
//! - [`testing`]: engines, plugins and repositories that fail on demand.

pub mod cli;
pub mod engine;
mod failure;
pub mod model;
pub mod node;
pub mod plugin;
pub mod repository;
mod saga;
pub mod service;
pub mod testing;

pub use failure::{BoxError, FailureKind};
