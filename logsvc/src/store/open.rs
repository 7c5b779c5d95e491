//! Finds the file of a data directory, or makes it, and repairs its end.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io::{self, BufRead, BufReader},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use tracing::warn;

use super::index::Index;
use crate::error::Error;

/// Only the user that runs the service reads what everybody logs.
const DIRECTORY_MODE: u32 = 0o700;
/// As for the directory.
const FILE_MODE: u32 = 0o600;
/// Read at once when the file is opened.
const READ_BYTES: usize = 1024 * 1024;

/// What is needed to go on with a file.
pub(super) struct Opened {
    pub(super) lock: File,
    pub(super) reader: File,
    pub(super) writer: File,
    pub(super) index: Index,
}

/// Opens the file of a data directory.
pub(super) fn open(directory: &Path) -> Result<Opened, Error> {
    let failed = |source| Error::Open {
        path: directory.to_owned(),
        source,
    };
    make(directory).map_err(failed)?;
    let lock = lock(directory)?;
    let mut files = files(directory).map_err(failed)?;
    if files.len() > 1 {
        return Err(Error::Layout(directory.to_owned()));
    }
    let (path, first) = files.pop().unwrap_or_else(|| (directory.join(file_name(1)), 1));
    let opened = open_file(&path, first, lock).map_err(failed)?;
    // A new file survives a power cut by its name, too.
    sync(directory).map_err(failed)?;
    Ok(opened)
}

/// Makes the directory when there is none, so that it survives a power cut.
fn make(directory: &Path) -> io::Result<()> {
    if directory.is_dir() {
        return Ok(());
    }
    let mut builder = DirBuilder::new();
    builder.recursive(true).mode(DIRECTORY_MODE).create(directory)?;
    fs::canonicalize(directory)?.parent().map_or(Ok(()), sync)
}

fn sync(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

fn lock(directory: &Path) -> Result<File, Error> {
    let failed = |source| Error::Open {
        path: directory.to_owned(),
        source,
    };
    let file = append_to(&directory.join("lock")).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Error::InUse(directory.to_owned())),
        Err(TryLockError::Error(source)) => Err(failed(source)),
    }
}

/// The name of the file whose first entry has the number `first`. Sorts as the numbers do.
fn file_name(first: u64) -> String {
    format!("log-{first:020}.jsonl")
}

/// The log files of a directory, each with the number of its first entry.
fn files(directory: &Path) -> io::Result<Vec<(PathBuf, u64)>> {
    let mut files = Vec::new();
    for file in fs::read_dir(directory)? {
        let name = file?.file_name();
        let first = name.to_str().and_then(|name| {
            let digits = name.strip_prefix("log-")?.strip_suffix(".jsonl")?;
            digits.parse().ok().filter(|first| file_name(*first) == name)
        });
        files.extend(first.map(|first| (directory.join(name), first)));
    }
    Ok(files)
}

fn append_to(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).mode(FILE_MODE).open(path)
}

fn open_file(path: &Path, first: u64, lock: File) -> io::Result<Opened> {
    let writer = append_to(path)?;
    let reader = File::open(path)?;
    let index = scan(path, &reader, first)?;
    let torn_bytes = writer.metadata()?.len() - index.size_bytes();
    if torn_bytes > 0 {
        warn!(file.path = %path.display(), torn.size_bytes = torn_bytes, "cutting off a last line that is not whole");
        writer.set_len(index.size_bytes())?;
    }
    // What readers see from here on survives a power cut.
    writer.sync_all()?;
    Ok(Opened {
        lock,
        reader,
        writer,
        index,
    })
}

/// Reads the whole file, up to a last line that is damaged.
fn scan(path: &Path, file: &File, first: u64) -> io::Result<Index> {
    let mut index = Index::starting_at(first);
    let mut reader = BufReader::with_capacity(READ_BYTES, file);
    let mut line = Vec::new();
    let mut damaged = 0_u64;
    while reader.read_until(b'\n', &mut line)? > 0 {
        let entry = index.read(&line).map(|entry| (entry.sequence, entry.time));
        if entry.is_none() {
            if reader.fill_buf()?.is_empty() {
                break;
            }
            damaged += 1;
        }
        index.push(line.len(), entry);
        line.clear();
    }
    if damaged > 0 {
        warn!(file.path = %path.display(), damaged.lines = damaged, "leaving out damaged lines");
    }
    Ok(index)
}
