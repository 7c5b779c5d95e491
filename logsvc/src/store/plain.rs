//! A segment of lines as they are, the way it is written.

use std::{
    io,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
};

use super::{
    Wanted,
    disk::Contents,
    index::{Extent, Index},
};

/// The name of the file whose first entry has the number `first`. Sorts as the numbers do.
pub(super) fn file_name(first: u64) -> String {
    format!("log-{first:020}.jsonl")
}

/// The number in the name of a file; `None` when it is not one of these.
pub(super) fn parse_name(name: &str) -> Option<u64> {
    let digits = name.strip_prefix("log-")?.strip_suffix(".jsonl")?;
    digits.parse().ok().filter(|first| file_name(*first) == name)
}

/// A file of lines.
#[derive(Debug)]
pub(super) struct Plain {
    first: u64,
    contents: Arc<dyn Contents>,
    /// Guards what is where; held for lookups and for the addition of a group, never while a disk is waited for.
    index: Mutex<Index>,
    writers: OnceLock<Vec<u8>>,
}

impl Plain {
    pub(super) fn new(first: u64, contents: Arc<dyn Contents>, index: Index) -> Self {
        Self {
            first,
            contents,
            index: Mutex::new(index),
            writers: OnceLock::new(),
        }
    }

    pub(super) fn first(&self) -> u64 {
        self.first
    }

    pub(super) fn last(&self) -> u64 {
        self.index().last()
    }

    /// The file. It may be longer than what is acknowledged.
    pub(super) fn contents(&self) -> &Arc<dyn Contents> {
        &self.contents
    }

    /// What is acknowledged. To be held for no longer than a lookup.
    pub(super) fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The writers known at its end, as [`Writers::encode`](super::writers::Writers::encode) has them, once it is not
    /// written any more and can be sealed.
    pub(super) fn writers(&self) -> Option<&[u8]> {
        self.writers.get().map(Vec::as_slice)
    }

    /// Whether it is not written any more and can be sealed.
    pub(super) fn is_closed(&self) -> bool {
        self.writers.get().is_some()
    }

    /// Promises that it will not be written any more, and keeps the writers known at its end.
    pub(super) fn close(&self, writers: Vec<u8>) {
        // A segment is closed once; if not, the writers are the same.
        let _ = self.writers.set(writers);
    }

    pub(super) fn from(&self, sequence: u64, wanted: &Wanted) -> Option<Extent> {
        self.index().from(sequence, wanted)
    }

    pub(super) fn up_to(&self, sequence: u64, wanted: &Wanted) -> Option<Extent> {
        self.index().up_to(sequence, wanted)
    }

    /// Reads lines into `text`, in place of what is there.
    pub(super) fn read(&self, extent: &Extent, mut text: Vec<u8>) -> io::Result<Vec<u8>> {
        text.resize(extent.size_bytes, 0);
        self.contents.read_exact(&mut text, extent.offset)?;
        Ok(text)
    }
}
