//! Cutting a batch into waves: the appends of one wave can be written by one statement.
//!
//! A statement first moves the runs that it goes on with, then makes the new ones, and knows of a key that it frees whether
//! a start that wants it came before or after that in the batch. So almost every batch is one wave. It is more only where
//! it goes on with a run twice, or starts two runs under one key, or where it is too large for one statement.

use std::collections::HashMap;

use saga_core::store::Append;
use saga_core::{ExclusiveKey, RunId};

/// The most bytes of records in one statement. The protocol's limit is 1 GiB; the server holds several copies meanwhile.
const MOST_BYTES: usize = 64 * 1024 * 1024;

/// The appends of a batch by place, wave by wave. Taken wave by wave they have the effect that they have one by one.
pub(super) fn cut(batch: &[Append], sound: impl Iterator<Item = usize>) -> Vec<Vec<usize>> {
    let mut waves: Vec<Vec<usize>> = Vec::new();
    let mut runs: HashMap<&RunId, usize> = HashMap::new();
    let mut keys: HashMap<&ExclusiveKey, usize> = HashMap::new();
    // Which key an end frees is known only to the store, so ends and starts under a key keep their order.
    let (mut ends, mut keyed_starts) = (None, 0);
    for place in sound {
        let append = &batch[place];
        let key = append.start.as_ref().and_then(|new| new.key.as_ref());
        let after = |before: Option<&usize>| before.map_or(0, |wave| wave + 1);
        let ends_one = append.status.is_ended();
        let mut wave = after(runs.get(&append.run)).max(key.map_or(0, |key| after(keys.get(key))));
        if key.is_some() {
            // A run that ends at once looks for a holder without seeing what its own statement moves.
            wave = wave.max(if ends_one { after(ends.as_ref()) } else { ends.unwrap_or(0) });
            keyed_starts = keyed_starts.max(wave);
        }
        if ends_one {
            wave = wave.max(keyed_starts);
            ends = ends.max(Some(wave));
        }
        runs.insert(&append.run, wave);
        if let Some(key) = key {
            keys.insert(key, wave);
        }
        if waves.len() <= wave {
            waves.resize_with(wave + 1, Vec::new);
        }
        waves[wave].push(place);
    }
    waves.into_iter().flat_map(|wave| cut_by_size(batch, wave)).collect()
}

fn cut_by_size(batch: &[Append], wave: Vec<usize>) -> Vec<Vec<usize>> {
    let size = |place: usize| batch[place].records.iter().map(|record| record.bytes.len()).sum::<usize>();
    let mut parts = vec![Vec::new()];
    let mut bytes = 0;
    for place in wave {
        bytes += size(place);
        if bytes > MOST_BYTES && parts.last().is_some_and(|part| !part.is_empty()) {
            parts.push(Vec::new());
            bytes = size(place);
        }
        if let Some(part) = parts.last_mut() {
            part.push(place);
        }
    }
    parts
}
