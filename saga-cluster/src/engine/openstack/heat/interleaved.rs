//! Several processes on one stack, one after the other and at once, whose calls arrive in any order, late, or after their
//! death: what anybody was told stays true.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use serde_json::{Map, Value};

use super::decide::{Act, Answer, Look, Phase, Resource, Stack, Want, Wish, decide};
use super::template::tests::{accepts, cluster, member, parameters_of};
use super::template::{Document, Member};
use crate::engine::openstack::nova::servers::{Server, State};
use crate::engine::openstack::nova::tags::Identity;
use crate::model::NodeToken;

const NODES: usize = 4;
/// For this one there is never room.
const HOPELESS: usize = 3;
const PROCESSES: usize = 2;

fn node(i: usize) -> Member {
    member(&format!("w-{i}"))
}

#[derive(Debug, Clone)]
enum Event {
    /// A process is to make a node.
    Create(usize, usize),
    /// A process is to destroy a node. Whoever was to make it does not want it any more, and is not asked again.
    Destroy(usize, usize),
    /// A process reads the template, and looks at the rest later.
    Read(usize),
    /// A process looks, decides and sends.
    Turn(usize),
    /// A process gives up waiting for an answer. The call may arrive yet.
    Lose(usize),
    /// One of the calls under way arrives.
    Arrive(usize),
    /// Heat does something.
    Work,
    /// A process dies, and its successor knows nothing.
    Die(usize),
}

fn event() -> impl Strategy<Value = Event> {
    let (process, node) = (0..PROCESSES, 0..NODES);
    prop_oneof![
        3 => (process.clone(), node.clone()).prop_map(|(process, node)| Event::Create(process, node)),
        2 => (process.clone(), node).prop_map(|(process, node)| Event::Destroy(process, node)),
        2 => process.clone().prop_map(Event::Read),
        8 => process.clone().prop_map(Event::Turn),
        2 => process.clone().prop_map(Event::Lose),
        8 => (0..8_usize).prop_map(Event::Arrive),
        8 => Just(Event::Work),
        1 => process.prop_map(Event::Die),
    ]
}

/// A call under way.
#[derive(Debug, Clone)]
struct Sent {
    number: u64,
    by: usize,
    call: Call,
}

#[derive(Debug, Clone)]
enum Call {
    Make,
    /// An update of that stack. If it is a change and the answer is heard, its seal follows.
    Update(u64, Box<Document>),
    Delete(u64),
}

#[derive(Debug, Default)]
struct Process {
    wishes: BTreeMap<u64, Wish>,
    next: u64,
    /// A look that has begun: the template that was read, and the stack that it is of, if there was one.
    read: Option<Option<(u64, Document)>>,
    /// The call that it waits for, and which wishes' machines are in it.
    waits: Option<(u64, Vec<u64>)>,
}

#[derive(Debug)]
struct Heat {
    id: u64,
    parameters: Map<String, Value>,
    document: Document,
    deleting: bool,
    at_work: bool,
    /// What it makes just now, and will have made whatever comes meanwhile.
    making: Option<NodeToken>,
    /// What it has made and not unmade.
    owned: BTreeSet<NodeToken>,
    failed: BTreeSet<NodeToken>,
}

#[derive(Debug, Default)]
struct World {
    heat: Option<Heat>,
    /// Each with a number of its own.
    servers: BTreeMap<NodeToken, u64>,
    under_way: Vec<Sent>,
    processes: [Process; PROCESSES],
    numbers: u64,
    /// Which server somebody was told of, and nobody wanted gone since.
    told_there: BTreeMap<NodeToken, u64>,
    told_gone: BTreeSet<NodeToken>,
    /// What was to be destroyed at some time.
    doomed: BTreeSet<NodeToken>,
}

impl World {
    fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Create(process, i) => {
                let member = node(i);
                let wanted =
                    self.processes.iter().flat_map(|one| one.wishes.values()).any(|one| one.token == member.token);
                if !self.doomed.contains(&member.token) && !wanted {
                    self.wish(process, Wish::there(member));
                }
            }
            Event::Destroy(process, i) => {
                let Member { name, token, .. } = node(i);
                self.doomed.insert(token.clone());
                self.told_there.remove(&token);
                for one in &mut self.processes {
                    one.wishes.retain(|_, wish| wish.token != token);
                }
                self.wish(process, Wish::gone(name, token));
            }
            Event::Read(process) => {
                // It looks when it has heard, or has given up.
                if self.processes[process].waits.is_some() {
                    return;
                }
                self.processes[process].wishes.values_mut().for_each(Wish::look_begins);
                let read = self.heat.as_ref().map(|heat| (heat.id, heat.document.clone()));
                self.processes[process].read = Some(read);
            }
            Event::Turn(process) => self.turn(process),
            Event::Lose(process) => self.processes[process].waits = None,
            Event::Arrive(which) if !self.under_way.is_empty() => {
                let sent = self.under_way.remove(which % self.under_way.len());
                self.arrive(sent);
            }
            Event::Arrive(_) => {}
            Event::Work => self.work(),
            Event::Die(process) => self.processes[process] = Process::default(),
        }
    }

    fn wish(&mut self, process: usize, wish: Wish) {
        let process = &mut self.processes[process];
        process.next += 1;
        process.wishes.insert(process.next, wish);
    }

    fn look(&self, read: Option<Option<(u64, Document)>>) -> Look {
        let servers = self.servers.iter().map(|(token, number)| {
            let member = (0..NODES).map(node).find(|one| one.token == *token).unwrap();
            let identity = Identity { cluster: cluster(), node: member.name, token: token.clone() };
            Server { id: number.to_string(), identity, created: None, state: State::Active, address: None }
        });
        let servers = servers.collect();
        let Some(heat) = &self.heat else { return Look { stack: None, servers } };
        let document = match read {
            Some(Some((id, document))) if id == heat.id => document,
            // There was none yet, or it was another one, which is gone.
            Some(_) => return Look { stack: None, servers },
            None => heat.document.clone(),
        };
        let resource = |member: &Member| {
            let server = self.servers.get(&member.token).filter(|_| heat.owned.contains(&member.token));
            let phase = match server {
                Some(_) => Phase::Complete,
                None if heat.failed.contains(&member.token) => Phase::Failed,
                None if heat.at_work => Phase::InProgress,
                None => Phase::Untouched,
            };
            let reason = if phase == Phase::Failed { "No valid host was found." } else { "" };
            (
                member.name.clone(),
                Resource { phase, condemned: false, reason: reason.into(), server: server.map(ToString::to_string) },
            )
        };
        let phase = match (heat.at_work, heat.failed.is_empty()) {
            (true, _) => Phase::InProgress,
            (false, true) => Phase::Complete,
            (false, false) => Phase::Failed,
        };
        let stack = Stack {
            id: heat.id.to_string(),
            deleting: heat.deleting,
            phase,
            status: String::new(),
            reason: String::new(),
            resources: heat.document.members().map(resource).collect(),
            document: Some(document),
        };
        Look { stack: Some(stack), servers }
    }

    fn turn(&mut self, process: usize) {
        if self.processes[process].waits.is_some() {
            return;
        }
        let read = self.processes[process].read.take();
        if read.is_none() {
            self.processes[process].wishes.values_mut().for_each(Wish::look_begins);
        }
        let look = self.look(read);
        let mut wishes = std::mem::take(&mut self.processes[process].wishes);
        let before = wishes.clone();
        let decision = decide(&look, &mut wishes);
        self.processes[process].wishes = wishes;
        for (id, answer) in &decision.answers {
            let Wish { token, want, .. } = &before[id];
            match (answer, want) {
                (Answer::Ready(_), Want::There { .. }) => {
                    let server = *self.servers.get(token).expect("what is told to be there is there");
                    self.told_there.insert(token.clone(), server);
                }
                (Answer::Gone, Want::Gone) => {
                    self.told_gone.insert(token.clone());
                }
                (Answer::Failed(_), Want::There { .. }) => {
                    // It is rejected, so nobody is going to destroy it.
                    assert!(!self.servers.contains_key(token), "a failure leaves nothing");
                    self.doomed.insert(token.clone());
                    self.told_gone.insert(token.clone());
                }
                (answer, want) => panic!("{answer:?} is no answer to {want:?}"),
            }
        }
        for server in &decision.delete {
            self.servers.remove(&server.identity.token);
        }
        self.send(process, &look, decision.act);
    }

    fn send(&mut self, process: usize, look: &Look, act: Act) {
        let stack = look.stack.as_ref();
        let id = stack.and_then(|stack| stack.id.parse().ok()).unwrap_or_default();
        let document = stack.and_then(|stack| stack.document.clone());
        let mut with = Vec::new();
        let call = match (act, document) {
            (Act::Make, _) => Call::Make,
            (Act::Change(change), Some(document)) => {
                for (id, wish) in &mut self.processes[process].wishes {
                    if change.add.iter().any(|member| member.token == wish.token) {
                        wish.asked();
                        with.push(*id);
                    }
                }
                Call::Update(id, Box::new(document.changed(&change)))
            }
            (Act::Seal, Some(document)) => Call::Update(id, Box::new(document.seal())),
            (Act::Delete, _) => Call::Delete(id),
            _ => return,
        };
        self.post(process, call, with);
    }

    fn post(&mut self, by: usize, call: Call, with: Vec<u64>) {
        let number = self.number();
        self.processes[by].waits = Some((number, with));
        self.under_way.push(Sent { number, by, call });
    }

    fn arrive(&mut self, Sent { number, by, call }: Sent) {
        let heard = self.processes[by].waits.take_if(|(awaited, _)| *awaited == number);
        match call {
            Call::Make if self.heat.is_none() => {
                let (id, document) = (self.number(), Document::first(&cluster()));
                self.heat = Some(Heat {
                    id,
                    parameters: parameters_of(&document),
                    document,
                    deleting: false,
                    at_work: false,
                    making: None,
                    owned: BTreeSet::new(),
                    failed: BTreeSet::new(),
                });
            }
            Call::Make => {}
            Call::Update(id, document) => {
                let sent = document.to_update();
                if let Some(heat) = self.heat.as_mut().filter(|heat| heat.id == id && !heat.deleting)
                    && accepts(&mut heat.parameters, &sent)
                {
                    heat.document = Document::read(&cluster(), &sent.template).expect("we wrote it");
                    heat.at_work = true;
                    heat.failed.clear();
                    if heard.is_some() && !document.is_sealed() {
                        self.post(by, Call::Update(id, Box::new(document.seal())), Vec::new());
                    }
                    return;
                }
                for id in heard.map(|(_, with)| with).unwrap_or_default() {
                    if let Some(wish) = self.processes[by].wishes.get_mut(&id) {
                        wish.not_taken();
                    }
                }
            }
            Call::Delete(id) => {
                if let Some(heat) = self.heat.as_mut().filter(|heat| heat.id == id) {
                    (heat.deleting, heat.at_work) = (true, true);
                }
            }
        }
    }

    /// One step towards the template.
    fn work(&mut self) {
        let number = self.number();
        let Some(heat) = self.heat.as_mut().filter(|heat| heat.at_work) else { return };
        if let Some(token) = heat.making.take() {
            heat.owned.insert(token.clone());
            self.servers.insert(token, number);
            return;
        }
        let in_template = |token: &NodeToken| !heat.deleting && heat.document.by_token(token).is_some();
        if let Some(token) = heat.owned.iter().find(|token| !in_template(token)).cloned() {
            heat.owned.remove(&token);
            self.servers.remove(&token);
            return;
        }
        if heat.deleting {
            self.heat = None;
            return;
        }
        let missing = |member: &&Member| !heat.owned.contains(&member.token) && !heat.failed.contains(&member.token);
        match heat.document.members().find(missing).map(|member| member.token.clone()) {
            Some(token) if token == node(HOPELESS).token => {
                heat.failed.insert(token);
            }
            token @ Some(_) => heat.making = token,
            None => heat.at_work = false,
        }
    }

    fn check(&self) {
        for (token, server) in &self.told_there {
            assert_eq!(self.servers.get(token), Some(server), "{token} was told to be there, and nobody wants it gone");
        }
        for token in &self.told_gone {
            assert!(!self.servers.contains_key(token), "{token} was told to be gone");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_was_told_stays_true(events in prop::collection::vec(event(), 1..160)) {
        let mut world = World::default();
        for event in events {
            world.happen(event);
            world.check();
        }
        // Everything arrives, and everybody is answered.
        for round in 0.. {
            while let Some(sent) = world.under_way.pop() {
                world.arrive(sent);
                world.check();
            }
            for process in 0..PROCESSES {
                world.processes[process].waits = None;
                world.turn(process);
                world.check();
                while let Some(sent) = world.under_way.pop() {
                    world.arrive(sent);
                    world.check();
                }
                for _ in 0..4 {
                    world.work();
                    world.check();
                }
            }
            if world.processes.iter().all(|process| process.wishes.is_empty()) {
                break;
            }
            prop_assert!(round < 100, "{world:#?}");
        }
    }
}
