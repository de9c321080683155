//! A worker takes the run up: what was in flight is over, and the agenda is written anew.

use crate::id::{ItemRef, StepIndex, Timestamp};
use crate::journal::{Failure, FailureKind, FailureOrigin};
use crate::machine::evolve::Fold;
use crate::machine::item::{Effect, Item, ItemPhase};
use crate::machine::state::{Agenda, State};

impl Fold<'_> {
    /// The worker that drove the run is gone: attempts in flight are over, and what they did is unknown.
    pub(super) fn interrupt(&mut self) {
        let interrupted = Failure {
            kind: FailureKind::Failed,
            origin: FailureOrigin::Interrupted,
            message: "the worker stopped while the attempt ran".to_owned(),
        };
        let all: Vec<ItemRef> = self.all_items().collect();
        for of in all {
            match self.state.item(of).map(|item| item.phase) {
                Some(ItemPhase::Running) => {
                    if let Some(item) = self.state.item_mut(of) {
                        item.effect = Effect::Unknown;
                        item.error = Some(Box::new(interrupted.clone()));
                    }
                    let again = self.state.may_try(self.plan, of.step).then_some(Timestamp(0));
                    self.question(of, again);
                }
                Some(ItemPhase::Undoing) => self.set_phase(of, ItemPhase::UndoScheduled(Timestamp(0))),
                _ => {}
            }
        }
    }

    /// Derives from the state alone what there is to do besides the timers. What was asked before is asked again.
    pub(super) fn rebuild_agenda(&mut self) {
        self.state.agenda = Agenda::default();
        self.schedule_starts();
        let all: Vec<ItemRef> = self.all_items().collect();
        let probing = all
            .into_iter()
            .filter(|of| matches!(self.state.item(*of), Some(Item { phase: ItemPhase::Probing(_), .. })));
        self.state.agenda.probes = probing.collect();
    }

    pub(super) fn all_items(&self) -> impl Iterator<Item = ItemRef> + use<> {
        let counts: Vec<usize> = self.state.steps.iter().map(|step| step.items.len()).collect();
        (0u32..)
            .zip(counts)
            .flat_map(|(step, items)| (0u32..).take(items).map(move |item| ItemRef::new(StepIndex(step), item)))
    }
}

impl State {
    /// Whether the journal alone tells all of this state: a caller who has carried out all commands may then forget it, and
    /// [replay](super::replay) the journal when something happens. `false` while a probe, the guard or the finalizer has yet
    /// to answer, for that they were asked is in no journal.
    #[must_use]
    pub fn is_in_journal(&self) -> bool {
        let Agenda { starts, probes, guard_asked, finalizing } = &self.agenda;
        let asks_nothing = starts.is_empty() && probes.is_empty() && !guard_asked && !finalizing;
        let mut items = self.steps.iter().flat_map(|step| &*step.items);
        asks_nothing && !items.any(|item| matches!(item.phase, ItemPhase::Probing(_)))
    }

    /// To be called when a state that [was in the journal](Self::is_in_journal) has been replayed: what was asked meanwhile
    /// has been answered.
    pub fn found_in_journal(&mut self) {
        self.agenda.probes.clear();
    }
}
