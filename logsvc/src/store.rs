//! The lines on disk: the segments of a data directory, that one process appends to and everybody reads.
//!
//! Its parts: `disk` is what can fail; `open` finds the segments, `scan` goes through one, and their ends are repaired; `writers`
//! is which batches are in them; `segments` is all of them,
//! `plain` one of lines as they are, `index` what is where in it, `summary` what a block of it can hold and `wanted`
//! what a reader looks for; `append` is what is queued, `committer` the thread that takes it, and `writing` where it
//! goes. Readers see what has been acknowledged and nothing else. Must never import `query`, `tail` or `grpc`.

mod append;
mod committer;
mod disk;
mod frames;
mod index;
mod keeper;
mod open;
mod plain;
mod retention;
mod scan;
mod sealed;
mod segments;
mod sidecar;
mod summary;
mod wanted;
mod writers;
mod writing;

use std::{
    io,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    thread::JoinHandle,
};

use tokio::sync::{Semaphore, mpsc, oneshot, watch};

use self::{
    append::Append,
    committer::Committer,
    disk::{Directory, Files},
    keeper::{Deletion, Keeper},
    sealed::Caches,
    segments::Segments,
    writers::Writers,
    writing::Writing,
};
pub use self::{
    append::{Batch, Durability, Fate, Written},
    index::entries,
    keeper::Usage,
    sealed::read_sealed,
    segments::Block,
    wanted::{Kind, Wanted},
    writers::WriterId,
};
use crate::{config::StoreSettings, error::Error};

/// How many batches wait for the committer; more wait in their callers.
const QUEUE_BATCHES_MAX: usize = 1024;
/// How much text waits for the committer, so that slow disks do not fill the memory; more waits in the callers.
const QUEUE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// The segments of a data directory, open for this process alone.
///
/// Dropping it writes what is queued, as [`Store::close`] does, and waits for that.
#[derive(Debug)]
pub struct Store {
    segments: Arc<Segments>,
    /// Guards what is known of writers; held for a lookup. Never held while a disk is waited for.
    writers: Arc<Mutex<Writers>>,
    visible: watch::Receiver<u64>,
    room: Arc<Semaphore>,
    /// Guards the committer, which is gone once closed.
    committer: Mutex<Option<(mpsc::Sender<Append>, JoinHandle<()>)>>,
    /// Guards what seals and deletes segments, which is gone once closed.
    keeper: Mutex<Option<Keeper>>,
    deletion: Arc<Deletion>,
    /// Has the directory for as long as it is open.
    _files: Arc<dyn Files>,
}

impl Store {
    /// Opens the data directory, which it makes when there is none, and repairs the ends of its segments. Blocks.
    ///
    /// A last line that is not whole, as a crash leaves it, is cut off, and a batch of a writer of which some is missing; a
    /// damaged line before that stays and is skipped.
    ///
    /// # Errors
    /// [`Error::InUse`] or [`Error::Open`].
    pub fn open(directory: &Path, settings: &StoreSettings) -> Result<Self, Error> {
        Self::open_in(Arc::new(Directory::open(directory)?), settings)
    }

    /// Opens the data directory on another disk.
    fn open_in(files: Arc<dyn Files>, settings: &StoreSettings) -> Result<Self, Error> {
        let failed = |source| Error::Open {
            path: files.path("."),
            source,
        };
        let caches = Arc::new(Caches::default());
        let opened = open::open(&files, &caches).map_err(failed)?;
        let segments = Arc::new(Segments::new(opened.segments));
        let writers = Arc::new(Mutex::new(opened.writers));
        let deletion = Arc::new(Deletion::new(files.clone(), segments.clone(), settings.clone()));
        let keeper = Keeper::start(files.clone(), segments.clone(), caches, deletion.clone()).map_err(failed)?;
        let writing = Writing::new(files.clone(), segments.clone(), keeper.bell(), settings);
        let (visible_now, visible) = watch::channel(segments.last());
        let committer = Committer::new(writing, writers.clone(), visible_now);
        let (queue, appends) = mpsc::channel(QUEUE_BATCHES_MAX);
        let thread = std::thread::Builder::new()
            .name("log-committer".to_owned())
            .spawn(move || committer.run(appends));
        let thread = thread.map_err(failed)?;
        Ok(Self {
            segments,
            writers,
            visible,
            room: Arc::new(Semaphore::new(QUEUE_BYTES_MAX)),
            committer: Mutex::new(Some((queue, thread))),
            keeper: Mutex::new(Some(keeper)),
            deletion,
            _files: files,
        })
    }

    /// Queues a batch, once there is room, to be written after all that were queued before. What it returns tells when
    /// that is done, and as durable as asked.
    ///
    /// Once a batch of a `fate` failed, no later one of the same fate is written. A batch of a writer that was written
    /// before, or is queued before, is not written again, and answered once it is as durable as asked now.
    ///
    /// Cancel safe: the batch is queued or it is not. What is queued is written, waited for or not.
    ///
    /// # Errors
    /// [`Error::Draining`] once closed.
    pub async fn append(&self, batch: Batch, durability: Durability, fate: &Fate) -> Result<Written, Error> {
        let queue = {
            let committer = self.committer.lock().unwrap_or_else(PoisonError::into_inner);
            committer
                .as_ref()
                .map(|(queue, _)| queue.clone())
                .ok_or(Error::Draining)?
        };
        let size = u32::try_from(batch.text.len().min(QUEUE_BYTES_MAX)).expect("the room is counted in 32 bits");
        let room = self.room.clone().acquire_many_owned(size).await;
        let (answer, written) = oneshot::channel();
        let append = Append {
            batch,
            synced: durability == Durability::Synced,
            fate: fate.clone(),
            answer,
            _room: room.expect("the semaphore is never closed"),
        };
        queue.send(append).await.map_err(|_| Error::StoreFailed)?;
        Ok(Written::new(written))
    }

    /// The sequence number of the last entry that readers see, as it rises. Ends once closed.
    pub fn visible(&self) -> watch::Receiver<u64> {
        self.visible.clone()
    }

    /// The number of the first entry that is kept; one above the last when there is none.
    pub fn first(&self) -> u64 {
        let list = self.segments.list();
        let empty = || *self.visible.borrow() + 1;
        list.first().map_or_else(empty, |segment| segment.first())
    }

    /// The number of the last batch of a writer that was written, in the order in which batches are: of those that are
    /// queued nothing is known yet. `None` when the writer is not known, or not any more.
    pub fn last_batch(&self, writer: &WriterId) -> Option<u64> {
        let writers = self.writers.lock().unwrap_or_else(PoisonError::into_inner);
        writers.get(writer).map(|batch| batch.number)
    }

    /// The first block with an entry at `sequence` or after it that may hold what is wanted. Blocks.
    ///
    /// # Errors
    /// What the disk says.
    pub fn block_from(&self, sequence: u64, wanted: &Wanted) -> io::Result<Option<Block>> {
        self.segments.block_from(sequence, wanted)
    }

    /// The last block with an entry at `sequence` or before it that may hold what is wanted. Blocks.
    ///
    /// # Errors
    /// What the disk says.
    pub fn block_up_to(&self, sequence: u64, wanted: &Wanted) -> io::Result<Option<Block>> {
        self.segments.block_up_to(sequence, wanted)
    }

    /// Reads the lines of a block. Blocks.
    ///
    /// # Errors
    /// What the disk says.
    pub fn read(&self, block: &Block) -> io::Result<Arc<Vec<u8>>> {
        block.read()
    }

    /// What there is, and what was deleted. Blocks.
    pub fn usage(&self) -> Usage {
        self.deletion.usage()
    }

    /// Takes no more batches, writes and syncs those queued, and ends the committer. Blocks.
    pub fn close(&self) {
        let committer = self.committer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some((queue, thread)) = committer {
            drop(queue);
            if thread.join().is_err() {
                tracing::error!("the committer of the log panicked");
            }
        }
        drop(self.keeper.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.close();
    }
}

/// What is read is not what was written.
fn damaged(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests;
