//! An engine whose machines are entries in a map.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use crate::engine::{Engine, EngineError, Machine, NodeOrder};
use crate::model::{ClusterName, Doomed, Node, NodeName, NodeToken};

#[derive(Debug, Default)]
struct World {
    machines: BTreeMap<NodeToken, Machine>,
    created: Vec<NodeName>,
    destroyed: Vec<NodeName>,
}

/// Keeps machines in memory, and a log of what was done. Clones share them, so a test keeps one and gives one away, and
/// a coordinator that "restarts" gets another.
#[derive(Debug, Clone, Default)]
pub struct FakeEngine {
    world: Arc<Mutex<World>>,
}

impl FakeEngine {
    /// An engine without machines.
    pub fn new() -> Self {
        Self::default()
    }

    /// All machines that there are.
    pub fn machines(&self) -> Vec<Machine> {
        self.world().machines.values().cloned().collect()
    }

    /// The names of all machines that there are, sorted.
    pub fn names(&self) -> Vec<NodeName> {
        let mut names: Vec<_> = self.world().machines.values().map(|machine| machine.node.clone()).collect();
        names.sort();
        names
    }

    /// Every machine that was really made, in order. Adopting one makes none.
    pub fn created(&self) -> Vec<NodeName> {
        self.world().created.clone()
    }

    /// Every machine that was really destroyed, in order. One that was gone already is not destroyed again.
    pub fn destroyed(&self) -> Vec<NodeName> {
        self.world().destroyed.clone()
    }

    /// Puts a machine there that nobody ordered: an orphan of some earlier life.
    pub fn plant(&self, machine: Machine) {
        self.world().machines.insert(machine.token.clone(), machine);
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Engine for FakeEngine {
    async fn create(&self, order: &NodeOrder) -> Result<Node, EngineError> {
        let mut world = self.world();
        let (cluster, node, token) = (order.cluster.clone(), order.name.clone(), order.token.clone());
        let machine = if let Some(known) = world.machines.get(&token) {
            known.clone()
        } else {
            // Nobody listens there: the fake plugin does not connect.
            let port = 1 + u16::try_from(world.created.len() % 60_000).unwrap_or_default();
            let address = Some(SocketAddr::from(([127, 0, 0, 1], port)));
            world.created.push(node.clone());
            let machine = Machine { cluster, node, token, address, ready: true };
            world.machines.insert(machine.token.clone(), machine.clone());
            machine
        };
        if (&machine.cluster, &machine.node) != (&order.cluster, &order.name) {
            return Err(EngineError::rejected(format!("the token {} belongs to {}", order.token, machine.node)));
        }
        machine.into_node().ok_or_else(|| EngineError::failed(format!("{} does not answer", order.name)))
    }

    async fn find(&self, token: &NodeToken) -> Result<Option<Machine>, EngineError> {
        Ok(self.world().machines.get(token).cloned())
    }

    async fn destroy(&self, doomed: &Doomed) -> Result<(), EngineError> {
        let mut world = self.world();
        if let Some(machine) = world.machines.remove(doomed.token()) {
            world.destroyed.push(machine.node);
        }
        Ok(())
    }

    async fn list(&self, cluster: &ClusterName) -> Result<Vec<Machine>, EngineError> {
        Ok(self.world().machines.values().filter(|machine| machine.cluster == *cluster).cloned().collect())
    }
}
