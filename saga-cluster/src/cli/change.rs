//! `east=5`, `east=+2`, `east=-1`: what a scale is asked for.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::model::{GroupName, MAX_NODES};

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
        Ok(Self { name, count: number(count)? })
    }
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
