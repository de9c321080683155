//! The direct engine: each machine is a server of Nova.
//!
//! Nova makes two servers of two equal requests, so a server is looked for by the tag of its token before it is made, and
//! again when an answer was lost. Where two were made all the same, one is kept and the others are deleted.
//!
//! | what Nova says | what it means |
//! |---|---|
//! | 400, 403 (quota), 404 to a creation | rejected |
//! | `ERROR` after a creation | failed, with the fault; the next attempt replaces it |
//! | `BUILD` for longer than a creation may take | failed |
//! | 404 to a deletion, or gone from the list | gone |
//! | `ERROR`, or still `ACTIVE`, after a deletion | it is asked for again |
//! | 409, 429, 5xx, no answer | failed |

mod check;
mod resolve;
mod servers;
mod settings;
mod tags;
mod version;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::OnceCell;
use tokio::time::{Instant, sleep};
use tracing::{debug, info};

use self::servers::{Server, State};
use self::settings::Described;
use self::tags::Identity;
use super::Session;
use super::call::{Answer, Call, Service};
use super::failure::CallError;
use crate::engine::{Engine, EngineCheck, EngineError, Machine, NodeOrder};
use crate::model::{ClusterName, ClusterSpec, Doomed, Node, NodeToken};

/// How often a server is looked at that is being made or deleted.
const POLL: Duration = Duration::from_millis(500);
/// How long a creation whose answer was lost may take to show.
const SHOWS_WITHIN: Duration = Duration::from_secs(10);
/// How often a deletion is asked for that does not seem to have been heard.
const ASK_AGAIN: Duration = Duration::from_secs(5);

/// Makes machines that are servers of Nova. Their settings are in `docs/engines.md`.
#[derive(Debug, Clone)]
pub struct NovaEngine {
    nova: Nova,
    ready_within: Duration,
    gone_within: Duration,
}

/// Nova, with the microversion that is spoken with it.
#[derive(Debug, Clone)]
struct Nova {
    session: Session,
    version: Arc<OnceCell<String>>,
}

impl Nova {
    async fn call(&self, call: Call) -> Result<Answer, CallError> {
        if call.service() != Service::Compute {
            return self.session.call(call).await;
        }
        let version = self.version.get_or_try_init(|| version::negotiate(&self.session)).await?;
        self.session.call(call.header("openstack-api-version", format!("compute {version}"))).await
    }

    /// The servers with that token.
    async fn with_token(&self, token: &NodeToken) -> Result<Vec<Server>, CallError> {
        let mut servers = self.servers(&tags::of_token(token)).await?;
        servers.retain(|server| server.identity.token == *token);
        Ok(servers)
    }

    /// Asks for the deletion of a server. One that is gone is fine.
    async fn delete(&self, server: &Server) -> Result<(), CallError> {
        match self.call(Call::delete(Service::Compute, format!("/servers/{}", server.id))).await {
            Ok(_) => Ok(()),
            Err(error) if error.status() == Some(404) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

impl NovaEngine {
    /// The name by which specs ask for it.
    pub const KIND: &str = "nova";

    /// An engine that makes its servers through that session. Nothing is sent yet.
    pub fn new(session: Session) -> Self {
        Self {
            nova: Nova { session, version: Arc::default() },
            ready_within: Duration::from_secs(4 * 60),
            gone_within: Duration::from_secs(45),
        }
    }

    /// How long a new server may take to be active. 4 minutes, unless told otherwise.
    #[must_use]
    pub fn ready_within(mut self, limit: Duration) -> Self {
        self.ready_within = limit;
        self
    }

    /// How long a deleted server may take to be gone. 45 seconds, unless told otherwise.
    #[must_use]
    pub fn gone_within(mut self, limit: Duration) -> Self {
        self.gone_within = limit;
        self
    }

    async fn look(&self, token: &NodeToken, doing: &str) -> Result<Vec<Server>, EngineError> {
        self.nova.with_token(token).await.map_err(|error| error.into_failed(doing))
    }

    /// Asks Nova for a server, and makes sure that it has heard.
    async fn ask_for(&self, identity: &Identity, wanted: &Described) -> Result<(), EngineError> {
        let name = &identity.node;
        let request = self.nova.server_request(identity, wanted).await?;
        let lost = match self.nova.call(Call::post(Service::Compute, "/servers", request)).await {
            Ok(_) => {
                info!(node = %name, cluster = %identity.cluster, "asked Nova for a server");
                return Ok(());
            }
            Err(error) if error.had_no_effect() => {
                return Err(error.into_engine(&format!("Nova did not take {name}")));
            }
            Err(error) => error,
        };
        // It may have heard all the same.
        debug!(node = %name, error = %lost, "looking whether a request that was lost has made a server");
        let asked = Instant::now();
        while asked.elapsed() < SHOWS_WITHIN {
            if self.nova.with_token(&identity.token).await.is_ok_and(|servers| !servers.is_empty()) {
                return Ok(());
            }
            sleep(POLL).await;
        }
        Err(lost.into_failed(&format!("it is not known whether {name} was made")))
    }

    fn machine(server: Server) -> Machine {
        let Server { identity: Identity { cluster, node, token }, state, address, .. } = server;
        Machine { cluster, node, token, address, ready: state == State::Active }
    }
}

/// The one server that counts of those with one token: any that did not fail before any that did, then the first made.
/// Whoever else looks chooses the same.
fn chosen(servers: &[Server]) -> Option<&Server> {
    let going = |server: &&Server| server.state != State::Deleting;
    servers.iter().filter(going).min_by_key(|one| (matches!(one.state, State::Error(_)), &one.created, &one.id))
}

#[async_trait]
impl Engine for NovaEngine {
    fn settings(&self) -> &[&str] {
        settings::KNOWN
    }

    fn configured(&self) -> Result<(), EngineError> {
        self.nova.session.configured()
    }

    fn validate(&self, spec: &ClusterSpec) -> Result<(), EngineError> {
        Described::all(spec).map(drop)
    }

    async fn check(&self, spec: &ClusterSpec) -> Result<EngineCheck, EngineError> {
        check::check(&self.nova, &Described::all(spec)?).await
    }

    async fn create(&self, order: &NodeOrder) -> Result<Node, EngineError> {
        let name = &order.name;
        let wanted = Described::read(&order.settings).map_err(|problems| EngineError::rejected(problems.join("\n")))?;
        let (cluster, node, token) = (order.cluster.clone(), name.clone(), order.token.clone());
        let identity = Identity { cluster, node, token };
        let doing = format!("looking for {name}");
        let started = Instant::now();
        let mut asked = false;
        loop {
            let servers = self.look(&order.token, &doing).await?;
            if let Some(other) = servers.iter().find(|server| server.identity != identity) {
                let Identity { cluster, node, token } = &other.identity;
                return Err(EngineError::rejected(format!("the token {token} belongs to {node} of {cluster}")));
            }
            let keep = chosen(&servers);
            for extra in servers.iter().filter(|one| keep.is_none_or(|keep| keep.id != one.id)) {
                if extra.state != State::Deleting {
                    info!(node = %name, server = extra.id, "deleting a second server of one node");
                    self.nova
                        .delete(extra)
                        .await
                        .map_err(|error| error.into_failed(&format!("{name} has two servers, one to be deleted")))?;
                }
            }
            match keep {
                Some(server) => match &server.state {
                    State::Active => {
                        return Ok(Node { name: name.clone(), token: order.token.clone(), address: server.address });
                    }
                    State::Error(fault) if asked => {
                        return Err(EngineError::failed(format!("the server of {name} came to ERROR: {fault}")));
                    }
                    // Of an earlier attempt.
                    State::Error(_) => {
                        self.nova
                            .delete(server)
                            .await
                            .map_err(|error| error.into_failed(&format!("the broken server of {name} remains")))?;
                    }
                    State::Building | State::Deleting => {}
                    State::Other(status) => {
                        return Err(EngineError::failed(format!("the server of {name} is {status}")));
                    }
                },
                None if !servers.is_empty() => {}
                None if asked => {
                    return Err(EngineError::failed(format!("the server of {name} was deleted by somebody else")));
                }
                None => {
                    self.ask_for(&identity, &wanted).await?;
                    asked = true;
                }
            }
            if started.elapsed() > self.ready_within {
                let (limit, state) = (self.ready_within, servers.first().map(|one| one.state.to_string()));
                let state = state.unwrap_or_else(|| "not to be seen".into());
                return Err(EngineError::failed(format!("the server of {name} is {state} after {limit:?}")));
            }
            sleep(POLL).await;
        }
    }

    async fn find(&self, token: &NodeToken) -> Result<Option<Machine>, EngineError> {
        let servers = self.look(token, "looking for a server").await?;
        // One that is on its way out is still there.
        Ok(chosen(&servers).or(servers.first()).cloned().map(Self::machine))
    }

    async fn destroy(&self, doomed: &Doomed) -> Result<(), EngineError> {
        let name = doomed.name();
        let started = Instant::now();
        let mut last_asked: Option<Instant> = None;
        let mut refused: Option<CallError> = None;
        loop {
            let mut servers = self.look(doomed.token(), &format!("looking for {name}")).await?;
            servers.retain(|server| server.identity.cluster == *doomed.cluster());
            if servers.is_empty() {
                info!(node = %name, cluster = %doomed.cluster(), "its server is gone");
                return Ok(());
            }
            // One that says it is going may have been forgotten by a compute service that went down.
            if last_asked.is_none_or(|then| then.elapsed() >= ASK_AGAIN) {
                last_asked = Some(Instant::now());
                for server in &servers {
                    refused = self.nova.delete(server).await.err().or(refused);
                }
            }
            if started.elapsed() > self.gone_within {
                let left: Vec<_> = servers.iter().map(|one| format!("{} is {}", one.id, one.state)).collect();
                let (limit, left) = (self.gone_within, left.join(", "));
                let error = EngineError::failed(format!("the server of {name} is not gone after {limit:?}: {left}"));
                return Err(match refused {
                    Some(refused) => error.because(refused),
                    None => error,
                });
            }
            sleep(POLL).await;
        }
    }

    async fn list(&self, cluster: &ClusterName) -> Result<Vec<Machine>, EngineError> {
        let listed = self.nova.servers(&[tags::of_cluster(cluster)]).await;
        let mut servers = listed.map_err(|error| error.into_failed("listing the servers of a cluster"))?;
        servers.retain(|server| server.identity.cluster == *cluster);
        servers.sort_by(|a, b| (&a.identity.node, &a.identity.token).cmp(&(&b.identity.node, &b.identity.token)));
        let same = |a: &Server, b: &Server| a.identity.token == b.identity.token;
        let of_tokens = servers.chunk_by(same);
        Ok(of_tokens.filter_map(|of_one| chosen(of_one).or(of_one.first()).cloned()).map(Self::machine).collect())
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
