//! What a cluster is: its spec, its record, its nodes, its lifecycle, and the proofs that let a node be destroyed.
//!
//! Nothing here does I/O. [`plan_scale`] chooses nodes, [`Status`] draws the lifecycle, and [`Doomed`] is the only
//! thing that an engine accepts to destroy.

mod cluster;
mod intent;
mod label;
mod node;
pub mod proof;
mod scale;
mod spec;
mod status;
mod timestamp;

pub use cluster::{Cluster, ClusterId};
pub use intent::{Intended, Intent};
pub use label::{ClusterName, GroupName, InvalidName, KindName, MAX_NAME_LENGTH};
pub use node::{InvalidToken, MAX_TOKEN_LENGTH, NewNode, NoAddress, Node, NodeName, NodeToken};
pub(crate) use proof::ProofRecord;
pub use proof::{Decommissioned, Doomed, Leaving};
pub use scale::{ScaleError, ScalePlan, ScaleProblem, ScaleRequest, plan_scale};
pub(crate) use spec::settings_of;
pub use spec::{ClusterSpec, MAX_GROUPS, MAX_NODES, NodeGroup, Settings, SpecError, SpecProblem};
pub use status::{IllegalTransition, Status};
pub use timestamp::Timestamp;
