//! What the clients were told, as they were told it.

use saga_core::RunId;
use serde::{Deserialize, Serialize};

use crate::load::Help;
use crate::log::Log;

/// Where the clients write down what they are told.
pub(crate) type Acks = Log<Ack>;

/// What a client was told of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Ack {
    pub(crate) run: RunId,
    pub(crate) told: Told,
}

/// What there is to be told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Told {
    /// It is durable that the run was started. Twice, if two clients started it.
    Started,
    /// It is durable that it was cancelled.
    Cancelled,
    /// It is durable that an operator moved it on.
    Helped(Help),
    /// It ended, in these words.
    Ended(String),
    /// An answer that no client should get.
    Trouble(String),
}
