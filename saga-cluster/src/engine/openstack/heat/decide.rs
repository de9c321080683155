//! What is to be done next for a cluster's stack: decided by what was seen of it and what is wished, and by nothing else.
//!
//! Nothing is remembered of what was sent. Whoever comes to a stack in the middle of a change, be it its own or that of a
//! process that died, looks, and goes on from there. The rules, first to last:
//!
//! 1. What is wished gone, or has failed, is taken out of the template at once, and alone: nothing is added by the same
//!    update. Where nothing would remain, the stack is closed.
//! 2. A change is sealed. Only then is anybody told of a machine that is there, or gone.
//! 3. A closed stack is deleted.
//! 4. What is gone is told when Nova has no server of it, Heat is at rest, and no update that was sent before can come
//!    true any more.
//! 5. Machines are added when Heat is at rest.
//!
//! No update is sent by which Heat would replace a machine that nobody wants gone.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use super::template::{Change, Document, Member};
use crate::FailureKind;
use crate::engine::EngineError;
use crate::engine::openstack::nova::servers::{Server, State};
use crate::model::{NodeName, NodeToken};

/// What was seen of a cluster: first the template, then how far Heat is with it, then the servers.
#[derive(Debug, Clone, Default)]
pub(super) struct Look {
    /// None, if there is none, or no more.
    pub(super) stack: Option<Stack>,
    /// All servers that say that they are the cluster's, whether the stack knows them or not.
    pub(super) servers: Vec<Server>,
}

impl Look {
    /// The servers of a machine.
    pub(super) fn servers_of<'a>(&'a self, token: &'a NodeToken) -> impl Iterator<Item = &'a Server> {
        self.servers.iter().filter(move |server| server.identity.token == *token)
    }
}

/// A stack that was seen.
#[derive(Debug, Clone)]
pub(super) struct Stack {
    pub(super) id: String,
    /// It is on its way out, whoever asked for that.
    pub(super) deleting: bool,
    pub(super) phase: Phase,
    /// Heat's own words.
    pub(super) status: String,
    pub(super) reason: String,
    /// None, if it is none of ours.
    pub(super) document: Option<Document>,
    pub(super) resources: BTreeMap<NodeName, Resource>,
}

/// How far Heat is, with a stack or with a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Heat has not begun with it.
    Untouched,
    InProgress,
    Complete,
    Failed,
}

impl Phase {
    /// Of a status such as `UPDATE_IN_PROGRESS`.
    pub(super) fn read(status: &str) -> Self {
        match status {
            "INIT_COMPLETE" => Self::Untouched,
            _ if status.ends_with("_IN_PROGRESS") => Self::InProgress,
            _ if status.ends_with("_COMPLETE") => Self::Complete,
            _ => Self::Failed,
        }
    }
}

/// A resource of a stack: what Heat makes of a machine.
#[derive(Debug, Clone)]
pub(super) struct Resource {
    pub(super) phase: Phase,
    /// It was made, and Heat has it down as failed since, after a check. The next update, whatever it is, may replace it.
    pub(super) condemned: bool,
    pub(super) reason: String,
    /// Its server, once Nova has taken it.
    pub(super) server: Option<String>,
}

/// How a machine is that is in a sealed template.
#[derive(Debug, PartialEq)]
pub(super) enum Health {
    Ready(Option<SocketAddr>),
    /// It is being made.
    Coming,
    /// Heat has stopped, because of another machine, before it came to this one.
    Passed,
    /// Its making failed, or it broke.
    Broken(Verdict),
    /// It was made, and is now something else.
    Odd(String),
}

/// Why a wish does not come true.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) kind: FailureKind,
    pub(super) message: String,
}

impl Verdict {
    pub(super) fn failed(message: impl Into<String>) -> Self {
        Self { kind: FailureKind::Failed, message: message.into() }
    }

    pub(super) fn rejected(message: impl Into<String>) -> Self {
        Self { kind: FailureKind::Rejected, message: message.into() }
    }

    /// Of what Heat says about a resource that it has given up. It has tried several times by then, so what a cloud has no
    /// room for is not worth another attempt.
    fn of_reason(name: &NodeName, reason: &str) -> Self {
        let no_room = ["No valid host", "Quota exceeded", "(HTTP 403)"].iter().any(|words| reason.contains(words));
        let kind = if no_room { FailureKind::Rejected } else { FailureKind::Failed };
        Self { kind, message: format!("Heat did not make {name}: {reason}") }
    }
}

impl From<Verdict> for EngineError {
    fn from(Verdict { kind, message }: Verdict) -> Self {
        match kind {
            FailureKind::Failed => Self::failed(message),
            FailureKind::Fatal => Self::fatal(message),
            FailureKind::Rejected => Self::rejected(message),
        }
    }
}

/// What a caller waits for.
#[derive(Debug, Clone)]
pub(super) struct Wish {
    pub(super) name: NodeName,
    pub(super) token: NodeToken,
    pub(super) want: Want,
    /// It was there before the look began that is decided by. Of one that came later, the look says nothing for sure.
    in_time: bool,
    /// The mark that was sealed when the stack was first looked at for this wish. All that was sent before requires this
    /// one, or an older one.
    since: Option<String>,
}

#[derive(Debug, Clone)]
pub(super) enum Want {
    There {
        member: Member,
        /// How many updates with it were sent for this wish that Heat has taken, or may have.
        sent: u32,
        /// It is not to be, for that reason. That is told once nothing of it is left.
        verdict: Option<Verdict>,
    },
    Gone,
}

impl Wish {
    pub(super) fn there(member: Member) -> Self {
        let (name, token) = (member.name.clone(), member.token.clone());
        Self { name, token, want: Want::There { member, sent: 0, verdict: None }, in_time: false, since: None }
    }

    pub(super) fn gone(name: NodeName, token: NodeToken) -> Self {
        Self { name, token, want: Want::Gone, in_time: false, since: None }
    }

    /// The machine, if it is still to be made.
    fn wanted(&self) -> Option<&Member> {
        match &self.want {
            Want::There { member, verdict: None, .. } => Some(member),
            _ => None,
        }
    }

    /// What is told once nothing of the machine is left.
    fn end(&self) -> Answer {
        match &self.want {
            Want::There { verdict: Some(verdict), .. } => Answer::Failed(verdict.clone()),
            _ => Answer::Gone,
        }
    }

    /// Notes that a look begins.
    pub(super) fn look_begins(&mut self) {
        self.in_time = true;
    }

    /// Notes that an update with its machine is being sent. Nobody may ever hear of what becomes of it.
    pub(super) fn asked(&mut self) {
        if let Want::There { sent, .. } = &mut self.want {
            *sent += 1;
        }
    }

    /// Notes that Heat did not take it.
    pub(super) fn not_taken(&mut self) {
        if let Want::There { sent, .. } = &mut self.want {
            *sent -= 1;
        }
    }

    /// Whether no update with its machine that was sent before can come true any more.
    fn is_fenced(&self, document: &Document) -> bool {
        let since = self.since.as_deref();
        matches!(self.want, Want::There { sent: 0, .. }) || since.is_some_and(|since| since != document.sealed_mark())
    }

    /// Notes that it is not to be.
    pub(super) fn refused(&mut self, why: Verdict) {
        if let Want::There { verdict, .. } = &mut self.want {
            verdict.get_or_insert(why);
        }
    }
}

/// What a caller is told.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Answer {
    Ready(Option<SocketAddr>),
    Gone,
    Failed(Verdict),
}

/// What is sent to Heat.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) enum Act {
    #[default]
    Wait,
    /// Make a stack without a machine.
    Make,
    Change(Change),
    Seal,
    /// Delete the stack.
    Delete,
}

#[derive(Debug, Default)]
pub(super) struct Decision {
    pub(super) answers: BTreeMap<u64, Answer>,
    /// Servers that Heat does not let go by itself.
    pub(super) delete: Vec<Server>,
    pub(super) act: Act,
}

/// What follows from what was seen, for the wishes that there are.
pub(super) fn decide(look: &Look, wishes: &mut BTreeMap<u64, Wish>) -> Decision {
    let mut decision = Decision::default();
    if wishes.is_empty() {
        return decision;
    }
    match &look.stack {
        None => without_stack(look, wishes, &mut decision),
        Some(stack) if stack.deleting => while_deleted(look, stack, wishes, &mut decision),
        Some(Stack { document: None, .. }) => {
            without_stack(look, wishes, &mut decision);
            decision.act = Act::Wait;
            for (id, wish) in wishes.iter().filter(|(_, wish)| wish.wanted().is_some()) {
                let message = format!("{} cannot be in the stack of that name: somebody else made it", wish.name);
                decision.answers.insert(*id, Answer::Failed(Verdict::rejected(message)));
            }
        }
        Some(stack @ Stack { document: Some(document), .. }) => {
            of_stack(look, stack, document, wishes, &mut decision);
            spare(stack, document, wishes, &mut decision);
        }
    }
    decision.answers.retain(|id, _| wishes[id].in_time);
    wishes.retain(|id, _| !decision.answers.contains_key(id));
    decision
}

/// There is no stack, so what servers there are belong to nobody.
fn without_stack(look: &Look, wishes: &BTreeMap<u64, Wish>, decision: &mut Decision) {
    for (id, wish) in wishes {
        let left: Vec<_> = look.servers_of(&wish.token).cloned().collect();
        if wish.wanted().is_some() {
            decision.act = Act::Make;
        } else if left.is_empty() {
            decision.answers.insert(*id, wish.end());
        }
        decision.delete.extend(left);
    }
}

/// A stack is on its way out: because we closed it, or because somebody deletes it, nodes and all.
fn while_deleted(look: &Look, stack: &Stack, wishes: &BTreeMap<u64, Wish>, decision: &mut Decision) {
    let unwanted = || wishes.iter().filter(|(_, wish)| wish.wanted().is_none());
    decision.delete = unwanted().flat_map(|(_, wish)| stubborn(look, stack, wish)).collect();
    if stack.phase != Phase::Failed {
        return;
    }
    let is_unwanted = |server: &Server| unwanted().any(|(_, wish)| wish.token == server.identity.token);
    if look.servers.iter().all(is_unwanted) {
        decision.act = Act::Delete;
        return;
    }
    // What is left of it is not ours to delete. It cannot be updated any more, so what has no server never will.
    for (id, wish) in wishes {
        if wish.wanted().is_some() {
            let message = format!("{} cannot be made: the stack is {}: {}", wish.name, stack.status, stack.reason);
            decision.answers.insert(*id, Answer::Failed(Verdict::failed(message)));
        } else if look.servers_of(&wish.token).next().is_none() {
            decision.answers.insert(*id, wish.end());
        }
    }
}

/// Takes back an update by which Heat would replace a machine that it is not about.
fn spare(stack: &Stack, document: &Document, wishes: &BTreeMap<u64, Wish>, decision: &mut Decision) {
    let remove: &[NodeToken] = match &decision.act {
        Act::Change(change) => &change.remove,
        Act::Seal => &[],
        Act::Wait | Act::Make | Act::Delete => return,
    };
    let mut stay = document.members().filter(|member| !remove.contains(&member.token));
    let condemned = stay.find(|member| stack.resources.get(&member.name).is_some_and(|resource| resource.condemned));
    let Some(Member { name, .. }) = condemned else { return };
    let reason = &stack.resources[name].reason;
    let message = format!(
        "Heat has {name} down as failed, and would replace its server in any update of the stack ({reason}); mend it and \
         have Heat check the stack, or take {name} out of the cluster"
    );
    for (id, wish) in wishes {
        let untouched = matches!(wish.want, Want::There { sent: 0, .. });
        let kind = if untouched { FailureKind::Rejected } else { FailureKind::Failed };
        decision.answers.entry(*id).or_insert_with(|| Answer::Failed(Verdict { kind, message: message.clone() }));
    }
    decision.act = Act::Wait;
}

fn of_stack(
    look: &Look,
    stack: &Stack,
    document: &Document,
    wishes: &mut BTreeMap<u64, Wish>,
    decision: &mut Decision,
) {
    let at_rest = stack.phase != Phase::InProgress;
    let mut change = Change::default();
    let mut passed = false;
    for (id, wish) in &mut *wishes {
        let present = document.by_token(&wish.token).is_some();
        if wish.in_time {
            wish.since.get_or_insert_with(|| document.sealed_mark().to_owned());
        }
        match &mut wish.want {
            Want::Gone | Want::There { verdict: Some(_), .. } => {}
            Want::There { verdict, .. } if !present => {
                if document.by_name(&wish.name).is_some() {
                    *verdict = Some(Verdict::rejected(format!("{} is there already, under another token", wish.name)));
                }
            }
            Want::There { .. } if document.by_token(&wish.token).is_some_and(|member| member.name != wish.name) => {
                let message = format!("the token of {} belongs to another node", wish.name);
                decision.answers.insert(*id, Answer::Failed(Verdict::rejected(message)));
            }
            Want::There { sent, verdict, .. } if document.is_sealed() => {
                match health(look, stack, &wish.name, &wish.token) {
                    Health::Ready(address) => {
                        decision.answers.insert(*id, Answer::Ready(address));
                    }
                    Health::Odd(how) => {
                        decision.answers.insert(*id, Answer::Failed(Verdict::failed(how)));
                    }
                    Health::Coming => {}
                    Health::Passed => passed = true,
                    Health::Broken(why) => {
                        // That of an earlier attempt is replaced.
                        if *sent > 0 {
                            *verdict = Some(why);
                        }
                        change.remove.push(wish.token.clone());
                    }
                }
            }
            Want::There { .. } => {}
        }
        if present && wish.wanted().is_none() && !change.remove.contains(&wish.token) {
            change.remove.push(wish.token.clone());
        }
    }
    let anything_wanted = wishes.values().any(|wish| wish.wanted().is_some());
    let leaves_nothing = document.members().all(|member| change.remove.contains(&member.token));
    if !change.remove.is_empty() || (leaves_nothing && !anything_wanted && !document.is_closed()) {
        change.close = leaves_nothing && !anything_wanted;
        decision.act = Act::Change(change);
        return;
    }
    if !document.is_sealed() {
        decision.act = Act::Seal;
        return;
    }
    let mut unfenced = false;
    for (id, wish) in wishes.iter().filter(|(_, wish)| wish.wanted().is_none()) {
        decision.delete.extend(stubborn(look, stack, wish));
        let fenced = wish.is_fenced(document);
        unfenced |= !fenced && wish.in_time;
        // A closed stack is waited for: nothing of it is to be left.
        if fenced && at_rest && !document.is_closed() && look.servers_of(&wish.token).next().is_none() {
            decision.answers.insert(*id, wish.end());
        }
    }
    if document.is_closed() {
        decision.act = Act::Delete;
        return;
    }
    let add: BTreeMap<_, _> = wishes.values().filter_map(Wish::wanted).map(|member| (&member.name, member)).collect();
    let add: Vec<_> = add.into_values().filter(|member| document.by_token(&member.token).is_none()).cloned().collect();
    if at_rest && !add.is_empty() {
        decision.act = Act::Change(Change { add, ..Change::default() });
    } else if unfenced || passed {
        // It changes nothing but the mark, and has Heat go on.
        decision.act = Act::Change(Change::default());
    }
}

/// How a machine is, that is in a sealed template.
pub(super) fn health(look: &Look, stack: &Stack, name: &NodeName, token: &NodeToken) -> Health {
    let at_rest = stack.phase != Phase::InProgress;
    let resource = stack.resources.get(name);
    let phase = resource.map_or(Phase::Untouched, |resource| resource.phase);
    let reason = resource.map_or("", |resource| &resource.reason);
    match phase {
        Phase::InProgress => Health::Coming,
        Phase::Untouched | Phase::Failed if !at_rest => Health::Coming,
        Phase::Untouched => Health::Passed,
        Phase::Failed => Health::Broken(Verdict::of_reason(name, reason)),
        Phase::Complete => {
            let id = resource.and_then(|resource| resource.server.as_ref());
            let server = look.servers_of(token).find(|server| Some(&server.id) == id);
            match server.map(|server| (&server.state, server.address)) {
                Some((State::Active, address)) => Health::Ready(address),
                Some((State::Building, _)) => Health::Coming,
                Some((State::Other(status), _)) => Health::Odd(format!("the server of {name} is {status}")),
                _ if !at_rest => Health::Coming,
                Some((state @ (State::Error(_) | State::Deleting), _)) => {
                    Health::Broken(Verdict::failed(format!("the server of {name} is {state}")))
                }
                None => Health::Broken(Verdict::failed(format!("the server of {name} was deleted by somebody else"))),
            }
        }
    }
}

/// The servers of a machine that is not to be, and is in no template any more, that Heat waits for or has given up.
fn stubborn(look: &Look, stack: &Stack, wish: &Wish) -> Vec<Server> {
    let stuck =
        |server: &&Server| stack.phase == Phase::Failed || matches!(server.state, State::Building | State::Error(_));
    look.servers_of(&wish.token).filter(stuck).cloned().collect()
}

/// The names of machines that a message of Heat is about.
pub(super) fn named<'a>(message: &str, names: impl Iterator<Item = &'a NodeName>) -> BTreeSet<&'a NodeName> {
    names.filter(|name| message.contains(&format!("resources.{name}."))).collect()
}

#[cfg(test)]
#[path = "decide_tests.rs"]
mod tests;
