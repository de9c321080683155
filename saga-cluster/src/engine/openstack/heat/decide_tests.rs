use super::*;
use crate::engine::openstack::heat::template::tests::{cluster, document, member};
use crate::engine::openstack::nova::tags::Identity;

fn wishes(wishes: impl IntoIterator<Item = Wish>) -> BTreeMap<u64, Wish> {
    let in_time = wishes.into_iter().map(|mut wish| {
        wish.look_begins();
        wish
    });
    (0..).zip(in_time).collect()
}

fn there(name: &str) -> Wish {
    Wish::there(member(name))
}

fn gone(name: &str) -> Wish {
    let Member { name, token, .. } = member(name);
    Wish::gone(name, token)
}

fn server(name: &str, state: State) -> Server {
    let Member { name, token, .. } = member(name);
    let identity = Identity { cluster: cluster(), node: name.clone(), token };
    Server { id: format!("server-{name}"), identity, created: None, state, address: None }
}

fn name(name: &str) -> NodeName {
    name.parse().unwrap()
}

/// A stack with these machines, in that state, all of them there.
fn look(status: &str, names: &[&str]) -> Look {
    let resource =
        |phase, reason: &str, server| Resource { phase, condemned: false, reason: reason.to_owned(), server };
    let resources = names.iter().map(|one| (name(one), resource(Phase::Complete, "", Some(format!("server-{one}")))));
    let stack = Stack {
        id: "id".into(),
        deleting: status.starts_with("DELETE_"),
        phase: Phase::read(status),
        status: status.to_owned(),
        reason: String::new(),
        document: Some(document(names)),
        resources: resources.collect(),
    };
    Look { stack: Some(stack), servers: names.iter().map(|name| server(name, State::Active)).collect() }
}

/// The same, but Heat has given up on that machine.
fn without(mut look: Look, broken: &str, reason: &str) -> Look {
    let resource = Resource { phase: Phase::Failed, condemned: false, reason: reason.to_owned(), server: None };
    look.stack.as_mut().unwrap().resources.insert(name(broken), resource);
    look.servers.retain(|server| server.identity.node != name(broken));
    look
}

/// The stack after a change and its seal.
fn changed(mut look: Look, change: &Change, status: &str) -> Look {
    let stack = look.stack.as_mut().unwrap();
    stack.document = stack.document.as_ref().map(|document| document.changed(change).seal());
    (stack.phase, stack.status) = (Phase::read(status), status.to_owned());
    look.servers.retain(|server| !change.remove.contains(&server.identity.token));
    look
}

fn removal(act: Act) -> Change {
    match act {
        Act::Change(change) if change.add.is_empty() => change,
        other => panic!("{other:?} is no removal"),
    }
}

fn of(names: &[&str]) -> Vec<NodeToken> {
    names.iter().map(|name| member(name).token).collect()
}

#[test]
fn what_is_there_and_sealed_is_told() {
    let mut wishes = wishes([there("w-1")]);
    // Others may be on their way.
    let decision = decide(&look("UPDATE_IN_PROGRESS", &["w-1", "w-2"]), &mut wishes);
    assert_eq!(decision.answers, BTreeMap::from([(0, Answer::Ready(None))]));
    assert_eq!(decision.act, Act::Wait);
}

#[test]
fn what_is_not_sealed_is_sealed_before_it_is_told() {
    let mut wishes = wishes([there("w-1")]);
    let mut look = look("UPDATE_COMPLETE", &["w-1"]);
    let stack = look.stack.as_mut().unwrap();
    stack.document = Some(document(&[]).changed(&Change { add: vec![member("w-1")], ..Change::default() }));
    let decision = decide(&look, &mut wishes);
    assert!(decision.answers.is_empty());
    assert_eq!(decision.act, Act::Seal);
}

#[test]
fn nothing_is_added_while_heat_is_at_work() {
    let mut wishes = wishes([there("w-2"), there("w-3")]);
    assert_eq!(decide(&look("UPDATE_IN_PROGRESS", &["w-1"]), &mut wishes).act, Act::Wait);
    for status in ["CREATE_COMPLETE", "UPDATE_COMPLETE", "UPDATE_FAILED"] {
        let Act::Change(change) = decide(&look(status, &["w-1"]), &mut wishes).act else { panic!("it is time") };
        assert_eq!(change, Change { add: vec![member("w-2"), member("w-3")], ..Change::default() });
    }
}

#[test]
fn nodes_go_first_alone_and_whatever_heat_is_doing() {
    for status in ["UPDATE_IN_PROGRESS", "UPDATE_COMPLETE", "UPDATE_FAILED"] {
        let mut wishes = wishes([there("w-3"), gone("w-2")]);
        let seen = look(status, &["w-1", "w-2"]);
        let change = removal(decide(&seen, &mut wishes).act);
        assert_eq!((&change.remove, change.close), (&of(&["w-2"]), false));
        // They are waited for.
        let decision = decide(&changed(seen.clone(), &change, "UPDATE_IN_PROGRESS"), &mut wishes);
        assert_eq!((decision.act, decision.answers.len()), (Act::Wait, 0));
        let decision = decide(&changed(seen, &change, "UPDATE_COMPLETE"), &mut wishes);
        assert_eq!(decision.answers, BTreeMap::from([(1, Answer::Gone)]));
        assert!(matches!(decision.act, Act::Change(change) if change.add == [member("w-3")]));
    }
}

#[test]
fn the_last_one_takes_the_stack_along() {
    let mut wishes = wishes([gone("w-1"), gone("w-2")]);
    let seen = look("UPDATE_COMPLETE", &["w-1", "w-2"]);
    let change = removal(decide(&seen, &mut wishes).act);
    assert!(change.close && change.remove == of(&["w-1", "w-2"]));
    let closed = changed(seen, &change, "UPDATE_COMPLETE");
    let decision = decide(&closed, &mut wishes);
    assert_eq!((decision.act, decision.answers.len()), (Act::Delete, 0));
    let mut deleting = closed;
    (deleting.stack.as_mut().unwrap().deleting, deleting.stack.as_mut().unwrap().phase) = (true, Phase::InProgress);
    assert_eq!(decide(&deleting, &mut wishes).act, Act::Wait);
    let decision = decide(&Look::default(), &mut wishes);
    assert_eq!(decision.answers, BTreeMap::from([(0, Answer::Gone), (1, Answer::Gone)]));
}

#[test]
fn a_stack_whose_last_node_is_replaced_stays() {
    let mut wishes = wishes([gone("w-1"), there("w-2")]);
    assert!(!removal(decide(&look("UPDATE_COMPLETE", &["w-1"]), &mut wishes).act).close);
}

#[test]
fn nothing_is_added_to_a_stack_that_is_to_be_deleted() {
    let mut wishes = wishes([there("w-1")]);
    let mut seen = look("UPDATE_COMPLETE", &[]);
    seen = changed(seen, &Change { close: true, ..Change::default() }, "UPDATE_COMPLETE");
    assert_eq!(decide(&seen, &mut wishes).act, Act::Delete);
    assert_eq!(decide(&look("DELETE_IN_PROGRESS", &[]), &mut wishes).act, Act::Wait);
    assert_eq!(decide(&Look::default(), &mut wishes).act, Act::Make);
}

#[test]
fn what_the_cloud_has_no_room_for_is_rejected_once_it_is_out_again() {
    for (reason, kind) in [
        (
            "ResourceInError: resources.w-2: Went to status ERROR due to \"Message: No valid host was found. , Code: 500\"",
            FailureKind::Rejected,
        ),
        (
            "Forbidden: resources.w-2: Quota exceeded for instances: Requested 1, but already used 3 of 3 instances \
             (HTTP 403) (Request-ID: req-1)",
            FailureKind::Rejected,
        ),
        ("Timed out", FailureKind::Failed),
    ] {
        let mut wishes = wishes([there("w-2"), there("w-1")]);
        wishes.values_mut().for_each(Wish::asked);
        let failed = without(look("UPDATE_FAILED", &["w-1", "w-2"]), "w-2", reason);
        // As long as Heat tries it again, it is waited for.
        let mut trying = failed.clone();
        trying.stack.as_mut().unwrap().phase = Phase::InProgress;
        assert_eq!(decide(&trying, &mut wishes.clone()).act, Act::Wait);
        let decision = decide(&failed, &mut wishes);
        assert_eq!(decision.answers, BTreeMap::from([(1, Answer::Ready(None))]));
        let change = removal(decision.act);
        assert_eq!((&change.remove, change.close), (&of(&["w-2"]), false));
        let left = changed(failed, &change, "UPDATE_IN_PROGRESS");
        assert!(decide(&left, &mut wishes).answers.is_empty(), "it may be on its way still");
        let decision = decide(&changed(left, &Change::default(), "UPDATE_COMPLETE"), &mut wishes);
        let Some(Answer::Failed(verdict)) = decision.answers.get(&0) else { panic!("{decision:?}") };
        assert!(verdict.kind == kind && verdict.message.contains(reason), "{verdict:?}");
    }
}

#[test]
fn what_failed_in_an_earlier_attempt_is_made_anew() {
    let mut wishes = wishes([there("w-2")]);
    let failed = without(look("UPDATE_FAILED", &["w-1", "w-2"]), "w-2", "No valid host was found.");
    let change = removal(decide(&failed, &mut wishes).act);
    assert_eq!(change.remove, of(&["w-2"]));
    let mut left = changed(failed, &change, "UPDATE_COMPLETE");
    left.stack.as_mut().unwrap().resources.remove(&name("w-2"));
    let decision = decide(&left, &mut wishes);
    assert!(matches!(decision.act, Act::Change(change) if change.add == [member("w-2")]));
}

#[test]
fn a_node_that_heat_did_not_come_to_is_neither_failed_nor_forgotten() {
    let mut wishes = wishes([there("w-2")]);
    wishes.values_mut().for_each(Wish::asked);
    let mut seen = without(look("UPDATE_FAILED", &["w-1", "w-2"]), "w-2", "");
    seen.stack.as_mut().unwrap().resources.get_mut(&name("w-2")).unwrap().phase = Phase::read("INIT_COMPLETE");
    let decision = decide(&seen, &mut wishes);
    assert!(decision.answers.is_empty());
    assert_eq!(removal(decision.act), Change::default(), "an update that changes nothing has Heat go on");
}

#[test]
fn a_machine_that_serves_is_not_touched_whatever_becomes_of_it() {
    for state in [State::Active, State::Error("broken".into()), State::Other("SHUTOFF".into())] {
        let mut seen = without(look("UPDATE_FAILED", &["w-1", "w-2"]), "w-1", "CHECK failed");
        seen.servers.push(server("w-1", state));
        let mut wishes = wishes([gone("w-2"), there("w-3")]);
        let decision = decide(&seen, &mut wishes);
        assert!(decision.delete.is_empty());
        assert_eq!(removal(decision.act).remove, of(&["w-2"]));
    }
}

#[test]
fn a_server_that_heat_waits_for_is_deleted_past_it() {
    let mut wishes = wishes([gone("w-2")]);
    let seen = look("UPDATE_IN_PROGRESS", &["w-1", "w-2"]);
    let change = removal(decide(&seen, &mut wishes).act);
    for (state, deleted) in [(State::Active, false), (State::Building, true), (State::Error("e".into()), true)] {
        let mut left = changed(seen.clone(), &change, "UPDATE_IN_PROGRESS");
        left.servers.push(server("w-2", state));
        let decision = decide(&left, &mut wishes);
        assert!(decision.answers.is_empty());
        assert_eq!(decision.delete.len(), usize::from(deleted));
        assert!(decision.delete.iter().all(|server| server.identity.node == name("w-2")));
    }
}

#[test]
fn a_stack_that_would_not_be_deleted_is_deleted_again_if_nobody_else_is_in_it() {
    let seen = look("DELETE_FAILED", &["w-1", "w-2"]);
    let mut both = wishes([gone("w-1"), gone("w-2"), there("w-3")]);
    let decision = decide(&seen, &mut both);
    assert_eq!((decision.act, decision.delete.len(), decision.answers.len()), (Act::Delete, 2, 0));
    // Somebody else had it deleted, and w-2 is still there.
    let mut one = wishes([gone("w-1"), there("w-3")]);
    let decision = decide(&seen, &mut one);
    assert_eq!((decision.act, decision.delete.len()), (Act::Wait, 1));
    assert!(matches!(&decision.answers[&1], Answer::Failed(why) if why.kind == FailureKind::Failed));
    let left = Look { servers: vec![server("w-2", State::Active)], ..seen };
    let decision = decide(&left, &mut one);
    assert_eq!(decision.answers, BTreeMap::from([(0, Answer::Gone)]));
    assert!(decision.delete.is_empty());
}

#[test]
fn no_update_is_sent_that_would_replace_a_machine() {
    // As after a check of the stack: the next update makes a new server of w-1, whatever the update is about.
    let mut seen = without(look("CHECK_FAILED", &["w-1", "w-2"]), "w-1", "'status': expected 'ACTIVE', got 'ERROR'");
    seen.stack.as_mut().unwrap().resources.get_mut(&name("w-1")).unwrap().condemned = true;
    for (wish, kind) in
        [(gone("w-2"), FailureKind::Failed), (gone("w-9"), FailureKind::Failed), (there("w-3"), FailureKind::Rejected)]
    {
        let decision = decide(&seen, &mut wishes([wish]));
        assert_eq!((&decision.act, decision.delete.len()), (&Act::Wait, 0));
        let Some(Answer::Failed(why)) = decision.answers.get(&0) else { panic!("{decision:?}") };
        assert!(why.kind == kind && why.message.contains("w-1 down as failed"), "{why:?}");
    }
    // Itself it may go, and all of them.
    let change = removal(decide(&seen, &mut wishes([gone("w-1")])).act);
    assert_eq!(change.remove, of(&["w-1"]));
    assert!(removal(decide(&seen, &mut wishes([gone("w-1"), gone("w-2")])).act).close);
}

#[test]
fn of_a_stack_that_ended_nothing_is_taken_for_gone_that_nova_has() {
    let mut wishes = wishes([gone("w-1"), gone("w-2")]);
    let seen = Look { stack: None, servers: vec![server("w-1", State::Active)] };
    let decision = decide(&seen, &mut wishes);
    assert_eq!(decision.answers, BTreeMap::from([(1, Answer::Gone)]));
    assert_eq!(decision.delete.len(), 1);
}

#[test]
fn what_was_sent_before_cannot_come_true_after_a_node_is_gone() {
    // It is not in the template. But an update with it may be on its way, of a process that died.
    let mut wishes = wishes([gone("w-2")]);
    let seen = look("UPDATE_COMPLETE", &["w-1"]);
    let decision = decide(&seen, &mut wishes);
    assert!(decision.answers.is_empty());
    let change = removal(decision.act);
    assert_eq!(change, Change::default(), "it only takes a new mark");
    let decision = decide(&changed(seen, &change, "UPDATE_COMPLETE"), &mut wishes);
    assert_eq!(decision.answers, BTreeMap::from([(0, Answer::Gone)]));
}

#[test]
fn a_stack_of_somebody_else_is_left_alone() {
    let mut seen = look("CREATE_COMPLETE", &["w-1"]);
    seen.stack.as_mut().unwrap().document = None;
    seen.servers.clear();
    let decision = decide(&seen, &mut wishes([there("w-1"), gone("w-2")]));
    assert!(matches!(&decision.answers[&0], Answer::Failed(verdict) if verdict.kind == FailureKind::Rejected));
    assert_eq!((&decision.answers[&1], decision.act), (&Answer::Gone, Act::Wait));
}

#[test]
fn a_name_is_one_machine() {
    let mut other = member("w-1");
    other.token = NodeToken::derive(&other.name, "another key");
    let mut wishes = wishes([Wish::there(other)]);
    let decision = decide(&look("UPDATE_COMPLETE", &["w-1"]), &mut wishes);
    assert!(matches!(&decision.answers[&0], Answer::Failed(verdict) if verdict.kind == FailureKind::Rejected));
    assert_eq!(decision.act, Act::Wait);
}

#[test]
fn a_token_is_one_machine() {
    let mut other = member("w-2");
    other.token = member("w-1").token;
    let decision = decide(&look("UPDATE_COMPLETE", &["w-1"]), &mut wishes([Wish::there(other)]));
    assert!(matches!(&decision.answers[&0], Answer::Failed(verdict) if verdict.kind == FailureKind::Rejected));
    assert_eq!(decision.act, Act::Wait, "what has the token is not touched");
}

#[test]
fn who_is_to_blame_is_in_the_message() {
    let names = [name("w-1"), name("w-10"), name("w-2")];
    let message =
        "resources.w-10.properties.key_name: : Error validating value 'nope': The Key (nope) could not be found";
    assert_eq!(named(message, names.iter()), BTreeSet::from([&names[1]]));
    assert!(named("Timed out", names.iter()).is_empty());
}

#[test]
fn a_wish_that_came_during_the_look_is_heeded_but_not_answered() {
    let late = |wish| BTreeMap::from([(0, wish)]);
    assert!(decide(&look("UPDATE_COMPLETE", &["w-1"]), &mut late(there("w-1"))).answers.is_empty());
    assert!(decide(&Look::default(), &mut late(gone("w-1"))).answers.is_empty());
    let mut wishes = late(gone("w-2"));
    let seen = look("UPDATE_COMPLETE", &["w-1"]);
    assert_eq!(decide(&seen, &mut wishes).act, Act::Wait);
    wishes.values_mut().for_each(Wish::look_begins);
    assert_eq!(removal(decide(&seen, &mut wishes).act), Change::default());
}
