//! What is queued for the committer, and what it answers.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use tokio::sync::{OwnedSemaphorePermit, oneshot};

use crate::{
    entry::{Entry, Head, Time, encode},
    error::Error,
};

/// Entries as text, all of which are written or none.
#[derive(Debug, Default)]
pub struct Batch {
    pub(super) text: Vec<u8>,
    /// The time and the length of each line.
    pub(super) lines: Vec<(Time, usize)>,
}

impl Batch {
    /// Encodes entries, all but their numbers, where the caller runs: the committer has better to do.
    pub fn encode(entries: &[Entry]) -> Self {
        let mut batch = Self::default();
        for entry in entries {
            let start = batch.text.len();
            encode(entry, &mut batch.text);
            batch.lines.push((entry.time, batch.text.len() - start));
        }
        batch
    }

    /// Adds a line that `write` appends, and whose `head` says what it will, but for its number.
    ///
    /// # Errors
    /// That of `write`: nothing is added.
    pub fn push<E>(&mut self, head: &Head<'_>, write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>) -> Result<(), E> {
        let start = self.text.len();
        write(&mut self.text).inspect_err(|_| self.text.truncate(start))?;
        self.lines.push((head.time, self.text.len() - start));
        Ok(())
    }

    /// The lines, still without their numbers.
    pub fn text(&self) -> &[u8] {
        &self.text
    }

    /// How many entries it has.
    pub fn len(&self) -> usize {
        self.lines.len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
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
