//! What is shown, act by act.

use super::blocks::{self, BLOCKS};
use super::stage::{CLUSTER, Stage};
use super::story::Story;
use crate::cli::change::{By, Change};
use crate::cli::render;
use crate::cli::reply::Reply;
use crate::cli::request::Request;
use crate::cli::trouble::Trouble;
use crate::model::{Node, NodeName, Status};
use crate::service::{NodeState, ProgressKind, Verdict};
use crate::testing::{How, On, When};

const SPEC: &str = "name = \"store\"\nplugin = \"blocks\"\nengine = \"process\"\n\n\
                    [[groups]]\nname = \"east\"\ncount = 3\n\n[[groups]]\nname = \"west\"\ncount = 2\n";

/// How many blocks there are once all are written.
const ALL: usize = 2 * BLOCKS;

/// Plays all acts; with `keep`, all but the last one.
pub(super) async fn play(stage: &mut Stage, story: &mut Story, keep: bool) -> Result<(), Trouble> {
    story.say(&format!(
        "A cluster of real processes, in {}. Each node is one process with its own directory and port, and keeps the \
         blocks that are written to it, once, nowhere else. Kill a node before it was emptied, and its blocks are gone.",
        stage.data.path().display()
    ));
    if stage.look().await?.is_some() {
        return Err(Trouble::new(format!("there is a cluster `{CLUSTER}` in {} already", stage.data.path().display()))
            .untouched()
            .next("give another directory with --data, or none, or delete that cluster"));
    }
    create(stage, story).await?;
    both_ways(stage, story).await?;
    killed(stage, story).await?;
    stage.hold().await?;
    engine_fails(stage, story).await?;
    decommission_fails(stage, story).await?;
    if keep {
        return keep_it(stage, story).await;
    }
    delete(stage, story).await
}

async fn create(stage: &mut Stage, story: &mut Story) -> Result<(), Trouble> {
    story.act("A cluster of five nodes, in two groups").await;
    let spec = stage.data.path().join("store.toml");
    std::fs::write(&spec, SPEC)
        .map_err(|error| Trouble::new(format!("{} cannot be written: {error}", spec.display())))?;
    stage.ours = true;
    let exit = stage.run(story, &["create", &spec.to_string_lossy()]).await?;
    let nodes = stage.nodes().await?;
    story.proof(format!("{} processes run, of 5", stage.processes()), exit == 0 && stage.processes() == 5);
    story.say(&format!("Now {BLOCKS} blocks are written to it."));
    blocks::write(&nodes, 0..BLOCKS).await?;
    story.picture(&blocks::picture(&nodes, &blocks::places(&nodes).await?));
    all_blocks_are_there(story, &nodes, BLOCKS).await
}

async fn both_ways(stage: &mut Stage, story: &mut Story) -> Result<(), Trouble> {
    story.act("Up and down at once").await;
    story.say("One node leaves, two come. The one that leaves is emptied first, and killed only then.");
    let before = blocks::places(&stage.nodes().await?).await?;
    let exit = stage.run(story, &["scale", CLUSTER, "west=-1", "east=+2"]).await?;
    let nodes = stage.nodes().await?;
    let after = blocks::places(&nodes).await?;
    story.picture(&blocks::picture(&nodes, &after));
    let leaver: NodeName = name("west-2")?;
    let (moved, had) = (blocks::moved(&before, &after), blocks::on(&before, &leaver));
    story
        .proof(format!("{moved} blocks were moved: the {had} that {leaver} had"), exit == 0 && moved == had && had > 0);
    story.proof(has(&nodes), names(&nodes) == "east-1 east-2 east-3 east-4 east-5 west-1");
    all_blocks_are_there(story, &nodes, BLOCKS).await?;
    story.say(&format!("The new nodes are empty, so another {BLOCKS} blocks are written."));
    blocks::write(&nodes, BLOCKS..ALL).await?;
    story.picture(&blocks::picture(&nodes, &blocks::places(&nodes).await?));
    Ok(())
}

async fn killed(stage: &mut Stage, story: &mut Story) -> Result<(), Trouble> {
    story.act("kill -9 in the middle").await;
    story.say("The process that scales is killed while it moves blocks. Nobody is told; there is no time to clean up.");
    let args = ["scale", CLUSTER, "east=-1", "west=+1"];
    let pid = stage.run_and_kill(story, &args, is_in_the_middle).await?;
    match pid {
        Some(pid) => story.proof(format!("process {pid} was killed in the middle of moving blocks"), true),
        None => story.proof("the process was killed in the middle of moving blocks", false),
    }
    story.breathe().await;
    story.say("The next command, whatever it is, finds it in the journal and finishes it.");
    let exit = stage.run(story, &["list"]).await?;
    let nodes = stage.nodes().await?;
    story.proof(has(&nodes), exit == 0 && names(&nodes) == "east-1 east-2 east-3 east-4 west-1 west-3");
    only_these_run(stage, story, &nodes).await?;
    all_blocks_are_there(story, &nodes, ALL).await
}

/// Some blocks of a node are moved, and some are not.
fn is_in_the_middle(reply: &Reply) -> bool {
    let Reply::Progress { progress, .. } = reply else { return false };
    matches!(progress.what, ProgressKind::Node { state: NodeState::Progress { done, total }, .. } if done > 1 && done < total)
}

async fn engine_fails(stage: &mut Stage, story: &mut Story) -> Result<(), Trouble> {
    story.act("The engine breaks").await;
    story.say("Again one leaves and two come; but now the engine fails to make the second one.");
    let broken = name("west-5")?;
    stage.faults.inject(On::Create, When::Node(broken.clone()), How::FatalBefore);
    let request = scale(stage, &[("east", By::Fewer(1)), ("west", By::More(2))])?;
    let end = stage.act(story, "scale store east=-1 west=+2", request).await?;
    stage.faults.clear();
    let nodes = stage.nodes().await?;
    let undone =
        end.as_ref().is_some_and(|end| end.verdict == Verdict::RolledBack && end.status == Some(Status::Active));
    story.proof("the operation was undone, and the cluster is active", undone);
    story.proof(
        format!("east-4 was empty already, so it went all the same; what was new was killed: {}", has(&nodes)),
        names(&nodes) == "east-1 east-2 east-3 west-1 west-3",
    );
    only_these_run(stage, story, &nodes).await?;
    all_blocks_are_there(story, &nodes, ALL).await
}

async fn decommission_fails(stage: &mut Stage, story: &mut Story) -> Result<(), Trouble> {
    story.act("A node cannot be emptied").await;
    story.say("One is to leave, and emptying it fails. To kill it now would lose its blocks, so nobody does.");
    let leaver = name("east-3")?;
    let before = stage.nodes().await?;
    let had = blocks::on(&blocks::places(&before).await?, &leaver);
    stage.faults.inject(On::Decommission, When::Always, How::FatalBefore);
    let request = scale(stage, &[("east", By::Fewer(1))])?;
    let end = stage.act(story, "scale store east=-1", request).await?;
    stage.faults.clear();
    let halted = end.as_ref().is_some_and(|end| end.verdict == Verdict::Halted && end.status == Some(Status::Error));
    story.proof("the operation halted, and the cluster is in error", halted);
    let nodes = stage.nodes().await?;
    let has = blocks::on(&blocks::places(&nodes).await?, &leaver);
    story.proof(format!("no node was killed, and {leaver} still has its {has} blocks"), nodes == before && has == had);
    story.breathe().await;
    story.command("show store");
    if let Some(report) = stage.look().await? {
        story.answer(&render::report(&report, story.paint()));
    }
    story.breathe().await;
    story.say("Error is not a grave: what broke is mended, and the stage is tried again.");
    let request = Request::Retry { name: stage.cluster.clone(), reason: "mended".to_owned() };
    let end = stage.act(story, "retry store", request).await?;
    let done = end.is_some_and(|end| end.verdict == Verdict::Done && end.status == Some(Status::Active));
    let nodes = stage.nodes().await?;
    story.proof(
        format!("the same operation went on, and is done: {}", names(&nodes)),
        done && names(&nodes) == "east-1 east-2 west-1 west-3",
    );
    all_blocks_are_there(story, &nodes, ALL).await
}

async fn delete(stage: &mut Stage, story: &mut Story) -> Result<(), Trouble> {
    story.act("The user changes their mind").await;
    story.say("Three nodes are being made when another process asks for the cluster to be deleted.");
    let last = stage.nodes().await?;
    let intact = blocks::intact(&last, ALL).await?;
    story.command("scale store east=+3");
    // The last one takes its time, so that the delete comes in the middle on the fastest machine too.
    let record = stage.look().await?.and_then(|report| report.record);
    let record = record.ok_or_else(|| Trouble::new("the cluster has no record"))?;
    let east = "east".parse().map_err(|_| Trouble::new("`east` is no group"))?;
    let coming = record.next_names(&east, 3);
    let slow = coming.last().ok_or_else(|| Trouble::new("no node comes"))?;
    stage.faults.inject(On::Create, When::Node(slow.clone()), How::HangBefore);
    let (scaling, mut told) = stage.begin(scale(stage, &[("east", By::More(3))])?)?;
    while let Some(reply) = told.recv().await {
        // One of the three is there, so there is something to undo.
        if matches!(&reply, Reply::Progress { progress, .. } if a_node_is_done(&progress.what)) {
            break;
        }
    }
    drop(told);
    let exit = stage.run(story, &["delete", CLUSTER]).await?;
    stage.faults.clear();
    let scaling = scaling.await.map_err(|error| Trouble::new(error.to_string()))?;
    story.proof("the scale gave way, and the delete is done", scaling.number() != 0 && exit == 0);

    story.act("What is left").await;
    story.proof(format!("up to the delete, {intact} of {ALL} blocks were there, byte for byte"), intact == ALL);
    story.proof("there is no record of the cluster", stage.look().await?.is_none());
    let machines = stage.machines().await?.len();
    story.proof(format!("the engine has {machines} machines"), machines == 0);
    let processes = stage.processes();
    story.proof(format!("/proc has {processes} processes of nodes"), processes == 0);
    Ok(())
}

fn a_node_is_done(what: &ProgressKind) -> bool {
    matches!(what, ProgressKind::Node { state: NodeState::Done, .. })
}

async fn keep_it(stage: &mut Stage, story: &mut Story) -> Result<(), Trouble> {
    story.act("It is all yours").await;
    stage.leave().await;
    story.say("The cluster is left as it is. Look around, and delete it when you have seen enough:");
    let data = stage.data.path().display();
    let lines = [
        format!("export SAGA_CLUSTER_DATA={data}"),
        format!("alias saga-cluster={}", stage.program().display()),
        "saga-cluster show store".to_owned(),
        "saga-cluster history store".to_owned(),
        "saga-cluster delete store".to_owned(),
    ];
    story.picture(&lines);
    Ok(())
}

async fn all_blocks_are_there(story: &mut Story, nodes: &[Node], written: usize) -> Result<(), Trouble> {
    let intact = blocks::intact(nodes, written).await?;
    story.proof(format!("{intact} of {written} blocks are there, byte for byte"), intact == written);
    Ok(())
}

async fn only_these_run(stage: &Stage, story: &mut Story, nodes: &[Node]) -> Result<(), Trouble> {
    let machines = stage.machines().await?;
    let same = machines.len() == nodes.len()
        && machines.iter().all(|machine| nodes.iter().any(|node| node.token == machine.token));
    let processes = stage.processes();
    story.proof(format!("{processes} processes run, and they are these nodes"), same && processes == nodes.len());
    Ok(())
}

fn scale(stage: &Stage, changes: &[(&str, By)]) -> Result<Request, Trouble> {
    let change = |(group, by): &(&str, By)| {
        let group = group.parse().map_err(|error| Trouble::new(format!("{error}")))?;
        Ok(Change { group, by: *by })
    };
    let changes = changes.iter().map(change).collect::<Result<_, Trouble>>()?;
    Ok(Request::Scale { name: stage.cluster.clone(), changes, new_groups: Vec::new() })
}

fn name(name: &str) -> Result<NodeName, Trouble> {
    name.parse().map_err(|error| Trouble::new(format!("{error}")))
}

fn names(nodes: &[Node]) -> String {
    nodes.iter().map(|node| node.name.to_string()).collect::<Vec<_>>().join(" ")
}

fn has(nodes: &[Node]) -> String {
    format!("the cluster has {}", names(nodes))
}
