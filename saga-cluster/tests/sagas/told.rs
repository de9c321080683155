//! What the service tells: progress, reports, history; and that all of it can be sent elsewhere.
//!
//! All of the service: the test kit knows nothing of it.

use futures::TryStreamExt;
use saga_cluster::model::Status;
use saga_cluster::service::{NodeState, OperationEnd, OperationKind, PhaseState, Progress, ProgressKind, Verdict};
use saga_cluster::testing::{How, On, When};
use saga_core::store::RunStatus;

use crate::world::*;

fn phases(told: &[Progress]) -> Vec<String> {
    let phase = |progress: &Progress| match &progress.what {
        ProgressKind::Phase { phase, nodes, state: PhaseState::Done } => Some(format!("{phase} {nodes}")),
        _ => None,
    };
    told.iter().filter_map(phase).collect()
}

#[tokio::test(start_paused = true)]
async fn progress_is_told_from_the_beginning_to_the_end() {
    let world = World::new();
    let service = world.with_cluster().await;
    world.faults.inject(On::Create, When::NodeFirst("x-2".parse().unwrap(), 1), How::HangBefore);
    let scale = service.scale(&demo(), both_ways(), ada()).await.unwrap();
    let told = scale.progress();
    world.faults.until_something_hangs().await;
    world.faults.release();
    let told: Vec<Progress> = in_time(told.try_collect()).await.unwrap();
    let mut done = phases(&told);
    done.sort();
    assert_eq!(done, ["admit 2", "configure 2", "create 2", "decommission 2", "start 2", "terminate 2"]);
    let node = |name: &str, state: NodeState| {
        told.iter().any(|progress| match &progress.what {
            ProgressKind::Node { node, state: found, .. } => node.to_string() == name && *found == state,
            _ => false,
        })
    };
    assert!(node("w-3", NodeState::Done) && node("x-2", NodeState::Started) && node("x-2", NodeState::Done));
    assert!(node("x-2", NodeState::Progress { done: 1, total: 1 }), "what the plugin reports is told too");
    let last = &told.last().unwrap().what;
    assert_eq!(*last, ProgressKind::Note { text: "done".into() });

    // Whoever comes late is told the same, but for what was told and forgotten.
    let late: Vec<Progress> = in_time(scale.progress().try_collect()).await.unwrap();
    assert_eq!(phases(&late), phases(&told));
    let sent: Vec<Progress> = serde_json::from_str(&serde_json::to_string(&told).unwrap()).unwrap();
    assert_eq!(sent, told);
}

#[tokio::test(start_paused = true)]
async fn an_undo_is_told() {
    let world = World::new();
    let service = world.service().await;
    always(&world, On::Start, How::FatalBefore);
    let create = service.create(spec(), ada()).await.unwrap();
    let told: Vec<Progress> = in_time(create.progress().try_collect()).await.unwrap();
    let words: Vec<String> = told.iter().map(|progress| progress.what.to_string()).collect();
    for expected in ["create w-1: undone", "create (4 nodes): being undone", "create (4 nodes): undone", "rolled back"]
    {
        assert!(words.iter().any(|line| line == expected), "{expected} in {words:#?}");
    }
    assert!(words.iter().any(|line| line.starts_with("start (4 nodes): failed: the new nodes could not be started")));
}

#[tokio::test(start_paused = true)]
async fn a_cluster_is_shown_with_what_it_really_has_and_what_is_allowed() {
    let world = World::new();
    let service = world.with_cluster().await;
    let shown = service.show(&demo()).await.unwrap();
    assert_eq!(shown.record.as_ref().unwrap().status, Status::Active);
    assert_eq!(shown.machines.as_ref().unwrap().len(), 4);
    assert_eq!(shown.health.as_ref().unwrap().len(), 4);
    assert_eq!((&shown.run, shown.allowed.join(" ").as_str()), (&None, "scale delete"));

    always(&world, On::Start, How::FatalAfter);
    let scale = service.scale(&demo(), both_ways(), ada()).await.unwrap();
    end(&scale).await;
    always(&world, On::List, How::FailBefore);
    always(&world, On::Health, How::FailBefore);
    let shown = service.show(&demo()).await.unwrap();
    assert!(shown.machines.is_err() && shown.health.is_err(), "what cannot be told is part of the answer");
    let run = shown.run.as_ref().unwrap();
    assert_eq!((&run.run, run.kind, run.status), (&scale.run, OperationKind::Scale, RunStatus::Halted));
    assert!(run.reason.contains("start failed") && !run.residue.is_empty());
    assert_eq!(shown.allowed.join(" "), "retry abandon delete delete --force");
    let sent = serde_json::to_string(&shown).unwrap();
    assert_eq!(serde_json::from_str::<saga_cluster::service::ClusterReport>(&sent).unwrap(), shown);
    assert_eq!(service.operations().await.unwrap().len(), 1, "what rests is unfinished");
    assert_eq!(service.operation(&scale.run).await.unwrap().kind, OperationKind::Scale);
    assert_eq!(service.list().await.unwrap().clusters.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn history_tells_of_past_runs_in_plain_words() {
    let world = World::new();
    let service = world.with_cluster().await;
    always(&world, On::Decommission, How::FatalBefore);
    end(&service.scale(&demo(), both_ways(), ada()).await.unwrap()).await;
    world.faults.clear();
    world.assert_deletable(&service).await;
    let history = service.history(&demo()).await.unwrap();
    let words: Vec<&str> = history.iter().map(|entry| entry.text.as_str()).collect();
    for expected in [
        "create 4 nodes, asked for by ada: a test",
        "abandon, asked for by ada: a test",
        "delete, asked for by ada: a test",
    ] {
        assert!(words.contains(&expected), "{expected} in {words:#?}");
    }
    let kinds: Vec<OperationKind> = history.iter().map(|entry| entry.kind).collect();
    assert!(kinds.is_sorted(), "oldest first");
}

#[tokio::test(start_paused = true)]
async fn an_end_can_be_sent() {
    let world = World::new();
    let service = world.service().await;
    let create = service.create(spec(), ada()).await.unwrap();
    let end = end(&create).await;
    let sent: OperationEnd = serde_json::from_str(&serde_json::to_string(&end).unwrap()).unwrap();
    assert_eq!((&sent, sent.verdict), (&end, Verdict::Done));
}
