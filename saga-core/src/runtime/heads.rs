//! Group reads: those who follow runs that other workers drive ask for their heads, and are answered together.
//!
//! As with appends, batches are formed by load: while one call to the store is under way the next one gathers.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures::FutureExt;
use tokio::sync::{mpsc, oneshot};

use crate::id::RunId;
use crate::panics::panic_message;
use crate::store::{Found, Store, StoreError};

/// How many heads are asked for in one call to the store: their journals may come along, all of which is in memory then.
const MOST_HEADS: usize = 128;

type Answer = Result<Option<Found>, Arc<StoreError>>;

struct Request {
    run: RunId,
    reply: oneshot::Sender<Answer>,
}

#[derive(Clone)]
pub(crate) struct Heads {
    store: Arc<dyn Store>,
    requests: mpsc::UnboundedSender<Request>,
}

impl Heads {
    /// The heads, and the loop that somebody has to run for them.
    pub(crate) fn new(store: Arc<dyn Store>) -> (Self, impl Future<Output = ()> + Send) {
        // Unbounded, but each who follows a run has at most one request under way.
        let (requests, incoming) = mpsc::unbounded_channel();
        (Self { store: Arc::clone(&store), requests }, answer_batches(store, incoming))
    }

    /// The head of a run, if there is such a run.
    pub(crate) async fn get(&self, run: &RunId) -> Answer {
        let (reply, answer) = oneshot::channel();
        if self.requests.send(Request { run: run.clone(), reply }).is_ok()
            && let Ok(answer) = answer.await
        {
            return answer;
        }
        // The loop has ended with its coordinator, and the handle is still there.
        self.store.get(run).await.map(|head| head.map(Found::from)).map_err(Arc::new)
    }
}

async fn answer_batches(store: Arc<dyn Store>, mut incoming: mpsc::UnboundedReceiver<Request>) {
    let mut requests = Vec::new();
    while incoming.recv_many(&mut requests, MOST_HEADS).await > 0 {
        let runs: Vec<RunId> = requests.iter().map(|request| request.run.clone()).collect();
        let asked = AssertUnwindSafe(store.look(&runs)).catch_unwind().await;
        let found: Result<HashMap<RunId, Found>, Arc<StoreError>> = match asked {
            Ok(Ok(found)) => Ok(found.into_iter().map(|found| (found.summary.run.clone(), found)).collect()),
            Ok(Err(error)) => Err(Arc::new(error)),
            Err(panic) => {
                let message = format!("it panicked: {}", panic_message(&*panic));
                Err(Arc::new(StoreError::Unavailable { message, source: None }))
            }
        };
        for Request { run, reply } in requests.drain(..) {
            // Nobody may be waiting any more.
            let _ = reply.send(found.as_ref().map(|heads| heads.get(&run).cloned()).map_err(Arc::clone));
        }
    }
}
