//! Running user code to some end, whatever it does.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::time::Sleep;

use crate::action::StepError;
use crate::journal::{Failure, FailureKind, FailureOrigin};
use crate::machine::{AttemptResult, RetryHint};
use crate::panics::panic_message;

/// Runs user code to some end: its own, a panic, or the timeout.
pub(super) fn attempt_of<T>(timeout: Option<Duration>, code: BoxFuture<'static, Result<T, StepError>>) -> AttemptOf<T> {
    AttemptOf { code: Some(code), timeout: timeout.map(|limit| Box::new(Timeout { limit, timer: None })) }
}

/// User code that is run to some end.
///
/// Written out, because the usual combinators hold the code three times over, and room for a timer that most code has not.
pub(super) struct AttemptOf<T> {
    /// `None`: it has ended.
    code: Option<BoxFuture<'static, Result<T, StepError>>>,
    timeout: Option<Box<Timeout>>,
}

struct Timeout {
    limit: Duration,
    /// Runs from when the code is first polled, which may be long after the attempt was made.
    timer: Option<Pin<Box<Sleep>>>,
}

impl Timeout {
    fn timer(&mut self) -> Pin<&mut Sleep> {
        self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(self.limit))).as_mut()
    }

    fn error(&self) -> StepError {
        let what = format_args!("not done after {:?}", self.limit);
        StepError::new(FailureKind::Failed, FailureOrigin::TimedOut, what)
    }
}

impl<T> AttemptOf<T> {
    /// Its end, which may be a panic.
    fn poll_ended(&mut self, cx: &mut Context<'_>) -> Poll<Result<T, StepError>> {
        if let Some(timeout) = &mut self.timeout {
            timeout.timer();
        }
        let ended = match &mut self.code {
            Some(running) => running.as_mut().poll(cx),
            None => Poll::Pending,
        };
        let ended = match &mut self.timeout {
            Some(timeout) if ended.is_pending() => timeout.timer().poll(cx).map(|()| Err(timeout.error())),
            _ => ended,
        };
        if ended.is_ready() {
            // Here, where panics are caught: code that is stopped may panic as it is dropped.
            self.code = None;
        }
        ended
    }
}

impl<T> Future for AttemptOf<T> {
    type Output = AttemptResult<T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<AttemptResult<T>> {
        let ended = match catch_unwind(AssertUnwindSafe(|| self.poll_ended(cx))) {
            Ok(ended) => ready!(ended),
            Err(panic) => {
                self.code = None;
                let what = format!("panicked: {}", panic_message(&*panic));
                Err(StepError::new(FailureKind::Fatal, FailureOrigin::Panicked, what))
            }
        };
        Poll::Ready(ended.map_err(parts))
    }
}

/// An error as the machine judges it.
pub(super) fn parts(error: StepError) -> (Failure, RetryHint) {
    let hint = error.delay();
    (error.into_failure(), hint)
}
