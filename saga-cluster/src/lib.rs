//! Clusters of machines, created, scaled and deleted by sagas.
//!
//! - [`model`]: what a cluster is, and which nodes may be destroyed;
//! - [`repository`]: where the records of clusters are kept, changed by compare-and-set;
//! - [`engine`]: makes and kills machines.

pub mod engine;
mod failure;
pub mod model;
pub mod repository;

pub use failure::{BoxError, FailureKind};
