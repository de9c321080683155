//! The setting `commands` of a cluster: which programs are run for it.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;

use super::Call;
use super::run::Program;
use crate::model::ClusterSpec;

/// The name of the setting.
pub(super) const COMMANDS: &str = "commands";
/// What is said instead of a program that decommissions nodes, if they never hold anything.
pub(super) const NOTHING_TO_DRAIN: &str = "nothing-to-drain";

const LONGEST: u64 = 24 * 3600;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    validate: Option<CommandLine>,
    configure: Option<CommandLine>,
    start: Option<CommandLine>,
    decommission: Option<CommandLine>,
    health: Option<CommandLine>,
    #[serde(default)]
    seconds: BTreeMap<Call, u64>,
}

/// A program, or a program with arguments.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
enum CommandLine {
    Name(String),
    WithArgs(Vec<String>),
}

/// What is run for a cluster.
#[derive(Debug)]
pub(super) struct Commands {
    programs: BTreeMap<Call, Program>,
}

impl Commands {
    /// Those of a spec, whose programs are in that directory.
    ///
    /// # Errors
    /// Everything that is wrong, one a line.
    pub(super) fn of(spec: &ClusterSpec, directory: &Path, hidden: &[OsString]) -> Result<Self, String> {
        let mut wrong = Vec::new();
        let misplaced = spec.groups.iter().filter(|group| group.settings.contains_key(COMMANDS));
        wrong.extend(misplaced.map(|group| format!("`{COMMANDS}` is of the whole cluster, not of `{}`", group.name)));
        let written = spec.settings.get(COMMANDS).cloned().unwrap_or_else(|| serde_json::json!({}));
        let written: Written = match serde_json::from_value(written) {
            Ok(written) => written,
            Err(error) => {
                wrong.push(format!("`{COMMANDS}`: {error}"));
                return Err(wrong.join("\n"));
            }
        };
        let lines = [
            (Call::Validate, written.validate),
            (Call::Configure, written.configure),
            (Call::Start, written.start),
            (Call::Decommission, written.decommission),
            (Call::Health, written.health),
        ];
        let mut programs = BTreeMap::new();
        for (call, line) in lines {
            let (name, args) = match line {
                None if call == Call::Decommission => {
                    wrong.push(format!(
                        "`{COMMANDS}.{call}` is missing: a program, or \"{NOTHING_TO_DRAIN}\" for nodes that never hold \
                         anything"
                    ));
                    continue;
                }
                None => continue,
                Some(CommandLine::Name(name)) if call == Call::Decommission && name == NOTHING_TO_DRAIN => continue,
                Some(CommandLine::Name(name)) => (name, Vec::new()),
                Some(CommandLine::WithArgs(mut words)) if !words.is_empty() => (words.remove(0), words),
                Some(CommandLine::WithArgs(_)) => (String::new(), Vec::new()),
            };
            // Whoever may write a spec is not to choose freely what runs here.
            if name.is_empty() || name.starts_with('.') || name.contains(['/', '\0']) {
                wrong.push(format!("`{COMMANDS}.{call}` is {name:?}; it is to be the name of a file in {directory:?}"));
                continue;
            }
            if args.iter().any(|arg| arg.contains('\0')) {
                wrong.push(format!("`{COMMANDS}.{call}` has an argument that no program can be given"));
                continue;
            }
            let seconds = written.seconds.get(&call).copied().unwrap_or(call.usual_seconds());
            let file = directory.join(&name);
            programs.insert(
                call,
                Program { name, file, args, within: Duration::from_secs(seconds), hidden: hidden.to_vec() },
            );
        }
        for (call, seconds) in &written.seconds {
            if !(1..=LONGEST).contains(seconds) {
                wrong.push(format!("`{COMMANDS}.seconds.{call}` is {seconds}; it is to be from 1 to {LONGEST}"));
            }
        }
        if wrong.is_empty() { Ok(Self { programs }) } else { Err(wrong.join("\n")) }
    }

    /// What is run for a call; none if there is nothing to do.
    pub(super) fn program(&self, call: Call) -> Option<&Program> {
        self.programs.get(&call)
    }

    /// All that is ever run.
    pub(super) fn programs(&self) -> impl Iterator<Item = (&Call, &Program)> {
        self.programs.iter()
    }
}
