//! Lines with the time, for files, pipes and logs.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::paint::Paint;
use super::{Screen, answer, err, out};
use crate::cli::reply::{About, Reply};
use crate::model::{NodeName, Timestamp};
use crate::service::{NodeState, ProgressKind};

/// How often the parts of the work on one node are told.
const EVERY: Duration = Duration::from_secs(1);

pub(super) struct Plain {
    told: HashMap<(String, String, NodeName), Instant>,
    stdout: Paint,
    stderr: Paint,
}

impl Plain {
    pub(super) fn new() -> Self {
        Self { told: HashMap::new(), stdout: Paint::of(&std::io::stdout()), stderr: Paint::of(&std::io::stderr()) }
    }

    /// Whether to pass over it: a node tells of each block.
    fn is_too_much(&mut self, about: &About, what: &ProgressKind) -> bool {
        let ProgressKind::Node { phase, node, state: NodeState::Progress { done, total } } = what else { return false };
        let key = (about.run.as_str().to_owned(), phase.clone(), node.clone());
        let now = Instant::now();
        let last = self.told.get(&key);
        if done < total && last.is_some_and(|last| now - *last < EVERY) {
            return true;
        }
        self.told.insert(key, now);
        false
    }
}

impl Screen for Plain {
    fn show(&mut self, reply: &Reply) {
        match reply {
            Reply::Resuming { about } => {
                err(&line(
                    Timestamp::now(),
                    &format!("resuming: {} of `{}` (run {})", about.kind, about.cluster, about.run),
                ));
            }
            Reply::Began { about } => {
                err(&line(Timestamp::now(), &format!("{} `{}` (run {})", about.kind, about.cluster, about.run)));
            }
            Reply::Progress { about, progress } => {
                if !self.is_too_much(about, &progress.what) {
                    err(&line(progress.at, &format!("{} `{}`: {}", about.kind, about.cluster, progress.what)));
                }
            }
            Reply::Note { text } => err(&line(Timestamp::now(), text)),
            other => show_answer(other, self.stdout, self.stderr),
        }
    }
}

fn line(at: Timestamp, text: &str) -> String {
    format!("{at} {text}")
}

/// Shows what is shown in the same way on every screen for people.
pub(super) fn show_answer(reply: &Reply, stdout: Paint, stderr: Paint) {
    match reply {
        Reply::List(listing) => out(&answer::list(listing, stdout)),
        Reply::Report(report) => out(&answer::report(report, stdout)),
        Reply::History { cluster, entries } => out(&answer::history(cluster, entries, stdout)),
        Reply::Checked { cluster, engine, check } => out(&answer::checked(cluster, engine, check, stdout)),
        Reply::Copied(report) => out(&answer::copied(report)),
        Reply::End { end, .. } => out(&answer::end(end, stdout)),
        Reply::Error(trouble) => err(&answer::trouble(trouble, stderr)),
        Reply::Resuming { .. } | Reply::Began { .. } | Reply::Progress { .. } | Reply::Note { .. } => {}
    }
}
