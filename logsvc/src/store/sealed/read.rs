//! Reads a sealed segment by itself, without the store that it is of.

use std::{io, path::Path, sync::Arc};

use super::Sealed;
use crate::{
    entry::Entry,
    store::{
        Wanted,
        disk::Directory,
        entries,
        index::SEQUENCE_MAX,
        segments::{Reader, Segment},
    },
};

/// Reads what is wanted of the sealed segment of a directory whose first entry has the number `first`, in order. Whatever is in its
/// files: what is damaged is left out, and an index that is damaged is made again. Blocks.
///
/// # Errors
/// What the disk says, or that another process has the directory.
pub fn read_sealed(directory: &Path, first: u64, wanted: &Wanted) -> io::Result<Vec<Entry>> {
    let files = Arc::new(Directory::open(directory).map_err(io::Error::other)?);
    let sealed = Sealed::open(files, Arc::default(), first, SEQUENCE_MAX)?;
    let segment = Segment::Sealed(Arc::new(sealed));
    let (mut found, mut from, mut reader) = (Vec::new(), first, Reader::default());
    while let Some(block) = segment.from(from, wanted)? {
        let text = block.read(&mut reader)?;
        let entries = entries(&block, &text, from, block.last).map(|(entry, _)| entry);
        found.extend(entries.filter(|entry| wanted.matches(entry)));
        from = block.last + 1;
    }
    Ok(found)
}
