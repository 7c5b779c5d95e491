//! Finds the segments of a directory, repairs the end of each, and tells where the log goes on.

use std::{collections::BTreeSet, io, sync::Arc};

use tracing::warn;

use super::{
    damaged,
    disk::Files,
    index::SEQUENCE_MAX,
    numbers::Numbers,
    plain::{Plain, file_name, parse_name},
    scan::{Tear, scan},
    sealed::{self, Caches, Sealed},
    segments::Segment,
    writers::Writers,
    writing::End,
};

/// What a directory holds.
#[derive(Debug)]
pub(super) struct Opened {
    /// The segments, oldest first, those without an entry left out.
    pub(super) segments: Vec<Arc<Segment>>,
    pub(super) writers: Writers,
    pub(super) end: End,
}

/// Opens all segments.
pub(super) fn open(files: &Arc<dyn Files>, caches: &Arc<Caches>, mut numbers: Numbers) -> io::Result<Opened> {
    let plain: BTreeSet<u64> = files.list()?.iter().filter_map(|name| parse_name(name)).collect();
    let (mut writers, mut active) = (Writers::default(), None);
    let mut segments = open_sealed(files, caches, &plain, &mut writers)?;
    let last_sealed = segments.last().map_or(0, |last| last.first());
    for first in &plain {
        let is_last = plain.last() == Some(first) && *first > last_sealed;
        let plain = open_plain(&**files, *first, tear(&numbers, *first, is_last), &mut writers)?;
        let next = plain.index().next();
        if plain.index().size_bytes() == 0 {
            files.remove(&file_name(*first))?;
            continue;
        }
        if is_last && numbers.cut(*first).is_none() && numbers.next(Some(next)) == next {
            active = Some(plain.clone());
        } else {
            plain.close(writers.encode());
        }
        segments.push(Arc::new(Segment::Plain(plain)));
    }
    segments.sort_by_key(|segment| segment.first());
    // What readers see from here on survives a power cut.
    files.sync_names()?;
    numbers.forget_cuts();
    let next = numbers.next(segments.last().map(|segment| segment.next()));
    Ok(Opened {
        segments,
        writers,
        end: End { active, next, numbers },
    })
}

/// Opens the sealed segments, given the numbers of the plain ones, and tells which writers are known at their end.
fn open_sealed(
    files: &Arc<dyn Files>,
    caches: &Arc<Caches>,
    plain: &BTreeSet<u64>,
    writers: &mut Writers,
) -> io::Result<Vec<Arc<Segment>>> {
    let sealed = sealed::find(&**files, plain)?;
    let firsts: BTreeSet<u64> = plain.union(&sealed).copied().collect();
    let mut segments = Vec::new();
    for first in &sealed {
        let next = firsts.range(first + 1..).next();
        let bound = next.map_or(SEQUENCE_MAX, |next| next - 1);
        let sealed = Sealed::open(files.clone(), caches.clone(), *first, bound)?;
        segments.push(Arc::new(Segment::Sealed(Arc::new(sealed))));
    }
    if let Some(Segment::Sealed(last)) = segments.last().map(|last| &**last) {
        // Of the last one all has to be known now: where the log goes on, and who wrote what.
        let restored = writers.restore(&last.writers()?);
        restored.ok_or_else(|| damaged("the writers of an index"))?;
    }
    Ok(segments)
}

/// How the end of a segment may be torn.
fn tear(numbers: &Numbers, first: u64, is_last: bool) -> Tear {
    let cut = numbers.cut(first);
    Tear {
        end: cut.unwrap_or(u64::MAX),
        // All others were synced before the next one was begun.
        has_holes: numbers.is_after_power_cut() && (is_last || cut.is_some()),
    }
}

fn open_plain(files: &dyn Files, first: u64, tear: Tear, writers: &mut Writers) -> io::Result<Arc<Plain>> {
    let name = file_name(first);
    let (contents, path) = (files.open(&name)?, files.path(&name));
    let scanned = scan(&*contents, first, tear)?;
    if scanned.damaged > 0 {
        warn!(file.path = %path.display(), damaged.lines = scanned.damaged, "leaving out damaged lines");
    }
    let torn_bytes = contents.size_bytes()?.saturating_sub(scanned.index.size_bytes());
    if torn_bytes > 0 {
        warn!(file.path = %path.display(), torn.size_bytes = torn_bytes, "cutting off an end that is not whole");
        contents.truncate(scanned.index.size_bytes())?;
    }
    contents.sync()?;
    for (writer, batch) in &scanned.batches {
        writers.note(writer, *batch);
    }
    Ok(Arc::new(Plain::new(first, contents, scanned.index)))
}
