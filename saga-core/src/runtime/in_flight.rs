//! What a run has in flight.

use std::pin::Pin;
use std::task::{Context, Poll};

use futures::stream::{FuturesUnordered, Stream};

/// The actions that a run has in flight, and what comes of them.
///
/// Most runs have one thing in flight at a time; a set of futures would cost them three allocations, and a waiting run two
/// hundred bytes.
pub(super) enum InFlight<F> {
    None,
    One(F),
    Many(Box<FuturesUnordered<F>>),
}

impl<F: Future + Unpin> InFlight<F> {
    pub(super) fn push(&mut self, future: F) {
        *self = match std::mem::replace(self, Self::None) {
            Self::None => Self::One(future),
            Self::One(other) => Self::Many(Box::new([other, future].into_iter().collect())),
            Self::Many(many) => {
                many.push(future);
                Self::Many(many)
            }
        };
    }

    pub(super) fn is_empty(&self) -> bool {
        matches!(self, Self::None)
    }

    /// The end of one of them, if one has ended.
    pub(super) fn poll_ended(&mut self, cx: &mut Context<'_>) -> Poll<F::Output> {
        let ended = match self {
            Self::None => return Poll::Pending,
            Self::One(future) => Pin::new(future).poll(cx),
            Self::Many(many) => match Pin::new(&mut **many).poll_next(cx) {
                Poll::Ready(Some(ended)) if many.is_empty() => Poll::Ready(ended),
                Poll::Ready(Some(ended)) => return Poll::Ready(ended),
                Poll::Ready(None) | Poll::Pending => return Poll::Pending,
            },
        };
        if ended.is_ready() {
            *self = Self::None;
        }
        ended
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};
    use std::task::Waker;

    use futures::FutureExt;

    use super::*;

    #[test]
    fn all_that_is_pushed_comes_out() {
        let mut cx = Context::from_waker(Waker::noop());
        let mut in_flight = InFlight::None;
        assert!(in_flight.is_empty() && in_flight.poll_ended(&mut cx).is_pending());
        for count in 1..=3 {
            (0..count).for_each(|n| in_flight.push(ready(n).boxed()));
            let mut ended: Vec<_> = (0..count).map(|_| in_flight.poll_ended(&mut cx)).collect();
            ended.sort_unstable_by_key(|ended| match ended {
                Poll::Ready(n) => *n,
                Poll::Pending => panic!("it has ended"),
            });
            assert_eq!(ended, (0..count).map(Poll::Ready).collect::<Vec<_>>());
            assert!(in_flight.is_empty());
        }
        in_flight.push(pending().boxed());
        in_flight.push(ready(7).boxed());
        assert_eq!(in_flight.poll_ended(&mut cx), Poll::Ready(7));
        assert!(in_flight.poll_ended(&mut cx).is_pending() && !in_flight.is_empty());
    }
}
