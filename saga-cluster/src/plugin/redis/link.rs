//! Talking to one server.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, Cmd, FromRedisValue, Pipeline, RedisError, RedisResult, Value};
use tokio::time::timeout;

use super::table::Table;
use crate::model::{Node, NodeName};
use crate::plugin::PluginError;

/// By what a server tells which machine it is: the token of the node, as the name by which it announces itself.
pub(super) const IDENTITY: &str = "cluster-announce-hostname";
/// How long, in milliseconds, the others wait for a server before they take it for dead.
const NODE_TIMEOUT: &str = "cluster-node-timeout";

/// A connection to a server that has proved to be the one that is meant. Every call is bounded in time.
#[derive(Debug, Clone)]
pub(super) struct Link {
    pub(super) node: Node,
    pub(super) address: SocketAddr,
    /// Its name among the servers.
    pub(super) id: String,
    /// What the other servers reach it at.
    pub(super) bus_port: u16,
    patience: Duration,
    node_timeout: Duration,
    connection: MultiplexedConnection,
}

impl Link {
    /// Connects to the server of a node.
    pub(super) async fn open(node: &Node, patience: Duration) -> Result<Self, PluginError> {
        let unreachable = |why: String| PluginError::failed(format!("{} cannot be reached: {why}", node.name));
        // Whatever others have done by then, no attempt will reach it.
        let address = node.reach().map_err(|error| PluginError::fatal(error.to_string()))?;
        let opening = async {
            let client = Client::open((address.ip().to_string(), address.port()))?;
            let config = AsyncConnectionConfig::new()
                .set_connection_timeout(Some(patience))
                .set_response_timeout(Some(patience));
            client.get_multiplexed_async_connection_with_config(&config).await
        };
        let connection = match timeout(patience, opening).await {
            Ok(opened) => opened.map_err(|error| unreachable(error.to_string()).because(error))?,
            Err(_) => return Err(unreachable(format!("no connection within {patience:?}"))),
        };
        let (id, node_timeout) = (String::new(), Duration::ZERO);
        let mut link = Self { node: node.clone(), address, id, bus_port: 0, patience, node_timeout, connection };
        let config: BTreeMap<String, String> = link.call(command("CONFIG GET").arg(IDENTITY).arg(NODE_TIMEOUT)).await?;
        let announced = config.get(IDENTITY).map_or("", String::as_str);
        if announced != node.token.as_str() {
            let whose = if announced.is_empty() { "an unknown one".to_owned() } else { format!("that of {announced}") };
            return Err(unreachable(format!("the server at {address} is another one ({whose})")));
        }
        let timeout = config.get(NODE_TIMEOUT).and_then(|millis| millis.parse().ok());
        link.node_timeout = timeout
            .map(Duration::from_millis)
            .ok_or_else(|| unreachable(format!("it does not say its {NODE_TIMEOUT}")))?;
        let own = link.table().await?.own().clone();
        link.bus_port = own.bus_port.ok_or_else(|| unreachable("it has no port for other servers".to_owned()))?;
        link.id = own.id;
        Ok(link)
    }

    pub(super) fn name(&self) -> &NodeName {
        &self.node.name
    }

    /// Asks one thing.
    pub(super) async fn call<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, PluginError> {
        self.try_call(command).await.map_err(|error| self.failed(command, error))
    }

    /// Asks one thing, of which the caller knows what a refusal means.
    pub(super) async fn try_call<T: FromRedisValue>(&self, command: &Cmd) -> RedisResult<T> {
        command.query_async(&mut self.connection.clone()).await
    }

    /// Asks many things in one go, and returns all answers, none of which is an error.
    pub(super) async fn all(&self, commands: &mut Pipeline) -> Result<Vec<Value>, PluginError> {
        let answers = self.each(commands).await?;
        let mut asked = commands.cmd_iter();
        let mut values = Vec::with_capacity(answers.len());
        for answer in answers {
            let command = asked.next();
            values.push(answer.map_err(|error| match command {
                Some(command) => self.failed(command, error),
                None => PluginError::failed(format!("{}: {error}", self.name())).because(error),
            })?);
        }
        Ok(values)
    }

    /// Asks many things in one go, and returns each answer.
    pub(super) async fn each(&self, commands: &mut Pipeline) -> Result<Vec<RedisResult<Value>>, PluginError> {
        if commands.is_empty() {
            return Ok(Vec::new());
        }
        let answers = commands.ignore_errors().query_async(&mut self.connection.clone()).await;
        answers.map_err(|error: RedisError| {
            PluginError::failed(format!("{} did not answer: {error}", self.name())).because(error)
        })
    }

    /// What it says of its cluster.
    pub(super) async fn table(&self) -> Result<Table, PluginError> {
        let text: String = self.call(&command("CLUSTER NODES")).await?;
        Table::parse(&text)
            .ok_or_else(|| PluginError::failed(format!("what {} says of its cluster makes no sense", self.name())))
    }

    /// One fact of `CLUSTER INFO` or `INFO`.
    pub(super) async fn fact(&self, section: &str, fact: &str) -> Result<Option<String>, PluginError> {
        Ok(self.facts(section).await?.remove(fact))
    }

    /// All facts of `CLUSTER INFO`, or of a section of `INFO`, at one moment.
    pub(super) async fn facts(&self, section: &str) -> Result<BTreeMap<String, String>, PluginError> {
        let text: String = self.call(&command(section)).await?;
        let facts = text.lines().filter_map(|line| line.split_once(':'));
        Ok(facts.map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect())
    }

    /// How long a call may take.
    pub(super) fn patience(&self) -> Duration {
        self.patience
    }

    /// How long it may be silent before the others take it for dead.
    pub(super) fn node_timeout(&self) -> Duration {
        self.node_timeout
    }

    /// What it means to the plugin that a server refused something.
    pub(super) fn failed(&self, command: &Cmd, error: RedisError) -> PluginError {
        PluginError::failed(format!("{} did not do {}: {error}", self.name(), in_words(command))).because(error)
    }
}

/// A command of one or more words.
pub(super) fn command(words: &str) -> Cmd {
    let mut command = Cmd::new();
    for word in words.split_whitespace() {
        command.arg(word);
    }
    command
}

/// The first words of a command: the rest may be keys.
fn in_words(command: &Cmd) -> String {
    let words = command.args_iter().take(3).map(|arg| match arg {
        redis::Arg::Simple(word) => String::from_utf8_lossy(word).into_owned(),
        _ => String::new(),
    });
    words.collect::<Vec<_>>().join(" ")
}
