//! The program itself, run on a site's data as its user runs it.

use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::deaths::{Site, expect};
use crate::world::By;

/// An operation may be late, but comes to its end.
const ENDS_WITHIN: Duration = Duration::from_secs(600);
/// A question is answered, whatever is down. Nova itself takes seconds for an answer while Neutron is down.
const ANSWERS_WITHIN: Duration = Duration::from_secs(60);

/// `saga-cluster`, with the site's data directory and spec.
pub(crate) struct Program {
    site: Site<By>,
    variables: Vec<(String, String)>,
}

/// What a command did.
#[derive(Debug)]
pub(crate) struct Done {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Program {
    pub(crate) fn new(site: &Site<By>) -> Result<Self, String> {
        let program = Self { site: site.clone(), variables: Vec::new() };
        std::fs::write(program.spec(), site.spec()).map_err(|error| error.to_string())?;
        Ok(program)
    }

    pub(crate) fn variable(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.variables.push((name.into(), value.into()));
        self
    }

    fn spec(&self) -> String {
        self.site.data.join("spec.toml").to_string_lossy().into_owned()
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_saga-cluster"));
        command.args(words).envs(self.variables.iter().map(|(name, value)| (name, value)));
        command.env("SAGA_CLUSTER_DATA", &self.site.data).env("USER", "tester");
        command.env_remove("SAGA_CLUSTER_STORE").env_remove("RUST_LOG");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        command
    }

    fn start(&self, words: &[&str]) -> Result<Running, String> {
        let child = self.command(words).spawn().map_err(|error| error.to_string())?;
        Ok(Running { what: words.join(" "), child })
    }

    /// Starts the creation of the cluster.
    pub(crate) fn create(&self) -> Result<Running, String> {
        self.start(&["create", &self.spec(), "--json"])
    }

    /// Starts a scale, both ways at once.
    pub(crate) fn scale(&self) -> Result<Running, String> {
        self.start(&["scale", self.site.cluster.as_str(), "workers=1", "edge=2", "--json"])
    }

    /// Starts the deletion of the cluster.
    pub(crate) fn delete(&self) -> Result<Running, String> {
        self.start(&["delete", self.site.cluster.as_str(), "--json"])
    }

    /// Takes up what a command left that was killed, and waits for it.
    pub(crate) async fn resume(&self) -> Result<(), String> {
        self.start(&["list", "--json"])?.done().await?.exit(0).map(drop)
    }

    async fn ask(&self, words: &[&str]) -> Result<Done, String> {
        let what = words.join(" ");
        let late = |_| format!("`{what}` was not answered within {ANSWERS_WITHIN:?}");
        timeout(ANSWERS_WITHIN, self.start(words)?.done()).await.map_err(late)?
    }

    /// The record, as it is listed.
    async fn listed(&self) -> Result<Option<Value>, String> {
        let done = self.ask(&["list", "--no-wait", "--json"]).await?.exit(0)?;
        Ok(done.lines()?.into_iter().find(|line| line["spec"]["name"] == self.site.cluster.as_str()))
    }

    pub(crate) async fn has_status(&self, status: &str) -> Result<bool, String> {
        Ok(self.listed().await?.is_some_and(|record| record["status"] == status))
    }

    /// Every command that makes nothing is answered, to a person and to a program, with the cluster's status; or with the
    /// news that there is no such cluster. So is one that has to be refused.
    pub(crate) async fn answers(&self, status: Option<&str>) -> Result<(), String> {
        let (name, spec) = (self.site.cluster.as_str(), self.spec());
        let told_of_it = if status.is_some() { 0 } else { 1 };
        let questions: [(&[&str], &[i32]); 6] = [
            (&["list"], &[0]),
            (&["show", name], &[told_of_it]),
            (&["history", name], &[0]),
            // With another code than 0 for a cloud that has no room, or cannot be reached.
            (&["engine", "check", &spec], &[0, 1, 2]),
            (&["retry", name], &[1]),
            (&["abandon", name, "--reason", "to see that it is refused"], &[1]),
        ];
        for (question, codes) in questions {
            for style in [&["--no-wait"][..], &["--no-wait", "--json"]] {
                let words = [question, style].concat();
                let done = self.ask(&words).await?;
                expect(done.code.is_some_and(|code| codes.contains(&code)), || format!("{words:?}: {done}"))?;
                if !style.contains(&"--json") {
                    let says = !(done.stdout.is_empty() && done.stderr.is_empty());
                    expect(says, || format!("{words:?} says nothing"))?;
                    continue;
                }
                let lines = done.lines()?;
                // An empty list has no lines.
                expect(!lines.is_empty() || question[0] == "list", || format!("{words:?} says nothing: {done}"))?;
                let told = lines.iter().find_map(|line| line["record"]["status"].as_str());
                expect(question[0] != "show" || told == status, || format!("it is {status:?}, not: {done}"))?;
            }
        }
        let listed = self.listed().await?;
        let told = listed.as_ref().map(|record| &record["status"]);
        expect(told.and_then(Value::as_str) == status, || format!("it is {status:?}, and listed as {told:?}"))
    }
}

/// A command at work. Dropped, it is killed.
pub(crate) struct Running {
    what: String,
    child: Child,
}

impl Running {
    /// Waits for its end.
    pub(crate) async fn done(self) -> Result<Done, String> {
        let late = |_| format!("`{}` came to no end", self.what);
        let output = timeout(ENDS_WITHIN, self.child.wait_with_output()).await.map_err(late)?;
        let output = output.map_err(|error| error.to_string())?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ok(Done { code: output.status.code(), stdout: text(&output.stdout), stderr: text(&output.stderr) })
    }

    /// Waits until what was asked for is done, to the full.
    pub(crate) async fn succeeds(self) -> Result<(), String> {
        let done = self.done().await?.exit(0)?;
        done.ends("done", done.end()?["status"].as_str(), "").map(drop)
    }

    /// `kill -9`.
    pub(crate) async fn die(mut self) -> Result<(), String> {
        self.child.kill().await.map_err(|error| error.to_string())
    }
}

impl Done {
    pub(crate) fn exit(self, code: i32) -> Result<Self, String> {
        if self.code == Some(code) { Ok(self) } else { Err(format!("it was to exit with {code}: {self}")) }
    }

    /// What was told, line by line.
    fn lines(&self) -> Result<Vec<Value>, String> {
        let read = |line| serde_json::from_str(line).map_err(|error| format!("{error}: {line}"));
        self.stdout.lines().map(read).collect()
    }

    /// What was told of the end of the operation that the command asked for.
    fn end(&self) -> Result<Value, String> {
        let end = self.lines()?.into_iter().rfind(|line| line["type"] == "end");
        end.ok_or_else(|| format!("it tells of no end: {self}"))
    }

    /// The operation ended like that, left the cluster in that status and no node behind, and says why.
    pub(crate) fn ends(&self, verdict: &str, status: Option<&str>, reason: &str) -> Result<(), String> {
        let end = self.end()?;
        let same = end["verdict"] == verdict && end["status"].as_str() == status;
        let says_why = end["reason"].as_str().is_some_and(|told| told.contains(reason));
        let nothing_left = end["nodes_left"].as_array().is_some_and(Vec::is_empty);
        expect(same && says_why && nothing_left, || {
            format!("it was to end {verdict}, {status:?}, because of `{reason}`: {end}")
        })
    }
}

impl std::fmt::Display for Done {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "exit code {:?}\n{}\n{}", self.code, self.stdout, self.stderr)
    }
}
