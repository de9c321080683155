//! Reading a spec from a file, and saying where in it each mistake is.

use std::io::Read;
use std::path::Path;

use super::trouble::Trouble;
use crate::model::{ClusterSpec, SpecProblem};

/// A spec is small. More is a wrong file, and is not read into memory.
const MOST_BYTES: u64 = 1024 * 1024;

/// Reads a spec; `-` is standard input.
pub(super) fn read(path: &Path) -> Result<ClusterSpec, Trouble> {
    let stdin = path.as_os_str() == "-";
    let shown = if stdin { "standard input".to_owned() } else { path.display().to_string() };
    let refused = |error: std::io::Error| {
        let trouble = Trouble::usage(format!("{shown} cannot be read: {error}"));
        match error.kind() {
            std::io::ErrorKind::NotFound => trouble.next("give the path of a spec; `saga-cluster --help` shows one"),
            _ => trouble,
        }
    };
    let mut text = String::new();
    if stdin {
        std::io::stdin().take(MOST_BYTES + 1).read_to_string(&mut text).map_err(refused)?;
    } else {
        std::fs::File::open(path)
            .and_then(|file| file.take(MOST_BYTES + 1).read_to_string(&mut text))
            .map_err(refused)?;
    }
    if text.len() as u64 > MOST_BYTES {
        return Err(Trouble::usage(format!("{shown} has more than a megabyte: it is no spec")));
    }
    parse(&shown, &text)
}

fn parse(shown: &str, text: &str) -> Result<ClusterSpec, Trouble> {
    ClusterSpec::from_toml(text).map_err(|error| {
        let mut lines = match error.problems.as_slice() {
            [_] => vec![format!("{shown} has a mistake:")],
            many => vec![format!("{shown} has {} mistakes:", many.len())],
        };
        lines.extend(error.problems.iter().map(|problem| {
            let place = line_of(text, problem).map_or(String::new(), |line| format!("line {line}: "));
            format!("  - {place}{}", problem.to_string().replace('\n', "\n    "))
        }));
        Trouble::usage(lines.join("\n")).next("mend the file and try again; `saga-cluster --help` shows a small spec")
    })
}

/// The line of a problem, if it is about something that stands somewhere. Syntax errors say it themselves.
fn line_of(text: &str, problem: &SpecProblem) -> Option<usize> {
    match problem {
        SpecProblem::Missing { field }
        | SpecProblem::Unknown { field, .. }
        | SpecProblem::Type { field, .. }
        | SpecProblem::Name { field, .. }
        | SpecProblem::Count { field, .. } => line_of_field(text, field),
        SpecProblem::DuplicateGroup(name) => {
            let quoted = [format!("\"{name}\""), format!("'{name}'")];
            let mut lines =
                numbered(text).filter(|(_, line)| key(line) == "name" && quoted.iter().any(|q| line.contains(q)));
            lines.nth(1).or_else(|| lines.next()).map(|(number, _)| number)
        }
        _ => None,
    }
}

/// Finds `groups[1].count` in the usual way of writing: below the second `[[groups]]`. For a field that is missing, the
/// heading under which it is missed. Specs that are written in another way get no line rather than a wrong one.
fn line_of_field(text: &str, field: &str) -> Option<usize> {
    let (group, name) = match field.strip_prefix("groups[").and_then(|rest| rest.split_once(']')) {
        Some((index, name)) => (Some(index.parse::<usize>().ok()?), name.trim_start_matches('.')),
        None => (None, field),
    };
    let start = match group {
        None => 0,
        Some(index) => numbered(text).filter(|(_, line)| line.replace(' ', "").starts_with("[[groups]]")).nth(index)?.0,
    };
    let mut body = numbered(text).skip(start).take_while(|(_, line)| !line.starts_with('['));
    let found = body.find(|(_, line)| key(line) == name).map(|(number, _)| number);
    found.or(group.map(|_| start))
}

fn numbered(text: &str) -> impl Iterator<Item = (usize, &str)> {
    (1..).zip(text.lines().map(str::trim))
}

fn key(line: &str) -> &str {
    line.split('=').next().unwrap_or_default().trim()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mistake_is_told_with_its_line() {
        let text = "name = \"Demo\"\nplugin = \"blocks\"\nengine = \"process\"\ncolour = 1\n\n[[groups]]\nname = \"a\"\n\
                    count = 1\n\n[[groups]]\nname = \"b\"\ncount = -3\n\n[[groups]]\ncount = 2\n";
        let trouble = parse("x.toml", text).unwrap_err();
        assert_eq!(trouble.exit, super::super::trouble::Exit::Usage);
        for expected in [
            "x.toml has 4 mistakes",
            "line 1: `name`",
            "line 4: `colour`",
            "line 12: `groups[1].count`",
            "line 14: `groups[2].name`",
        ] {
            assert!(trouble.what.contains(expected), "{expected} in {}", trouble.what);
        }
    }

    #[test]
    fn a_duplicate_is_shown_where_it_is_the_second_time() {
        let text = "name = 'd'\nplugin = 'blocks'\nengine = 'process'\n[[groups]]\nname = 'a'\ncount = 1\n[[groups]]\nname = 'a'\ncount = 1";
        assert!(parse("x", text).unwrap_err().what.contains("line 8: "), "{:?}", parse("x", text));
    }

    #[test]
    fn what_is_no_toml_says_where() {
        let trouble = parse("x.toml", "name = \n").unwrap_err();
        assert!(trouble.what.contains("x.toml has a mistake") && trouble.what.contains("line 1"), "{}", trouble.what);
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let trouble = read(Path::new("/nowhere/spec.toml")).unwrap_err();
        assert!(trouble.what.contains("/nowhere/spec.toml"), "{}", trouble.what);
        assert_eq!(trouble.state.as_deref(), Some("nothing was touched"));
    }
}
