//! Each rule can be broken: the evidence of runs to which nothing happened is tampered with.

use std::path::Path;

use saga_core::journal::{Event, Record};
use saga_core::store::MemoryStore;
use saga_core::{Coordinator, Epoch, ExclusiveKey, RunId, Seq, WorkerId};

use super::check;
use crate::acks::{Acks, Told};
use crate::customer::Desk;
use crate::evidence::{Evidence, Kept, RunEvidence, acks_of};
use crate::ledger::{Act, Entry, Mark};
use crate::load::{Kind, Sagas, jobs};
use crate::world::{World, file_name};

/// Runs of all kinds, none of which was disturbed.
async fn evidence() -> Evidence {
    let folder = tempfile::tempdir().unwrap();
    let world = |name: &str| World::open(folder.path(), name, None).unwrap();
    let sagas = Sagas::build().unwrap();
    let worker = Coordinator::builder(MemoryStore::new(), world("w")).worker(WorkerId::new("w").unwrap());
    let worker = sagas.register_with_worker(worker).start().await.unwrap();
    let (client, rival) = (worker.client().clone(), worker.client().clone());
    let acks = Acks::open(&acks_of(folder.path())).unwrap();
    let desk = Desk { client, rival, sagas, world: world("client"), acks };
    let jobs = jobs(7, 5 * Kind::ALL.len());
    for served in futures::future::join_all(jobs.iter().map(|job| desk.serve(job))).await {
        served.unwrap();
    }
    let path: &Path = folder.path();
    Evidence::gather(&desk.client, &desk.sagas, jobs, path, &desk.world).await.unwrap()
}

/// The rules that are broken.
fn broken(evidence: &Evidence) -> Vec<&'static str> {
    check(evidence).into_iter().filter(|finding| !finding.holds()).map(|finding| finding.rule).collect()
}

fn some_run(evidence: &mut Evidence, kind: Kind) -> &mut RunEvidence {
    evidence.runs.iter_mut().find(|run| run.job.order.kind == kind).unwrap()
}

fn kept(run: &mut RunEvidence) -> &mut Kept {
    run.kept.as_mut().unwrap()
}

/// The place of an entry of a run in the ledger.
fn find(evidence: &Evidence, kind: Kind, which: impl Fn(&Entry) -> bool) -> usize {
    let run = &evidence.runs.iter().find(|run| run.job.order.kind == kind).unwrap().job.run;
    evidence.ledger.iter().position(|entry| entry.run == *run && which(entry)).unwrap()
}

/// Tampers with good evidence, and sees that this rule is broken, whatever others are.
async fn finds(rule: &str, tamper: impl FnOnce(&mut Evidence)) {
    let mut evidence = evidence().await;
    assert_eq!(broken(&evidence), [""; 0]);
    tamper(&mut evidence);
    let broken = broken(&evidence);
    assert!(broken.iter().any(|broken| broken.contains(rule)), "{rule} is not among {broken:?}");
}

/// Every rule looks at something, or it could not be broken.
#[tokio::test(start_paused = true)]
async fn every_rule_looks_at_something() {
    for finding in check(&evidence().await) {
        assert!(finding.looked > 0 || finding.rule.contains("exclusive key"), "{}", finding.rule);
        assert!(finding.holds(), "{finding:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn trouble_and_incidents_are_found() {
    let tamper = |evidence: &mut Evidence| evidence.incidents.push("worker 0.3 ended by itself".to_owned());
    finds("no worker ended of itself", tamper).await;
    let told = Told::Trouble("start: no".to_owned());
    finds("no client was told", |evidence| some_run(evidence, Kind::Linear).told.push(told)).await;
}

#[tokio::test(start_paused = true)]
async fn lost_and_unknown_runs_are_found() {
    finds("no acknowledged start is lost", |evidence| some_run(evidence, Kind::Linear).kept = None).await;
    finds("nothing runs that nobody ordered", |evidence| {
        evidence.strangers.push(RunId::generate());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn ends_that_are_none_are_found() {
    finds("every run ended, once", |evidence| drop(kept(some_run(evidence, Kind::Diamond)).journal.pop())).await;
    finds("the end that a client was told", |evidence| {
        some_run(evidence, Kind::FanOut).told.push(Told::Ended("abandoned".to_owned()));
    })
    .await;
    finds("the outcome is one that the rules allow", |evidence| {
        some_run(evidence, Kind::Doomed).job.order.kind = Kind::Linear;
    })
    .await;
    finds("does not complete once its client was told", |evidence| {
        some_run(evidence, Kind::Linear).told.push(Told::Cancelled);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn effects_that_are_lost_or_leaked_are_found() {
    finds("everything stands that the outcome says", |evidence| {
        let entry = find(evidence, Kind::Linear, |entry| entry.is_done(Act::Do));
        evidence.world.remove(&file_name(&evidence.ledger[entry].key));
    })
    .await;
    finds("nothing stands that the outcome does not name", |evidence| {
        let entry = find(evidence, Kind::Doomed, |entry| entry.is_done(Act::Undo));
        evidence.world.insert(file_name(&evidence.ledger[entry].key));
    })
    .await;
    finds("nothing was undone that stands", |evidence| {
        let entry = find(evidence, Kind::Linear, |entry| entry.is_done(Act::Do));
        evidence.ledger.push(Entry { act: Act::Undo, ..evidence.ledger[entry].clone() });
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_comes_too_early_or_too_late_is_found() {
    finds("no action begins before all that it is built on", |evidence| {
        let first = find(evidence, Kind::Linear, |entry| entry.step.as_str() == "a");
        let later = find(evidence, Kind::Linear, |entry| entry.step.as_str() == "b" && entry.begins(Act::Do));
        evidence.ledger[first..=later].rotate_right(1);
    })
    .await;
    finds("no undo begins before all that was built on it", |evidence| {
        let first = find(evidence, Kind::Doomed, |entry| entry.begins(Act::Undo));
        let later = find(evidence, Kind::Doomed, |entry| entry.step.as_str() == "a" && entry.begins(Act::Undo));
        evidence.ledger[first..=later].rotate_right(1);
    })
    .await;
    finds("once anything is undone only forward steps act", |evidence| {
        let action = find(evidence, Kind::Doomed, |entry| entry.is_done(Act::Do));
        evidence.ledger.push(evidence.ledger[action].clone());
    })
    .await;
    finds("the finalizer is told when the run has come to rest", |evidence| {
        let told = find(evidence, Kind::Linear, |entry| entry.is_done(Act::Tell));
        evidence.ledger.remove(told);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn stale_claims_are_found() {
    finds("nobody acts under a claim after somebody has acted under a later one", |evidence| {
        let first = find(evidence, Kind::Linear, |_| true);
        evidence.ledger[first].epoch = Epoch(2);
    })
    .await;
    finds("journals have no gaps", |evidence| {
        kept(some_run(evidence, Kind::Linear)).journal.remove(2);
    })
    .await;
    finds("each claim that is journaled is later", |evidence| {
        let worker = WorkerId::generate();
        kept(some_run(evidence, Kind::Linear)).journal[1].event = Event::Resumed { epoch: Epoch::FIRST, worker };
    })
    .await;
    finds("every attempt was journaled before", |evidence| {
        let first = find(evidence, Kind::Linear, |entry| entry.begins(Act::Do));
        evidence.ledger[first].attempt = 99;
    })
    .await;
    finds("every journaled result is of the claim", |evidence| {
        let journal = &mut kept(some_run(evidence, Kind::Linear)).journal;
        let end = journal.iter().position(|record| matches!(record.event, Event::Succeeded { .. })).unwrap();
        let worker = WorkerId::generate();
        let resumed =
            Record { seq: Seq(end as u64 + 1), at: journal[end].at, event: Event::Resumed { epoch: Epoch(2), worker } };
        journal.insert(end, resumed);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn late_effects_are_forgiven_only_if_somebody_was_asleep() {
    let mut evidence = evidence().await;
    let last = find(&evidence, Kind::Linear, |entry| entry.is_done(Act::Tell));
    evidence.ledger.push(Entry { epoch: Epoch(0), mark: Mark::Done { fresh: true }, ..evidence.ledger[last].clone() });
    let rule = "in a run, nobody acts under a claim after somebody has acted under a later one";
    assert!(broken(&evidence).contains(&rule));
    evidence.sleepers = true;
    assert!(!broken(&evidence).contains(&rule));
}

#[tokio::test(start_paused = true)]
async fn keys_that_exclude_nobody_are_found() {
    finds("the effects of two runs with one exclusive key", |evidence| {
        let key = ExclusiveKey::new("one for all").unwrap();
        evidence.runs.iter_mut().for_each(|run| run.job.key = Some(key.clone()));
    })
    .await;
}
