//! What a run saw, and who waits for it to be durable.

use tokio::sync::oneshot;

use crate::action::StepError;
use crate::machine::Observation;
use crate::runtime::line::Mail;

/// Something that was seen, and who waits for it to be durable.
pub(super) struct Seen {
    pub(super) what: Observation,
    pub(super) reply: Option<Reply>,
}

pub(super) enum Reply {
    Checkpoint(oneshot::Sender<Result<(), StepError>>),
    Cancel(oneshot::Sender<()>),
}

impl Reply {
    /// Whoever asked may have stopped waiting.
    pub(super) fn done(self) {
        match self {
            Self::Checkpoint(reply) => drop(reply.send(Ok(()))),
            Self::Cancel(reply) => drop(reply.send(())),
        }
    }

    /// What was seen makes no event.
    pub(super) fn of_no_consequence(self) {
        match self {
            Self::Checkpoint(reply) => {
                drop(reply.send(Err(StepError::failed("the attempt has ended, nothing more can be recorded"))));
            }
            // It has what it wants: the run does not go forward.
            Self::Cancel(reply) => drop(reply.send(())),
        }
    }
}

impl From<Observation> for Seen {
    fn from(what: Observation) -> Self {
        Self { what, reply: None }
    }
}

/// What a mail lets the run see.
impl From<Mail> for Seen {
    fn from(mail: Mail) -> Self {
        match mail {
            Mail::Cancel(by, reply) => Self { what: Observation::Cancel { by }, reply: Some(Reply::Cancel(reply)) },
            Mail::Checkpoint(of, value, reply) => {
                Self { what: Observation::Checkpoint { of, value }, reply: Some(Reply::Checkpoint(reply)) }
            }
            Mail::SubjectGone => Observation::SubjectGone.into(),
        }
    }
}

/// In which order things are judged that were seen at the same time.
pub(super) fn rank(seen: &Seen) -> u8 {
    match seen.what {
        // What an attempt recorded it recorded before it ended.
        Observation::Resumed { .. } | Observation::Checkpoint { .. } => 0,
        Observation::Cancel { .. } | Observation::SubjectGone => 2,
        _ => 1,
    }
}
