//! What a compensation is given, and what a probe answers.

use serde::de::DeserializeOwned;

use crate::payload::{Payload, PayloadError};

/// What a compensation is given: all that is known of the step that it undoes.
///
/// The step may have failed, or its process may have died in the middle: then `output` is `None`, and what it made is
/// found by its checkpoints and under its idempotency key.
#[derive(Debug, Clone)]
pub struct Undo<In, Out> {
    /// The action's input.
    pub input: In,
    /// The action's output, if it succeeded.
    pub output: Option<Out>,
    /// What the action recorded by [`Ctx::checkpoint`](crate::Ctx::checkpoint), oldest first, over all its attempts.
    pub checkpoints: Vec<Payload>,
}

impl<In, Out> Undo<In, Out> {
    /// The newest checkpoint, if there is one.
    ///
    /// # Errors
    ///
    /// [`PayloadError`] if the newest checkpoint is no `T`.
    pub fn last_checkpoint<T: DeserializeOwned>(&self) -> Result<Option<T>, PayloadError> {
        self.checkpoints.last().map(Payload::decode).transpose()
    }
}

/// [`Undo`] before its parts are decoded.
#[derive(Debug, Clone)]
pub(crate) struct UndoPayloads {
    pub(crate) input: Payload,
    pub(crate) output: Option<Payload>,
    pub(crate) checkpoints: Vec<Payload>,
}

impl UndoPayloads {
    /// Decodes the parts.
    pub(crate) fn decode<In: DeserializeOwned, Out: DeserializeOwned>(self) -> Result<Undo<In, Out>, PayloadError> {
        Ok(Undo {
            input: self.input.decode()?,
            output: self.output.map(|output| output.decode()).transpose()?,
            checkpoints: self.checkpoints,
        })
    }
}

/// What a probe found out about the attempts so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Probe<Out> {
    /// The action had its effect, and this is its output: the step counts as succeeded.
    Done(Out),
    /// Nothing happened so far.
    NotDone,
    /// It cannot be told.
    Unknown,
}
