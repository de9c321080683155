//! How a coordinator dies, and the engine and plugin that kill it.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use saga_cluster::engine::{Engine, EngineError, Machine, NodeOrder};
use saga_cluster::model::{
    Cluster, ClusterName, ClusterSpec, Decommissioned, Doomed, Leaving, Node, NodeName, NodeToken, ScalePlan,
};
use saga_cluster::plugin::{ClusterView, Health, OpContext, Plugin, PluginError};

use crate::coordinator::Ended;
use crate::dying::Moment;

/// How a coordinator dies.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Death {
    /// It does not.
    Never,
    /// At an append to the journal.
    Append(u64, Moment),
    /// When it is about to make a call.
    Enter(&'static str),
    /// When a call was made, before anything is written down of it.
    Leave(&'static str),
    /// In the middle of a call, when so many slots were moved.
    Slot(&'static str, u64),
    /// It lives, but a call fails for good.
    Halts(&'static str),
    /// When that much time has passed; but at the latest when a call was made, or some slots were moved.
    Timer(Duration),
}

/// How far a coordinator comes that dies by the clock, so that others have something left to do.
const SLOTS_BY_THE_CLOCK: u64 = 500;

const CALLS: &[&str] = &["configure", "start", "decommission", "create", "destroy"];

/// As the environment of a process has it.
impl fmt::Display for Death {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Never => f.write_str("never"),
            Self::Append(append, moment) => write!(f, "append {append} {moment:?}"),
            Self::Enter(call) => write!(f, "enter {call}"),
            Self::Leave(call) => write!(f, "leave {call}"),
            Self::Slot(call, slot) => write!(f, "slot {call} {slot}"),
            Self::Halts(call) => write!(f, "halts {call}"),
            Self::Timer(time) => write!(f, "timer {}", time.as_millis()),
        }
    }
}

impl Death {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let words: Vec<&str> = text.split(' ').collect();
        let call = |name: &str| CALLS.iter().copied().find(|call| *call == name);
        Some(match words.as_slice() {
            ["never"] => Self::Never,
            ["append", append, "Before"] => Self::Append(append.parse().ok()?, Moment::Before),
            ["append", append, "After"] => Self::Append(append.parse().ok()?, Moment::After),
            ["enter", name] => Self::Enter(call(name)?),
            ["leave", name] => Self::Leave(call(name)?),
            ["slot", name, slot] => Self::Slot(call(name)?, slot.parse().ok()?),
            ["halts", name] => Self::Halts(call(name)?),
            ["timer", millis] => Self::Timer(Duration::from_millis(millis.parse().ok()?)),
            _ => return None,
        })
    }

    /// Whether a coordinator that was to die like that may have ended like that.
    pub(crate) fn fits(self, ended: Ended) -> bool {
        match self {
            Self::Never => ended == Ended::Done,
            Self::Halts(_) => ended == Ended::Resting,
            _ => ended == Ended::Killed,
        }
    }

    fn strike(self, here: Self) {
        let too_far = match (self, here) {
            (Self::Timer(_), Self::Leave(_)) => true,
            (Self::Timer(_), Self::Slot(_, slots)) => slots >= SLOTS_BY_THE_CLOCK,
            _ => false,
        };
        if self == here || too_far {
            die();
        }
    }
}

/// Ends this process as a power loss would.
fn die() -> ! {
    let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    loop {
        std::thread::park();
    }
}

/// An engine or a plugin that kills its process.
#[derive(Debug, Clone)]
pub(crate) struct Deadly<T> {
    pub(crate) inner: T,
    pub(crate) death: Death,
}

impl<T: Sync> Deadly<T> {
    async fn call<V, E>(&self, name: &'static str, work: impl Future<Output = Result<V, E>> + Send) -> Result<V, E> {
        self.death.strike(Death::Enter(name));
        let done = work.await?;
        self.death.strike(Death::Leave(name));
        Ok(done)
    }

    fn halted(&self, name: &'static str) -> Result<(), PluginError> {
        match self.death {
            Death::Halts(call) if call == name => Err(PluginError::fatal(format!("injected: {name} fails for good"))),
            _ => Ok(()),
        }
    }
}

/// Counts slots, and kills at one of them.
struct Counting<'a> {
    inner: &'a dyn OpContext,
    call: &'static str,
    death: Death,
    slots: Arc<AtomicU64>,
}

#[async_trait]
impl OpContext for Counting<'_> {
    fn report(&self, node: &NodeName, done: u64, total: u64) {
        let slots = self.slots.fetch_add(1, Ordering::SeqCst) + 1;
        self.death.strike(Death::Slot(self.call, slots));
        self.inner.report(node, done, total);
    }

    async fn checkpoint(&self, node: &NodeName, done: &str) -> Result<(), PluginError> {
        self.inner.checkpoint(node, done).await
    }

    fn is_cancelled(&self) -> bool {
        self.inner.is_cancelled()
    }

    async fn cancelled(&self) {
        self.inner.cancelled().await;
    }
}

impl<T> Deadly<T> {
    fn counting<'a>(&self, call: &'static str, inner: &'a dyn OpContext) -> Counting<'a> {
        Counting { inner, call, death: self.death, slots: Arc::default() }
    }
}

#[async_trait]
impl<P: Plugin> Plugin for Deadly<P> {
    fn settings(&self) -> &[&str] {
        self.inner.settings()
    }

    fn validate(&self, spec: &ClusterSpec) -> Result<(), PluginError> {
        self.inner.validate(spec)
    }

    fn validate_scale(&self, cluster: &Cluster, plan: &ScalePlan) -> Result<(), PluginError> {
        self.inner.validate_scale(cluster, plan)
    }

    async fn configure(&self, view: &ClusterView, nodes: &[Node], ctx: &dyn OpContext) -> Result<(), PluginError> {
        self.halted("configure")?;
        let counting = self.counting("configure", ctx);
        self.call("configure", self.inner.configure(view, nodes, &counting)).await
    }

    async fn start(&self, view: &ClusterView, nodes: &[Node], ctx: &dyn OpContext) -> Result<(), PluginError> {
        self.halted("start")?;
        let counting = self.counting("start", ctx);
        self.call("start", self.inner.start(view, nodes, &counting)).await
    }

    async fn decommission(
        &self,
        view: &ClusterView,
        leaving: Vec<Leaving>,
        ctx: &dyn OpContext,
    ) -> Result<Vec<Decommissioned>, PluginError> {
        self.halted("decommission")?;
        let counting = self.counting("decommission", ctx);
        self.call("decommission", self.inner.decommission(view, leaving, &counting)).await
    }

    async fn health(&self, view: &ClusterView) -> Result<Health, PluginError> {
        self.inner.health(view).await
    }
}

#[async_trait]
impl<E: Engine> Engine for Deadly<E> {
    fn configured(&self) -> Result<(), EngineError> {
        self.inner.configured()
    }

    fn settings(&self) -> &[&str] {
        self.inner.settings()
    }

    async fn create(&self, order: &NodeOrder) -> Result<Node, EngineError> {
        self.call("create", self.inner.create(order)).await
    }

    async fn find(&self, token: &NodeToken) -> Result<Option<Machine>, EngineError> {
        self.inner.find(token).await
    }

    async fn destroy(&self, doomed: &Doomed) -> Result<(), EngineError> {
        // Machines are made and destroyed at the same time. One thing after the other, so that it is known what is left.
        if matches!(self.death, Death::Enter("create") | Death::Leave("create")) {
            std::future::pending::<()>().await;
        }
        self.call("destroy", self.inner.destroy(doomed)).await
    }

    async fn list(&self, cluster: &ClusterName) -> Result<Vec<Machine>, EngineError> {
        self.inner.list(cluster).await
    }
}
