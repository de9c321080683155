//! The lifecycle of a cluster, drawn.

use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Where a cluster is in its life.
///
/// ```text
///              ┌──────────────► Error ◄────────────┐
///              │               ▲  │ ▲              │
///              │       ┌───────┘  │ └──────┐       │
///  (insert) Creating   │  ┌───────┘        │       │
///              │       │  ▼                │       │
///              ├────► Active ◄────────► Scaling ───┤
///              │       │                   │       │
///              └───────┴──► Deleting ◄─────┴───────┘ (remove)
/// ```
///
/// What an operation is doing at the moment is told by the record's `status_description`, not by further states.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// Its first nodes are being made.
    Creating,
    /// It serves. The description may say why the last operation was undone.
    Active,
    /// Nodes are being removed and added.
    Scaling,
    /// It is going away. Only its record's removal, or an error, ends this.
    Deleting,
    /// An operation rests and a person is needed: the description says why and what is left.
    Error,
}

impl Status {
    /// Every status, in the order of a cluster's life.
    pub const ALL: [Self; 5] = [Self::Creating, Self::Active, Self::Scaling, Self::Deleting, Self::Error];

    /// Whether the drawn lifecycle leads from here to `next` in one step. Staying is not a step.
    ///
    /// - Every status leads to [`Deleting`](Self::Deleting): delete is allowed always.
    /// - [`Error`](Self::Error) is not a grave: a halted stage is retried ([`Scaling`](Self::Scaling)), or an operator
    ///   settles the run and it ends well ([`Active`](Self::Active)). It does not lead back to
    ///   [`Creating`](Self::Creating): a creation that failed left no node, so there is nothing to go on with; delete
    ///   the record and create anew.
    /// - [`Deleting`](Self::Deleting) leads to [`Error`](Self::Error) only: half a cluster never serves again, and a
    ///   delete that failed is never taken for one that is still going on.
    pub fn can_become(self, next: Self) -> bool {
        use Status::{Active, Creating, Deleting, Error, Scaling};
        matches!(
            (self, next),
            (Creating, Active | Deleting | Error)
                | (Active, Scaling | Deleting)
                | (Scaling, Active | Deleting | Error)
                | (Deleting, Error)
                | (Error, Active | Scaling | Deleting)
        )
    }

    /// Checks that staying here or going to `next` is drawn.
    ///
    /// # Errors
    /// [`IllegalTransition`]: whoever asked acted on an outdated view, and must look at the cluster again.
    pub fn check(self, next: Self) -> Result<(), IllegalTransition> {
        if self == next || self.can_become(next) { Ok(()) } else { Err(IllegalTransition { from: self, to: next }) }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Creating => "creating",
            Self::Active => "active",
            Self::Scaling => "scaling",
            Self::Deleting => "deleting",
            Self::Error => "error",
        })
    }
}

/// A change of status that the lifecycle does not draw. Look at the cluster again before deciding anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a cluster that is {from} cannot become {to}")]
pub struct IllegalTransition {
    /// What it is.
    pub from: Status,
    /// What it was asked to become.
    pub to: Status,
}

#[cfg(test)]
mod tests {
    use super::Status::{Active, Creating, Deleting, Error, Scaling};
    use super::*;

    #[test]
    fn exactly_the_drawn_transitions_are_legal() {
        let drawn = [
            (Creating, Active),
            (Creating, Error),
            (Creating, Deleting),
            (Active, Scaling),
            (Active, Deleting),
            (Scaling, Active),
            (Scaling, Error),
            (Scaling, Deleting),
            (Deleting, Error),
            (Error, Active),
            (Error, Scaling),
            (Error, Deleting),
        ];
        for from in Status::ALL {
            for to in Status::ALL {
                assert_eq!(from.can_become(to), drawn.contains(&(from, to)), "{from} -> {to}");
            }
        }
    }

    #[test]
    fn delete_is_allowed_in_every_state() {
        for status in Status::ALL {
            assert_eq!(status.check(Deleting), Ok(()), "{status}");
        }
    }

    #[test]
    fn a_refusal_names_both_ends() {
        let refused = Deleting.check(Active).unwrap_err();
        assert_eq!(refused.to_string(), "a cluster that is deleting cannot become active");
    }
}
