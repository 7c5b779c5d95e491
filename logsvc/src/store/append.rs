//! What is queued for the committer, and what it answers.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::{
    index::{BLOCK_BYTES, BLOCK_LINES},
    summary::{Facts, Summary},
    writers::WriterId,
};
use crate::{
    entry::{BatchMark, Head, number},
    error::Error,
};

/// What a line usually has more than a message: it has names where that has numbers, and digits where that has bytes.
const NAMES_BYTES: usize = 160;

/// Entries as text, all of which are written or none.
#[derive(Debug, Default)]
pub struct Batch {
    pub(super) text: Vec<u8>,
    /// The length of each line.
    pub(super) sizes: Vec<usize>,
    pub(super) pieces: Vec<Piece>,
    /// Who wrote it, and the number that it got there.
    pub(super) writer: Option<(WriterId, u64)>,
}

/// Lines that go into one block, summed up where the caller runs.
#[derive(Debug, Default)]
pub(super) struct Piece {
    pub(super) lines: usize,
    /// How many of them are spans.
    pub(super) spans: usize,
    /// How long they are before they are numbered.
    pub(super) size_bytes: usize,
    pub(super) summary: Summary,
}

impl Piece {
    fn has_room(&self, size_bytes: usize) -> bool {
        self.lines < BLOCK_LINES && self.size_bytes + size_bytes <= BLOCK_BYTES
    }
}

impl Batch {
    /// Makes room for so many entries that take so many bytes on the wire.
    pub(crate) fn make_room(&mut self, entries: usize, size_bytes: usize) {
        self.sizes.reserve(entries);
        self.text.reserve(size_bytes + entries * NAMES_BYTES);
    }

    /// Adds a line that `write` appends, and whose `head` says what it will, but for its number.
    ///
    /// # Errors
    /// That of `write`: nothing is added.
    pub fn push<E>(&mut self, head: &Head<'_>, write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>) -> Result<(), E> {
        let start = self.text.len();
        write(&mut self.text).inspect_err(|_| self.text.truncate(start))?;
        self.note(self.text.len() - start, head.into());
        Ok(())
    }

    /// The lines, still without their numbers.
    pub fn text(&self) -> &[u8] {
        &self.text
    }

    /// How many entries it has.
    pub fn len(&self) -> usize {
        self.sizes.len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.sizes.is_empty()
    }

    /// Makes it the batch of this number of a writer: it is written unless that one or a later one of the writer was.
    #[must_use]
    pub fn of_writer(mut self, writer: WriterId, number: u64) -> Self {
        self.writer = Some((writer, number));
        self
    }

    /// Appends its lines to `text`, numbered from `first` on, and the sizes that its pieces have then to `sizes`.
    pub(super) fn number(&self, first: u64, text: &mut Vec<u8>, sizes: &mut Vec<usize>) {
        let mut mark = self.writer.as_ref().map(|(writer, number)| BatchMark {
            writer: writer.as_str().into(),
            number: *number,
            entries: self.sizes.len(),
        });
        let mut lines = (first..).zip(&self.sizes);
        let mut rest = &self.text[..];
        for piece in &self.pieces {
            let start = text.len();
            for (sequence, size_bytes) in lines.by_ref().take(piece.lines) {
                let (line, after) = rest.split_at(*size_bytes);
                number(sequence, mark.take().as_ref(), line, text);
                rest = after;
            }
            sizes.push(text.len() - start);
        }
    }

    fn note(&mut self, size_bytes: usize, facts: Facts<'_>) {
        self.sizes.push(size_bytes);
        if !self.pieces.last().is_some_and(|piece| piece.has_room(size_bytes)) {
            self.pieces.push(Piece::default());
        }
        let piece = self.pieces.last_mut().expect("there is a piece now");
        piece.lines += 1;
        piece.spans += usize::from(facts.is_span);
        piece.size_bytes += size_bytes;
        piece.summary.note(facts);
    }
}

/// What an acknowledged batch survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Durability {
    /// Nothing is promised: nobody waits for it to be written.
    Received,
    /// The end of the process.
    Written,
    /// A power cut.
    Synced,
}

/// What the batches of one stream share: once one of them failed, no later one is written.
#[derive(Debug, Clone, Default)]
pub struct Fate(Arc<AtomicBool>);

impl Fate {
    pub(super) fn is_sealed(&self) -> bool {
        // Only the committer reads and writes it: there is nothing to order.
        self.0.load(Ordering::Relaxed)
    }

    pub(super) fn seal(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The answer that a queued batch will get.
#[derive(Debug)]
pub struct Written(oneshot::Receiver<Result<u64, Error>>);

impl Written {
    pub(super) fn new(answer: oneshot::Receiver<Result<u64, Error>>) -> Self {
        Self(answer)
    }

    /// What came of the batch, if that is known by now; as [`Written::wait`] says it. Not to be asked again after that.
    pub fn now(&mut self) -> Option<Result<u64, Error>> {
        match self.0.try_recv() {
            Ok(result) => Some(result),
            Err(oneshot::error::TryRecvError::Empty) => None,
            Err(oneshot::error::TryRecvError::Closed) => Some(Err(Error::StoreFailed)),
        }
    }

    /// Waits until the batch is as durable as asked. Returns the number of its last entry; 0 when it is one of a writer
    /// that was written before its last one.
    ///
    /// # Errors
    /// [`Error::DiskFull`] when it was not written, [`Error::StoreFailed`] when it may be or not.
    pub async fn wait(self) -> Result<u64, Error> {
        self.0.await.unwrap_or(Err(Error::StoreFailed))
    }
}

/// A batch on its way to the committer.
#[derive(Debug)]
pub(super) struct Append {
    pub(super) batch: Batch,
    pub(super) synced: bool,
    pub(super) fate: Fate,
    pub(super) answer: oneshot::Sender<Result<u64, Error>>,
    /// The room in the queue that it takes up until it is answered.
    pub(super) _room: OwnedSemaphorePermit,
}
