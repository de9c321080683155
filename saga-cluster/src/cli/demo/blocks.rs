//! The data that must not be lost.

use std::collections::BTreeMap;
use std::ops::Range;

use futures::{StreamExt, TryStreamExt, stream};

use crate::cli::trouble::Trouble;
use crate::model::{Node, NodeName};
use crate::plugin::BlocksClient;
use crate::plugin::blocks::{BlockKey, BlocksError};

/// How many blocks are written at a time.
pub(super) const BLOCKS: usize = 300;
const BLOCK_BYTES: usize = 1024;
const AT_A_TIME: usize = 8;

/// Where each block is.
pub(super) type Places = BTreeMap<BlockKey, NodeName>;

fn key(index: usize) -> Result<BlockKey, Trouble> {
    BlockKey::new(format!("block-{index:03}")).map_err(|error| Trouble::new(error.to_string()))
}

/// What a block holds follows from its number, so that every byte can be checked.
fn content(index: usize) -> Vec<u8> {
    (0..BLOCK_BYTES).map(|at| u8::try_from((index * 31 + at * 7 + at * at / 11) % 251).unwrap_or_default()).collect()
}

fn failed(error: BlocksError) -> Trouble {
    Trouble::new(format!("the block store failed: {error}"))
}

/// Writes these blocks.
pub(super) async fn write(nodes: &[Node], which: Range<usize>) -> Result<(), Trouble> {
    let client = &BlocksClient::new(nodes.to_vec());
    let written = stream::iter(which)
        .map(|index| async move { client.put(&key(index)?, &content(index)).await.map_err(failed).map(drop) });
    written.buffer_unordered(AT_A_TIME).try_collect().await
}

/// Reads the first so many blocks, and counts those that are there and unchanged, byte for byte.
pub(super) async fn intact(nodes: &[Node], written: usize) -> Result<usize, Trouble> {
    let client = &BlocksClient::new(nodes.to_vec());
    let read = stream::iter(0..written).map(|index| async move {
        let found = client.get(&key(index)?).await.map_err(failed)?;
        Ok::<_, Trouble>(usize::from(found.is_some_and(|bytes| bytes == content(index))))
    });
    read.buffer_unordered(AT_A_TIME).try_fold(0, |sum, one| async move { Ok(sum + one) }).await
}

/// Where the blocks are now.
pub(super) async fn places(nodes: &[Node]) -> Result<Places, Trouble> {
    BlocksClient::new(nodes.to_vec()).list().await.map_err(failed)
}

/// How many blocks are somewhere else than before.
pub(super) fn moved(before: &Places, after: &Places) -> usize {
    before.iter().filter(|(key, node)| after.get(*key) != Some(*node)).count()
}

/// How many blocks a node has.
pub(super) fn on(places: &Places, node: &NodeName) -> usize {
    places.values().filter(|place| *place == node).count()
}

/// The nodes and their blocks, drawn.
pub(super) fn picture(nodes: &[Node], places: &Places) -> Vec<String> {
    let line = |node: &Node| {
        let count = on(places, &node.name);
        format!("{:<8} {:>4} blocks {}", node.name, count, "▇".repeat(count / 5))
    };
    nodes.iter().map(line).collect()
}
