//! Clusters that programs of the user's make: whatever can be scripted.
//!
//! The setting `commands` of a cluster names a program for each call of the [`Plugin`] trait. It is given the cluster and the
//! nodes as one JSON object on standard input, and says by its exit code what came of it; what it writes to standard error
//! is logged, and its end is told if it fails. `docs/plugins.md` has the protocol, and an example.
//!
//! Programs are looked for in one directory, which whoever runs the service chooses. So a spec says which of the programs
//! that are there are run, and not what runs there.

mod run;
mod settings;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fmt;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;

use async_trait::async_trait;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;

use self::run::{Ended, NotEnded, Program};
use self::settings::{COMMANDS, Commands};
use super::context::{cancelled, stop_if_cancelled};
use super::{ClusterView, Health, Light, NodeHealth, OpContext, Plugin, PluginError};
use crate::engine::process::executable;
use crate::model::{Cluster, ClusterSpec, Decommissioned, GroupName, Leaving, Node, NodeName, NodeToken, ScalePlan};

/// It changed nothing, and would not another time: `EX_DATAERR` of `sysexits.h`.
const REJECTED: i32 = 65;
/// Trying again does not help: `EX_SOFTWARE`.
const FATAL: i32 = 70;

/// What a program is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Call {
    Validate,
    Configure,
    Start,
    Decommission,
    Health,
}

impl Call {
    /// How long it may take, unless a spec says otherwise.
    fn usual_seconds(self) -> u64 {
        match self {
            // Somebody waits for the answer.
            Self::Validate | Self::Health => 10,
            Self::Configure | Self::Start => 9 * 60,
            Self::Decommission => 50 * 60,
        }
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Validate => "validate",
            Self::Configure => "configure",
            Self::Start => "start",
            Self::Decommission => "decommission",
            Self::Health => "health",
        })
    }
}

/// What a program is given.
#[derive(Serialize)]
struct Question<'a> {
    call: Call,
    /// What the cluster is to be.
    cluster: &'a ClusterSpec,
    /// All nodes that there are, leaving ones included.
    nodes: Vec<Told<'a>>,
    /// Those of them that the call is about: new ones, or leaving ones.
    about: Vec<&'a NodeName>,
    /// How many new ones there will be, if a scale is asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    coming: Vec<&'a NodeName>,
}

/// A node, as programs are told of it.
#[derive(Serialize)]
struct Told<'a> {
    #[serde(flatten)]
    node: &'a Node,
    group: &'a GroupName,
}

impl<'a> Question<'a> {
    fn new(
        call: Call,
        cluster: &'a ClusterSpec,
        nodes: &'a [Node],
        about: impl IntoIterator<Item = &'a NodeName>,
    ) -> Self {
        let nodes = nodes.iter().map(|node| Told { node, group: node.group() }).collect();
        Self { call, cluster, nodes, about: about.into_iter().collect(), coming: Vec::new() }
    }

    fn into_bytes(self) -> Result<Vec<u8>, PluginError> {
        serde_json::to_vec(&self).map_err(|error| PluginError::fatal("a cluster cannot be written down").because(error))
    }
}

/// What a program that decommissions answers.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Drained {
    drained: Vec<NodeToken>,
}

/// What a program that looks after the health of a cluster answers.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Looked {
    nodes: BTreeMap<NodeName, Looks>,
    light: Option<Light>,
    #[serde(default)]
    why: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Looks {
    Serving,
    Impaired(String),
    Unreachable(String),
}

/// Makes machines a cluster by running programs.
#[derive(Debug, Clone)]
pub struct CommandsPlugin {
    directory: PathBuf,
    hidden: Vec<OsString>,
}

impl CommandsPlugin {
    /// What a spec calls this kind of plugin.
    pub const KIND: &'static str = "commands";

    /// A plugin that runs programs of that directory, as the user that this process belongs to.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self { directory: directory.into(), hidden: Vec::new() }
    }

    /// A variable of this process's environment that programs are not to have, such as a password.
    #[must_use]
    pub fn hide_variable(mut self, name: impl Into<OsString>) -> Self {
        self.hidden.push(name.into());
        self
    }

    fn commands(&self, spec: &ClusterSpec) -> Result<Commands, PluginError> {
        Commands::of(spec, &self.directory, &self.hidden).map_err(PluginError::rejected)
    }

    /// Asks the program that validates, if there is one. Blocks for as long as it takes.
    fn approve(&self, commands: &Commands, question: Question<'_>) -> Result<(), PluginError> {
        let Some(program) = commands.program(Call::Validate) else { return Ok(()) };
        let ended = program.run(question.into_bytes()?, &CancellationToken::new());
        match judge(program, ended) {
            Ok(_) => Ok(()),
            // It was asked before anything is touched.
            Err(error) => Err(PluginError::rejected(error.message().to_owned())),
        }
    }

    /// Runs the program of a call, if there is one, and returns what it answered.
    async fn run(&self, question: Question<'_>, context: &dyn OpContext) -> Result<Option<Vec<u8>>, PluginError> {
        stop_if_cancelled(context)?;
        let commands = self.commands(question.cluster)?;
        let Some(program) = commands.program(question.call).cloned() else { return Ok(None) };
        let input = question.into_bytes()?;
        let stop = CancellationToken::new();
        // Whoever drops this call stops the program too.
        let _guard = stop.clone().drop_guard();
        let mut running = spawn_blocking({
            let (program, stop) = (program.clone(), stop.clone());
            move || program.run(input, &stop)
        });
        let ended = tokio::select! {
            ended = &mut running => ended,
            () = context.cancelled() => {
                stop.cancel();
                running.await
            }
        };
        // It may have ended well all the same, but nobody wants to know that any more.
        stop_if_cancelled(context)?;
        let ended = ended.map_err(|error| PluginError::fatal(format!("`{}` cannot be run: {error}", program.name)))?;
        judge(&program, ended).map(Some)
    }

    /// Runs the program of a call about some nodes.
    async fn run_for(
        &self,
        call: Call,
        cluster: &ClusterView,
        nodes: &[Node],
        context: &dyn OpContext,
    ) -> Result<(), PluginError> {
        let about = nodes.iter().map(|node| &node.name);
        self.run(Question::new(call, cluster.spec(), cluster.nodes(), about), context).await?;
        for node in nodes {
            context.report(&node.name, 1, 1);
        }
        Ok(())
    }
}

/// What it means that a program ended like that.
fn judge(program: &Program, ended: Result<Ended, NotEnded>) -> Result<Vec<u8>, PluginError> {
    let name = &program.name;
    let ended = match ended {
        Ok(ended) => ended,
        Err(NotEnded::Stopped) => return Err(cancelled()),
        Err(error @ NotEnded::NotRun(_)) => return Err(PluginError::rejected(format!("`{name}`: {error}"))),
        Err(error) => return Err(PluginError::failed(format!("`{name}`: {error}"))),
    };
    let how = match ended.status.signal() {
        Some(signal) => format!("`{name}` was killed by signal {signal}"),
        None => format!("`{name}` ended with {}", ended.status.code().unwrap_or_default()),
    };
    let why = if ended.complaint.is_empty() { how } else { format!("{how}: {}", ended.complaint) };
    match ended.status.code() {
        Some(0) => Ok(ended.answer),
        Some(REJECTED) => Err(PluginError::rejected(why)),
        Some(FATAL) => Err(PluginError::fatal(why)),
        _ => Err(PluginError::failed(why)),
    }
}

/// Reads an answer, which is one JSON object and nothing else.
fn read<T: DeserializeOwned>(call: Call, answer: &[u8]) -> Result<T, PluginError> {
    serde_json::from_slice(answer)
        .map_err(|error| PluginError::fatal(format!("what the {call} program answered is no answer: {error}")))
}

/// Takes an answer for a proof of each node that leaves, if it names these and no others.
fn proofs(leaving: Vec<Leaving>, answer: &[u8]) -> Result<Vec<Decommissioned>, PluginError> {
    let Drained { drained } = read(Call::Decommission, answer)?;
    let told: BTreeSet<&NodeToken> = drained.iter().collect();
    let expected: BTreeSet<&NodeToken> = leaving.iter().map(|one| &one.node().token).collect();
    let missing: Vec<_> = expected.difference(&told).map(ToString::to_string).collect();
    let strange: Vec<_> = told.difference(&expected).map(ToString::to_string).collect();
    if !strange.is_empty() {
        let strange = strange.join(", ");
        return Err(PluginError::fatal(format!("the decommission program drained what does not leave: {strange}")));
    }
    if !missing.is_empty() {
        return Err(PluginError::fatal(format!("the decommission program did not drain {}", missing.join(", "))));
    }
    Ok(leaving.into_iter().map(Leaving::drained).collect())
}

#[async_trait]
impl Plugin for CommandsPlugin {
    fn settings(&self) -> &[&str] {
        &[COMMANDS]
    }

    fn validate(&self, spec: &ClusterSpec) -> Result<(), PluginError> {
        if spec.plugin.as_str() != Self::KIND {
            return Err(PluginError::rejected(format!("a `{}` cluster is not one of commands", spec.plugin)));
        }
        let commands = self.commands(spec)?;
        let cannot = |(call, program): (&Call, &Program)| {
            executable(&program.file).err().map(|why| format!("`{COMMANDS}.{call}`: {why}"))
        };
        let missing: Vec<_> = commands.programs().filter_map(cannot).collect();
        if !missing.is_empty() {
            return Err(PluginError::rejected(missing.join("\n")));
        }
        self.approve(&commands, Question::new(Call::Validate, spec, &[], []))
    }

    fn validate_scale(&self, cluster: &Cluster, plan: &ScalePlan) -> Result<(), PluginError> {
        let spec = cluster.spec_after(plan);
        let commands = self.commands(&spec)?;
        let mut question = Question::new(Call::Validate, &spec, &cluster.nodes, plan.remove());
        question.coming = plan.add().iter().map(|node| &node.name).collect();
        self.approve(&commands, question)
    }

    async fn configure(
        &self,
        cluster: &ClusterView,
        nodes: &[Node],
        context: &dyn OpContext,
    ) -> Result<(), PluginError> {
        self.run_for(Call::Configure, cluster, nodes, context).await
    }

    async fn start(&self, cluster: &ClusterView, nodes: &[Node], context: &dyn OpContext) -> Result<(), PluginError> {
        self.run_for(Call::Start, cluster, nodes, context).await
    }

    async fn decommission(
        &self,
        cluster: &ClusterView,
        leaving: Vec<Leaving>,
        context: &dyn OpContext,
    ) -> Result<Vec<Decommissioned>, PluginError> {
        for one in &leaving {
            context.report(&one.node().name, 0, 1);
        }
        let about = leaving.iter().map(|one| &one.node().name);
        let answer =
            self.run(Question::new(Call::Decommission, cluster.spec(), cluster.nodes(), about), context).await?;
        let proofs = match answer {
            Some(answer) => proofs(leaving, &answer)?,
            // The spec says in so many words that there is nothing to drain.
            None => leaving.into_iter().map(Leaving::drained).collect(),
        };
        for proof in &proofs {
            context.report(&proof.node().name, 1, 1);
        }
        stop_if_cancelled(context)?;
        Ok(proofs)
    }

    async fn health(&self, cluster: &ClusterView) -> Result<Health, PluginError> {
        let question = Question::new(Call::Health, cluster.spec(), cluster.nodes(), []);
        let Some(answer) = self.run(question, &super::Quiet).await? else { return Ok(Health::default()) };
        let Looked { mut nodes, light, why } = read(Call::Health, &answer)?;
        let health = Health::of_nodes(cluster.nodes().iter().map(|node| {
            let health = match nodes.remove(&node.name) {
                Some(Looks::Serving) => NodeHealth::Serving,
                Some(Looks::Impaired(why)) => NodeHealth::Impaired(why),
                Some(Looks::Unreachable(why)) => NodeHealth::Unreachable(why),
                None => NodeHealth::Unreachable("the health program does not tell of it".to_owned()),
            };
            (node.name.clone(), health)
        }));
        Ok(match light {
            Some(light) => Health { light, why, ..health },
            None => health,
        })
    }
}

#[cfg(test)]
mod tests;
