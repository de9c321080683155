//! What was asked for and has not begun.

use saga_core::Actor;
use serde::{Deserialize, Serialize};

use super::node::Node;
use super::scale::ScalePlan;

/// An operation that a record names and that has not begun: all that it takes to begin it, so that whoever finds it can do
/// that, and begins the very same one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Intent {
    /// Who asked for it.
    pub by: Actor,
    /// What they asked for.
    #[serde(flatten)]
    pub what: Intended,
}

/// What is to be done to a cluster.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "operation", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Intended {
    /// Make the nodes that its spec asks for.
    Create,
    /// Have other nodes.
    Scale {
        /// Which go and which come.
        plan: ScalePlan,
        /// Those that go, with the tokens of their machines.
        leaving: Vec<Node>,
    },
    /// Be gone.
    Delete {
        /// Give up on machines that the engine refuses to destroy.
        force: bool,
    },
}
