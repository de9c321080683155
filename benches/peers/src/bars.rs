//! The bars that are measured beside peers.

use saga_benches::bar::{Bar, Unit};
use saga_benches::bars::sagas_per_second;
use saga_benches::report::number;

use crate::contest::Line;
use crate::ours::Ours;
use crate::peer::Peer;
use crate::steno::Steno;

/// With so many clients the bar of durable peers is for us.
pub const CLIENTS_ON_DISK: usize = 256;
/// With so many clients the bar in memory is for both.
pub const CLIENTS_IN_MEMORY: [usize; 2] = [1, 64];

/// The verdicts.
#[must_use]
pub fn bars(lines: &[Line]) -> Vec<Bar> {
    let mut bars: Vec<Bar> = CLIENTS_IN_MEMORY.map(|clients| in_memory(lines, clients)).into();
    bars.push(on_disk(lines));
    bars
}

fn in_memory(lines: &[Line], clients: usize) -> Bar {
    let what = format!("five steps in memory, over steno, clients: {clients}");
    let bar = Bar::at_least(what, 20.0, Unit::Times);
    match (median(lines, &Ours::Memory, clients), median(lines, &Steno, clients)) {
        (Some(ours), Some(theirs)) => bar.measured(ours / theirs, sagas_per_second(ours, theirs)),
        _ => bar.not_measured("one of the two has no figure"),
    }
}

/// Theirs is the fastest one at the number of clients at which it is fastest.
fn on_disk(lines: &[Line]) -> Bar {
    let what = format!("five steps on sled, clients: {CLIENTS_ON_DISK}, over the fastest durable peer at its best");
    let bar = Bar::at_least(what, 30.0, Unit::Times);
    let theirs = lines.iter().filter(|line| !line.ours && line.kind.is_on_disk());
    let theirs = theirs.filter_map(|line| Some((line, line.median()?)));
    let best = theirs.max_by(|(_, one), (_, other)| one.total_cmp(other));
    match (median(lines, &Ours::Sled, CLIENTS_ON_DISK), best) {
        (Some(ours), Some((line, theirs))) => bar.measured(
            ours / theirs,
            format!("{} against {} sagas/s ({}, clients: {})", number(ours), number(theirs), line.peer, line.clients),
        ),
        (None, _) => bar.not_measured("saga-core on sled has no figure"),
        (_, None) => bar.not_measured("no durable peer has a figure"),
    }
}

fn median(lines: &[Line], peer: &dyn Peer, clients: usize) -> Option<f64> {
    let name = peer.name();
    lines.iter().find(|line| line.peer == name && line.clients == clients)?.median()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peer::Kind;

    #[test]
    fn the_fastest_peer_counts_at_its_best() {
        let (sled, memory) = (Ours::Sled.name(), Ours::Memory.name());
        let lines = [
            Line::of(&sled, true, Kind::Durable, 1, 900.0),
            Line::of(&sled, true, Kind::Durable, 256, 3_000.0),
            Line::of(&memory, true, Kind::InMemory, 1, 4_000.0),
            Line::of(&memory, true, Kind::InMemory, 64, 1_900.0),
            Line::of(&Steno.name(), false, Kind::InMemory, 1, 200.0),
            Line::of(&Steno.name(), false, Kind::InMemory, 64, 100.0),
            Line::of("slow", false, Kind::Durable, 1, 100.0),
            Line::of("slow", false, Kind::Durable, 256, 50.0),
            Line::of("slower", false, Kind::Written, 256, 70.0),
        ];
        let bars = bars(&lines);
        assert_eq!(bars.iter().map(|bar| bar.measured).collect::<Vec<_>>(), [Some(20.0), Some(19.0), Some(30.0)]);
        assert_eq!(bars.iter().map(|bar| bar.met).collect::<Vec<_>>(), [Some(true), Some(false), Some(true)]);
        assert!(bars[2].of.contains("slow, clients: 1"), "{:?}", bars[2]);
    }

    #[test]
    fn without_peers_there_is_no_verdict() {
        let lines = [Line::of(&Ours::Sled.name(), true, Kind::Durable, 256, 3_000.0)];
        assert_eq!(bars(&lines).iter().map(|bar| bar.met).collect::<Vec<_>>(), [None; 3]);
    }
}
