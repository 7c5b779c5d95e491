//! The lines on disk: the segments of a data directory, that one process appends to and everybody reads.
//!
//! Its parts: `disk` is what can fail; `open` finds the segments, `scan` goes through one, and their ends are repaired;
//! `segments` is all of them, `plain` one of lines as they are, `index` what is where in it and `lines` what is in its text,
//! `summary` what a block of it can hold and `wanted` what a reader looks for; `sealed` is one of compressed `frames` with
//! its `sidecar`, and `keeper` the thread that seals, and deletes by `retention`. `append` is what is queued in `queue`,
//! `committer` the thread that takes it, and tells of each `commit`; `writing` is where it goes, under which `numbers`, of
//! which `writers`, and `health` whether it can. Readers see what has been acknowledged and nothing else. Must never
//! import `query`, `tail` or `grpc`.

mod append;
mod commit;
mod committer;
mod disk;
mod frames;
mod health;
mod index;
mod keeper;
mod lines;
mod numbers;
mod open;
mod plain;
mod queue;
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
    fs, io,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    thread::JoinHandle,
    time::SystemTime,
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

pub use self::{
    append::{Batch, Durability, Fate, Written},
    commit::Commit,
    health::Health,
    keeper::Usage,
    lines::{entries, lines},
    sealed::read_sealed,
    segments::{Block, Reader},
    sidecar::Trigrams,
    wanted::{Kind, Wanted},
    writers::WriterId,
};
use self::{
    commit::OnCommit,
    committer::Committer,
    disk::{Directory, Files},
    keeper::{Bell, Deletion, Keeper},
    numbers::Numbers,
    queue::Queue,
    sealed::Caches,
    segments::Segments,
    writers::Writers,
    writing::{Limits, Writing},
};
use crate::{config::StoreSettings, error::Error};

/// How many readers there are at a time: each has a thread, and memory for a block, and with so many the disk and the
/// processors have enough to do. Others wait for their turn.
const READERS_MAX: usize = 16;
/// How far numbers jump after a power cut at most, and for how many entries a file is synced that tells so.
const NUMBERS_RESERVE: u64 = 1_000_000;

/// The segments of a data directory, open for this process alone.
///
/// Dropping it writes what is queued, as [`Store::close`] does, and waits for that.
#[derive(Debug)]
pub struct Store {
    segments: Arc<Segments>,
    /// Guards what is known of writers; held for a lookup. Never held while a disk is waited for.
    writers: Arc<Mutex<Writers>>,
    visible: watch::Receiver<u64>,
    health: watch::Receiver<Health>,
    queue: Arc<Queue>,
    /// Guards the committer, which is gone once closed.
    committer: Mutex<Option<JoinHandle<()>>>,
    /// Guards what seals and deletes segments, which is gone once closed.
    keeper: Mutex<Option<Keeper>>,
    /// Asks the keeper.
    bell: Arc<Bell>,
    caches: Arc<Caches>,
    turns: Arc<Semaphore>,
    deletion: Arc<Deletion>,
    on_commit: OnCommit,
    /// Has the directory for as long as it is open.
    files: Arc<dyn Files>,
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
        let files = Arc::new(Directory::open(directory)?);
        let store = Self::open_in(files, &boot(), NUMBERS_RESERVE, settings.into(), settings)?;
        store.keep()?;
        Ok(store)
    }

    /// Opens the data directory on another disk, in a boot of this name. Nothing is sealed.
    fn open_in(
        files: Arc<dyn Files>,
        boot: &str,
        reserve: u64,
        limits: Limits,
        retention: &StoreSettings,
    ) -> Result<Self, Error> {
        let failed = |source| Error::Open {
            path: files.path("."),
            source,
        };
        let caches = Arc::new(Caches::default());
        let numbers = Numbers::open(files.clone(), boot, reserve).map_err(failed)?;
        let opened = open::open(&files, &caches, numbers).map_err(failed)?;
        let segments = Arc::new(Segments::new(opened.segments));
        let writers = Arc::new(Mutex::new(opened.writers));
        let deletion = Arc::new(Deletion::new(files.clone(), segments.clone(), retention.clone()));
        let bell = Arc::new(Bell::default());
        let writing = Writing::new(
            files.clone(),
            segments.clone(),
            writers.clone(),
            opened.end,
            limits,
            bell.clone(),
            deletion.clone(),
        );
        let (visible_now, visible) = watch::channel(segments.last());
        let (health_now, health) = watch::channel(Health::default());
        let on_commit = OnCommit::default();
        let committer = Committer::new(writing, writers.clone(), visible_now, health_now, on_commit.clone());
        let queue = Arc::new(Queue::new());
        let appends = queue.clone();
        let thread = std::thread::Builder::new()
            .name("log-committer".to_owned())
            .spawn(move || committer.run(&appends));
        let thread = thread.map_err(failed)?;
        Ok(Self {
            segments,
            writers,
            visible,
            health,
            queue,
            committer: Mutex::new(Some(thread)),
            keeper: Mutex::default(),
            bell,
            caches,
            turns: Arc::new(Semaphore::new(READERS_MAX)),
            deletion,
            on_commit,
            files,
        })
    }

    /// Has the segments sealed, and those deleted that have to go, from now on.
    fn keep(&self) -> Result<(), Error> {
        let (files, segments, caches) = (self.files.clone(), self.segments.clone(), self.caches.clone());
        let keeper = Keeper::start(files, segments, caches, self.deletion.clone(), self.bell.clone());
        let failed = |source| Error::Open {
            path: self.files.path("."),
            source,
        };
        *self.keeper.lock().unwrap_or_else(PoisonError::into_inner) = Some(keeper.map_err(failed)?);
        Ok(())
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
    /// [`Error::Overloaded`] when there was no room for some seconds, [`Error::Draining`] once closed.
    pub async fn append(&self, batch: Batch, durability: Durability, fate: &Fate) -> Result<Written, Error> {
        self.queue.push(batch, durability, fate.clone()).await
    }

    /// Whether the disk takes entries, as far as the last write told.
    pub fn health(&self) -> Health {
        self.health.borrow().clone()
    }

    /// Says who is told of each commit, in the thread that made it. The first call counts.
    pub fn set_on_commit(&self, tell: impl Fn(&Commit) + Send + Sync + 'static) {
        self.on_commit.set(Box::new(tell));
    }

    /// How many bytes of text wait to be written.
    pub fn queued_bytes(&self) -> usize {
        self.queue.size_bytes()
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

    /// Waits until fewer than 16 others read, in the order in which they came. To be held for some blocks only.
    ///
    /// Cancel safe.
    pub async fn turn(&self) -> OwnedSemaphorePermit {
        let turn = self.turns.clone().acquire_owned().await;
        turn.expect("the turns are not closed")
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
    pub fn read(&self, block: &Block, reader: &mut Reader) -> io::Result<Arc<Vec<u8>>> {
        block.read(reader)
    }

    /// What there is, and what was deleted. Blocks.
    pub fn usage(&self) -> Usage {
        self.deletion.usage()
    }

    /// Takes no more batches, writes and syncs those queued, and ends the committer. Blocks.
    pub fn close(&self) {
        self.queue.close();
        let committer = self.committer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = committer
            && thread.join().is_err()
        {
            tracing::error!("the committer of the log panicked");
        }
        drop(self.keeper.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}

/// The boot of the system. Where it has none to tell, each start is one.
fn boot() -> String {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id");
    boot.map_or_else(|_| format!("{:?}", SystemTime::now()), |id| id.trim().to_owned())
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
pub(crate) use self::sealed::tests::sealed_directory;

#[cfg(test)]
mod crash_tests;
#[cfg(test)]
mod simulated;
#[cfg(test)]
mod tests;
