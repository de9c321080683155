//! What is told, and what is proved.

use std::time::Duration;

use serde_json::{Value, json};

use crate::cli::render::{self, Paint};
use crate::cli::reply::Reply;
use crate::cli::trouble::{Exit, Trouble};

/// How long a reader needs, unless told to hurry.
const PAUSE: Duration = Duration::from_millis(1500);

/// Tells the story, and keeps account of what it proves.
pub(super) struct Story {
    json: bool,
    paint: Paint,
    pause: Duration,
    act: u32,
    proofs: u32,
    failed: Vec<String>,
}

impl Story {
    pub(super) fn new(json: bool, fast: bool) -> Self {
        Self {
            json,
            paint: Paint::of(&std::io::stdout()),
            pause: if fast || json { Duration::ZERO } else { PAUSE },
            act: 0,
            proofs: 0,
            failed: Vec::new(),
        }
    }

    pub(super) fn paint(&self) -> Paint {
        self.paint
    }

    fn tell(&self, json: impl FnOnce() -> Value, text: impl FnOnce() -> String) {
        render::out(&if self.json { json().to_string() } else { text() });
    }

    /// Begins the next act.
    pub(super) async fn act(&mut self, heading: &str) {
        self.breathe().await;
        self.act += 1;
        let act = self.act;
        self.tell(
            || json!({"type": "act", "number": act, "heading": heading}),
            || format!("\n{}", self.paint.bold(&format!("── {act}. {heading}"))),
        );
    }

    /// Says something.
    pub(super) fn say(&self, text: &str) {
        self.tell(|| json!({"type": "said", "text": text}), || format!("   {}", render::wrapped(3, text)));
    }

    /// Shows lines as they are, to people.
    pub(super) fn picture(&self, lines: &[String]) {
        if !self.json {
            lines.iter().for_each(|line| render::out(&format!("   {line}")));
        }
    }

    /// Shows what a command answers, to people.
    pub(super) fn answer(&self, text: &str) {
        if !self.json {
            render::out(text);
        }
    }

    /// Shows the command that is run.
    pub(super) fn command(&self, command: &str) {
        self.tell(
            || json!({"type": "command", "command": command}),
            || format!("   {} {}", self.paint.dim("$"), self.paint.cyan(&format!("saga-cluster {command}"))),
        );
    }

    /// States a fact that was looked up, not assumed.
    pub(super) fn proof(&mut self, what: impl Into<String>, holds: bool) {
        let what = what.into();
        self.proofs += 1;
        let mark = if holds { self.paint.green("✓") } else { self.paint.red("✗ NOT TRUE:") };
        self.tell(
            || json!({"type": "proof", "what": what, "holds": holds}),
            || format!("   {mark} {}", render::wrapped(5, &what)),
        );
        if !holds {
            self.failed.push(what);
        }
    }

    /// Leaves time to read.
    pub(super) async fn breathe(&self) {
        tokio::time::sleep(self.pause).await;
    }

    /// Something went wrong that is not part of the story.
    pub(super) fn fail(&self, trouble: Trouble) -> Exit {
        let exit = trouble.exit;
        if self.json {
            render::out(&serde_json::to_string(&Reply::Error(trouble)).unwrap_or_default());
        } else {
            eprintln!("{}", render::trouble(&trouble, Paint::of(&std::io::stderr())));
        }
        if exit == Exit::Done { Exit::Error } else { exit }
    }

    /// Sums up.
    pub(super) fn verdict(&self) -> Exit {
        let (proofs, failed) = (self.proofs, self.failed.len());
        self.tell(
            || json!({"type": "verdict", "proofs": proofs, "failed": self.failed}),
            || match failed {
                0 => format!("\n{}", self.paint.green(&format!("All {proofs} proofs hold."))),
                _ => format!("\n{}", self.paint.red(&format!("{failed} of {proofs} proofs failed. This is a bug."))),
            },
        );
        if failed == 0 { Exit::Done } else { Exit::Error }
    }
}
