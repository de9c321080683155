//! A file of records that outlives whoever writes it.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::marker::PhantomData;
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// An append-only file of records, one a line, which several processes write at once.
///
/// What was written when a process is killed stays: it is in the kernel's hands. It does not survive a loss of power, nor
/// does it have to.
#[derive(Debug)]
pub(crate) struct Log<T> {
    file: File,
    records: PhantomData<fn(&T)>,
}

impl<T: Serialize> Log<T> {
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().append(true).create(true).open(path)?;
        Ok(Self { file, records: PhantomData })
    }

    /// Adds a record, by one write. A kill in the middle of it can leave a part of the record, so each begins a line of its
    /// own and none is spoiled by the one before.
    pub(crate) fn add(&self, record: &T) -> io::Result<()> {
        let mut line = vec![b'\n'];
        serde_json::to_writer(&mut line, record)?;
        line.push(b'\n');
        (&self.file).write_all(&line)
    }
}

/// What a log holds.
#[derive(Debug)]
pub(crate) struct Records<T> {
    pub(crate) whole: Vec<T>,
    /// How many records were cut short: at most one for each process that was killed.
    pub(crate) torn: usize,
}

/// Reads a log that nobody writes any more; one that was never written is empty.
pub(crate) fn read<T: DeserializeOwned>(path: &Path) -> io::Result<Records<T>> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(error),
    };
    let mut records = Records { whole: Vec::new(), torn: 0 };
    for line in bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        match serde_json::from_slice(line) {
            Ok(record) => records.whole.push(record),
            Err(_) => records.torn += 1,
        }
    }
    Ok(records)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_that_was_cut_short_spoils_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let log = Log::<(u32, String)>::open(&path).unwrap();
        log.add(&(1, "one\nline".to_owned())).unwrap();
        OpenOptions::new().append(true).open(&path).unwrap().write_all(b"\n[2,\"tw").unwrap();
        log.add(&(3, "three".to_owned())).unwrap();
        let records = read::<(u32, String)>(&path).unwrap();
        assert_eq!(records.whole, [(1, "one\nline".to_owned()), (3, "three".to_owned())]);
        assert_eq!(records.torn, 1);
    }
}
