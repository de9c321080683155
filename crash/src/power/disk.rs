//! A disk that loses power: what was synced is there, and of the rest whatever chance leaves.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::trace::{At, Event};

/// What a drive writes as a whole.
const SECTORS: [usize; 2] = [512, 4096];

/// The files of a store, as the kernel and the drive have them.
#[derive(Debug, Default)]
pub(super) struct Disk {
    files: Vec<File>,
    /// Names that are durable.
    names: BTreeMap<PathBuf, usize>,
    /// Names as the process sees them.
    seen: BTreeMap<PathBuf, usize>,
    /// Changes of names since, in their order, which a file system keeps.
    renaming: Vec<Rename>,
    /// Whether syncs are taken for what they are.
    deaf: bool,
}

#[derive(Debug, Default)]
struct File {
    synced: Vec<u8>,
    /// What was written since, in the order in which it was begun.
    pending: Vec<Pending>,
    /// Where the next write without an offset goes.
    position: u64,
}

#[derive(Debug, Clone)]
struct Pending {
    id: u64,
    change: Change,
    /// When it came back.
    done: Option<u64>,
}

#[derive(Debug, Clone)]
enum Change {
    Write { offset: u64, bytes: Arc<[u8]> },
    Truncate { length: u64 },
}

#[derive(Debug)]
struct Rename {
    at: u64,
    parent: PathBuf,
    change: Naming,
}

#[derive(Debug)]
enum Naming {
    Create(PathBuf, usize),
    Move(PathBuf, PathBuf),
    Remove(PathBuf),
}

/// How much of what was not synced is on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Luck {
    /// Nothing.
    None,
    /// All of it: as after a kill.
    All,
    /// A part of the writes, some of them torn, and the names up to some change.
    Chance,
}

/// Files as they are found when the power is back.
pub(super) type Image = Vec<(PathBuf, Vec<u8>)>;

impl Disk {
    /// A disk; a deaf one takes no notice of `fdatasync` of sled's file.
    pub(super) fn new(deaf: bool) -> Self {
        Self { deaf, ..Self::default() }
    }

    pub(super) fn apply(&mut self, event: &Event) {
        match event {
            Event::Writing { id, path, at, bytes } => {
                let Some(file) = self.file(path) else { return };
                let offset = match at {
                    At::Offset(offset) => *offset,
                    At::Next => file.position,
                };
                if *at == At::Next {
                    file.position += bytes.len() as u64;
                }
                let change = Change::Write { offset, bytes: bytes.as_slice().into() };
                file.pending.push(Pending { id: *id, change, done: None });
            }
            Event::Truncating { id, path, length } => {
                let Some(file) = self.file(path) else { return };
                file.pending.push(Pending { id: *id, change: Change::Truncate { length: *length }, done: None });
            }
            Event::Done { id, at } => {
                for pending in self.files.iter_mut().flat_map(|file| &mut file.pending) {
                    if pending.id == *id {
                        pending.done = Some(*at);
                    }
                }
            }
            Event::Synced { path, began } => self.sync(path, *began),
            Event::Created { path, at } => {
                if let Some(file) = self.file(path) {
                    file.position = 0;
                    return;
                }
                self.files.push(File::default());
                let file = self.files.len() - 1;
                self.seen.insert(path.clone(), file);
                self.rename(*at, path, Naming::Create(path.clone(), file));
            }
            Event::Renamed { from, to, at } => {
                if let Some(file) = self.seen.remove(from) {
                    self.seen.insert(to.clone(), file);
                }
                self.rename(*at, to, Naming::Move(from.clone(), to.clone()));
            }
            Event::Removed { path, at } => {
                self.seen.remove(path);
                self.rename(*at, path, Naming::Remove(path.clone()));
            }
            Event::Told(_) => {}
        }
    }

    fn file(&mut self, path: &Path) -> Option<&mut File> {
        self.seen.get(path).map(|file| &mut self.files[*file])
    }

    fn rename(&mut self, at: u64, path: &Path, change: Naming) {
        let parent = path.parent().map(Path::to_owned).unwrap_or_default();
        self.renaming.push(Rename { at, parent, change });
    }

    fn sync(&mut self, path: &Path, began: u64) {
        if let Some(file) = self.seen.get(path).copied() {
            if self.deaf && path == Path::new("db") {
                return;
            }
            let file = &mut self.files[file];
            let (covered, left) = std::mem::take(&mut file.pending)
                .into_iter()
                .partition(|pending| pending.done.is_some_and(|done| done < began));
            file.pending = left;
            let covered: Vec<Pending> = covered;
            for pending in &covered {
                pending.change.apply(&mut file.synced, |_| true, 1);
            }
        } else {
            // Changes of names are kept in their order, so what is synced takes what was before with it.
            let last = self.renaming.iter().rposition(|change| change.parent == path && change.at < began);
            for change in self.renaming.drain(..last.map_or(0, |last| last + 1)) {
                change.change.apply(&mut self.names);
            }
        }
    }

    /// How many changes are not durable.
    pub(super) fn unsynced(&self) -> usize {
        self.files.iter().map(|file| file.pending.len()).sum::<usize>() + self.renaming.len()
    }

    /// What is on the disk if the power goes now.
    pub(super) fn image(&self, luck: Luck, dice: &mut fastrand::Rng) -> Image {
        let mut names = self.names.clone();
        let kept = match luck {
            Luck::None => 0,
            Luck::All => self.renaming.len(),
            Luck::Chance => dice.usize(..=self.renaming.len()),
        };
        self.renaming[..kept].iter().for_each(|change| change.change.apply(&mut names));
        let generous = dice.u32(..4);
        let mut content = |file: &File| {
            let mut bytes = file.synced.clone();
            for pending in &file.pending {
                match luck {
                    Luck::None => {}
                    Luck::All => pending.change.apply(&mut bytes, |_| true, 1),
                    Luck::Chance => match dice.u32(..4 + generous) {
                        0 => {}
                        1 => {
                            let sector = SECTORS[dice.usize(..SECTORS.len())];
                            pending.change.apply(&mut bytes, |_| dice.bool(), sector);
                        }
                        2 => {
                            let mut left = dice.usize(..64);
                            let front = |_| {
                                let kept = left > 0;
                                left = left.saturating_sub(1);
                                kept
                            };
                            pending.change.apply(&mut bytes, front, SECTORS[0]);
                        }
                        _ => pending.change.apply(&mut bytes, |_| true, 1),
                    },
                }
            }
            bytes
        };
        names.iter().map(|(path, file)| (path.clone(), content(&self.files[*file]))).collect()
    }
}

impl Change {
    /// Makes the change, of a write only those sectors that are `kept`.
    fn apply(&self, to: &mut Vec<u8>, mut kept: impl FnMut(u64) -> bool, sector: usize) {
        match self {
            Self::Truncate { length } => to.resize(usize::try_from(*length).unwrap_or(usize::MAX), 0),
            Self::Write { offset, bytes } => {
                let offset = usize::try_from(*offset).unwrap_or(usize::MAX);
                let mut done = 0;
                while done < bytes.len() {
                    // Sectors are where the drive has them, not where the write begins.
                    let until = match sector {
                        1 => bytes.len(),
                        sector => (((offset + done) / sector + 1) * sector - offset).min(bytes.len()),
                    };
                    if kept((offset + done) as u64) {
                        if to.len() < offset + until {
                            to.resize(offset + until, 0);
                        }
                        to[offset + done..offset + until].copy_from_slice(&bytes[done..until]);
                    }
                    done = until;
                }
            }
        }
    }
}

impl Naming {
    fn apply(&self, names: &mut BTreeMap<PathBuf, usize>) {
        match self {
            Self::Create(path, file) => drop(names.insert(path.clone(), *file)),
            Self::Move(from, to) => {
                if let Some(file) = names.remove(from) {
                    names.insert(to.clone(), file);
                }
            }
            Self::Remove(path) => drop(names.remove(path)),
        }
    }
}

/// Lays an image out in a directory.
pub(super) fn lay_out(image: &Image, directory: &Path) -> io::Result<()> {
    std::fs::create_dir_all(directory.join("blobs"))?;
    for (path, bytes) in image {
        std::fs::write(directory.join(path), bytes)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(id: u64, path: &str, at: u64, bytes: &[u8]) -> Event {
        Event::Writing { id, path: path.into(), at: At::Offset(at), bytes: bytes.to_vec() }
    }

    fn disk(events: &[Event]) -> Disk {
        let mut disk = Disk::new(false);
        disk.apply(&Event::Created { path: "f".into(), at: 0 });
        events.iter().for_each(|event| disk.apply(event));
        disk
    }

    fn image(disk: &Disk, luck: Luck) -> Image {
        disk.image(luck, &mut fastrand::Rng::with_seed(1))
    }

    #[test]
    fn what_was_not_synced_is_lost_and_what_was_is_not() {
        let named = Event::Synced { path: "".into(), began: 1 };
        let synced = Event::Synced { path: "f".into(), began: 5 };
        let disk = disk(&[
            named,
            write(2, "f", 0, b"old"),
            Event::Done { id: 2, at: 3 },
            write(4, "f", 3, b"new"),
            synced,
            Event::Done { id: 4, at: 6 },
        ]);
        assert_eq!(image(&disk, Luck::None), [("f".into(), b"old".to_vec())]);
        assert_eq!(image(&disk, Luck::All), [("f".into(), b"oldnew".to_vec())]);
    }

    #[test]
    fn a_name_is_durable_when_its_directory_is() {
        let synced = Event::Synced { path: "f".into(), began: 9 };
        let disk = disk(&[write(2, "f", 0, b"x"), Event::Done { id: 2, at: 3 }, synced]);
        assert_eq!(image(&disk, Luck::None), []);
        assert_eq!(image(&disk, Luck::All), [("f".into(), b"x".to_vec())]);
    }

    #[test]
    fn sectors_are_torn_where_the_drive_has_them() {
        let change = Change::Write { offset: 500, bytes: vec![7; 600].into() };
        let (mut bytes, mut seen) = (Vec::new(), Vec::new());
        change.apply(
            &mut bytes,
            |at| {
                seen.push(at);
                at == 512
            },
            512,
        );
        assert_eq!(seen, [500, 512, 1024]);
        assert_eq!(bytes.len(), 1024);
        assert_eq!((bytes[511], bytes[512], bytes[1023]), (0, 7, 7));
    }
}
