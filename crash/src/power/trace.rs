//! Reading a trace: what a process did to the files of a store, and what it was told in between.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use crate::scribe::Told;

/// Something that was done, in the order in which it came back. Paths are relative to the store's directory, which is the
/// empty path.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Event {
    /// A write is on its way: from now on, any part of it may be on the disk.
    Writing {
        id: u64,
        path: PathBuf,
        at: At,
        bytes: Vec<u8>,
    },
    /// A file's length is about to be changed.
    Truncating {
        id: u64,
        path: PathBuf,
        length: u64,
    },
    /// Such a call came back.
    Done {
        id: u64,
        at: u64,
    },
    /// A sync of a file or a directory came back, which covers what came back before this time, at which it began.
    Synced {
        path: PathBuf,
        began: u64,
    },
    Created {
        path: PathBuf,
        at: u64,
    },
    Renamed {
        from: PathBuf,
        to: PathBuf,
        at: u64,
    },
    Removed {
        path: PathBuf,
        at: u64,
    },
    /// The scribe writes down what it was told.
    Told(Told),
}

/// Where in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum At {
    Offset(u64),
    /// Behind what was written since the file was opened.
    Next,
}

/// A call, its arguments, and what came of it.
struct Call<'a> {
    name: &'a str,
    args: String,
    ended: bool,
}

/// Reads traces, one after the other.
pub(super) struct Reader {
    store: PathBuf,
    told: PathBuf,
    /// Goes on by one when a call begins, and when it comes back.
    clock: u64,
}

impl Reader {
    pub(super) fn new(store: &Path, told: &Path) -> Self {
        Self { store: store.to_owned(), told: told.to_owned(), clock: 0 }
    }

    /// The events of a trace.
    pub(super) fn read(&mut self, trace: &str) -> Vec<Event> {
        let mut events = Vec::new();
        // By process: the call that has not come back, and when it began.
        let mut open: HashMap<&str, (String, String, u64)> = HashMap::new();
        for line in trace.lines() {
            let Some((process, rest)) = line.split_once(' ') else { continue };
            let rest = rest.trim_start();
            if let Some(resumed) = rest.strip_prefix("<... ") {
                let Some((name, args, begun)) = open.remove(process) else { continue };
                let end = resumed.split_once("resumed>").map_or("", |(_, end)| end);
                self.end(&Call { name: &name, args: args + end, ended: true }, begun, &mut events);
                continue;
            }
            let Some((name, args)) = rest.split_once('(') else { continue };
            match args.strip_suffix("<unfinished ...>") {
                Some(args) => {
                    let call = Call { name, args: args.to_owned(), ended: false };
                    let begun = self.begin(&call, &mut events);
                    open.insert(process, (name.to_owned(), args.to_owned(), begun));
                }
                None => {
                    let call = Call { name, args: args.to_owned(), ended: true };
                    let begun = self.begin(&call, &mut events);
                    self.end(&call, begun, &mut events);
                }
            }
        }
        events
    }

    /// The time at which all that was read is over.
    pub(super) fn now(&self) -> u64 {
        self.clock
    }

    fn tick(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }

    /// What a call does from its beginning on; answers when that was.
    fn begin(&mut self, call: &Call<'_>, events: &mut Vec<Event>) -> u64 {
        let begun = self.tick();
        match call.name {
            "pwrite64" | "write" => {
                let Some(path) = descriptor(&call.args) else { return begun };
                let Some(bytes) = literals(&call.args).into_iter().next() else { return begun };
                if path == self.told {
                    let text = String::from_utf8_lossy(&bytes).into_owned();
                    let told =
                        text.lines().filter(|line| !line.is_empty()).filter_map(|line| serde_json::from_str(line).ok());
                    events.extend(told.map(Event::Told));
                } else if let Some(path) = self.inside(&path) {
                    let at = match call.name {
                        "pwrite64" => number(&call.args, 3).map_or(At::Next, At::Offset),
                        _ => At::Next,
                    };
                    events.push(Event::Writing { id: begun, path, at, bytes });
                }
            }
            "ftruncate" => {
                if let Some(path) = descriptor(&call.args).and_then(|path| self.inside(&path)) {
                    let length = number(&call.args, 1).unwrap_or_default();
                    events.push(Event::Truncating { id: begun, path, length });
                }
            }
            // What changes names has its effect at once, at some time before it comes back; and is durable only once
            // the directory is synced.
            _ => {}
        }
        begun
    }

    /// What a call has done when it came back.
    fn end(&mut self, call: &Call<'_>, begun: u64, events: &mut Vec<Event>) {
        let failed = call.args.rsplit_once('=').is_none_or(|(_, answer)| answer.trim_start().starts_with(['-', '?']));
        if failed || !call.ended {
            return;
        }
        let at = self.tick();
        match call.name {
            "pwrite64" | "write" | "ftruncate"
                if descriptor(&call.args).and_then(|path| self.inside(&path)).is_some() =>
            {
                events.push(Event::Done { id: begun, at });
            }
            "fdatasync" | "fsync" => {
                if let Some(path) = descriptor(&call.args).and_then(|path| self.inside(&path)) {
                    events.push(Event::Synced { path, began: begun });
                }
            }
            "openat" | "open" | "creat" => {
                let Some(path) = self.named(&call.args, 0) else { return };
                if call.args.contains("O_CREAT") {
                    events.push(Event::Created { path: path.clone(), at });
                }
                if call.args.contains("O_TRUNC") {
                    events.push(Event::Truncating { id: begun, path, length: 0 });
                    events.push(Event::Done { id: begun, at });
                }
            }
            "rename" | "renameat" | "renameat2" => {
                if let (Some(from), Some(to)) = (self.named(&call.args, 0), self.named(&call.args, 1)) {
                    events.push(Event::Renamed { from, to, at });
                }
            }
            "unlink" | "unlinkat" => events.extend(self.named(&call.args, 0).map(|path| Event::Removed { path, at })),
            _ => {}
        }
    }

    /// The path relative to the store, if it is in there.
    fn inside(&self, path: &Path) -> Option<PathBuf> {
        path.strip_prefix(&self.store).ok().map(Path::to_owned)
    }

    fn named(&self, args: &str, nth: usize) -> Option<PathBuf> {
        let name = literals(args).into_iter().nth(nth)?;
        self.inside(Path::new(&String::from_utf8(name).ok()?))
    }
}

/// Settles what became of the calls that a process never came back from before it ended, by the files that it left: of a
/// write, its beginning or nothing may have been done. What was not done then, no loss of power can bring about either. What
/// was done counts as come back when the process ended, so that a sync of the next one covers it.
pub(super) fn settle(events: &mut Vec<Event>, store: &Path, ended: u64) -> std::io::Result<()> {
    let done = |event: &Event| if let Event::Done { id, .. } = event { Some(*id) } else { None };
    let done: HashSet<u64> = events.iter().filter_map(done).collect();
    let mut settled = Vec::with_capacity(events.len());
    let mut came_back = Vec::new();
    for mut event in events.drain(..) {
        let was_done = match &mut event {
            Event::Writing { id, path, at: At::Offset(at), bytes } if !done.contains(id) => {
                let file = std::fs::read(store.join(path))?;
                let there = file.get(usize::try_from(*at).unwrap_or(usize::MAX)..).unwrap_or_default();
                bytes.truncate(bytes.iter().zip(there).take_while(|(one, other)| one == other).count());
                !bytes.is_empty()
            }
            Event::Truncating { id, path, length } if !done.contains(id) => {
                std::fs::metadata(store.join(path))?.len() == *length
            }
            _ => true,
        };
        if was_done {
            if let Event::Writing { id, .. } | Event::Truncating { id, .. } = &event
                && !done.contains(id)
            {
                came_back.push(Event::Done { id: *id, at: ended });
            }
            settled.push(event);
        }
    }
    settled.append(&mut came_back);
    *events = settled;
    Ok(())
}

/// The path behind a descriptor, which is the first argument.
fn descriptor(args: &str) -> Option<PathBuf> {
    let first = args.split_once([',', ')']).map_or(args, |(first, _)| first);
    let path = first.split_once('<')?.1.split_once('>')?.0;
    Some(PathBuf::from(String::from_utf8(unescape(path.as_bytes())).ok()?))
}

/// The argument at a place, as a number.
fn number(args: &str, nth: usize) -> Option<u64> {
    // Hexadecimal literals have no comma in them.
    let word = args.split(", ").nth(nth)?.trim();
    word.split(')').next()?.parse().ok()
}

/// The literals among the arguments.
fn literals(args: &str) -> Vec<Vec<u8>> {
    args.split('"').skip(1).step_by(2).map(|text| unescape(text.as_bytes())).collect()
}

/// `\x61\x62`, as strace writes everything under `-xx`.
fn unescape(text: &[u8]) -> Vec<u8> {
    let digit = |byte: u8| (byte as char).to_digit(16).unwrap_or_default() as u8;
    text.chunks_exact(4).map(|four| digit(four[2]) << 4 | digit(four[3])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::power::disk::{Disk, Luck};

    #[test]
    fn a_sync_covers_what_came_back_before_it_began() {
        let hex = |text: &str| text.bytes().map(|byte| format!("\\x{byte:02x}")).collect::<String>();
        let (db, told) = (hex("/w/store/db"), hex("/w/told"));
        let line = hex("\"closed\"");
        let trace = format!(
            "1 pwrite64(3<{db}>, \"{a}\", 1, 7) = 1\n\
             2 pwrite64(3<{db}>, \"{b}\", 1, 8 <unfinished ...>\n\
             1 fdatasync(3<{db}> <unfinished ...>\n\
             2 <... pwrite64 resumed>)          = 1\n\
             1 <... fdatasync resumed>) = 0\n\
             1 write(4<{told}>, \"{line}\", 8) = 8\n\
             1 fsync(3<{db}>) = -1 EIO (Input/output error) (INJECTED)\n",
            a = hex("a"),
            b = hex("b"),
        );
        let events = Reader::new(Path::new("/w/store"), Path::new("/w/told")).read(&trace);
        let [
            Event::Writing { id: a, at: At::Offset(7), bytes, .. },
            Event::Done { id: a_done, at: a_at },
            Event::Writing { id: b, at: At::Offset(8), .. },
            Event::Done { id: b_done, at: b_at },
            Event::Synced { began, .. },
            Event::Told(Told::Closed),
        ] = &*events
        else {
            panic!("{events:?}")
        };
        assert_eq!((bytes.as_slice(), a, b), (&b"a"[..], a_done, b_done));
        assert!(a_at < began && began < b_at, "{a_at} {began} {b_at}");
    }

    /// The kernel may not even have begun with what was on its way when the process was killed.
    #[test]
    fn what_a_killed_process_did_not_get_done_was_not_done() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("db"), b"..whole.ha....").unwrap();
        let writing =
            |id, at, text: &str| Event::Writing { id, path: "db".into(), at: At::Offset(at), bytes: text.into() };
        let (whole, half, nothing) = (writing(1, 2, "whole"), writing(2, 8, "half"), writing(3, 12, "nothing"));
        let came_back = Event::Done { id: 1, at: 9 };
        let longer = Event::Truncating { id: 4, path: "db".into(), length: 99 };
        let mut events = vec![whole.clone(), half, nothing, came_back.clone(), longer];
        settle(&mut events, folder.path(), 9).unwrap();
        assert_eq!(events, [whole, writing(2, 8, "ha"), came_back, Event::Done { id: 2, at: 9 }]);
    }

    /// The kernel has what a killed process got done, so that the next one syncs it, and writes over it.
    #[test]
    fn what_a_killed_process_got_done_is_synced_by_the_next() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("mark"), b"1").unwrap();
        let write = |id, text: &str| Event::Writing { id, path: "mark".into(), at: At::Offset(0), bytes: text.into() };
        let mut events = vec![Event::Created { path: "mark".into(), at: 1 }, write(2, "1")];
        settle(&mut events, folder.path(), 2).unwrap();
        events.extend([write(3, "2"), Event::Done { id: 3, at: 4 }, Event::Synced { path: "mark".into(), began: 5 }]);

        let mut disk = Disk::new(false);
        events.iter().for_each(|event| disk.apply(event));
        let image = disk.image(Luck::All, &mut fastrand::Rng::with_seed(0));
        assert_eq!(image, [(PathBuf::from("mark"), b"2".to_vec())]);
    }
}
