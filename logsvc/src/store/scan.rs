//! Goes through the lines of a file: where its entries are, what is damaged, and where it is torn.

use std::{
    io::{self, BufRead, BufReader, Read},
    mem,
};

use super::{
    disk::{Contents, Reading},
    index::Index,
    writers::{LastBatch, WriterId},
};
use crate::entry::{Head, head, parse};

/// Read at once.
const READ_BYTES: usize = 1024 * 1024;

/// What a file holds, up to where it is torn.
#[derive(Debug)]
pub(super) struct Scanned {
    pub(super) index: Index,
    /// The batches of writers, as they come.
    pub(super) batches: Vec<(WriterId, LastBatch)>,
    /// How many lines are damaged.
    pub(super) damaged: u64,
}

/// How the end of a file may be torn.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tear {
    /// Nothing behind this counts.
    pub(super) end: u64,
    /// Whether a power cut may have left holes, as file systems do that write the end of a file before what is in front
    /// of it: zeros, and what is behind them was not synced either.
    pub(super) has_holes: bool,
}

/// Reads a whole file whose first entry has the number `first`.
///
/// A last line that is not an entry is left out. So is a last batch of a writer that is not whole, as a crash leaves it:
/// the writer sends all of it again.
pub(super) fn scan(contents: &dyn Contents, first: u64, tear: Tear) -> io::Result<Scanned> {
    let mut scan = Scan::new(first);
    scan.run(contents, tear)?;
    if let Some(batch) = scan
        .batch
        .take()
        .filter(|batch| batch.last_sequence >= scan.scanned.index.next())
    {
        scan = Scan::new(first);
        scan.run(
            contents,
            Tear {
                end: batch.offset,
                ..tear
            },
        )?;
    }
    Ok(scan.scanned)
}

/// The last batch of a writer.
#[derive(Debug)]
struct Batch {
    /// Where it starts.
    offset: u64,
    last_sequence: u64,
}

#[derive(Debug)]
struct Scan {
    scanned: Scanned,
    batch: Option<Batch>,
    /// The line before.
    before: Vec<u8>,
}

impl Scan {
    fn new(first: u64) -> Self {
        Self {
            scanned: Scanned {
                index: Index::starting_at(first),
                batches: Vec::new(),
                damaged: 0,
            },
            batch: None,
            before: Vec::new(),
        }
    }

    /// Goes through all lines up to where it is torn.
    fn run(&mut self, contents: &dyn Contents, tear: Tear) -> io::Result<()> {
        let mut reader = BufReader::with_capacity(READ_BYTES, Reading::new(contents).take(tear.end));
        let mut line = Vec::new();
        while reader.read_until(b'\n', &mut line)? > 0 {
            if tear.has_holes && line.contains(&0) {
                break;
            }
            let is_last = reader.fill_buf()?.is_empty();
            // Damage further back in a line is found by who reads the entry.
            let head = head(&line).filter(|head| self.allows(head.sequence) && (!is_last || parse(&line).is_ok()));
            match head {
                Some(head) => self.take(&head, line.len()),
                None if is_last && !self.is_of_batch(&line) => break,
                None => self.leave_out(line.len(), is_last),
            }
            mem::swap(&mut self.before, &mut line);
            line.clear();
        }
        Ok(())
    }

    fn allows(&self, sequence: u64) -> bool {
        let index = &self.scanned.index;
        // A line whose end is damaged may have swallowed others.
        let is_jump = || sequence > index.next() && !self.before.is_empty() && parse(&self.before).is_err();
        index.allows(sequence) || is_jump()
    }

    fn take(&mut self, head: &Head<'_>, size_bytes: usize) {
        if let Some(mark) = &head.batch
            && let Ok(writer) = WriterId::parse("writer", &mark.writer)
        {
            let last_sequence = head.sequence.saturating_add(mark.entries.max(1) as u64 - 1);
            let number = mark.number;
            self.scanned.batches.push((writer, LastBatch { number, last_sequence }));
            let offset = self.scanned.index.size_bytes();
            self.batch = Some(Batch { offset, last_sequence });
        }
        self.scanned.index.push(size_bytes, Some((head.sequence, head.into())));
    }

    /// Whether a line that is not an entry was one of the last batch, of which nothing is torn off.
    fn is_of_batch(&self, line: &[u8]) -> bool {
        let is_within = |batch: &Batch| batch.last_sequence >= self.scanned.index.next();
        self.batch.as_ref().is_some_and(is_within) && line.ends_with(b"\n") && !line.contains(&0)
    }

    fn leave_out(&mut self, size_bytes: usize, is_last: bool) {
        let index = &mut self.scanned.index;
        index.push(size_bytes, None);
        self.scanned.damaged += 1;
        // What the line swallowed of a batch keeps its numbers, too.
        while let Some(batch) = &self.batch
            && is_last
            && batch.last_sequence >= index.next()
        {
            index.push(0, None);
        }
    }
}
