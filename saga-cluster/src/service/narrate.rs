//! A run's journal, told to people.

use std::collections::HashMap;

use saga_core::journal::{Event, ProbeAnswer, Rest};
use saga_core::{ItemRef, Payload, StepIndex};

use super::{NodeState, OperationKind, PhaseState, ProgressKind};
use crate::model::NodeName;
use crate::saga::order::{CreateOrder, DeleteOrder, LeftNode, ScaleOrder, Swept, Target};
use crate::saga::phase;

/// Tells a journal event by event, in order.
pub(super) struct Narrator {
    kind: OperationKind,
    steps: HashMap<StepIndex, Told>,
    new: Vec<NodeName>,
    leaving: Vec<NodeName>,
    targets: Vec<NodeName>,
    left: Vec<NodeName>,
}

/// A step that has started.
struct Told {
    phase: String,
    nodes: Vec<NodeName>,
    /// How many items it has, if it is a fan-out.
    items: Option<usize>,
    done: usize,
    undoing: bool,
    stuck: bool,
}

impl Narrator {
    pub(super) fn new(kind: OperationKind) -> Self {
        let (new, leaving, targets, left) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Self { kind, steps: HashMap::new(), new, leaving, targets, left }
    }

    /// The nodes that a delete had to leave, as far as it has told.
    pub(super) fn left(&self) -> &[NodeName] {
        &self.left
    }

    /// Whether the beginning of that phase was told.
    pub(super) fn has_begun(&self, phase: &str) -> bool {
        self.steps.values().any(|told| told.phase == phase)
    }

    pub(super) fn tell(&mut self, event: &Event) -> Vec<ProgressKind> {
        match event {
            Event::RunStarted { input, .. } => vec![self.started(input)],
            // What a client asked for is begun by a worker, if nothing of it has begun yet.
            Event::Resumed { worker, .. } if self.steps.is_empty() => {
                vec![note(format!("taken up by worker {worker}"))]
            }
            Event::Resumed { worker, .. } => vec![note(format!("taken up again, by worker {worker}"))],
            Event::StepStarted { step, name, items } => self.step_started(*step, name.as_str(), *items),
            Event::AttemptStarted { of, attempt: 1 } => self.node(*of, NodeState::Started).into_iter().collect(),
            Event::AttemptFailed { of, error, retry_at, .. } => self.failed(*of, error.to_string(), retry_at.is_some()),
            Event::Succeeded { of, output } | Event::Probed { of, answer: ProbeAnswer::Done(output) } => {
                self.succeeded(*of, output)
            }
            Event::AbortBegan { cause } => vec![note(format!("turning back: {cause}"))],
            Event::SubjectChecked { gone: true } => vec![note("the cluster's record is gone")],
            Event::UndoStarted { of, attempt: 1 } => self.undoing(of.step),
            Event::UndoFailed { of, error, retry_at, .. } => {
                if let Some(told) = self.steps.get_mut(&of.step) {
                    told.stuck |= retry_at.is_none();
                }
                let state = NodeState::Failed { why: error.to_string(), again: retry_at.is_some() };
                self.node(*of, state).into_iter().collect()
            }
            Event::Undone { of } => self.node(*of, NodeState::Undone).into_iter().collect(),
            Event::Rested { rest } => self.rested(rest),
            Event::FinalizerFailed { error, .. } => vec![note(format!("the record could not be written yet: {error}"))],
            Event::Operated { verb, by } => vec![note(format!("{verb}, asked for by {by}"))],
            Event::AttemptStarted { .. }
            | Event::Checkpointed { .. }
            | Event::Probed { .. }
            | Event::SubjectChecked { .. }
            | Event::RollbackBegan
            | Event::UndoStarted { .. }
            | Event::Finalized => Vec::new(),
        }
    }

    fn started(&mut self, input: &Payload) -> ProgressKind {
        let by = match self.kind {
            OperationKind::Create => input.decode::<CreateOrder>().map(|order| {
                self.new = order.nodes.into_iter().map(|node| node.name).collect();
                (
                    order.subject.by,
                    format!("create {} node{}", self.new.len(), if self.new.len() == 1 { "" } else { "s" }),
                )
            }),
            OperationKind::Scale => input.decode::<ScaleOrder>().map(|order| {
                self.new = order.plan.add().iter().map(|node| node.name.clone()).collect();
                self.leaving = order.plan.remove().to_vec();
                let come = if self.new.len() == 1 { "node comes" } else { "nodes come" };
                let go = if self.leaving.len() == 1 { "goes" } else { "go" };
                let what = format!("scale: {} {come}, {} {go}", self.new.len(), self.leaving.len());
                (order.subject.by, what)
            }),
            OperationKind::Delete => input
                .decode::<DeleteOrder>()
                .map(|order| (order.by, if order.force { "delete, by force".to_owned() } else { "delete".to_owned() })),
        };
        match by {
            Ok((by, what)) => note(format!("{what}, asked for by {by}")),
            Err(_) => note(self.kind.to_string()),
        }
    }

    fn step_started(&mut self, step: StepIndex, name: &str, items: Option<u32>) -> Vec<ProgressKind> {
        let nodes = match name {
            phase::CREATE | phase::ADMIT | phase::CONFIGURE | phase::START => self.new.clone(),
            phase::DECOMMISSION | phase::TERMINATE => self.leaving.clone(),
            phase::DESTROY => self.targets.clone(),
            _ => Vec::new(),
        };
        let items = items.map(|items| items as usize);
        let told = Told { phase: name.to_owned(), nodes, items, done: 0, undoing: false, stuck: false };
        let mut tell = vec![told.phase(PhaseState::Started)];
        if items == Some(0) {
            tell.push(told.phase(PhaseState::Done));
        }
        self.steps.insert(step, told);
        quiet(name, tell)
    }

    fn succeeded(&mut self, of: ItemRef, output: &Payload) -> Vec<ProgressKind> {
        let Some(told) = self.steps.get_mut(&of.step) else { return Vec::new() };
        match told.phase.as_str() {
            phase::FIND => {
                let targets: Vec<Target> = output.decode().unwrap_or_default();
                self.targets = targets.into_iter().map(|target| target.machine.node).collect();
            }
            phase::SWEEP => {
                let swept: Swept = output.decode().unwrap_or_default();
                self.left = swept.left.into_iter().map(|left| left.name).collect();
            }
            _ => {}
        }
        told.done += 1;
        let Some(items) = told.items else { return quiet(&told.phase, vec![told.phase(PhaseState::Done)]) };
        // For a delete, a machine that does not go is an answer like any other.
        let left = (told.phase == phase::DESTROY).then(|| output.decode::<Option<LeftNode>>().ok().flatten()).flatten();
        let state = left.map_or(NodeState::Done, |left| NodeState::Failed { why: left.why, again: false });
        let mut tell: Vec<_> = told.node(of, state).into_iter().collect();
        if told.done == items {
            tell.push(told.phase(PhaseState::Done));
        }
        tell
    }

    fn failed(&self, of: ItemRef, why: String, again: bool) -> Vec<ProgressKind> {
        let Some(told) = self.steps.get(&of.step) else { return Vec::new() };
        match (told.items, again) {
            (Some(_), again) => told.node(of, NodeState::Failed { why, again }).into_iter().collect(),
            (None, false) => vec![told.phase(PhaseState::Failed { why })],
            (None, true) => vec![note(format!("{} failed, will be tried again: {why}", told.phase))],
        }
    }

    fn undoing(&mut self, step: StepIndex) -> Vec<ProgressKind> {
        let Some(told) = self.steps.get_mut(&step).filter(|told| !told.undoing) else { return Vec::new() };
        told.undoing = true;
        vec![told.phase(PhaseState::Undoing)]
    }

    fn rested(&self, rest: &Rest) -> Vec<ProgressKind> {
        let undone = self.steps.values().filter(|told| told.undoing && !told.stuck);
        let mut tell: Vec<_> = undone.map(|told| told.phase(PhaseState::Undone)).collect();
        tell.push(note(match rest {
            Rest::Completed => "done".to_owned(),
            Rest::RolledBack => "rolled back".to_owned(),
            Rest::Halted { error, .. } => format!("halted, nothing was undone: {error}"),
            Rest::Stuck => "stuck: something could not be cleaned up".to_owned(),
            Rest::Abandoned { by } => format!("given up by {by}"),
        }));
        tell
    }

    fn node(&self, of: ItemRef, state: NodeState) -> Option<ProgressKind> {
        self.steps.get(&of.step)?.node(of, state)
    }
}

impl Told {
    fn phase(&self, state: PhaseState) -> ProgressKind {
        ProgressKind::Phase { phase: self.phase.clone(), nodes: self.nodes.len(), state }
    }

    fn node(&self, of: ItemRef, state: NodeState) -> Option<ProgressKind> {
        self.items?;
        let node = self.nodes.get(of.item as usize)?.clone();
        Some(ProgressKind::Node { phase: self.phase.clone(), node, state })
    }
}

fn note(text: impl Into<String>) -> ProgressKind {
    ProgressKind::Note { text: text.into() }
}

/// Leaves out what is nobody's business.
fn quiet(phase: &str, tell: Vec<ProgressKind>) -> Vec<ProgressKind> {
    if phase == phase::PREPARE { Vec::new() } else { tell }
}
