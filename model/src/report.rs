//! What came of it, for people.

use std::fmt::Write as _;
use std::time::Duration;

use comfy_table::{Table, presets};

use crate::bounds::{Bounds, Policies};
use crate::explore::{Found, RESTS, Tally};
use crate::model::Model;
use crate::node::Node;
use crate::property::Property;
use crate::story::decided;
use crate::system::System;

/// What was visited, and how often each property was judged.
#[must_use]
pub fn report(tally: &Tally, took: Duration) -> String {
    let mut figures = table();
    let mut row = |name: &str, figure: String| {
        figures.add_row([name.to_owned(), figure]);
    };
    row("sagas", grouped(tally.sagas));
    row("distinct states", grouped(tally.states));
    row("distinct transitions", grouped(tally.transitions));
    row("longest of the shortest ways to a state", grouped(tally.depth));
    for (name, count) in RESTS.iter().zip(tally.rests) {
        row(&format!("states at rest: {name}"), grouped(count));
    }
    row("seconds", format!("{:.1}", took.as_secs_f64()));
    if let Some(bytes) = peak_memory() {
        row("most memory, MiB", grouped(bytes >> 20));
    }
    let mut judged = table();
    judged.set_header(["property", "judged", "violated"]);
    for (property, count) in Property::ALL.iter().zip(tally.judged) {
        judged.add_row([property.name().to_owned(), grouped(count), "0".to_owned()]);
    }
    format!("{figures}\n\n{judged}\n")
}

/// One pass, in a line.
#[must_use]
pub fn summary(what: &str, tally: &Tally, took: Duration) -> String {
    let [sagas, states, transitions] = [tally.sagas, tally.states, tally.transitions].map(grouped);
    format!("{what}: {sagas} sagas, {states} states, {transitions} transitions, {:.0} s", took.as_secs_f64())
}

fn table() -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    table
}

/// A number with spaces between its thousands.
#[must_use]
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

/// The most memory that this process ever had, where the system tells.
fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    Some(kib << 10)
}

/// A violation, with the way that leads to it and the command that shows it again.
#[must_use]
pub fn tell(found: &Found, policies: Policies, bounds: Bounds, system: &dyn System) -> String {
    let Found { saga, violation, trace } = found;
    let mut text = String::new();
    let property = violation.property;
    // Writing to a string does not fail.
    let _ = writeln!(text, "VIOLATED  {property}\n          {}", property.sentence());
    let _ = writeln!(text, "found     {}\n\nsaga      {saga}\n", violation.what);
    let model = Model::new(saga, policies, bounds, system);
    let mut here = model.start().ok();
    let _ = writeln!(text, "  0  the run is started{}", on_its_way(here.as_ref()));
    for (at, by) in trace.iter().enumerate() {
        here = here.and_then(|node| model.next(&node, *by).ok().flatten());
        let came = if at + 1 == trace.len() { below(&violation.decided) } else { on_its_way(here.as_ref()) };
        let _ = writeln!(text, "{:>3}  {by}{came}", at + 1);
    }
    let _ = writeln!(text, "\nonce more: cargo run --release -p saga-model -- --saga '{saga}' {bounds} {policies}");
    text
}

/// What is on its way to the store, and what waits for it.
fn on_its_way(node: Option<&Node>) -> String {
    let pending = node.and_then(|node| node.pending.as_ref());
    pending.map_or_else(String::new, |pending| below(&decided(&pending.events, &pending.commands)))
}

fn below(decided: &str) -> String {
    if decided.is_empty() { String::new() } else { format!("\n         {decided}") }
}
