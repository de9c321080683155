//! The blocks that users write, and where they are looked for.

use std::time::Duration;

use saga_cluster::model::Cluster;
use saga_cluster::plugin::BlocksClient;
use saga_cluster::plugin::blocks::BlockKey;

use super::evidence::BlockLook;
use super::town::Town;
use crate::Fail;

const PATIENCE: Duration = Duration::from_secs(5);
/// How often a block that was not found is looked for again: its node may be busy.
const LOOKS: usize = 3;

/// The bytes that belong under a key: some hundred or thousand, no two keys the same.
fn bytes(key: &str) -> Vec<u8> {
    let length = 100 + key.bytes().map(usize::from).sum::<usize>() % 1900;
    key.bytes().cycle().take(length).collect()
}

/// Writes so many blocks to a cluster, through the nodes of its record. Those that are acknowledged must stay.
pub(crate) async fn write(town: &Town, record: &Cluster, prefix: &str, count: usize) -> Result<(), Fail> {
    let client = BlocksClient::new(record.nodes.iter().cloned()).patience(PATIENCE);
    for number in 0..count {
        let key: BlockKey = format!("{prefix}.{number}").parse()?;
        // One that was refused, or whose node did not answer, may be there or not.
        if client.put(&key, &bytes(key.as_str())).await.is_ok() {
            let mut notes = town.notes();
            if let Some(blocks) = notes.blocks.get_mut(record.name().as_str()) {
                blocks.insert(key.as_str().to_owned());
            }
        }
    }
    Ok(())
}

/// Looks for all blocks of a cluster on the nodes of its record.
pub(crate) async fn look(town: &Town, record: &Cluster, when: &'static str) -> Result<Vec<BlockLook>, Fail> {
    let name = record.name().to_string();
    let blocks = town.notes().blocks.get(&name).cloned().unwrap_or_default();
    let client = BlocksClient::new(record.nodes.iter().cloned()).patience(PATIENCE);
    let mut looks = Vec::new();
    for key in blocks {
        let mut found = String::new();
        for _ in 0..LOOKS {
            found = match client.get(&key.parse()?).await {
                Ok(Some(read)) if read == bytes(&key) => String::new(),
                Ok(Some(read)) => format!("it has {} bytes, and others than were written", read.len()),
                Ok(None) => "no node has it".to_owned(),
                Err(error) => error.to_string(),
            };
            if found.is_empty() {
                break;
            }
        }
        looks.push(BlockLook { cluster: name.clone(), key, when, wrong: (!found.is_empty()).then_some(found) });
    }
    Ok(looks)
}
