//! What the fuzzer tries (`fuzz/`), tried here with its corpus and with some thousands of inputs made from legal ones: what is
//! read from a disk may be anything.

#![allow(unreachable_pub, reason = "everything is private to a test")]

mod bodies;
#[allow(dead_code, unused_imports, reason = "the tests of the machine use more of it")]
#[path = "../machine/support/mod.rs"]
mod support;

use std::fs;
use std::path::Path;

/// Calls `body` with each input of the corpus, then with `count` mutations of those and of `seeds`: the same ones every time.
fn fuzz(target: &str, seeds: Vec<Vec<u8>>, count: usize, body: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus").join(target);
    let mut paths: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort_unstable();
    assert!(!paths.is_empty(), "{} is empty", folder.display());
    let mut inputs: Vec<Vec<u8>> = paths.iter().map(|path| fs::read(path).unwrap()).collect();
    inputs.extend(seeds);
    inputs.iter().for_each(|input| body(input));
    let mut random = fastrand::Rng::with_seed(42);
    for _ in 0..count {
        let mut input = inputs[random.usize(..inputs.len())].clone();
        for _ in 0..random.usize(1..4) {
            let other = &inputs[random.usize(..inputs.len())];
            mutate(&mut input, other, &mut random);
        }
        body(&input);
    }
}

/// One of the changes that fuzzers make.
fn mutate(input: &mut Vec<u8>, other: &[u8], random: &mut fastrand::Rng) {
    let at = random.usize(..=input.len());
    let from = random.usize(..=other.len());
    let piece = &other[from..(from + random.usize(..40)).min(other.len())];
    match random.u32(..6) {
        0 if at < input.len() => input[at] ^= 1 << random.u32(..8),
        1 if at < input.len() => input[at] = random.u8(..),
        2 => input.truncate(at),
        3 => drop(input.drain(at..(at + random.usize(..20)).min(input.len()))),
        4 => drop(input.splice(at..at, piece.iter().copied())),
        _ => {
            input.truncate(at);
            input.extend_from_slice(&other[from..]);
        }
    }
}

/// The lines of the fixture: JSON of every event.
fn records() -> Vec<Vec<u8>> {
    let fixture = include_str!("../fixtures/journal-format-1.txt");
    fixture.lines().map(|line| line.rsplit('\t').next().unwrap().into()).collect()
}

#[test]
fn any_bytes_are_a_record_or_an_error() {
    fuzz("codec", records(), 20_000, bodies::codec);
}

#[test]
fn any_lines_are_a_journal_or_refused() {
    fuzz("journal", bodies::legal_journals(), 4_000, bodies::journal);
}

#[test]
fn the_machine_bears_any_fate() {
    fuzz("machine", Vec::new(), 1_000, bodies::machine);
}

#[test]
fn a_damaged_journal_costs_its_run_and_no_other() {
    fuzz("recovery", Vec::new(), 1_000, bodies::recovery);
}
