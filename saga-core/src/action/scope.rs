//! What the code of a run is told of its run, and when it is to come to an end.

use std::pin::pin;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering, fence};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::id::{Epoch, RunId, SagaName};

/// A run under one claim, as all its code sees it.
///
/// Cancelling is two flags and a list of those who wait. Tokens would do, but each takes a hundred bytes and a lock to look
/// at; so there are some only if somebody asks for one.
pub(crate) struct RunScope {
    pub(crate) run: RunId,
    pub(crate) epoch: Epoch,
    pub(crate) saga: SagaName,
    /// Actions are asked to come to an end.
    aborting: AtomicBool,
    /// The run is no longer this worker's.
    lost: AtomicBool,
    stopped: Notify,
    tokens: OnceLock<Box<Tokens>>,
}

/// For code that knows nothing of sagas.
struct Tokens {
    lost: CancellationToken,
    /// A child of `lost`.
    aborting: CancellationToken,
}

impl RunScope {
    pub(crate) fn new(run: RunId, epoch: Epoch, saga: SagaName) -> Self {
        Self {
            run,
            epoch,
            saga,
            aborting: AtomicBool::new(false),
            lost: AtomicBool::new(false),
            stopped: Notify::new(),
            tokens: OnceLock::new(),
        }
    }

    /// The run is no longer this worker's, and everything that is in flight learns of it.
    pub(crate) fn lose(&self) {
        self.lost.store(true, Ordering::SeqCst);
        // Either there are tokens by now, or whoever makes them sees the flag.
        fence(Ordering::SeqCst);
        if let Some(tokens) = self.tokens.get() {
            tokens.lost.cancel();
        }
        self.stopped.notify_waiters();
    }

    pub(crate) fn is_lost(&self) -> bool {
        self.lost.load(Ordering::SeqCst)
    }

    /// Asks the actions in flight to come to an end, but for those that are shielded from that.
    pub(crate) fn abort(&self) {
        if !self.aborting.swap(true, Ordering::SeqCst) {
            fence(Ordering::SeqCst);
            if let Some(tokens) = self.tokens.get() {
                tokens.aborting.cancel();
            }
            self.stopped.notify_waiters();
        }
    }

    pub(crate) fn is_aborting(&self) -> bool {
        self.aborting.load(Ordering::SeqCst)
    }

    /// Whether code in flight is to come to an end. What is shielded stops for nothing but a loss.
    pub(crate) fn stops(&self, shielded: bool) -> bool {
        self.is_lost() || !shielded && self.is_aborting()
    }

    /// Returns when code in flight is to come to an end.
    pub(crate) async fn stopped(&self, shielded: bool) {
        loop {
            let mut stopped = pin!(self.stopped.notified());
            // Before looking, so that nothing falls between.
            stopped.as_mut().enable();
            if self.stops(shielded) {
                return;
            }
            stopped.await;
        }
    }

    /// A token of its own for whoever asks, which says the same.
    pub(crate) fn token(&self, shielded: bool) -> CancellationToken {
        let tokens = self.tokens.get_or_init(|| {
            let lost = CancellationToken::new();
            Box::new(Tokens { aborting: lost.child_token(), lost })
        });
        // What was told before there were tokens; what is told from now on finds them.
        fence(Ordering::SeqCst);
        if self.is_lost() {
            tokens.lost.cancel();
        }
        if self.is_aborting() {
            tokens.aborting.cancel();
        }
        if shielded { tokens.lost.child_token() } else { tokens.aborting.child_token() }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures::FutureExt;

    use super::*;

    fn scope() -> Arc<RunScope> {
        Arc::new(RunScope::new(RunId::generate(), Epoch::FIRST, SagaName::new("saga").unwrap()))
    }

    #[tokio::test]
    async fn what_is_shielded_stops_for_a_loss_only() {
        let scope = scope();
        assert!(scope.stopped(false).now_or_never().is_none());
        scope.abort();
        scope.stopped(false).await;
        assert!(scope.stopped(true).now_or_never().is_none());
        let told = tokio::spawn({
            let scope = Arc::clone(&scope);
            async move { scope.stopped(true).await }
        });
        tokio::task::yield_now().await;
        scope.lose();
        told.await.unwrap();
        assert!(scope.stops(true) && scope.is_lost());
    }

    #[test]
    fn a_token_says_the_same_whenever_it_was_asked_for() {
        let scope = scope();
        let before = [scope.token(false), scope.token(true)];
        before[0].child_token().cancel();
        scope.abort();
        let between = [scope.token(false), scope.token(true)];
        let is_cancelled = |tokens: &[CancellationToken; 2]| tokens.each_ref().map(CancellationToken::is_cancelled);
        assert_eq!((is_cancelled(&before), is_cancelled(&between)), ([true, false], [true, false]));
        scope.lose();
        assert_eq!((is_cancelled(&before), is_cancelled(&between)), ([true, true], [true, true]));
        let late = self::scope();
        late.abort();
        assert_eq!(is_cancelled(&[late.token(false), late.token(true)]), [true, false]);
        late.lose();
        assert_eq!(is_cancelled(&[late.token(false), late.token(true)]), [true, true]);
    }

    #[test]
    fn who_cancels_a_token_cancels_nothing_else() {
        let scope = scope();
        scope.token(false).cancel();
        assert!(!scope.token(false).is_cancelled() && !scope.stops(false));
    }
}
