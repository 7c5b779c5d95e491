//! Finds the segments of a directory, and repairs the end of each.

use std::{
    io::{self, BufRead, BufReader},
    sync::Arc,
};

use tracing::warn;

use super::{
    disk::{Contents, Files, Reading},
    index::Index,
    plain::{Plain, parse_name},
    segments::Segment,
};

/// Read at once when a file is opened.
const READ_BYTES: usize = 1024 * 1024;

/// Opens all segments, oldest first, those without an entry left out.
pub(super) fn open(files: &dyn Files) -> io::Result<Vec<Arc<Segment>>> {
    let mut names: Vec<_> = files
        .list()?
        .into_iter()
        .filter(|name| parse_name(name).is_some())
        .collect();
    names.sort();
    let mut segments = Vec::new();
    for name in &names {
        let first = parse_name(name).expect("others were left out");
        let plain = open_plain(files, name, first)?;
        if plain.index().size_bytes() == 0 {
            files.remove(name)?;
            continue;
        }
        segments.push(Arc::new(Segment::Plain(Arc::new(plain))));
    }
    // What readers see from here on survives a power cut.
    files.sync_names()?;
    Ok(segments)
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
