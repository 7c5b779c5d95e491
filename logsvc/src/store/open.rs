//! Finds the segments of a directory, and repairs the end of each.

use std::{
    collections::BTreeSet,
    io::{self, BufRead, BufReader},
    sync::Arc,
};

use tracing::warn;

use super::{
    disk::{Contents, Files, Reading},
    index::{Index, SEQUENCE_MAX},
    plain::{Plain, file_name, parse_name},
    sealed::{self, Caches, Sealed},
    segments::Segment,
};

/// Read at once when a file is opened.
const READ_BYTES: usize = 1024 * 1024;

/// Opens all segments, oldest first, those without an entry left out.
pub(super) fn open(files: &Arc<dyn Files>, caches: &Arc<Caches>) -> io::Result<Vec<Arc<Segment>>> {
    let plain: BTreeSet<u64> = files.list()?.iter().filter_map(|name| parse_name(name)).collect();
    let sealed = sealed::find(&**files, &plain)?;
    let firsts: Vec<u64> = plain.union(&sealed).copied().collect();
    let mut segments = Vec::new();
    for (n, first) in firsts.iter().enumerate() {
        let segment = if sealed.contains(first) {
            open_sealed(files, caches, *first, firsts.get(n + 1).copied())?
        } else {
            let plain = open_plain(&**files, &file_name(*first), *first)?;
            if plain.index().size_bytes() == 0 {
                files.remove(&file_name(*first))?;
                continue;
            }
            Segment::Plain(Arc::new(plain))
        };
        segments.push(Arc::new(segment));
    }
    // What readers see from here on survives a power cut.
    files.sync_names()?;
    Ok(segments)
}

fn open_sealed(files: &Arc<dyn Files>, caches: &Arc<Caches>, first: u64, next: Option<u64>) -> io::Result<Segment> {
    let bound = next.map_or(SEQUENCE_MAX, |next| next - 1);
    let sealed = Sealed::open(files.clone(), caches.clone(), first, bound)?;
    if next.is_none() && sealed.totals().is_none() {
        // Where the log goes on has to be known.
        sealed.sidecar()?;
    }
    Ok(Segment::Sealed(Arc::new(sealed)))
}

fn open_plain(files: &dyn Files, name: &str, first: u64) -> io::Result<Plain> {
    let contents = files.open(name)?;
    let path = files.path(name);
    let (index, damaged) = scan(&*contents, first)?;
    if damaged > 0 {
        warn!(file.path = %path.display(), damaged.lines = damaged, "leaving out damaged lines");
    }
    let torn_bytes = contents.size_bytes()? - index.size_bytes();
    if torn_bytes > 0 {
        warn!(file.path = %path.display(), torn.size_bytes = torn_bytes, "cutting off a last line that is not whole");
        contents.truncate(index.size_bytes())?;
    }
    contents.sync()?;
    Ok(Plain::new(first, contents, index))
}

/// Reads a whole file, up to a last line that is damaged. Returns how many lines before it are damaged, too.
fn scan(contents: &dyn Contents, first: u64) -> io::Result<(Index, u64)> {
    let mut index = Index::starting_at(first);
    let mut reader = BufReader::with_capacity(READ_BYTES, Reading::new(contents));
    let mut line = Vec::new();
    let mut damaged = 0;
    while reader.read_until(b'\n', &mut line)? > 0 {
        let entry = index.read(&line);
        if entry.is_none() {
            if reader.fill_buf()?.is_empty() {
                break;
            }
            damaged += 1;
        }
        index.push(line.len(), entry.as_ref().map(|entry| (entry.sequence, entry.into())));
        line.clear();
    }
    Ok((index, damaged))
}
