//! The engine whose machines are the resources of one Heat stack for each cluster, one named resource for each node.
//!
//! | module | what |
//! |---|---|
//! | `template` | the template, and the marks that make an update of it conditional |
//! | `decide` | what is to be done next, by what was seen and what is wanted |
//! | `queue` | the callers of one cluster, of whom one acts for all |
//! | `stacks` | the calls |
//! | `order` | a node's settings as a resource |
//!
//! | what is seen | what it means |
//! |---|---|
//! | 400 to an update that names a mark of ours | another update came first: look again |
//! | any other 400, 403, 404... to an update that adds nodes | rejected; if it names some of them, these alone |
//! | such an answer to any other update | failed, for everybody who waits |
//! | a resource `CREATE_FAILED`, and Heat has given up | taken out. No valid host or no quota: rejected. Else failed |
//! | a server that broke or went away, of a machine that is to be made | taken out, and made anew or failed |
//! | a resource `CHECK_FAILED`, of a machine that is to stay | no update is sent: Heat would replace its server |
//! | a stack in progress | waited for. Only removals are not put off |
//! | a stack that ended, whoever ended it | its machines are gone if Nova says so too; to make one, a new stack is made |
//! | `DELETE_FAILED` | what is to go is deleted at Nova, and the stack once nothing else is in it |
//! | 409, 429, 5xx, no answer | look again; failed, if nothing else is to be had for half a minute |

mod decide;
mod order;
mod queue;
mod stacks;
mod template;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::{Instant, sleep, timeout};
use tracing::{debug, info};

use self::decide::{Act, Answer, Health, Look, Phase, Stack, Verdict, Want, Wish, health, named};
use self::queue::{Pace, Place, Queue};
use self::stacks::{Cloud, stack_name};
use self::template::{Change, Document, is_refusal_of_marks};
use super::Session;
use super::failure::CallError;
use super::nova::servers::{Server, State};
use super::nova::settings::{self, Described};
use super::nova::{Nova, check};
use crate::FailureKind;
use crate::engine::{Engine, EngineCheck, EngineError, Finding, Machine, NodeOrder};
use crate::model::{ClusterName, ClusterSpec, Doomed, Node, NodeToken};

/// How often a stack is looked at that Heat works on.
const POLL: Duration = Duration::from_millis(500);
/// For how long the cloud may have nothing to say before a call gives up.
const TROUBLE_WITHIN: Duration = Duration::from_secs(30);
/// How often a server is asked to go that does not seem to have heard.
const ASK_AGAIN: Duration = Duration::from_secs(5);
/// Of how many machines it is remembered which cluster they are of. One that is forgotten is searched for.
const MOST_REMEMBERED: usize = 10_000;

/// Makes machines that are servers in a stack of Heat. Their settings are in `docs/engines.md`.
#[derive(Debug, Clone)]
pub struct HeatEngine {
    cloud: Cloud,
    shared: Arc<Shared>,
    ready_within: Duration,
    gone_within: Duration,
}

#[derive(Debug, Default)]
struct Shared {
    queues: Mutex<BTreeMap<ClusterName, Weak<Queue>>>,
    clusters: Mutex<BTreeMap<NodeToken, ClusterName>>,
}

impl Shared {
    /// The queue of a cluster: the same for all who are in it at one time.
    fn queue(&self, cluster: &ClusterName) -> Arc<Queue> {
        let mut queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(queue) = queues.get(cluster).and_then(Weak::upgrade) {
            return queue;
        }
        queues.retain(|_, queue| queue.strong_count() > 0);
        let queue = Arc::new(Queue::new(cluster.clone()));
        queues.insert(cluster.clone(), Arc::downgrade(&queue));
        queue
    }

    fn remember(&self, token: &NodeToken, cluster: &ClusterName) {
        let mut clusters = self.clusters.lock().unwrap_or_else(PoisonError::into_inner);
        if clusters.len() >= MOST_REMEMBERED {
            clusters.clear();
        }
        clusters.insert(token.clone(), cluster.clone());
    }

    fn remembered(&self, token: &NodeToken) -> Option<ClusterName> {
        self.clusters.lock().unwrap_or_else(PoisonError::into_inner).get(token).cloned()
    }
}

impl HeatEngine {
    /// The name by which specs ask for it.
    pub const KIND: &str = "heat";

    /// An engine that makes its stacks through that session. Nothing is sent yet.
    pub fn new(session: Session) -> Self {
        Self {
            cloud: Cloud { nova: Nova::new(session) },
            shared: Arc::default(),
            ready_within: Duration::from_secs(4 * 60),
            gone_within: Duration::from_secs(50),
        }
    }

    /// How long a new machine may take to be ready. 4 minutes, unless told otherwise.
    #[must_use]
    pub fn ready_within(mut self, limit: Duration) -> Self {
        self.ready_within = limit;
        self
    }

    /// How long a machine may take to be gone. 50 seconds, unless told otherwise.
    #[must_use]
    pub fn gone_within(mut self, limit: Duration) -> Self {
        self.gone_within = limit;
        self
    }

    /// Waits until a wish has come true, and acts for it and for all others of its cluster if nobody else does.
    async fn fulfil(&self, cluster: &ClusterName, wish: Wish, limit: Duration) -> Result<Answer, EngineError> {
        let name = wish.name.clone();
        let doing = if matches!(wish.want, Want::Gone) { "gone" } else { "ready" };
        self.shared.remember(&wish.token, cluster);
        let queue = self.shared.queue(cluster);
        let mut place = Arc::clone(&queue).enter(wish);
        let fulfilled = async {
            let lead = tokio::select! {
                biased;
                Ok(answer) = &mut place.answer => return Ok(answer),
                lead = queue.lead.lock() => lead,
            };
            self.lead(&queue, lead, &mut place).await
        };
        match timeout(limit, fulfilled).await {
            // It may have been sent, and taken, before.
            Ok(fulfilled) => fulfilled.map_err(|error| error.into_failed(&format!("{name} is not {doing}"))),
            Err(_) => Err(EngineError::failed(format!("{name} is not {doing} after {limit:?}: {}", queue.seen()))),
        }
    }

    /// Acts for all who wait, until the own wish is answered.
    async fn lead(
        &self,
        queue: &Queue,
        mut pace: tokio::sync::MutexGuard<'_, Pace>,
        place: &mut Place,
    ) -> Result<Answer, CallError> {
        let mut heard = Instant::now();
        loop {
            if let Ok(answer) = place.answer.try_recv() {
                return Ok(answer);
            }
            match self.turn(queue, &mut pace).await {
                Ok(Next::LookAgain) => heard = Instant::now(),
                Ok(Next::Wait) => {
                    heard = Instant::now();
                    if let Ok(answer) = place.answer.try_recv() {
                        return Ok(answer);
                    }
                    sleep(POLL).await;
                }
                Err(error) if error.kind() == FailureKind::Rejected && error.status().is_none() => return Err(error),
                Err(error) if heard.elapsed() > TROUBLE_WITHIN => return Err(error),
                Err(error) => {
                    debug!(cluster = %queue.cluster, %error, "looking again");
                    sleep(POLL).await;
                }
            }
        }
    }

    /// One look, and what follows from it.
    async fn turn(&self, queue: &Queue, pace: &mut Pace) -> Result<Next, CallError> {
        queue.change_all(Wish::look_begins);
        let look = self.cloud.look(&queue.cluster).await?;
        let decision = queue.decide(&look);
        for server in &decision.delete {
            self.delete_server(server, pace).await;
        }
        let cluster = &queue.cluster;
        let stack = look.stack.as_ref();
        match (decision.act, stack, stack.and_then(|stack| stack.document.as_ref())) {
            (Act::Make, ..) => self.make(queue).await,
            (Act::Change(change), Some(stack), Some(document)) => self.change(queue, stack, document, &change).await,
            (Act::Seal, Some(stack), Some(document)) => self.seal(queue, stack, document).await,
            (Act::Delete, Some(stack), _) => {
                info!(%cluster, stack = stack.id, "deleting the stack");
                self.cloud.delete(cluster, &stack.id).await?;
                Ok(Next::Wait)
            }
            _ => Ok(Next::Wait),
        }
    }

    /// Deletes a server that Heat does not delete by itself.
    async fn delete_server(&self, server: &Server, pace: &mut Pace) {
        let now = Instant::now();
        pace.asked.retain(|_, then| now - *then < ASK_AGAIN);
        if pace.asked.contains_key(&server.id) {
            return;
        }
        pace.asked.insert(server.id.clone(), now);
        info!(node = %server.identity.node, server = server.id, state = %server.state, "deleting a server past Heat");
        if let Err(error) = self.cloud.nova.delete(server).await {
            debug!(server = server.id, %error, "it is asked for again");
        }
    }

    async fn make(&self, queue: &Queue) -> Result<Next, CallError> {
        let made = self.cloud.make(&queue.cluster).await;
        match made {
            Ok(()) => {
                info!(cluster = %queue.cluster, "made a stack");
                Ok(Next::LookAgain)
            }
            // There is one by now.
            Err(error) if error.status() == Some(409) => Ok(Next::Wait),
            Err(error) if is_refusal(&error) => {
                let message = format!("Heat does not make a stack: {error}");
                queue.tell_all(&Answer::Failed(Verdict::rejected(message)));
                Ok(Next::Wait)
            }
            Err(error) => Err(error),
        }
    }

    async fn change(
        &self,
        queue: &Queue,
        stack: &Stack,
        document: &Document,
        change: &Change,
    ) -> Result<Next, CallError> {
        let adds = |token: &NodeToken| change.add.iter().any(|member| member.token == *token);
        // Before it is sent: it may be taken, and nobody hear of it.
        let asked = queue.each(|wish| adds(&wish.token).then(|| wish.asked()));
        let not_taken = || queue.change(&asked, Wish::not_taken);
        let changed = document.changed(change);
        match self.cloud.update(&queue.cluster, &stack.id, &changed).await {
            Ok(()) => {
                let (add, remove) = (change.add.len(), change.remove.len());
                info!(cluster = %queue.cluster, add, remove, close = change.close, "changed the stack");
                self.seal(queue, stack, &changed).await
            }
            Err(error) if came_late(&error) => {
                not_taken();
                Ok(Next::Wait)
            }
            Err(error) if is_refusal(&error) && !change.add.is_empty() => {
                not_taken();
                let message = error.to_string();
                let to_blame = named(&message, change.add.iter().map(|member| &member.name));
                queue.change(&asked, |wish| {
                    if to_blame.is_empty() || to_blame.contains(&wish.name) {
                        wish.refused(Verdict::rejected(format!("Heat does not take {}: {message}", wish.name)));
                    }
                });
                Ok(Next::LookAgain)
            }
            Err(error) => Self::refused(queue, error),
        }
    }

    async fn seal(&self, queue: &Queue, stack: &Stack, document: &Document) -> Result<Next, CallError> {
        match self.cloud.update(&queue.cluster, &stack.id, &document.seal()).await {
            Ok(()) => Ok(Next::LookAgain),
            Err(error) if came_late(&error) => Ok(Next::Wait),
            Err(error) => Self::refused(queue, error),
        }
    }

    /// Tells all who wait that the stack cannot be changed, if that is how it is.
    fn refused(queue: &Queue, error: CallError) -> Result<Next, CallError> {
        if !is_refusal(&error) {
            return Err(error);
        }
        let message = format!("Heat does not take a change of the stack: {error}");
        queue.tell_all(&Answer::Failed(Verdict::failed(message)));
        Ok(Next::Wait)
    }

    async fn look(&self, cluster: &ClusterName) -> Result<Look, EngineError> {
        let look = self.cloud.look(cluster).await;
        look.map_err(|error| error.into_failed(&format!("looking for the machines of {cluster}")))
    }
}

/// What to do after a turn.
#[derive(Debug, PartialEq)]
enum Next {
    LookAgain,
    Wait,
}

/// The request is refused as it stands.
fn is_refusal(error: &CallError) -> bool {
    error.status().is_some() && error.kind() == FailureKind::Rejected
}

/// The stack is not any more what it was when it was looked at.
fn came_late(error: &CallError) -> bool {
    match error {
        CallError::Refused { status: 404 | 409, .. } => true,
        CallError::Refused { status: 400, message, .. } => {
            is_refusal_of_marks(message) || message.contains("when it is deleting")
        }
        _ => false,
    }
}

/// All machines of a cluster, by what was seen of it.
fn machines(cluster: &ClusterName, look: &Look) -> Vec<Machine> {
    let mut machines = BTreeMap::new();
    for server in &look.servers {
        let identity = server.identity.clone();
        let machine = Machine {
            cluster: identity.cluster,
            node: identity.node,
            token: identity.token,
            address: server.address,
            ready: false,
        };
        machines.entry(machine.token.clone()).or_insert(machine);
    }
    let stack = look.stack.as_ref().filter(|stack| !stack.deleting);
    // One whose deletion failed never comes to anything again: what it has left are servers.
    let alive = look.stack.iter().filter(|stack| !stack.deleting || stack.phase != Phase::Failed);
    let members = alive.filter_map(|stack| stack.document.as_ref()).flat_map(Document::members);
    for member in members {
        let (node, token) = (member.name.clone(), member.token.clone());
        let machine = Machine { cluster: cluster.clone(), node, token: token.clone(), address: None, ready: false };
        let machine = machines.entry(token).or_insert(machine);
        let sealed = stack.filter(|stack| stack.document.as_ref().is_some_and(Document::is_sealed));
        if let Some(Health::Ready(address)) = sealed.map(|stack| health(look, stack, &member.name, &member.token)) {
            (machine.ready, machine.address) = (true, address);
        }
    }
    let mut machines: Vec<_> = machines.into_values().collect();
    machines.sort_by(|a, b| (&a.node, &a.token).cmp(&(&b.node, &b.token)));
    machines
}

impl fmt::Display for Look {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.stack {
            None => f.write_str("there is no stack")?,
            Some(stack) => write!(f, "the stack is {} ({})", stack.status, stack.reason)?,
        }
        let restless = self.servers.iter().filter(|server| server.state != State::Active);
        for server in restless.take(5) {
            write!(f, ", the server of {} is {}", server.identity.node, server.state)?;
        }
        Ok(())
    }
}

#[async_trait]
impl Engine for HeatEngine {
    fn configured(&self) -> Result<(), EngineError> {
        self.cloud.nova.session.configured()
    }

    fn settings(&self) -> &[&str] {
        settings::KNOWN
    }

    fn validate(&self, spec: &ClusterSpec) -> Result<(), EngineError> {
        Described::all(spec).map(drop)
    }

    async fn check(&self, spec: &ClusterSpec) -> Result<EngineCheck, EngineError> {
        let mut check = check::check(&self.cloud.nova, &Described::all(spec)?).await?;
        let about = format!("stack {}", stack_name(&spec.name));
        check.findings.push(match self.cloud.stack(&spec.name).await {
            Ok(None) => Finding::ok(about, "Heat has none of that name yet"),
            Ok(Some(Stack { document: Some(_), .. })) => Finding::warning(about, "it is there already, and is used"),
            Ok(Some(_)) => Finding::problem(about, "somebody else made it: choose another name"),
            Err(error) if error.kind() == FailureKind::Rejected => Finding::problem(about, error.to_string()),
            Err(error) => Finding::warning(about, format!("it cannot be told: {error}")),
        });
        Ok(check)
    }

    async fn create(&self, order: &NodeOrder) -> Result<Node, EngineError> {
        let member = order::member(&self.cloud.nova, order).await?;
        match self.fulfil(&order.cluster, Wish::there(member), self.ready_within).await? {
            Answer::Ready(address) => Ok(Node { name: order.name.clone(), token: order.token.clone(), address }),
            Answer::Failed(why) => Err(why.into()),
            Answer::Gone => Err(EngineError::failed(format!("{} is gone", order.name))),
        }
    }

    async fn find(&self, token: &NodeToken) -> Result<Option<Machine>, EngineError> {
        let cluster = match self.shared.remembered(token) {
            Some(cluster) => Some(cluster),
            None => {
                let found = self.cloud.cluster_of(token).await;
                found.map_err(|error| error.into_failed(&format!("looking for {token}")))?
            }
        };
        let Some(cluster) = cluster else { return Ok(None) };
        let look = self.look(&cluster).await?;
        Ok(machines(&cluster, &look).into_iter().find(|machine| machine.token == *token))
    }

    async fn destroy(&self, doomed: &Doomed) -> Result<(), EngineError> {
        let wish = Wish::gone(doomed.name().clone(), doomed.token().clone());
        match self.fulfil(doomed.cluster(), wish, self.gone_within).await? {
            Answer::Gone => {
                info!(node = %doomed.name(), cluster = %doomed.cluster(), "it is gone");
                Ok(())
            }
            Answer::Failed(why) => Err(why.into()),
            Answer::Ready(_) => Err(EngineError::failed(format!("{} is still there", doomed.name()))),
        }
    }

    async fn list(&self, cluster: &ClusterName) -> Result<Vec<Machine>, EngineError> {
        Ok(machines(cluster, &self.look(cluster).await?))
    }
}

#[cfg(test)]
mod interleaved;
#[cfg(test)]
mod real;
#[cfg(test)]
mod tests;
