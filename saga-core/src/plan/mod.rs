//! The plan: a saga's structure without its code. Immutable, indexed, and shared by all runs of the saga.

mod draw;
mod fingerprint;
mod graph;

pub use fingerprint::Fingerprint;
pub use graph::{Cycle, Plan, PlanParts, Recovery, Shape, StepParts, StepPlan, Wire};
