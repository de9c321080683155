//! Each rule is broken once, and found to be.

use saga_cluster::model::Status;
use saga_core::journal::{Actor, Event, Record, Rest};
use saga_core::plan::Fingerprint;
use saga_core::store::{RunStatus, RunSummary};
use saga_core::{Epoch, ItemRef, Payload, RunId, Seq, StepIndex, Timestamp};
use serde_json::{Value, json};

use super::check;
use crate::cluster::evidence::{BlockLook, Deleted, Evidence, Helped, Look, RunEvidence};
use crate::cluster::machines::Machines;
use crate::cluster::told::{End, Line, Told, Trouble};

/// The rules that are broken.
fn broken(evidence: &Evidence) -> Vec<&'static str> {
    check(evidence).into_iter().filter(|finding| !finding.holds()).map(|finding| finding.rule).collect()
}

/// Evidence is broken by a change, in that rule and in no other.
#[track_caller]
fn finds(rule: &str, evidence: &Evidence) {
    let broken = broken(evidence);
    assert!(matches!(&*broken, [one] if one.starts_with(rule)), "{broken:?}");
}

fn payload(value: &Value) -> Payload {
    Payload::encode(value).unwrap()
}

fn item(step: u32, item: u32) -> ItemRef {
    ItemRef { step: StepIndex(step), item }
}

fn step(index: u32, name: &str) -> Event {
    Event::StepStarted { step: StepIndex(index), name: name.parse().unwrap(), items: None }
}

fn run(saga: &str, by: &str, events: Vec<Event>) -> RunEvidence {
    let id = RunId::new(format!("run-of-{by}")).unwrap();
    let node = json!({"name": "east-1", "token": "t1", "address": "127.0.0.1:1"});
    let input = payload(&json!({"subject": {"by": {"name": by}}, "leaving": [node]}));
    let fingerprint: Fingerprint = serde_json::from_value(json!("00000000-0000-0000-0000-000000000000")).unwrap();
    let saga = saga_core::SagaName::new(saga).unwrap();
    let started = Event::RunStarted { saga: saga.clone(), version: 1, fingerprint, input, key: None, deadline: None };
    let status = match events.last() {
        Some(Event::Rested { rest: Rest::Completed }) => RunStatus::Completed,
        Some(Event::Rested { rest: Rest::RolledBack }) => RunStatus::RolledBack,
        _ => RunStatus::Running,
    };
    let at = Timestamp(1);
    let events = [started].into_iter().chain(events);
    let journal: Vec<_> = (1..).zip(events).map(|(seq, event)| Record { seq: Seq(seq), at, event }).collect();
    let summary = RunSummary {
        run: id,
        saga,
        version: 1,
        fingerprint,
        key: Some(saga_core::ExclusiveKey::new("cluster/c").unwrap()),
        status,
        seq: Seq(journal.len() as u64),
        epoch: Epoch::FIRST,
        owner: None,
        created_at: at,
        updated_at: at,
    };
    RunEvidence { summary, journal }
}

fn completed() -> Event {
    Event::Rested { rest: Rest::Completed }
}

fn told(by: &str, verb: &str, code: i32, lines: Vec<Line>) -> Told {
    Told {
        by: by.to_owned(),
        cluster: "c".to_owned(),
        arguments: vec![verb.to_owned(), "c".to_owned()],
        code: Some(code),
        lines,
        unreadable: 0,
        stderr: String::new(),
        looked: None,
    }
}

fn began_and_ended(by: &str, verdict: &str) -> Vec<Line> {
    let run = format!("run-of-{by}");
    let end = End {
        run: run.clone(),
        verdict: verdict.to_owned(),
        status: None,
        reason: String::new(),
        nodes_left: Vec::new(),
    };
    vec![Line::Began { run }, Line::End(end)]
}

/// A scale in which a node leaves and one comes, as it should be.
fn scale() -> Vec<Event> {
    vec![
        step(0, "decommission"),
        Event::Succeeded { of: item(0, 0), output: payload(&json!([])) },
        step(1, "terminate"),
        Event::AttemptStarted { of: item(1, 0), attempt: 1 },
        Event::Succeeded { of: item(1, 0), output: payload(&json!("east-1")) },
        step(2, "create"),
        Event::AttemptStarted { of: item(2, 0), attempt: 1 },
        Event::Checkpointed { of: item(2, 0), value: payload(&json!("t2")) },
        Event::Succeeded { of: item(2, 0), output: payload(&json!(null)) },
        step(3, "configure"),
        completed(),
    ]
}

/// What holds: one scale, which its user was told of, and whose old machine is gone.
fn sound() -> Evidence {
    Evidence {
        told: vec![told("c.1", "scale", 0, began_and_ended("c.1", "done"))],
        runs: vec![run("scale-cluster", "c.1", scale())],
        machines: ["c/east-1@t1".to_owned()].into(),
        ..Evidence::default()
    }
}

#[test]
fn what_is_sound_is_found_to_be() {
    assert_eq!(broken(&sound()), [""; 0]);
}

#[test]
fn machines_that_are_left_are_found() {
    let one = Machines { processes: [("c/east-1@t".to_owned(), vec![7])].into(), directories: Vec::new() };
    let mut evidence = sound();
    evidence.left = one.clone();
    finds("when all is deleted", &evidence);
    let mut evidence = sound();
    evidence.deleted.push(Deleted { by: "c.2".into(), left: one.clone(), record: None });
    finds("a cluster that was said to be deleted", &evidence);
    let mut evidence = sound();
    evidence.calm.machines = one;
    finds("when nothing moves", &evidence);
}

#[test]
fn a_machine_that_nobody_was_to_destroy_is_found() {
    let mut evidence = sound();
    evidence.machines.insert("c/east-3@t3".into());
    finds("a machine went only", &evidence);
    evidence.runs.push(run("delete-cluster", "c.2", vec![completed()]));
    evidence.told.push(told("c.2", "delete", 0, began_and_ended("c.2", "done")));
    assert_eq!(broken(&evidence), [""; 0], "its cluster was deleted");
}

#[test]
fn a_block_that_is_lost_is_found() {
    let mut evidence = sound();
    let (cluster, key, when) = ("c".to_owned(), "k".to_owned(), "at the end");
    evidence.blocks.push(BlockLook { cluster, key, when, wrong: Some("no node has it".into()) });
    finds("every block", &evidence);
}

#[test]
fn a_destruction_without_proof_is_found() {
    let mut evidence = sound();
    // The same, but that decommissioning was never said to be done.
    let mut events = scale();
    events.remove(1);
    evidence.runs = vec![run("scale-cluster", "c.1", events)];
    evidence.machines.clear();
    finds("a scale destroys nodes only", &evidence);
    // New nodes that were being set up are killed.
    let mut events = scale();
    events.insert(10, Event::UndoStarted { of: item(2, 0), attempt: 1 });
    evidence.runs = vec![run("scale-cluster", "c.1", events)];
    finds("a scale destroys nodes only", &evidence);
}

#[test]
fn a_machine_that_is_left_by_a_rollback_is_found() {
    let mut evidence = sound();
    let mut events = scale();
    events.truncate(9);
    events.push(Event::Rested { rest: Rest::RolledBack });
    evidence.runs = vec![run("scale-cluster", "c.1", events)];
    evidence.told = vec![told("c.1", "scale", 3, began_and_ended("c.1", "rolled_back"))];
    finds("what is rolled back leaves no machine", &evidence);
}

#[test]
fn a_run_that_does_not_end_or_ends_twice_is_found() {
    for events in [vec![step(0, "decommission")], vec![completed(), completed()]] {
        let mut evidence = Evidence { runs: vec![run("scale-cluster", "c.1", events)], ..Evidence::default() };
        evidence.told.push(Told { code: None, ..told("c.1", "scale", 0, Vec::new()) });
        finds("every run ended", &evidence);
    }
}

#[test]
fn a_run_that_nobody_ordered_or_that_was_refused_is_found() {
    let mut evidence = sound();
    evidence.runs.push(run("scale-cluster", "nobody", vec![completed()]));
    finds("every run was ordered", &evidence);
    let mut evidence = sound();
    let state = Some("nothing was touched".to_owned());
    let trouble = Trouble { what: "cluster `c` is busy: a create is going on".into(), state, exit: "error".into() };
    evidence.told = vec![told("c.1", "scale", 1, vec![Line::Error(trouble)])];
    finds("every run was ordered", &evidence);
}

#[test]
fn a_lie_is_found() {
    let mut evidence = sound();
    evidence.told = vec![told("c.1", "scale", 3, began_and_ended("c.1", "rolled_back"))];
    finds("the end that a command told", &evidence);
    evidence.told = vec![told("c.1", "scale", 3, began_and_ended("c.1", "done"))];
    finds("the end that a command told", &evidence);
}

#[test]
fn a_command_that_fails_as_none_should_is_found() {
    let mut evidence = sound();
    evidence.told.push(Told {
        stderr: "thread 'main' panicked".into(),
        code: None,
        ..told("c.2", "scale", 0, Vec::new())
    });
    assert_eq!(broken(&evidence), [""; 0], "one that was killed says what it likes");
    let trouble = Trouble { what: "the disk is purple".into(), state: None, exit: "error".into() };
    evidence.told.push(told("c.3", "scale", 1, vec![Line::Error(trouble)]));
    finds("every command ended in time", &evidence);
}

#[test]
fn an_error_without_a_way_out_is_found() {
    let mut evidence = sound();
    let (cluster, why) = ("c".to_owned(), String::new());
    evidence.helped.push(Helped { cluster, verb: "retry", code: Some(4), status: Some(Status::Error), why });
    finds("once nothing is broken any more", &evidence);
}

fn looks(statuses: &[(u64, Status)]) -> Evidence {
    let look = |&(version, status): &(u64, Status)| Look {
        id: "1".into(),
        name: "c".into(),
        version,
        status,
        why: "why".into(),
    };
    Evidence { looks: statuses.iter().map(look).collect(), ..Evidence::default() }
}

#[test]
fn a_status_that_moves_as_it_must_not_is_found() {
    use Status::{Active, Creating, Deleting, Error, Scaling};
    let rule = "statuses move only along";
    for drawn in [
        &[
            (1, Creating),
            (2, Creating),
            (3, Active),
            (4, Scaling),
            (5, Error),
            (6, Scaling),
            (7, Active),
            (8, Deleting),
        ][..],
        &[(1, Creating), (9, Deleting)],
        &[(5, Active), (6, Active)],
        // Deleting, error, active.
        &[(2, Deleting), (4, Active)],
    ] {
        assert_eq!(broken(&looks(drawn)), [""; 0], "{drawn:?}");
    }
    for wrong in [
        &[(3, Active), (4, Error)][..],
        &[(3, Active), (9, Creating)],
        &[(2, Deleting), (3, Active)],
        &[(3, Active), (3, Scaling)],
    ] {
        finds(rule, &looks(wrong));
    }
    let mut silent = looks(&[(2, Error)]);
    silent.looks[0].why.clear();
    finds(rule, &silent);
}

#[test]
fn who_operated_a_run_is_not_who_ordered_it() {
    let mut events = scale();
    let by = Actor::new("somebody else", "");
    events.insert(9, Event::Operated { verb: saga_core::journal::Verb::Retry, by });
    let evidence = Evidence { runs: vec![run("scale-cluster", "c.1", events)], ..sound() };
    assert_eq!(broken(&evidence), [""; 0]);
}
