//! `east=5`, `east=+2`, `east=-1`, and `north.size=2` for a group that is added: what a scale is asked for.

use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::model::{GroupName, MAX_NODES, Settings, settings_of};

/// How the number of machines of a group should change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum By {
    /// To exactly that many.
    To(u32),
    /// That many more.
    More(u32),
    /// That many fewer.
    Fewer(u32),
}

/// A change of one group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Change {
    /// Which group.
    pub(super) group: GroupName,
    /// How.
    pub(super) by: By,
}

/// A group that is to be added.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct NewGroup {
    /// Its name.
    pub(super) name: GroupName,
    /// How many machines it has.
    pub(super) count: u32,
    /// What the engine and the plugin should know about them.
    #[serde(default, skip_serializing_if = "Settings::is_empty")]
    pub(super) settings: Settings,
}

/// A setting of a group that is to be added.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Set {
    /// Which group.
    group: GroupName,
    /// Its name.
    name: String,
    /// What it says.
    value: Value,
}

impl Set {
    /// Gives settings to the groups that they are of.
    ///
    /// # Errors
    /// What is wrong with them.
    pub(super) fn apply(all: Vec<Self>, groups: &mut [NewGroup]) -> Result<(), String> {
        for Self { group, name, value } in all {
            let Some(of) = groups.iter_mut().find(|one| one.name == group) else {
                return Err(format!(
                    "`{group}.{name}`: no group `{group}` is added; those that there are keep their settings"
                ));
            };
            if of.settings.insert(name.clone(), value).is_some() {
                return Err(format!("`{group}.{name}` is set twice"));
            }
        }
        Ok(())
    }
}

impl By {
    /// The number that a group of `has` machines should have; `None` if that would be less than none.
    pub(super) fn apply(self, has: u32) -> Option<u32> {
        match self {
            Self::To(count) => Some(count),
            Self::More(more) => Some(has.saturating_add(more)),
            Self::Fewer(fewer) => has.checked_sub(fewer),
        }
    }
}

impl FromStr for Change {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (group, count) = split(text)?;
        let by = match count.as_bytes().first() {
            Some(b'+') => By::More(number(&count[1..])?),
            Some(b'-') => By::Fewer(number(&count[1..])?),
            _ => By::To(number(count)?),
        };
        Ok(Self { group, by })
    }
}

impl FromStr for NewGroup {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, count) = split(text)?;
        Ok(Self { name, count: number(count)?, settings: Settings::new() })
    }
}

impl FromStr for Set {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let how = "write it as GROUP.NAME=VALUE, for example north.flavor=large";
        let (path, value) = text.split_once('=').ok_or(how)?;
        let (group, name) = path.split_once('.').filter(|(_, name)| !name.trim().is_empty()).ok_or(how)?;
        let group = group.parse::<GroupName>().map_err(|error| error.to_string())?;
        Ok(Self { group, name: name.trim().to_owned(), value: toml_or_text(value.trim()) })
    }
}

/// A value as a spec has it. What would be none there is the text itself, so that most need no quotes.
fn toml_or_text(text: &str) -> Value {
    let settings = toml::from_str::<toml::Table>(&format!("value = {text}\n")).ok().map(|table| settings_of(&table));
    let value = settings.filter(|settings| settings.len() == 1).and_then(|mut settings| settings.remove("value"));
    value.unwrap_or_else(|| text.into())
}

fn split(text: &str) -> Result<(GroupName, &str), String> {
    let (group, count) =
        text.split_once('=').ok_or("write it as GROUP=COUNT, for example east=5, east=+2 or east=-1")?;
    Ok((group.parse().map_err(|error| format!("{error}"))?, count))
}

fn number(text: &str) -> Result<u32, String> {
    // `parse` would take a sign too, and `east=+-3` should not mean anything.
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = text.parse().ok().filter(|number| digits && *number <= MAX_NODES);
    number.ok_or_else(|| format!("`{text}` is not a number from 0 to {MAX_NODES}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn by(text: &str) -> By {
        text.parse::<Change>().unwrap().by
    }

    #[test]
    fn counts_are_absolute_or_relative() {
        assert_eq!(by("east=5"), By::To(5));
        assert_eq!(by("east=+2"), By::More(2));
        assert_eq!(by("east=-1"), By::Fewer(1));
        assert_eq!(by("a-b=0"), By::To(0));
        assert_eq!((By::More(2).apply(3), By::Fewer(3).apply(3), By::Fewer(4).apply(3)), (Some(5), Some(0), None));
    }

    #[test]
    fn a_setting_is_a_value_of_toml_or_plain_text() {
        for (text, expected) in [
            ("north.size=2", json!(2)),
            ("north.flavor=m1.large", json!("m1.large")),
            ("north.flavor=\"12\"", json!("12")),
            ("north.image = debian 12", json!("debian 12")),
            ("north.networks=[\"a\", \"b\"]", json!(["a", "b"])),
            ("north.metadata={ a = \"=\" }", json!({ "a": "=" })),
            ("north.key_name=1\nsize=2", json!("1\nsize=2")),
        ] {
            assert_eq!(text.parse::<Set>().unwrap().value, expected, "{text}");
        }
        for wrong in ["north.size", "north=2", "north.=2", "North.size=2"] {
            assert!(wrong.parse::<Set>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn settings_are_of_groups_that_are_added() {
        let mut groups = ["north=1", "south=2"].map(|group| group.parse::<NewGroup>().unwrap());
        let set = |all: &[&str]| all.iter().map(|one| one.parse().unwrap()).collect::<Vec<Set>>();
        Set::apply(set(&["south.size=2", "south.colour=red"]), &mut groups).unwrap();
        assert_eq!(json!(groups[1].settings), json!({ "size": 2, "colour": "red" }));
        assert!(groups[0].settings.is_empty());
        assert!(Set::apply(set(&["south.size=3"]), &mut groups).unwrap_err().contains("twice"));
        assert!(Set::apply(set(&["east.size=3"]), &mut groups).unwrap_err().contains("no group `east` is added"));
    }

    #[test]
    fn anything_else_is_refused_with_a_hint() {
        for (text, hint) in [
            ("east", "GROUP=COUNT"),
            ("east=", "not a number"),
            ("east=many", "not a number"),
            ("east=+-3", "not a number"),
            ("east=5000", "0 to 1000"),
            ("East=1", "a-z"),
            ("=1", "empty"),
        ] {
            let error = text.parse::<Change>().unwrap_err();
            assert!(error.contains(hint), "{text}: {error}");
        }
    }
}
