//! What commands were asked, and what they told.

use std::collections::BTreeMap;

use saga_cluster::model::Cluster;
use serde::{Deserialize, Serialize};

use super::processes::Ended;

/// A command of a user, from its beginning to its end.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Told {
    /// Under whose name it asked. No two commands share one, so what a journal says of who asked names the command.
    pub(crate) by: String,
    pub(crate) cluster: String,
    pub(crate) arguments: Vec<String>,
    /// Its exit code; none if it was killed.
    pub(crate) code: Option<i32>,
    pub(crate) lines: Vec<Line>,
    /// How many lines could not be read.
    pub(crate) unreadable: usize,
    pub(crate) stderr: String,
    /// What the user saw right after, if nobody else asked for anything meanwhile: the numbers of nodes that were ordered,
    /// and the record.
    pub(crate) looked: Option<Looked>,
}

/// What a user who was told that it is done found.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Looked {
    pub(crate) ordered: BTreeMap<String, u32>,
    pub(crate) record: Option<Cluster>,
}

/// A line of a command's output, as far as it matters here.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum Line {
    Began {
        run: String,
    },
    End(End),
    Error(Trouble),
    /// A record.
    Cluster(Box<Cluster>),
    /// All about one cluster.
    Report {
        allowed: Vec<String>,
    },
    #[serde(other)]
    Other,
}

/// How an operation ended.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct End {
    pub(crate) run: String,
    pub(crate) verdict: String,
    pub(crate) status: Option<String>,
    pub(crate) reason: String,
    pub(crate) nodes_left: Vec<String>,
}

/// Why a command was not done.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Trouble {
    pub(crate) what: String,
    #[serde(default)]
    pub(crate) state: Option<String>,
    pub(crate) exit: String,
}

impl Told {
    pub(crate) fn of(by: String, cluster: &str, arguments: Vec<String>, ended: Ended) -> Self {
        let (mut lines, mut unreadable) = (Vec::new(), 0_usize);
        for line in ended.stdout.lines() {
            match serde_json::from_str(line) {
                Ok(Line::Other) => {}
                Ok(line) => lines.push(line),
                Err(_) => unreadable += 1,
            }
        }
        // The last line of one that was killed may be half a line.
        if ended.was_killed() {
            unreadable = unreadable.saturating_sub(1);
        }
        let (code, stderr) = (ended.status.code(), ended.stderr);
        Self { by, cluster: cluster.to_owned(), arguments, code, lines, unreadable, stderr, looked: None }
    }

    /// The run that it said to have begun.
    pub(crate) fn began(&self) -> Option<&str> {
        self.lines.iter().find_map(|line| if let Line::Began { run } = line { Some(run.as_str()) } else { None })
    }

    /// All ends that it told: its own, and those of what it had taken up.
    pub(crate) fn ends(&self) -> impl Iterator<Item = &End> {
        self.lines.iter().filter_map(|line| if let Line::End(end) = line { Some(end) } else { None })
    }

    /// The end of what it had begun itself.
    pub(crate) fn own_end(&self) -> Option<&End> {
        let began = self.began()?;
        self.ends().filter(|end| end.run == began).last()
    }

    /// Why it was not done.
    pub(crate) fn trouble(&self) -> Option<&Trouble> {
        self.lines.iter().rev().find_map(|line| if let Line::Error(trouble) = line { Some(trouble) } else { None })
    }

    /// The records that it told of.
    pub(crate) fn records(self) -> impl Iterator<Item = Cluster> {
        self.lines.into_iter().filter_map(|line| if let Line::Cluster(record) = line { Some(*record) } else { None })
    }

    /// What it said to be allowed.
    pub(crate) fn allows(&self, verb: &str) -> bool {
        self.lines.iter().any(|line| matches!(line, Line::Report { allowed } if allowed.iter().any(|one| one == verb)))
    }

    /// It was told that there is no such cluster.
    pub(crate) fn finds_no_cluster(&self) -> bool {
        self.trouble().is_some_and(|trouble| trouble.what.starts_with("there is no cluster"))
    }
}
