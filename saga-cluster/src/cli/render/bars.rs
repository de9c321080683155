//! Progress bars: one for each phase of an operation, and below it one for each node that is being worked on.

use std::collections::HashMap;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::paint::Paint;
use super::table::wrapped_error;
use super::{Screen, plain};
use crate::cli::reply::{About, Reply};
use crate::model::NodeName;
use crate::service::{NodeState, PhaseState, ProgressKind, Verdict};

/// How many nodes are shown at a time. Of the others, the phase's bar tells.
const MOST_NODES: usize = 8;
const TICK: Duration = Duration::from_millis(100);

/// The bars of one phase of one run.
struct Phase {
    bar: ProgressBar,
    nodes: HashMap<NodeName, ProgressBar>,
    /// The lowest bar, below which the next one goes.
    last: ProgressBar,
}

pub(super) struct Bars {
    all: MultiProgress,
    phases: HashMap<(String, String), Phase>,
    stdout: Paint,
    stderr: Paint,
}

impl Bars {
    pub(super) fn new() -> Self {
        Self {
            all: MultiProgress::new(),
            phases: HashMap::new(),
            stdout: Paint::of(&std::io::stdout()),
            stderr: Paint::of(&std::io::stderr()),
        }
    }

    fn say(&self, text: &str) {
        self.all.suspend(|| super::err(text));
    }

    fn progress(&mut self, about: &About, what: &ProgressKind) {
        match what {
            // How it ended is told with all that belongs to it, just after.
            ProgressKind::Note { text } if is_verdict(text) => {}
            ProgressKind::Note { text } => self.say(&format!("  {}", self.stderr.dim(&wrapped_error(2, text)))),
            ProgressKind::Phase { phase, nodes, state } => self.phase(about, phase, *nodes, state),
            ProgressKind::Node { phase, node, state } => self.node(about, phase, node, state),
        }
    }

    fn phase(&mut self, about: &About, name: &str, nodes: usize, state: &PhaseState) {
        let key = (about.run.as_str().to_owned(), name.to_owned());
        let paint = self.stderr;
        let (mark, word) = match state {
            PhaseState::Started => {
                let phase = Phase::begin(name, Some(nodes), &self.all);
                // A phase that is done again begins with new bars.
                if let Some(old) = self.phases.insert(key, phase) {
                    old.clear();
                }
                return;
            }
            PhaseState::Undoing => {
                if let Some(phase) = self.phases.get(&key) {
                    phase.bar.set_message("being undone");
                } else {
                    self.say(&format!("  {} {name}: being undone", paint.yellow("↩")));
                }
                return;
            }
            PhaseState::Done => (paint.green("✓"), String::new()),
            PhaseState::Failed { why } => (paint.red("✗"), format!(": failed: {why}")),
            PhaseState::Undone => (paint.yellow("↩"), ": undone".to_owned()),
        };
        if let Some(phase) = self.phases.remove(&key) {
            phase.clear();
        }
        let nodes = match nodes {
            0 => String::new(),
            1 => " (1 node)".to_owned(),
            nodes => format!(" ({nodes} nodes)"),
        };
        self.say(&format!("  {mark} {}", wrapped_error(4, &format!("{name}{nodes}{word}"))));
    }

    fn node(&mut self, about: &About, phase: &str, node: &NodeName, state: &NodeState) {
        let key = (about.run.as_str().to_owned(), phase.to_owned());
        if let NodeState::Failed { why, again } = state {
            let then = if *again { "failed, will be tried again" } else { "failed" };
            let words = format!("{phase} {node}: {then}: {why}");
            self.say(&format!("  {} {}", self.stderr.red("✗"), wrapped_error(4, &words)));
        }
        // It began before we came to look.
        let phase = self.phases.entry(key).or_insert_with(|| Phase::begin(phase, None, &self.all));
        match state {
            NodeState::Started => drop(phase.bar_of(node, &self.all)),
            NodeState::Progress { done, total } => {
                if let Some(bar) = phase.bar_of(node, &self.all) {
                    bar.set_style(node_style());
                    bar.set_length(*total);
                    bar.set_position(*done);
                }
            }
            NodeState::Done | NodeState::Undone => {
                phase.finish(node);
                phase.bar.inc(1);
            }
            NodeState::Failed { .. } => phase.finish(node),
        }
    }

    fn clear(&mut self, run: &str) {
        self.phases.retain(|(of, _), phase| {
            if of == run {
                phase.clear();
            }
            of != run
        });
    }
}

impl Phase {
    fn begin(name: &str, nodes: Option<usize>, all: &MultiProgress) -> Self {
        let bar = match nodes {
            Some(nodes) => ProgressBar::new(nodes as u64).with_style(phase_style()),
            None => ProgressBar::no_length().with_style(taken_up_style()),
        };
        let bar = all.add(bar);
        bar.set_prefix(name.to_owned());
        bar.enable_steady_tick(TICK);
        Self { last: bar.clone(), bar, nodes: HashMap::new() }
    }

    fn bar_of(&mut self, node: &NodeName, all: &MultiProgress) -> Option<ProgressBar> {
        if let Some(bar) = self.nodes.get(node) {
            return Some(bar.clone());
        }
        (self.nodes.len() < MOST_NODES).then_some(())?;
        // One that was removed has no place any more.
        let above = if self.last.is_finished() { &self.bar } else { &self.last };
        let bar = all.insert_after(above, ProgressBar::new_spinner().with_style(waiting_style()));
        self.last = bar.clone();
        bar.set_prefix(node.to_string());
        bar.enable_steady_tick(TICK);
        self.nodes.insert(node.clone(), bar.clone());
        Some(bar)
    }

    fn finish(&mut self, node: &NodeName) {
        if let Some(bar) = self.nodes.remove(node) {
            bar.finish_and_clear();
        }
    }

    fn clear(&self) {
        self.nodes.values().for_each(ProgressBar::finish_and_clear);
        self.bar.finish_and_clear();
    }
}

impl Screen for Bars {
    fn show(&mut self, reply: &Reply) {
        let paint = self.stderr;
        match reply {
            Reply::Resuming { about } => {
                let words = format!("resuming: {} of `{}`", about.kind, about.cluster);
                self.say(&format!("{} {}", paint.yellow(&words), paint.dim(&format!("(run {})", about.run))));
            }
            Reply::Began { about } => {
                let words = format!("{} `{}`", about.kind, about.cluster);
                self.say(&format!("{} {}", paint.bold(&words), paint.dim(&format!("(run {})", about.run))));
            }
            Reply::Progress { about, progress } => self.progress(about, &progress.what),
            Reply::Note { text } => self.say(&paint.cyan(&wrapped_error(0, text))),
            other => {
                if let Reply::End { run, .. } = other {
                    self.clear(run.as_str());
                }
                self.all.suspend(|| plain::show_answer(other, self.stdout, self.stderr));
            }
        }
    }

    fn close(&mut self) {
        for phase in self.phases.values() {
            phase.clear();
        }
        let _ = self.all.clear();
    }
}

fn is_verdict(text: &str) -> bool {
    use Verdict::{Abandoned, Done, Halted, RolledBack, Stuck};
    [Done, RolledBack, Halted, Stuck, Abandoned].iter().any(|verdict| verdict.to_string() == text)
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("━╸─")
}

fn phase_style() -> ProgressStyle {
    style("  {spinner} {prefix:<22} {bar:24.cyan/dim} {pos}/{len} nodes  {elapsed} {msg}")
}

fn taken_up_style() -> ProgressStyle {
    style("  {spinner} {prefix:<22} {pos} nodes  {elapsed} {msg}")
}

fn node_style() -> ProgressStyle {
    style("      {prefix:<20} {bar:24.green/dim} {pos}/{len}")
}

fn waiting_style() -> ProgressStyle {
    style("      {prefix:<20} {spinner}")
}
