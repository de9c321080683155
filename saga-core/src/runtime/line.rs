//! The line to a run's driver: what the driver is told from outside of its loop, and what it tells those who follow the run.
//!
//! All of it is one piece of memory, and small, because thousands of runs may wait: most of them are never told anything,
//! and the channels and tokens of tokio that would do take some 600 bytes for each run. A driver has one waker for all that
//! it waits for, and looks at everything when it is woken.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use futures::task::{ArcWake, AtomicWaker};
use tokio::sync::{Notify, oneshot};

use crate::action::{RunScope, StepError};
use crate::id::{Epoch, ItemRef, RunId};
use crate::journal::Actor;
use crate::outcome::Outcome;
use crate::payload::Payload;
use crate::store::StoreError;

/// What a driver is told from outside of its loop.
pub(crate) enum Mail {
    /// Somebody cancels the run; answered when that is durable.
    Cancel(Actor, oneshot::Sender<()>),
    /// An action records progress; answered when that is durable, or has come too late.
    Checkpoint(ItemRef, Payload, oneshot::Sender<Result<(), StepError>>),
    /// The guard said, in the middle of a wait, that the subject is gone.
    SubjectGone,
}

/// Nobody reads any more.
#[derive(Debug)]
pub(crate) struct Closed;

/// How far a run has come, as its handles see it.
#[derive(Debug, Clone)]
pub(crate) enum Progress {
    /// It goes on.
    Live,
    /// It came to rest.
    Settled(Arc<Outcome<Payload>>),
    /// It was set aside; the registry knows why.
    Parked,
    /// Its coordinator stopped, or another worker has claimed it.
    Stopped,
    /// The store failed for good.
    Failed(Arc<StoreError>),
}

/// The line of one run under one claim.
pub(crate) struct Line {
    pub(crate) scope: Arc<RunScope>,
    /// `None` when nobody reads any more.
    mails: Mutex<Option<VecDeque<Mail>>>,
    progress: Mutex<Progress>,
    /// Grows with everything that followers are told.
    news: AtomicU32,
    told: Notify,
    driver: AtomicWaker,
    /// Something in flight can go on.
    ready: AtomicBool,
    /// Somebody wants to know of every append: waking costs more than a step does.
    watched: AtomicBool,
    /// Nobody drives the run any more.
    over: AtomicBool,
    /// The driver is asked to make itself small while it waits.
    rests: AtomicBool,
    /// How often the driver has done something.
    turns: AtomicU32,
}

/// Valid after every statement that changes what is in it.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Line {
    pub(crate) fn new(scope: RunScope) -> Self {
        Self {
            scope: Arc::new(scope),
            mails: Mutex::new(Some(VecDeque::new())),
            progress: Mutex::new(Progress::Live),
            news: AtomicU32::new(0),
            told: Notify::new(),
            driver: AtomicWaker::new(),
            ready: AtomicBool::new(false),
            watched: AtomicBool::new(false),
            over: AtomicBool::new(false),
            rests: AtomicBool::new(false),
            turns: AtomicU32::new(0),
        }
    }

    /// Leaves word for the driver.
    pub(crate) fn send(&self, mail: Mail) -> Result<(), Closed> {
        lock(&self.mails).as_mut().ok_or(Closed)?.push_back(mail);
        self.rouse();
        Ok(())
    }

    /// Wakes the driver from now on whenever there is something to look at. For the driver alone.
    pub(crate) fn register(&self, waker: &Waker) {
        self.driver.register(waker);
    }

    /// Makes the driver look.
    pub(crate) fn rouse(&self) {
        self.driver.wake();
    }

    pub(crate) fn run(&self) -> &RunId {
        &self.scope.run
    }

    pub(crate) fn epoch(&self) -> Epoch {
        self.scope.epoch
    }

    /// The run is no longer this worker's: the driver is to stop, and all that is in flight learns of it.
    pub(crate) fn lose(&self) {
        self.scope.lose();
        self.rouse();
    }

    /// Asks the driver to make itself small, if it has done nothing since `turns` were counted, and counts them anew.
    pub(crate) fn rest(&self, turns: u32) -> u32 {
        let now = self.turns.load(Ordering::Relaxed);
        if now == turns && !self.rests.swap(true, Ordering::SeqCst) {
            self.rouse();
        }
        now
    }
}

/// As what is in flight wakes it. So it is polled when it can go on, and not whenever the driver looks.
impl ArcWake for Line {
    fn wake_by_ref(line: &Arc<Self>) {
        line.ready.store(true, Ordering::SeqCst);
        line.rouse();
    }
}

/// The driver's end of its line. When it goes, what it has not read is dropped.
pub(crate) struct Receiver(Arc<Line>);

impl Receiver {
    pub(crate) fn new(line: Line) -> Self {
        Self(Arc::new(line))
    }

    pub(crate) fn line(&self) -> &Arc<Line> {
        &self.0
    }

    /// Notes that something in flight can go on, which the driver has put there.
    pub(crate) fn set_ready(&self) {
        self.0.ready.store(true, Ordering::SeqCst);
    }

    /// Whether something in flight can go on, since this was last asked.
    pub(crate) fn take_ready(&self) -> bool {
        self.0.ready.swap(false, Ordering::SeqCst)
    }

    pub(crate) fn has_mail(&self) -> bool {
        lock(&self.0.mails).as_ref().is_some_and(|mails| !mails.is_empty())
    }

    /// The oldest mail, if there is one.
    pub(crate) fn try_recv(&self) -> Option<Mail> {
        lock(&self.0.mails).as_mut()?.pop_front()
    }

    /// The oldest mail, as soon as there is one. For a run that waits for its place, and has no driver yet.
    pub(crate) async fn recv(&self) -> Mail {
        poll_fn(|cx| {
            self.0.register(cx.waker());
            self.try_recv().map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }

    /// Notes that the driver does something.
    pub(crate) fn at_work(&self) {
        self.0.turns.fetch_add(1, Ordering::Relaxed);
        self.0.rests.store(false, Ordering::Relaxed);
    }

    /// Whether the driver was asked to make itself small.
    pub(crate) fn may_rest(&self) -> bool {
        self.0.rests.load(Ordering::SeqCst)
    }

    /// Tells those who want to know of every append that there was one.
    pub(crate) fn appended(&self) {
        if self.0.watched.load(Ordering::SeqCst) {
            self.tell(|_| {});
        }
    }

    /// Tells how it ended.
    pub(crate) fn ended(&self, progress: Progress) {
        self.tell(|now| *now = progress);
    }

    fn tell(&self, change: impl FnOnce(&mut Progress)) {
        let mut progress = lock(&self.0.progress);
        change(&mut progress);
        self.0.news.fetch_add(1, Ordering::SeqCst);
        drop(progress);
        self.0.told.notify_waiters();
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        // Dropped outside of the lock: those who wait for an answer are told by it, and may look here.
        let unread = lock(&self.0.mails).take();
        drop(unread);
        self.0.over.store(true, Ordering::SeqCst);
        self.0.told.notify_waiters();
    }
}

/// One who follows a run.
#[derive(Clone)]
pub(crate) struct Following {
    line: Arc<Line>,
    seen: u32,
}

impl Following {
    /// Follows a run, from its beginning: whatever was told before is not seen yet.
    pub(crate) fn new(line: Arc<Line>) -> Self {
        Self { line, seen: 0 }
    }

    /// How far the run has come; what was told until now is seen.
    pub(crate) fn look(&mut self) -> Progress {
        let progress = lock(&self.line.progress);
        self.seen = self.line.news.load(Ordering::SeqCst);
        progress.clone()
    }

    /// From now on every append is told, if the run goes on. Who begins to watch reads the journal after that.
    pub(crate) fn watch(&self) {
        self.line.watched.store(true, Ordering::SeqCst);
    }

    /// Whether the run is driven under this claim, and nothing else was told.
    pub(crate) fn is_live(&self) -> bool {
        !self.is_over() && matches!(*lock(&self.line.progress), Progress::Live)
    }

    /// Whether nobody drives the run any more under this claim.
    pub(crate) fn is_over(&self) -> bool {
        self.line.over.load(Ordering::SeqCst)
    }

    /// Returns when something was told that was not looked at yet, or nothing more will be.
    pub(crate) async fn changed(&self) {
        loop {
            let mut told = pin!(self.line.told.notified());
            // Before looking, so that nothing falls between.
            told.as_mut().enable();
            if self.line.news.load(Ordering::SeqCst) != self.seen || self.is_over() {
                return;
            }
            told.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;
    use crate::id::SagaName;

    fn line() -> Receiver {
        let scope = RunScope::new(RunId::new("run").unwrap(), Epoch::FIRST, SagaName::new("saga").unwrap());
        Receiver::new(Line::new(scope))
    }

    #[test]
    fn mails_come_in_the_order_in_which_they_were_sent() {
        let driver = line();
        assert!(!driver.has_mail());
        let (reply, mut answer) = oneshot::channel();
        driver.line().send(Mail::Cancel(Actor::new("ops", "enough"), reply)).unwrap();
        driver.line().send(Mail::SubjectGone).unwrap();
        assert!(driver.has_mail());
        assert!(matches!(driver.try_recv(), Some(Mail::Cancel(..))));
        assert!(answer.try_recv().is_err(), "dropped with the mail");
        assert!(matches!(driver.try_recv(), Some(Mail::SubjectGone)));
        assert!(driver.try_recv().is_none() && !driver.has_mail());
    }

    #[tokio::test]
    async fn a_driver_that_waits_is_woken() {
        let driver = line();
        let line = Arc::clone(driver.line());
        let reading = tokio::spawn(futures::future::poll_fn(move |cx| {
            driver.line().register(cx.waker());
            if driver.has_mail() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
        }));
        tokio::task::yield_now().await;
        line.send(Mail::SubjectGone).unwrap();
        reading.await.unwrap();
    }

    #[tokio::test]
    async fn who_writes_to_one_that_is_gone_learns_of_it() {
        let driver = line();
        let line = Arc::clone(driver.line());
        let (reply, answer) = oneshot::channel();
        line.send(Mail::Cancel(Actor::new("ops", "enough"), reply)).unwrap();
        let following = Following::new(Arc::clone(&line));
        assert!(following.changed().now_or_never().is_none());
        drop(driver);
        assert!(answer.await.is_err(), "what was not read is dropped");
        assert!(line.send(Mail::SubjectGone).is_err());
        assert!(following.is_over());
        following.changed().await;
    }

    #[tokio::test]
    async fn followers_are_told_once_of_what_they_have_not_seen() {
        let driver = line();
        let mut following = Following::new(Arc::clone(driver.line()));
        driver.appended();
        assert!(following.changed().now_or_never().is_none(), "nobody watches");
        following.watch();
        driver.appended();
        following.changed().await;
        assert!(matches!(following.look(), Progress::Live));
        assert!(following.changed().now_or_never().is_none());
        driver.ended(Progress::Parked);
        following.changed().await;
        assert!(matches!(following.look(), Progress::Parked));
    }

    #[test]
    fn one_that_did_nothing_is_asked_to_rest() {
        let driver = line();
        let before = driver.line().rest(7);
        assert!(!driver.may_rest(), "it had done something else");
        assert_eq!(driver.line().rest(before), before);
        assert!(driver.may_rest());
        driver.at_work();
        assert!(!driver.may_rest());
        assert_ne!(driver.line().rest(before), before);
        assert!(!driver.may_rest());
    }
}
