//! The error of an action, which says two things: may it be tried again, and what did it do?

use std::fmt;
use std::time::Duration;

use crate::journal::{Failure, FailureKind, FailureOrigin};

/// The error of an action, compensation or probe.
///
/// Any error becomes one by `?`, as [`failed`](Self::failed): its effect is unknown, and it is tried again as the step's
/// policy allows. Where the action knows better it says so, by [`rejected`](Self::rejected) or [`fatal`](Self::fatal).
///
/// ```
/// use saga_core::{Ctx, StepError};
///
/// # struct Bank;
/// # enum Charge { Ok(u64), Declined(String) }
/// # impl Bank { async fn charge(&self, _: u64) -> std::io::Result<Charge> { Ok(Charge::Declined("no funds".into())) } }
/// async fn charge(ctx: Ctx<Bank>, cents: u64) -> Result<u64, StepError> {
///     match ctx.charge(cents).await? {                                    // I/O error: who knows what happened
///         Charge::Ok(receipt) => Ok(receipt),
///         Charge::Declined(why) => Err(StepError::rejected(why)),         // nothing was charged, and won't be
///     }
/// }
/// ```
///
/// `StepError` is no [`std::error::Error`] itself: that is what lets `?` take every type that is one.
pub struct StepError {
    kind: FailureKind,
    origin: FailureOrigin,
    message: String,
    retry_after: Option<Duration>,
}

impl StepError {
    /// The effect is unknown; try again as the policy allows. What `?` makes of other errors.
    #[must_use]
    pub fn failed(message: impl fmt::Display) -> Self {
        Self::new(FailureKind::Failed, FailureOrigin::Returned, message)
    }

    /// The effect is unknown; do not try again.
    #[must_use]
    pub fn fatal(message: impl fmt::Display) -> Self {
        Self::new(FailureKind::Fatal, FailureOrigin::Returned, message)
    }

    /// This attempt changed nothing; do not try again. Say this only where it is certain: a step that is known to have
    /// had no effect is not undone.
    #[must_use]
    pub fn rejected(message: impl fmt::Display) -> Self {
        Self::new(FailureKind::Rejected, FailureOrigin::Returned, message)
    }

    /// As [`failed`](Self::failed), and not to be tried again before `delay` has passed (a `Retry-After`, say).
    #[must_use]
    pub fn retry_after(message: impl fmt::Display, delay: Duration) -> Self {
        Self { retry_after: Some(delay), ..Self::failed(message) }
    }

    pub(crate) fn new(kind: FailureKind, origin: FailureOrigin, message: impl fmt::Display) -> Self {
        Self { kind, origin, message: message.to_string(), retry_after: None }
    }

    /// What the error says about effect and retry.
    #[must_use]
    pub fn kind(&self) -> FailureKind {
        self.kind
    }

    /// What went wrong, with its chain of sources.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The shortest delay before the next attempt that the error asked for.
    #[must_use]
    pub fn delay(&self) -> Option<Duration> {
        self.retry_after
    }

    pub(crate) fn into_failure(self) -> Failure {
        Failure { kind: self.kind, origin: self.origin, message: self.message }
    }
}

impl<E: std::error::Error> From<E> for StepError {
    fn from(error: E) -> Self {
        let mut message = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            let text = cause.to_string();
            // Many errors already print their source; saying it twice helps nobody.
            if !message.contains(&text) {
                message.push_str(": ");
                message.push_str(&text);
            }
            source = cause.source();
        }
        Self::failed(message)
    }
}

impl fmt::Debug for StepError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.kind, self.message)
    }
}

impl fmt::Display for StepError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("the order was refused")]
    struct Outer(#[source] std::io::Error);

    #[test]
    fn the_question_mark_keeps_the_chain_of_sources() {
        let error = StepError::from(Outer(std::io::Error::other("connection reset")));
        assert_eq!(error.kind(), FailureKind::Failed);
        assert_eq!(error.message(), "the order was refused: connection reset");
    }
}
