//! Ids that names had a moment ago, so that a cluster of many nodes does not ask for the same ones for each of them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::OnceCell;
use tokio::time::Instant;

use super::Nova;
use super::resolve::Kind;
use crate::engine::EngineError;

/// For how long an id is taken to be what its name means. Another image may get the name of one that goes.
const FRESH: Duration = Duration::from_secs(60);

/// What was looked up. Clones share it.
#[derive(Debug, Clone, Default)]
pub(super) struct Names(Arc<Mutex<BTreeMap<(Kind, String), Entry>>>);

#[derive(Debug, Clone)]
struct Entry {
    since: Instant,
    id: Arc<OnceCell<String>>,
}

impl Names {
    /// The place for an id: whoever comes first looks it up, and the others wait for that.
    fn place(&self, kind: Kind, said: &str) -> Arc<OnceCell<String>> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, entry| entry.since.elapsed() < FRESH);
        let entry = || Entry { since: Instant::now(), id: Arc::default() };
        Arc::clone(&all.entry((kind, said.to_owned())).or_insert_with(entry).id)
    }

    /// Nothing is known any more.
    pub(super) fn forget(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

impl Nova {
    /// The id of what has that id or name, or had it a moment ago.
    ///
    /// # Errors
    /// Those of [`resolve`](Nova::resolve). They are not kept.
    pub(super) async fn id_of(&self, kind: Kind, said: &str) -> Result<String, EngineError> {
        let place = self.names.place(kind, said);
        let id = place.get_or_try_init(|| async { Ok(self.resolve(kind, said).await?.id) });
        id.await.cloned()
    }
}
