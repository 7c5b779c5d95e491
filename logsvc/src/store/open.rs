//! Finds the segments of a directory, and repairs the end of each.

use std::{collections::BTreeSet, io, sync::Arc};

use tracing::warn;

use super::{
    damaged,
    disk::Files,
    index::SEQUENCE_MAX,
    plain::{Plain, file_name, parse_name},
    scan::scan,
    sealed::{self, Caches, Sealed},
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
pub(super) fn open(files: &Arc<dyn Files>, caches: &Arc<Caches>) -> io::Result<Opened> {
    let plain: BTreeSet<u64> = files.list()?.iter().filter_map(|name| parse_name(name)).collect();
    let sealed = sealed::find(&**files, &plain)?;
    let mut opened = Opened::default();
    let firsts: BTreeSet<u64> = plain.union(&sealed).copied().collect();
    for first in &sealed {
        let next = firsts.range(first + 1..).next();
        let bound = next.map_or(SEQUENCE_MAX, |next| next - 1);
        let sealed = Arc::new(Sealed::open(files.clone(), caches.clone(), *first, bound)?);
        opened.segments.push(Arc::new(Segment::Sealed(sealed)));
    }
    if let Some(Segment::Sealed(last)) = opened.segments.last().map(|last| &**last) {
        // Of the last one all has to be known now: where the log goes on, and who wrote what.
        let writers = last.writers()?;
        opened
            .writers
            .restore(&writers)
            .ok_or_else(|| damaged("the writers of an index"))?;
    }
    for first in plain {
        let plain = open_plain(&**files, &file_name(first), first, &mut opened.writers)?;
        if plain.index().size_bytes() == 0 {
            files.remove(&file_name(first))?;
            continue;
        }
        opened.segments.push(Arc::new(Segment::Plain(Arc::new(plain))));
    }
    opened.segments.sort_by_key(|segment| segment.first());
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
