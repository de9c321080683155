//! Room at the end of sled's file, reserved before it is needed.
//!
//! A write behind the end of a file makes it longer, and whoever syncs that write has to make the new length durable too: the
//! file system's own journal is written, and synced, besides the data. A write into room that the file has already costs
//! the data alone, which is a quarter to a third less for a small commit. So the file is made longer by large pieces, now
//! and then.
//!
//! To reserve is to ask the kernel for blocks that read as zeros. It touches no byte that was ever written, whatever sled
//! writes meanwhile. Zeros are what sled itself fills a segment up with when it is opened, and takes for the end of its log.
//!
//! What was reserved and never written is given back before sled is opened, which would write zeros there, and sync them
//! piece by piece.
//!
//! All of this is for speed: where it cannot be had (another system than Linux, a file system that has no such blocks or
//! does not tell them apart) the store goes without.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

/// sled's unit: it begins a segment where the last one is full, and gives room back by whole ones.
const SEGMENT_BYTES: u64 = 512 * 1024;
/// So much is to be left, at least. It is looked at after each [`LOOK_BYTES`], which sled writes several times.
const SPARE_BYTES: u64 = 2 * SEGMENT_BYTES;
/// So much is added.
const PIECE_BYTES: u64 = 4 * SEGMENT_BYTES;
/// After so many bytes that were given to sled the room is looked at. A store to which little is written reserves nothing.
const LOOK_BYTES: usize = 64 * 1024;

/// When to look at the room that is left.
#[derive(Debug, Default)]
pub(super) struct Room {
    /// Bytes given to sled since it was looked at.
    given: usize,
    /// Set once it turned out that there is none to be had.
    none: bool,
}

impl Room {
    /// Notes that sled was given so many bytes more, and reserves some room if there is little left. What fails fails
    /// silently: sled's own writes tell when the disk is full.
    pub(super) fn given(&mut self, bytes: usize, data: &File) {
        self.given += bytes;
        if !self.none && self.given >= LOOK_BYTES {
            self.given = 0;
            self.none = !reserve(data);
        }
    }
}

/// Sees to it that there is room, and says whether it is of any use to ask again.
fn reserve(data: &File) -> bool {
    let Some(length) = length(data) else { return false };
    if sparse::is_unwritten(data, length.saturating_sub(SPARE_BYTES)) {
        return true;
    }
    // If it does not look unwritten now it never will, and the file would grow at each look.
    sparse::extend(data, length, PIECE_BYTES) && sparse::is_unwritten(data, length + PIECE_BYTES - 1)
}

/// Gives back what was reserved and never written. Nobody may have the file open who writes to it.
///
/// # Errors
///
/// What reading or cutting the file fails with.
pub(super) fn give_back(data: &File) -> io::Result<()> {
    let Some(length) = length(data) else { return Ok(()) };
    let mut end = length;
    while end >= SEGMENT_BYTES && sparse::is_unwritten(data, end - SEGMENT_BYTES) {
        end -= SEGMENT_BYTES;
    }
    // Not by segments, one after the other: what was read does not look unwritten any more.
    if end < length && is_zero_from(data, end)? { data.set_len(end) } else { Ok(()) }
}

/// Whether the rest of the file reads as zeros. What file systems say of unwritten room has been wrong before, about data
/// that was not on the disk yet; and what is cut off is gone.
fn is_zero_from(mut data: &File, from: u64) -> io::Result<bool> {
    data.seek(SeekFrom::Start(from))?;
    let mut piece = Vec::new();
    loop {
        piece.clear();
        match data.take(SEGMENT_BYTES).read_to_end(&mut piece)? {
            0 => return Ok(true),
            _ if piece.iter().any(|byte| *byte != 0) => return Ok(false),
            _ => {}
        }
    }
}

fn length(data: &File) -> Option<u64> {
    data.metadata().ok().map(|data| data.len())
}

#[cfg(target_os = "linux")]
mod sparse {
    use std::fs::File;

    use rustix::fs::{FallocateFlags, SeekFrom};
    use rustix::io::Errno;

    /// Whether nothing was ever written from this place to the end of the file. `false` where the system does not say, and
    /// for a while after somebody has read it: then a piece is reserved that need not have been, or not given back.
    pub(super) fn is_unwritten(data: &File, from: u64) -> bool {
        rustix::fs::seek(data, SeekFrom::Data(from)) == Err(Errno::NXIO)
    }

    /// Makes the file longer, if that can be done without writing.
    pub(super) fn extend(data: &File, from: u64, bytes: u64) -> bool {
        rustix::fs::fallocate(data, FallocateFlags::empty(), from, bytes).is_ok()
    }
}

#[cfg(not(target_os = "linux"))]
mod sparse {
    use std::fs::File;

    pub(super) fn is_unwritten(_: &File, _: u64) -> bool {
        false
    }

    pub(super) fn extend(_: &File, _: u64, _: u64) -> bool {
        false
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;

    /// Some bytes in a file, and room behind them; `None` where there is none to be had.
    fn reserved(bytes: usize) -> Option<(File, Room)> {
        let data = tempfile::tempfile().unwrap();
        data.write_all_at(&vec![7; bytes], 0).unwrap();
        let mut room = Room::default();
        room.given(LOOK_BYTES, &data);
        if room.none {
            eprintln!("SKIPPED: this file system cannot reserve room");
            return None;
        }
        Some((data, room))
    }

    fn content(data: &File) -> Vec<u8> {
        let mut bytes = vec![1; usize::try_from(length(data).unwrap()).unwrap()];
        data.read_exact_at(&mut bytes, 0).unwrap();
        bytes
    }

    #[test]
    fn room_is_reserved_before_it_is_needed_and_not_before_that() {
        let Some((data, mut room)) = reserved(100_000) else { return };
        let reserved = 100_000 + PIECE_BYTES;
        assert_eq!(length(&data), Some(reserved));
        room.given(LOOK_BYTES, &data);
        assert_eq!(length(&data), Some(reserved), "enough is left");
        data.write_all_at(b"x", reserved - SPARE_BYTES).unwrap();
        room.given(LOOK_BYTES - 1, &data);
        assert_eq!(length(&data), Some(reserved), "it was not looked at");
        room.given(1, &data);
        assert_eq!(length(&data), Some(reserved + PIECE_BYTES));
        let mut content = content(&data);
        assert_eq!(content.iter().position(|byte| *byte == b'x'), usize::try_from(reserved - SPARE_BYTES).ok());
        content.retain(|byte| *byte != b'x');
        assert!(content[..100_000].iter().all(|byte| *byte == 7) && content[100_000..].iter().all(|byte| *byte == 0));
    }

    #[test]
    fn what_was_not_used_is_given_back_and_nothing_else() {
        let Some((data, _)) = reserved(100_000) else { return };
        data.write_all_at(b"the last", 700_000).unwrap();
        give_back(&data).unwrap();
        let after = content(&data);
        assert!(after.starts_with(&[7; 100_000]) && after[700_000..].starts_with(b"the last"));
        assert!((700_008..700_008 + 2 * SEGMENT_BYTES).contains(&(after.len() as u64)), "{}", after.len());
    }

    /// Whatever a file system says of it.
    #[test]
    fn what_does_not_read_as_zeros_is_kept() {
        let data = tempfile::tempfile().unwrap();
        data.set_len(4 * SEGMENT_BYTES).unwrap();
        assert!(is_zero_from(&data, 0).unwrap());
        data.write_all_at(b"x", 3 * SEGMENT_BYTES).unwrap();
        assert!(!is_zero_from(&data, 0).unwrap() && !is_zero_from(&data, 3 * SEGMENT_BYTES).unwrap());
        assert!(is_zero_from(&data, 3 * SEGMENT_BYTES + 1).unwrap());
    }

    /// sled may write behind the end of the file at any time.
    #[test]
    fn what_was_written_meanwhile_is_left_alone() {
        let Some((data, _)) = reserved(10) else { return };
        data.write_all_at(b"meanwhile", 3_000_000).unwrap();
        assert!(sparse::extend(&data, 10, 8_000_000));
        let content = content(&data);
        assert_eq!(content.len(), 8_000_010);
        assert_eq!((&content[..10], &content[3_000_000..3_000_009]), (&[7; 10][..], &b"meanwhile"[..]));
    }

    #[test]
    fn a_file_without_room_is_not_cut() {
        for bytes in [0, 1, 600_000, 2_000_000] {
            let data = tempfile::tempfile().unwrap();
            data.write_all_at(&vec![0; bytes], 0).unwrap();
            give_back(&data).unwrap();
            assert_eq!(length(&data), Some(bytes as u64), "zeros that were written are no reserved room");
        }
    }
}
