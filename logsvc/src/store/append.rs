//! What is queued for the committer, and what it answers.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::{
    index::{BLOCK_BYTES, BLOCK_LINES},
    summary::{Facts, Summary},
};
use crate::{
    entry::{Entry, encode},
    error::Error,
};

/// Entries as text, all of which are written or none.
#[derive(Debug, Default)]
pub struct Batch {
    pub(super) text: Vec<u8>,
    /// The length of each line.
    pub(super) sizes: Vec<usize>,
    pub(super) pieces: Vec<Piece>,
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
    /// Encodes entries, all but their numbers, where the caller runs: the committer has better to do.
    pub fn encode(entries: &[Entry]) -> Self {
        let mut batch = Self::default();
        for entry in entries {
            let start = batch.text.len();
            encode(entry, &mut batch.text);
            batch.note(batch.text.len() - start, entry.into());
        }
        batch
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

    /// Waits until the batch is as durable as asked. Returns the number of its last entry.
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
