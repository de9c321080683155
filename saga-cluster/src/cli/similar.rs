//! "Did you mean …?"

/// Those of the known names that look like what was typed, most alike first; at most three.
pub(super) fn similar<'a>(typed: &str, known: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let mut alike: Vec<(usize, &str)> = known
        .into_iter()
        .map(|name| (distance(typed, name), name))
        .filter(|(distance, name)| {
            distance * 2 <= name.len().max(typed.len()) || (typed.len() >= 2 && name.starts_with(typed))
        })
        .collect();
    alike.sort_unstable();
    alike.into_iter().map(|(_, name)| name).take(3).collect()
}

/// How many letters have to be put in, left out or changed to get from one name to the other (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, to) in b.iter().enumerate() {
            let changed = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        for (a, b, expected) in [("", "", 0), ("a", "", 1), ("kitten", "sitting", 3), ("demo", "dmeo", 2)] {
            assert_eq!((distance(a, b), distance(b, a)), (expected, expected), "{a} {b}");
        }
    }

    #[test]
    fn typing_errors_and_beginnings_are_recognised_and_strangers_are_not() {
        let known = ["store", "store-2", "archive"];
        assert_eq!(similar("stroe-2", known), ["store-2"]);
        assert_eq!(similar("stroe", known)[0], "store");
        assert_eq!(similar("stor", known), ["store", "store-2"]);
        assert_eq!(similar("demo", known), Vec::<&str>::new());
    }
}
