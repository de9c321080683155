//! The JSON of a record, byte for byte as serde would write it, at a third of the cost.
//!
//! Encoding is the largest share of what a step costs where nothing is waited for. What a run writes most is written here
//! as the constant text that it is, with the values in between; all else is left to serde. A property of
//! `tests/journal_codec.rs` holds the two against each other.

use serde::Serialize;

use crate::id::ItemRef;
use crate::journal::{Event, Record, Rest};

/// Appends the JSON of a record.
pub(super) fn write(record: &Record, to: &mut Vec<u8>) {
    text(to, r#"{"seq":"#);
    value(to, &record.seq);
    text(to, r#","at":"#);
    value(to, &record.at);
    text(to, r#","event":"#);
    event(to, &record.event);
    text(to, "}");
}

fn event(to: &mut Vec<u8>, event: &Event) {
    match event {
        Event::StepStarted { step, name, items } => {
            text(to, r#"{"step_started":{"step":"#);
            value(to, step);
            text(to, r#","name":"#);
            string(to, name.as_str());
            if let Some(items) = items {
                text(to, r#","items":"#);
                value(to, items);
            }
            text(to, "}}");
        }
        Event::Succeeded { of, output } => {
            text(to, r#"{"succeeded":{"of":"#);
            item(to, *of);
            text(to, r#","output":"#);
            text(to, output.as_json());
            text(to, "}}");
        }
        Event::AttemptStarted { of, attempt } => begun(to, r#"{"attempt_started":{"of":"#, *of, *attempt),
        Event::UndoStarted { of, attempt } => begun(to, r#"{"undo_started":{"of":"#, *of, *attempt),
        Event::Undone { of } => {
            text(to, r#"{"undone":{"of":"#);
            item(to, *of);
            text(to, "}}");
        }
        Event::RunStarted { saga, version, fingerprint, input, key: None, deadline: None } => {
            text(to, r#"{"run_started":{"saga":"#);
            string(to, saga.as_str());
            text(to, r#","version":"#);
            value(to, version);
            text(to, r#","fingerprint":"#);
            value(to, fingerprint);
            text(to, r#","input":"#);
            text(to, input.as_json());
            text(to, "}}");
        }
        Event::Rested { rest: Rest::Completed } => text(to, r#"{"rested":{"rest":"completed"}}"#),
        rare => value(to, rare),
    }
}

/// An attempt, after what says of which kind it is.
fn begun(to: &mut Vec<u8>, kind: &str, of: ItemRef, attempt: u32) {
    text(to, kind);
    item(to, of);
    text(to, r#","attempt":"#);
    value(to, &attempt);
    text(to, "}}");
}

fn item(to: &mut Vec<u8>, of: ItemRef) {
    text(to, r#"{"step":"#);
    value(to, &of.step);
    text(to, r#","item":"#);
    value(to, &of.item);
    text(to, "}");
}

fn text(to: &mut Vec<u8>, text: &str) {
    to.extend_from_slice(text.as_bytes());
}

/// A name, in quotes. It has no control character, so most names need no escapes.
fn string(to: &mut Vec<u8>, name: &str) {
    if name.bytes().any(|byte| byte == b'"' || byte == b'\\') {
        return value(to, name);
    }
    text(to, "\"");
    text(to, name);
    text(to, "\"");
}

fn value<T: Serialize + ?Sized>(to: &mut Vec<u8>, value: &T) {
    serde_json::to_writer(to, value).expect("every part of a record has a JSON form");
}
