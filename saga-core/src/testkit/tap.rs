//! A store that tells the stage of what becomes durable.

use std::sync::Arc;

use async_trait::async_trait;

use super::stage::Stage;
use crate::store::{Append, Layer, MemoryStore, Refused, Store, StoreError};

pub(super) struct Tap {
    pub(super) store: MemoryStore,
    pub(super) stage: Arc<Stage>,
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
        }
        Ok(answers)
    }
}
