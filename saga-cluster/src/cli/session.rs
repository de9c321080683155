//! One command from beginning to end: with the data in hand, or by asking the process that has it.

use std::time::{Duration, Instant};

use tokio::sync::mpsc::{self, Sender};

use super::args::{Keep, Options};
use super::control::{Call, Conversation, Heard, Unanswered};
use super::hold::{self, Hold};
use super::holder::{self, GRACE, Holder};
use super::interrupt::Interrupts;
use super::kit::Kit;
use super::paths::DataDir;
use super::remote;
use super::render::Screen;
use super::reply::Reply;
use super::request::Request;
use super::trouble::{Exit, Trouble};
use crate::model::Timestamp;

/// How long a command waits for a process that holds the data and does not listen: it is about to begin or to end.
const PATIENCE: Duration = Duration::from_secs(10);
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// How many parts of answers may wait for the screen.
const WAITING_REPLIES: usize = 256;

/// Does what was asked for, and tells it on the screen.
pub(super) async fn run(options: &Options, request: Request, screen: Box<dyn Screen>) -> Exit {
    shown(screen, async |replies| try_to_run(options, request, &replies).await).await
}

/// Does something, and tells it on the screen.
pub(super) async fn shown(
    screen: Box<dyn Screen>,
    work: impl AsyncFnOnce(Sender<Reply>) -> Result<Exit, Trouble>,
) -> Exit {
    let (replies, mut told) = mpsc::channel(WAITING_REPLIES);
    let showing = tokio::spawn(async move {
        let mut screen = screen;
        while let Some(reply) = told.recv().await {
            screen.show(&reply);
        }
        screen.close();
    });
    let exit = match work(replies.clone()).await {
        Ok(exit) => exit,
        Err(trouble) => {
            let exit = trouble.exit;
            let _ = replies.send(Reply::Error(trouble)).await;
            exit
        }
    };
    drop(replies);
    let _ = showing.await;
    exit
}

async fn try_to_run(options: &Options, request: Request, replies: &Sender<Reply>) -> Result<Exit, Trouble> {
    let mut interrupts = Interrupts::listen();
    if let Some(url) = &options.store {
        return remote::run(options, url, request, replies, &mut interrupts).await;
    }
    let data = DataDir::open(options.data.as_deref())?;
    let call = Call::new(&options.by, request);
    let started = Instant::now();
    let mut said = false;
    loop {
        let lock = Hold::take(&data.lock()).map_err(|error| {
            Trouble::new(format!("{} cannot be locked: {error}", data.lock().display())).untouched()
        })?;
        if let Some(lock) = lock {
            data.check_not_moved()?;
            return hold(options, &data, lock, call, replies, &mut interrupts).await;
        }
        let holder = hold::Holder::of(&data.lock());
        match Conversation::open(&data.socket(), &call).await {
            Ok(conversation) => return converse(conversation, &call, &holder, replies, &mut interrupts).await,
            Err(Unanswered::NobodyListens) if started.elapsed() < PATIENCE => {
                if !said && started.elapsed() > Duration::from_secs(2) {
                    said = true;
                    let text = format!("waiting for {holder}, which holds the data, to listen or to end");
                    let _ = replies.send(Reply::note(text)).await;
                }
                tokio::select! {
                    () = tokio::time::sleep(LOOK_AGAIN) => {}
                    () = interrupts.next() => return Ok(Exit::Interrupted),
                }
            }
            Err(unanswered) => return Err(refused(unanswered, &data, &holder)),
        }
    }
}

fn refused(unanswered: Unanswered, data: &DataDir, holder: &hold::Holder) -> Trouble {
    let place = data.path().display();
    match unanswered {
        Unanswered::NobodyListens => {
            Trouble::new(format!("{place} is held by {holder}, which does not listen on control.sock"))
                .untouched()
                .next("wait until it ends, or end it, and try again: what it has begun goes on then")
        }
        Unanswered::Broken(error) => {
            Trouble::new(format!("{place} is held by {holder}, which cannot be asked on control.sock: {error}"))
                .untouched()
                .next("wait until it ends, or end it, and try again: what it has begun goes on then")
        }
        Unanswered::Unknown(error) => {
            Trouble::new(format!("{holder}, which holds {place}, went away when it was asked: {error}"))
                .state("it is not known whether it has begun with what you asked for")
                .next("look with `saga-cluster list`, and ask again if need be")
        }
    }
}

/// Asks the process that holds the data.
async fn converse(
    mut conversation: Conversation,
    call: &Call,
    holder: &hold::Holder,
    replies: &Sender<Reply>,
    interrupts: &mut Interrupts,
) -> Result<Exit, Trouble> {
    let question = call.request.is_question();
    if !question {
        let _ = replies.send(Reply::note(format!("the data is held by {holder}: asking it"))).await;
    }
    loop {
        let heard = tokio::select! {
            heard = conversation.next() => heard,
            () = interrupts.next() => {
                if question {
                    return Ok(Exit::Interrupted);
                }
                let text = format!("leaving; {} goes on in {holder}", call.request);
                let _ = replies.send(Reply::note(text)).await;
                return Ok(Exit::Unfinished);
            }
        };
        match heard {
            Heard::Reply(reply) => drop(replies.send(reply).await),
            Heard::Finished(exit) => return Ok(exit),
            Heard::Gone if question => {
                return Err(Trouble::new(format!("{holder}, which held the data, is gone")).next("ask again"));
            }
            Heard::Gone => {
                return Err(Trouble::unfinished(format!("{holder}, which held the data, is gone in the middle of it"))
                    .state("what was begun is journaled, and goes on when any saga-cluster command is run next")
                    .next("for example: `saga-cluster list`"));
            }
        }
    }
}

/// Does it here.
async fn hold(
    options: &Options,
    data: &DataDir,
    lock: Hold,
    call: Call,
    replies: &Sender<Reply>,
    interrupts: &mut Interrupts,
) -> Result<Exit, Trouble> {
    // Until the process has ended: whoever gets the lock then finds the stores closed.
    std::mem::forget(lock);
    let kit = Kit::new(data, options)?;
    let since = Timestamp::now();
    // What a worker was told to keep is not to be lost to a command that was told nothing.
    let keep = options.keep_runs.unwrap_or(Keep::Forever);
    let service = holder::open(data, &kit, keep).await?;
    let holder = Holder::new(data, service, since, replies.clone()).await;
    let all = async {
        let exit = holder.work(call, !options.no_wait).await;
        holder.serve_others().await;
        exit
    };
    let mut all = std::pin::pin!(all);
    let exit = tokio::select! {
        exit = &mut all => {
            // Nothing that anybody waits for goes on.
            let grace = if options.no_wait { Duration::ZERO } else { GRACE };
            interrupts.or_end(holder.park(grace)).await?;
            exit
        }
        () = interrupts.next() => {
            let text = "parking: what is in flight may still end; the rest goes on when any saga-cluster command is \
                        run next. Ctrl-C again to leave at once, which is safe too";
            let _ = replies.send(Reply::note(text)).await;
            interrupts.or_end(async { tokio::join!(holder.park(GRACE), all) }).await.1
        }
    };
    interrupts.or_end(holder.close()).await;
    Ok(exit)
}
