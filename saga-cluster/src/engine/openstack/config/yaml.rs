//! As much of YAML as `clouds.yaml` needs: maps, lists and text, with anchors, aliases and merged maps.
//!
//! Every scalar is text here. What looks like a number to YAML may be a password, and a type error would quote it.

use std::collections::BTreeMap;

use saphyr_parser::{Event, Parser, ScalarStyle};

/// How many nodes a file may unfold to. Aliases of aliases grow without bounds in a few lines.
const MOST_NODES: usize = 10_000;

#[derive(Clone, PartialEq)]
pub(super) enum Node {
    /// A plain `null`, `~`, or nothing at all.
    Nothing,
    Text(String),
    List(Vec<Node>),
    Map(BTreeMap<String, Node>),
}

impl Node {
    /// What is under a key of a map.
    pub(super) fn get(&self, key: &str) -> Option<&Node> {
        match self {
            Self::Map(entries) => entries.get(key).filter(|node| **node != Self::Nothing),
            _ => None,
        }
    }

    /// The entries of a map; none if it is something else.
    pub(super) fn entries(&self) -> impl Iterator<Item = (&str, &Node)> {
        let entries = if let Self::Map(entries) = self { Some(entries) } else { None };
        entries.into_iter().flatten().map(|(key, node)| (key.as_str(), node))
    }

    pub(super) fn text(&self) -> Option<&str> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }

    /// Puts another map's entries over those of this one, map by map.
    pub(super) fn overlay(&mut self, other: Node) {
        match (self, other) {
            (Self::Map(below), Self::Map(above)) => {
                for (key, node) in above {
                    below.entry(key).or_insert(Self::Nothing).overlay(node);
                }
            }
            (_, Self::Nothing) => {}
            (below, above) => *below = above,
        }
    }

    fn size(&self) -> usize {
        1 + match self {
            Self::List(items) => items.iter().map(Self::size).sum(),
            Self::Map(entries) => entries.values().map(Self::size).sum(),
            _ => 0,
        }
    }
}

/// Reads the first document of a text.
///
/// # Errors
/// What is wrong and where. Nothing of the text is quoted: it may be a secret.
pub(super) fn read(text: &str) -> Result<Node, String> {
    let mut reader = Reader { parser: Parser::new_from_str(text), anchors: BTreeMap::new(), nodes: 0 };
    loop {
        match reader.next()? {
            Some(Event::DocumentStart(_)) => {
                let first = reader.next()?.ok_or("it ends too early")?;
                return reader.node(first, 0);
            }
            Some(Event::StreamEnd) | None => return Ok(Node::Nothing),
            Some(_) => {}
        }
    }
}

/// How deep maps and lists may lie in each other.
const DEEPEST: usize = 64;

struct Reader<'a> {
    parser: Parser<'a, saphyr_parser::StrInput<'a>>,
    anchors: BTreeMap<usize, Node>,
    nodes: usize,
}

impl<'a> Reader<'a> {
    fn next(&mut self) -> Result<Option<Event<'a>>, String> {
        match self.parser.next() {
            Some(Ok((event, _))) => Ok(Some(event)),
            Some(Err(error)) => {
                let place = error.marker();
                Err(format!("it is not YAML at line {}, column {}", place.line(), place.col() + 1))
            }
            None => Ok(None),
        }
    }

    /// The node that an event begins.
    fn node(&mut self, event: Event<'a>, depth: usize) -> Result<Node, String> {
        if depth > DEEPEST {
            return Err("it is nested too deeply".to_owned());
        }
        let (node, anchor) = match event {
            Event::Alias(anchor) => (self.anchors.get(&anchor).cloned().ok_or("an alias leads nowhere")?, 0),
            Event::Scalar(text, style, anchor, _) => {
                let plain = style == ScalarStyle::Plain;
                let nothing = plain && matches!(&*text, "" | "~" | "null" | "Null" | "NULL");
                (if nothing { Node::Nothing } else { Node::Text(text.into_owned()) }, anchor)
            }
            Event::SequenceStart(anchor, _) => (Node::List(self.items(depth)?), anchor),
            Event::MappingStart(anchor, _) => (Node::Map(self.map(depth)?), anchor),
            _ => return Err("it ends too early".to_owned()),
        };
        self.nodes += if matches!(node, Node::List(_) | Node::Map(_)) { node.size() } else { 1 };
        if self.nodes > MOST_NODES {
            return Err(format!("it has more than {MOST_NODES} entries"));
        }
        if anchor > 0 {
            self.anchors.insert(anchor, node.clone());
        }
        Ok(node)
    }

    fn items(&mut self, depth: usize) -> Result<Vec<Node>, String> {
        let mut items = Vec::new();
        loop {
            match self.next()?.ok_or("it ends too early")? {
                Event::SequenceEnd => return Ok(items),
                event => items.push(self.node(event, depth + 1)?),
            }
        }
    }

    fn map(&mut self, depth: usize) -> Result<BTreeMap<String, Node>, String> {
        let mut entries = BTreeMap::new();
        let mut merged = Vec::new();
        loop {
            let key = match self.next()?.ok_or("it ends too early")? {
                Event::MappingEnd => break,
                event => self.node(event, depth + 1)?,
            };
            let begins = self.next()?.ok_or("it ends too early")?;
            let value = self.node(begins, depth + 1)?;
            match (key, value) {
                (Node::Text(key), Node::List(list)) if key == "<<" => merged.extend(list),
                (Node::Text(key), node) if key == "<<" => merged.push(node),
                (Node::Text(key), node) => drop(entries.insert(key, node)),
                _ => return Err("a key is no text".to_owned()),
            }
        }
        // What the map says itself has precedence over what it takes in, and earlier over later.
        for (key, node) in merged.iter().flat_map(Node::entries) {
            entries.entry(key.to_owned()).or_insert_with(|| node.clone());
        }
        Ok(entries)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text<'a>(node: &'a Node, path: &[&str]) -> Option<&'a str> {
        path.iter().try_fold(node, |node, key| node.get(key))?.text()
    }

    #[test]
    fn scalars_stay_as_they_are_written() {
        let node = read("a: 0123\nb: 'no'\nc: no\nd: ~\ne: ''\nf: \"x: y\"\n").unwrap();
        assert_eq!(text(&node, &["a"]), Some("0123"));
        assert_eq!((text(&node, &["b"]), text(&node, &["c"])), (Some("no"), Some("no")));
        assert_eq!((text(&node, &["d"]), text(&node, &["e"])), (None, Some("")));
        assert_eq!(text(&node, &["f"]), Some("x: y"));
    }

    #[test]
    fn maps_are_merged_and_aliases_followed() {
        let node = read("base: &b {x: 1, y: 2}\none: {<<: *b, y: 3}\ntwo: *b\n").unwrap();
        assert_eq!((text(&node, &["one", "x"]), text(&node, &["one", "y"])), (Some("1"), Some("3")));
        assert_eq!(text(&node, &["two", "y"]), Some("2"));
    }

    #[test]
    fn one_file_lies_over_another() {
        let mut node = read("clouds: {a: {auth: {username: u}, region: r}}").unwrap();
        node.overlay(read("clouds: {a: {auth: {password: p}}}").unwrap());
        assert_eq!(text(&node, &["clouds", "a", "auth", "username"]), Some("u"));
        assert_eq!(text(&node, &["clouds", "a", "auth", "password"]), Some("p"));
        assert_eq!(text(&node, &["clouds", "a", "region"]), Some("r"));
    }

    #[test]
    fn what_is_wrong_is_told_without_quoting_it() {
        for wrong in ["a: [hunter2", "a: \"hunter2", "- hunter2\nb: c", "? [hunter2]\n: x"] {
            let told = read(wrong).err().expect(wrong);
            assert!(!told.contains("hunter2"), "{told}");
        }
        assert!(read("").unwrap() == Node::Nothing);
    }

    #[test]
    fn a_file_that_unfolds_without_bounds_is_refused() {
        let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
        for i in 1..12 {
            let list = vec![format!("*a{}", i - 1); 9].join(", ");
            text += &format!("a{i}: &a{i} [{list}]\n");
        }
        assert!(read(&text).is_err());
        assert!(read(&"[".repeat(10_000)).is_err());
    }
}
