//! What is read from frames and from the entries of ended runs, tried with bytes that anybody may have written.

use crate::id::{Epoch, RunId, Timestamp};
use crate::journal::EncodedRecord;
use crate::store::RunStatus;
use crate::store::sled::ended::{self, Ended};
use crate::store::sled::frame::{Directory, Extent, HEADER, Kind, Standing, Unreadable, VERSION, read_extent, u32_of};
use crate::store::sled::group::Group;

/// More than any frame here has.
const ALL: usize = 100_000;

/// The first byte says whether the checksums are put right, so that what is behind them is reached: those of frames, or those
/// of an ended run's entry. Then come the values, each with its length before it.
#[allow(unreachable_pub, reason = "public where there is a fuzzer")]
pub fn frames(data: &[u8]) {
    let Some((how, mut rest)) = data.split_first() else { return };
    let mut frames = Vec::new();
    while let Some((length, after)) = rest.split_first_chunk() {
        let (frame, after) = after.split_at(usize::from(u16::from_le_bytes(*length)).min(after.len()));
        let mut frame = frame.to_vec();
        if how % 2 == 1 {
            seal(&mut frame);
        }
        frames.push(frame);
        rest = after;
    }
    let size: usize = frames.iter().map(Vec::len).sum();
    let mut runs: Vec<Vec<EncodedRecord>> = Vec::new();
    for (number, frame) in (0..).zip(&frames) {
        let Ok(directory) = Directory::read(frame) else { continue };
        for at in 0..directory.entries.len() {
            let Some(extent) = directory.extent(number, at, frame.len()) else { continue };
            assert!(extent.end() >= extent.first);
            let Ok(records) = read(&extent, 0, ALL, &frames) else { continue };
            assert!(records.len() == extent.count as usize, "all of its records, from place 1 on");
            assert!(records.iter().map(|record| record.bytes.len()).sum::<usize>() <= size, "no more than there is");
            let some = read(&extent, extent.first, 2, &frames).expect("a part can be read if all can");
            assert!(some.iter().eq(records.iter().skip(1).take(2)), "those behind the first, and no more than two");
            if !records.is_empty() {
                runs.push(records);
            }
        }
    }
    again(&runs);
    if how % 4 == 2 {
        seal_entry(&mut frames);
    }
    ended(&frames);
}

fn seal(frame: &mut [u8]) {
    let Some(length) = frame.get(13..HEADER) else { return };
    let length = u32::from_le_bytes([length[0], length[1], length[2], length[3]]) as usize;
    frame[0] = VERSION;
    if let Some(checked) = frame.get(5..HEADER.saturating_add(length)) {
        let checksum = crc32fast::hash(checked);
        frame[1..5].copy_from_slice(&checksum.to_le_bytes());
    }
}

/// The head of the first part, and the extents behind it and in the other parts.
fn seal_entry(parts: &mut [Vec<u8>]) {
    let Some((first, others)) = parts.split_first_mut() else { return };
    let Some(length) = first.get(13..15) else { return };
    let length = usize::from(u16::from_le_bytes([length[0], length[1]]));
    let Some((head, rest)) = first.get(16..).and_then(|bytes| bytes.split_at_checked(length)) else { return };
    let extents = others.iter().fold(rest.to_vec(), |bytes, part| [&bytes, part.as_slice()].concat());
    let words = [crc32fast::hash(head), crc32fast::hash(&extents), u32_of(extents.len())].map(u32::to_le_bytes);
    if first[0] != ended::JSON_HEAD {
        first[0] = ended::VERSION;
    }
    first[1..13].copy_from_slice(&words.concat());
}

fn read(extent: &Extent, after: u64, limit: usize, frames: &[Vec<u8>]) -> Result<Vec<EncodedRecord>, Unreadable> {
    let mut records = Vec::new();
    read_extent(extent, after, limit, &mut records, |number| {
        let frame = usize::try_from(number).ok().and_then(|number| frames.get(number));
        frame.ok_or_else(|| Unreadable("there is no such frame".to_owned()))
    })?;
    Ok(records)
}

/// What could be read is written, as one group, and read again.
fn again(runs: &[Vec<EncodedRecord>]) {
    let mut group = Group::new(0);
    let standing = Standing { epoch: Epoch::FIRST, status: RunStatus::Running, at: Timestamp(1) };
    let extents: Vec<Vec<Extent>> = (0..)
        .zip(runs)
        .map(|(number, records): (usize, _)| {
            let run = RunId::new(format!("run-{number}")).expect("an id");
            let mut extents = Vec::new();
            group.add_records(Kind::Append, &run, standing, None, records, &mut extents);
            extents
        })
        .collect();
    let frames: Vec<Vec<u8>> = group.seal().into_iter().map(|sealed| sealed.bytes).collect();
    for (records, extents) in runs.iter().zip(&extents) {
        let found: Vec<EncodedRecord> =
            extents.iter().flat_map(|extent| read(extent, 0, ALL, &frames).expect("it was just written")).collect();
        assert!(found == *records, "what was written is read");
        for extent in extents {
            let directory = Directory::read(&frames[extent.frame as usize]).expect("it was just written");
            let length = frames[extent.frame as usize].len();
            assert_eq!(directory.extent(extent.frame, usize::from(extent.entry), length), Some(*extent));
        }
    }
}

/// The entry of an ended run: the first frame is its first part, the others are its next ones.
fn ended(frames: &[Vec<u8>]) {
    let Some(first) = frames.first() else { return };
    let part = |number: u32| Ok::<_, Unreadable>(frames.get((number & 0x7fff_ffff) as usize).cloned());
    let Ok(entry) = Ended::read(first, part) else { return };
    let parts = entry.write();
    let part = |number: u32| Ok::<_, Unreadable>(parts.iter().find(|part| part.0 == number).map(|part| part.1.clone()));
    let first = parts.last().expect("an entry has a part");
    assert_eq!(Ended::read(&first.1, part).expect("it was just written"), entry);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::test_runner::RngSeed;

    use super::*;
    use crate::id::Seq;
    use crate::store::RunSummary;
    use crate::store::sled::by_end;
    use crate::store::sled::frame::Origin;

    /// Frames with records of two runs, one of which is longer than a frame, and the entry of an ended run.
    fn legal() -> Vec<Vec<Vec<u8>>> {
        let summary = RunSummary {
            run: RunId::new("ended").expect("an id"),
            saga: "saga".parse().expect("a name"),
            version: 1,
            fingerprint: serde_json::from_str("\"6ba7b812-9dad-11d1-80b4-00c04fd430c8\"").expect("a fingerprint"),
            key: None,
            status: RunStatus::Completed,
            seq: Seq(40),
            epoch: Epoch::FIRST,
            owner: None,
            created_at: Timestamp(1),
            updated_at: Timestamp(2),
        };
        let record = |seq: u64, length: usize| EncodedRecord { seq: Seq(seq), bytes: vec![seq as u8; length] };
        let small: Vec<EncodedRecord> = (1..=40).map(|seq| record(seq, 30)).collect();
        let large = [record(7, 12_000), record(8, 1)];
        let mut group = Group::new(0);
        let standing = Standing::of(&summary);
        let mut extents = Vec::new();
        group.add_records(Kind::Start, &summary.run, standing, Some(&Origin::of(&summary)), &small, &mut extents);
        group.add_mark(Kind::Claim, &summary.run, Epoch(2));
        let other = RunId::new("large").expect("an id");
        group.add_records(Kind::Append, &other, standing, None, &large, &mut extents);
        group.add_mark(Kind::Drop, &summary.run, Epoch(0));
        let frames = group.seal().into_iter().map(|sealed| sealed.bytes).collect();
        let mut entries = [Ended { summary, extents, side: false, page: None }];
        by_end::lay_out(&mut entries, 7);
        let [entry] = entries;
        vec![frames, entry.write().into_iter().rev().map(|part| part.1).collect()]
    }

    fn packed(how: u8, frames: &[Vec<u8>]) -> Vec<u8> {
        let mut data = vec![how];
        for frame in frames {
            data.extend_from_slice(&u16::try_from(frame.len()).expect("a frame is small").to_le_bytes());
            data.extend_from_slice(frame);
        }
        data
    }

    #[test]
    fn what_is_legal_is_read_and_written_again() {
        for values in legal() {
            frames(&packed(0, &values));
        }
    }

    /// A directory may be as it was sealed, and make no sense all the same.
    #[test]
    fn numbers_that_cannot_be_added_up_are_refused() {
        let mut frame = legal().swap_remove(0).swap_remove(0);
        let length = 30_u32.to_le_bytes();
        let places: Vec<usize> = (0..frame.len() - 4).filter(|at| frame[*at..*at + 4] == length).collect();
        assert_eq!(places.len(), 40);
        for at in places {
            frame[at..at + 4].fill(0xff);
        }
        seal(&mut frame);
        assert_eq!(Directory::read(&frame).unwrap_err().to_string(), "its directory makes no sense");
        frames(&packed(0, &[frame]));

        // After the last place that can be told, none can be.
        for (place, is_read) in [(0, false), (1, true), (u64::MAX - 1, true), (u64::MAX, false)] {
            let mut group = Group::new(0);
            let standing = Standing { epoch: Epoch::FIRST, status: RunStatus::Running, at: Timestamp(1) };
            let record = EncodedRecord { seq: Seq(place), bytes: vec![1] };
            let run = RunId::new("run").expect("an id");
            group.add_records(Kind::Append, &run, standing, None, &[record], &mut Vec::new());
            let frame = group.seal().swap_remove(0).bytes;
            assert_eq!(Directory::read(&frame).is_ok(), is_read, "place {place}");
            frames(&packed(0, &[frame]));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            failure_persistence: None,
            rng_seed: RngSeed::Fixed(42),
            ..ProptestConfig::with_cases(4_096)
        })]

        /// Some bytes are others, with checksums that say so or with ones that agree.
        #[test]
        fn any_frames_are_read_or_refused(
            which in 0..2_usize,
            how in 0..3_u8,
            edits in prop::collection::vec((any::<prop::sample::Index>(), 0..120_usize, any::<u8>()), 0..5),
            cut in prop::option::of(any::<prop::sample::Index>()),
        ) {
            let mut values = legal().swap_remove(which);
            let count = values.len();
            for (frame, at, byte) in edits {
                // The directory is in front, where most of what can go wrong is.
                if let Some(here) = values[frame.index(count)].get_mut(at) {
                    *here = byte;
                }
            }
            if let Some(cut) = cut {
                let length = cut.index(values[0].len());
                values[0].truncate(length);
            }
            frames(&packed(how, &values));
        }
    }
}
