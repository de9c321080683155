//! How a cluster is.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::join_all;

use super::link::Link;
use super::settings;
use super::table::{SLOTS, SlotSet, Table};
use crate::model::Node;
use crate::plugin::{ClusterView, Health, Light, NodeHealth, PluginError};

/// What one server says of itself.
struct Said {
    table: Table,
    state: Option<String>,
    master_link: Option<String>,
}

pub(super) async fn of(cluster: &ClusterView, patience: Duration) -> Health {
    let asked = cluster.nodes().iter().map(|node| async move { (node, ask(node, patience).await) });
    let said: Vec<(&Node, Result<Said, PluginError>)> = join_all(asked).await;
    let members: Vec<&str> =
        said.iter().filter_map(|(_, said)| Some(said.as_ref().ok()?.table.own().id.as_str())).collect();
    let nodes = said.iter().map(|(node, said)| {
        let health = match said {
            Ok(said) => judge(said, &members),
            Err(why) => NodeHealth::Unreachable(why.to_string()),
        };
        (node.name.clone(), health)
    });
    let nodes: BTreeMap<_, _> = nodes.collect();
    let answers: Vec<&Said> = said.iter().filter_map(|(_, said)| said.as_ref().ok()).collect();
    let (light, why) = match red(&answers) {
        Some(why) => (Light::Red, why),
        None => match yellow(&answers, &nodes, settings::replicas_of(cluster.spec())) {
            Some(why) => (Light::Yellow, why),
            None => (Light::Green, String::new()),
        },
    };
    Health { nodes, light, why }
}

async fn ask(node: &Node, patience: Duration) -> Result<Said, PluginError> {
    let link = Link::open(node, patience).await?;
    let table = link.table().await?;
    let state = link.fact("CLUSTER INFO", "cluster_state").await?;
    let master_link = link.fact("INFO replication", "master_link_status").await?;
    Ok(Said { table, state, master_link })
}

fn judge(said: &Said, members: &[&str]) -> NodeHealth {
    let own = said.table.own();
    let knows = |id: &&&str| !said.table.row(id).is_some_and(|row| row.is_sound());
    if said.state.as_deref() != Some("ok") {
        NodeHealth::Impaired("it says that the cluster cannot serve".to_owned())
    } else if let Some(slot) = own.migrating.keys().chain(own.importing.keys()).next() {
        NodeHealth::Impaired(format!("slot {slot} is being moved"))
    } else if own.master.is_some() && said.master_link.as_deref() != Some("up") {
        NodeHealth::Impaired("it is not connected to its master".to_owned())
    } else if members.iter().filter(knows).count() > 0 {
        NodeHealth::Impaired("it does not reach all others".to_owned())
    } else {
        NodeHealth::Serving
    }
}

/// Why some keys cannot be had, if that is so.
fn red(answers: &[&Said]) -> Option<String> {
    if answers.is_empty() {
        return Some("no node answers".to_owned());
    }
    let owned: SlotSet = answers.iter().flat_map(|said| said.table.own().slots.iter().copied()).collect();
    let missing = usize::from(SLOTS) - owned.len();
    if missing > 0 {
        return Some(format!("{missing} of {SLOTS} slots are served by no node that answers"));
    }
    let failing = answers.iter().filter(|said| said.state.as_deref() != Some("ok")).count();
    (failing > 0).then(|| format!("{failing} of {} nodes say that the cluster cannot serve", answers.len()))
}

/// Why it is in danger, if it is.
fn yellow(answers: &[&Said], nodes: &BTreeMap<crate::model::NodeName, NodeHealth>, replicas: usize) -> Option<String> {
    if let Some((name, health)) = nodes.iter().find(|(_, health)| **health != NodeHealth::Serving) {
        return Some(format!("{name} is {health}"));
    }
    let replicas_of = |id: &str| answers.iter().filter(|said| said.table.own().master.as_deref() == Some(id)).count();
    let own = answers.iter().map(|said| said.table.own());
    let bare = own.filter(|own| !own.slots.is_empty() && replicas_of(&own.id) < replicas).count();
    (bare > 0).then(|| format!("{bare} masters have fewer replicas than {replicas}"))
}
