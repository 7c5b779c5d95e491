//! Finds the segments of a directory, and repairs the end of each.

use std::{io, sync::Arc};

use tracing::warn;

use super::{
    disk::Files,
    plain::{Plain, parse_name},
    scan::scan,
    segments::Segment,
    writers::Writers,
};

/// What a directory holds.
#[derive(Debug, Default)]
pub(super) struct Opened {
    /// The segments, oldest first, those without an entry left out.
    pub(super) segments: Vec<Arc<Segment>>,
    pub(super) writers: Writers,
}

/// Opens all segments.
pub(super) fn open(files: &dyn Files) -> io::Result<Opened> {
    let mut names: Vec<_> = files
        .list()?
        .into_iter()
        .filter(|name| parse_name(name).is_some())
        .collect();
    names.sort();
    let mut opened = Opened::default();
    for name in &names {
        let first = parse_name(name).expect("others were left out");
        let plain = open_plain(files, name, first, &mut opened.writers)?;
        if plain.index().size_bytes() == 0 {
            files.remove(name)?;
            continue;
        }
        opened.segments.push(Arc::new(Segment::Plain(Arc::new(plain))));
    }
    // What readers see from here on survives a power cut.
    files.sync_names()?;
    Ok(opened)
}

fn open_plain(files: &dyn Files, name: &str, first: u64, writers: &mut Writers) -> io::Result<Plain> {
    let contents = files.open(name)?;
    let path = files.path(name);
    let scanned = scan(&*contents, first)?;
    if scanned.damaged > 0 {
        warn!(file.path = %path.display(), damaged.lines = scanned.damaged, "leaving out damaged lines");
    }
    let torn_bytes = contents.size_bytes()? - scanned.index.size_bytes();
    if torn_bytes > 0 {
        warn!(file.path = %path.display(), torn.size_bytes = torn_bytes, "cutting off an end that is not whole");
        contents.truncate(scanned.index.size_bytes())?;
    }
    contents.sync()?;
    for (writer, batch) in &scanned.batches {
        writers.note(writer, *batch);
    }
    Ok(Plain::new(first, contents, scanned.index))
}
