//! One JSON object per line.

use serde::Serialize;
use serde_json::{Value, json};

use super::{Screen, out};
use crate::cli::reply::Reply;

pub(super) struct Json;

impl Screen for Json {
    fn show(&mut self, reply: &Reply) {
        match reply {
            // A line each, so that one can be picked with any tool that reads lines.
            Reply::List(listing) => {
                listing.clusters.iter().for_each(|cluster| line("cluster", cluster));
                listing.unreadable.iter().for_each(|why| out(&json!({"type": "unreadable", "why": why}).to_string()));
            }
            Reply::History { entries, .. } => entries.iter().for_each(|entry| line("event", entry)),
            other => match serde_json::to_string(other) {
                Ok(line) => out(&line),
                Err(error) => out(&json!({"type": "unprintable", "why": error.to_string()}).to_string()),
            },
        }
    }
}

fn line(kind: &str, what: &impl Serialize) {
    let mut object = serde_json::to_value(what).unwrap_or_default();
    if let Value::Object(fields) = &mut object {
        fields.insert("type".to_owned(), kind.into());
    }
    out(&object.to_string());
}
