//! Clusters of machines, created, scaled and deleted by sagas.
//!
//! - [`model`]: what a cluster is, and which nodes may be destroyed;
//! - [`engine`]: makes and kills machines.

pub mod engine;
mod failure;
pub mod model;

pub use failure::{BoxError, FailureKind};
