//! What a driver is told from outside of its loop, and how.
//!
//! A queue of its own, because most runs are never told anything: a channel of tokio's takes two kilobytes for its first
//! message, which a waiting run is to make do without.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, oneshot};

use crate::action::StepError;
use crate::id::ItemRef;
use crate::journal::Actor;
use crate::payload::Payload;

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

struct Shared {
    /// `None` when nobody reads any more.
    mails: Mutex<Option<VecDeque<Mail>>>,
    arrived: Notify,
}

impl Shared {
    fn mails(&self) -> MutexGuard<'_, Option<VecDeque<Mail>>> {
        // Valid after every statement that changes it.
        self.mails.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The end that mails are sent to.
#[derive(Clone)]
pub(crate) struct Mailbox(Arc<Shared>);

/// The end that the driver reads. When it is dropped, what it has not read is dropped too.
pub(crate) struct Mails(Arc<Shared>);

/// A mailbox and its reader.
pub(crate) fn mailbox() -> (Mailbox, Mails) {
    let shared = Arc::new(Shared { mails: Mutex::new(Some(VecDeque::new())), arrived: Notify::new() });
    (Mailbox(Arc::clone(&shared)), Mails(shared))
}

impl Mailbox {
    pub(crate) fn send(&self, mail: Mail) -> Result<(), Closed> {
        self.0.mails().as_mut().ok_or(Closed)?.push_back(mail);
        self.0.arrived.notify_one();
        Ok(())
    }
}

impl Mails {
    /// The oldest mail, if there is one.
    pub(crate) fn try_recv(&mut self) -> Option<Mail> {
        self.0.mails().as_mut()?.pop_front()
    }

    /// The oldest mail, as soon as there is one. What it has not returned when it is dropped is still there.
    pub(crate) async fn recv(&mut self) -> Mail {
        loop {
            if let Some(mail) = self.try_recv() {
                return mail;
            }
            // One that came since has left its notice.
            self.0.arrived.notified().await;
        }
    }
}

impl Drop for Mails {
    fn drop(&mut self) {
        // Dropped outside of the lock: those who wait for an answer are told by it, and may look here.
        let unread = self.0.mails().take();
        drop(unread);
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn mails_come_in_the_order_in_which_they_were_sent() {
        let (mailbox, mut mails) = mailbox();
        assert!(mails.recv().now_or_never().is_none());
        let (reply, answer) = oneshot::channel();
        mailbox.send(Mail::Cancel(Actor::new("ops", "enough"), reply)).unwrap();
        mailbox.send(Mail::SubjectGone).unwrap();
        assert!(matches!(mails.recv().await, Mail::Cancel(..)));
        assert!(answer.await.is_err(), "dropped with the mail");
        assert!(matches!(mails.try_recv(), Some(Mail::SubjectGone)));
        assert!(mails.try_recv().is_none());
        assert!(mails.recv().now_or_never().is_none());
    }

    #[tokio::test]
    async fn a_reader_that_waits_is_woken() {
        let (mailbox, mut mails) = mailbox();
        let reading = tokio::spawn(async move { matches!(mails.recv().await, Mail::SubjectGone) });
        tokio::task::yield_now().await;
        mailbox.send(Mail::SubjectGone).unwrap();
        assert!(reading.await.unwrap());
    }

    #[tokio::test]
    async fn who_writes_to_one_that_is_gone_learns_of_it() {
        let (mailbox, mails) = mailbox();
        let (reply, answer) = oneshot::channel();
        mailbox.send(Mail::Cancel(Actor::new("ops", "enough"), reply)).unwrap();
        drop(mails);
        assert!(answer.await.is_err(), "what was not read is dropped");
        assert!(mailbox.send(Mail::SubjectGone).is_err());
    }
}
