//! A store that tells the stage of what becomes durable.

use std::sync::Arc;

use async_trait::async_trait;

use super::stage::Stage;
use crate::id::ExclusiveKey;
use crate::store::{Append, Layer, MemoryStore, Refused, Store, StoreError};

pub(super) struct Tap {
    pub(super) store: MemoryStore,
    pub(super) stage: Arc<Stage>,
    /// What the run holds until it has ended.
    pub(super) key: ExclusiveKey,
}

impl Tap {
    async fn check_key(&self, append: &Append) -> Result<(), StoreError> {
        let holder = self.store.holder(&self.key).await?;
        let expected = (!append.status.is_ended()).then_some(&append.run);
        if holder.as_ref() != expected {
            let held = if holder.is_some() { "still" } else { "no longer" };
            self.stage.wrong(format!("the exclusive key is {held} held by a run that is {}", append.status));
        }
        Ok(())
    }
}

#[async_trait]
impl Layer for Tap {
    type Below = MemoryStore;

    fn below(&self) -> &MemoryStore {
        &self.store
    }

    async fn append(&self, batch: &[Append]) -> Result<Vec<Result<(), Refused>>, StoreError> {
        let answers = self.store.append(batch).await?;
        for (append, _) in batch.iter().zip(&answers).filter(|(_, answer)| answer.is_ok()) {
            // They were encoded a moment ago.
            let records = append.records.iter().filter_map(|record| record.decode().ok()).collect();
            self.stage.appended(records).await;
            self.check_key(append).await?;
        }
        Ok(answers)
    }
}

#[cfg(test)]
mod tests {
    use super::super::script::Script;
    use super::*;
    use crate::{Coordinator, Ctx, Saga};

    /// No saga can bring it about that its run loses its key, so it is asked of a run that never had one.
    #[tokio::test(start_paused = true)]
    async fn a_run_without_its_key_is_noticed() {
        let mut saga = Saga::<(), u32>::builder("keyless", 1);
        let input = saga.input();
        let step = saga.step("step", input, async |_: Ctx<()>, n: u32| Ok(n)).nothing_to_undo();
        let saga = saga.build(step).unwrap();
        let store = MemoryStore::new();
        let stage = Arc::new(Stage::new(Script::default(), 0, false, store.faults()));
        let tap = Tap { store, stage: Arc::clone(&stage), key: ExclusiveKey::new("key").unwrap() };
        let coordinator = Coordinator::builder(tap, ()).register(&saga).start().await.unwrap();
        let run = coordinator.start(&saga, 1).await.unwrap();
        assert!(run.outcome().await.unwrap().is_completed());
        assert_eq!(stage.seen().wrong, ["the exclusive key is no longer held by a run that is running"]);
    }
}
