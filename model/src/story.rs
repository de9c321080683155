//! Events and commands in a few words, for the traces that people read.

use saga_core::ItemRef;
use saga_core::journal::{Cause, Event, Rest};
use saga_core::machine::Command;

use crate::steps::name;

/// What was decided in a turn: the events, and the commands that wait for them.
#[must_use]
pub fn decided(events: &[Event], commands: &[Command]) -> String {
    let events: Vec<String> = events.iter().map(told).collect();
    let commands: Vec<String> = commands.iter().map(commanded).collect();
    match (events.is_empty(), commands.is_empty()) {
        (_, true) => events.join(", "),
        (true, false) => format!("⇒ {}", commands.join(", ")),
        (false, false) => format!("{} ⇒ {}", events.join(", "), commands.join(", ")),
    }
}

fn letter(of: ItemRef) -> char {
    name(of.step.at())
}

fn told(event: &Event) -> String {
    let again = |retry_at: bool| if retry_at { ", to be tried again" } else { "" };
    match event {
        Event::RunStarted { .. } => "run started".to_owned(),
        Event::Resumed { epoch, .. } => format!("taken up under epoch {epoch}"),
        Event::StepStarted { step, .. } => format!("start {}", name(step.at())),
        Event::AttemptStarted { of, attempt } => format!("start {} (attempt {attempt})", letter(*of)),
        Event::Checkpointed { of, .. } => format!("{} checkpointed", letter(*of)),
        Event::AttemptFailed { of, retry_at, .. } => format!("{} failed{}", letter(*of), again(retry_at.is_some())),
        Event::Probed { of, .. } => format!("{} probed", letter(*of)),
        Event::Succeeded { of, .. } => format!("{} succeeded", letter(*of)),
        Event::AbortBegan { cause: Cause::StepFailed { step, .. } } => format!("abort: {step} failed"),
        Event::AbortBegan { cause } => format!("abort: {cause}"),
        Event::SubjectChecked { gone } => (if *gone { "subject gone" } else { "subject there" }).to_owned(),
        Event::RollbackBegan => "rollback".to_owned(),
        Event::UndoStarted { of, attempt } => format!("undo {} (attempt {attempt})", letter(*of)),
        Event::UndoFailed { of, retry_at, .. } => {
            format!("undo of {} failed{}", letter(*of), again(retry_at.is_some()))
        }
        Event::Undone { of } => format!("{} undone", letter(*of)),
        Event::Rested { rest } => match rest {
            Rest::Completed => "COMPLETED".to_owned(),
            Rest::RolledBack => "ROLLED BACK".to_owned(),
            Rest::Halted { at, .. } => format!("HALTED at {}", letter(*at)),
            Rest::Stuck => "STUCK".to_owned(),
            Rest::Abandoned { .. } => "ABANDONED".to_owned(),
        },
        Event::FinalizerFailed { .. } => "finalizer failed".to_owned(),
        Event::Finalized => "finalizer knows".to_owned(),
        Event::Operated { verb, .. } => format!("operator: {verb}"),
    }
}

fn commanded(command: &Command) -> String {
    match command {
        Command::Run { of, .. } => format!("run {}", letter(*of)),
        Command::Probe { of } => format!("probe {}", letter(*of)),
        Command::Undo { of, .. } => format!("undo {}", letter(*of)),
        Command::AskGuard => "ask the guard".to_owned(),
        Command::Finalize => "tell the finalizer".to_owned(),
    }
}
