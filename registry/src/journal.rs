//! Keeps the catalog and its history on disk: a log of changes, which is what the history is anyway.
//!
//! Our own, for want of an engine that fits: the whole state is small and in memory, so only a log is needed. Of those
//! that were tried, fjall takes a journal that is damaged in its middle for one that ends there, and leaves what a failed
//! write has torn before what follows it; redb stops at the first failure until it is opened again, and is slower.
//!
//! The journal is a folder of segments, of which the newest has everything: all instances as they stood when it was
//! begun, and each change since. Older ones are kept as long as the history needs their changes. A record is written
//! before its change is seen, so that nobody is told what a killed registry would forget; one thread syncs for all that
//! wait. Parts, in reading order: `record` frames, `segment` reads one file, `replay` makes state of records, `files` is
//! the disk, `recover` opens a folder, `writing` is what is written where, `committer` syncs, for as many as `gathering`
//! says, `fresh` begins a segment.
//!
//! Where the disk fails, nothing that waits for it is accepted, and news of health are told without it: then the journal
//! is *behind*, which a new epoch tells watchers, until a fresh segment has everything again.

mod committer;
mod files;
mod fresh;
mod gathering;
mod record;
mod recover;
mod replay;
mod segment;
mod writing;

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

use homeroom::model::Revision;
use tokio::sync::oneshot;

pub use self::fresh::{Start, Work};
pub(crate) use self::recover::new_epoch;
use self::{
    files::{Disk, Files, Writer},
    record::{Kind, Reaffirmed},
    writing::Writing,
};
use crate::{
    catalog::{Applied, Catalog},
    history::History,
};

/// Is told how long each sync took.
pub type OnSync = Arc<dyn Fn(Duration) + Send + Sync>;

/// Why a journal cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has the folder: stop it, or name another folder.
    #[error(
        "the data directory {} is in use by another registry: stop that one, or name another with --data-dir",
        .0.display()
    )]
    InUse(PathBuf),
    /// The disk refuses: mend what the cause names.
    #[error("cannot use {}: {source}", path.display())]
    Disk {
        /// What was to be read or written.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// What was kept cannot be read: restore it, or go on without it. Nothing of it was changed.
    #[error(
        "{} is damaged at byte {offset}: {what}; restore its folder from a backup, move the folder away to start empty \
         (instances that run register again by themselves), or look around with --ephemeral",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where in it.
        offset: u64,
        /// What is wrong there.
        what: String,
    },
}

/// Why nothing can be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// There is no room.
    Full,
    /// The disk fails.
    Failed,
}

/// Whether registrations can be kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DiskState {
    /// They are kept in memory only, as was asked for.
    Ephemeral,
    /// Every registration is synced before it is answered.
    Synced,
    /// The disk is full, in these words: registrations are refused.
    Full(String),
    /// The disk fails, in these words: registrations are refused.
    Failed(String),
}

/// Tells when what was written is synced.
pub type Synced = oneshot::Receiver<Result<(), Fault>>;

/// The journal of one registry, open for this process alone.
pub struct Journal {
    files: Arc<dyn Files>,
    boot_id: String,
    /// Guards what is written where; taken after the store's lock, and never held while a disk is waited for.
    writing: Mutex<Writing>,
    /// Wakes the committer.
    committing: Condvar,
    /// Wakes who begins segments.
    keeping: Condvar,
    /// Where the file ends that is known to be synced: more than the records themselves can tell.
    watermark: Arc<dyn Writer>,
    on_sync: OnceLock<OnSync>,
}

impl std::fmt::Debug for Journal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Journal")
            .field("files", &self.files)
            .finish_non_exhaustive()
    }
}

impl Journal {
    /// Opens the journal of a folder, which it makes when there is none: with the catalog as it was, and the part of its
    /// history that `history`, which is empty, holds. Blocks.
    ///
    /// # Errors
    /// Why the registry must not start: what was kept is never thrown away.
    pub fn open(directory: &Path, history: History) -> Result<(Self, Catalog, History), OpenError> {
        // Where nobody tells, every start counts as one after a power cut.
        let boot_id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        recover::open(Arc::new(Disk::open(directory)?), boot_id.trim(), history)
    }

    /// Writes what a command does, before it is done. With `durable`, returns what tells when it is synced, unless there
    /// is nothing to wait for.
    ///
    /// # Errors
    /// When it cannot be written. What is not durable may be done all the same: the journal is behind then.
    pub fn append(&self, applied: &Applied, durable: bool) -> Result<Option<Synced>, Fault> {
        let payloads = payloads(applied);
        let mut writing = self.lock();
        if !payloads.is_empty() {
            let last = applied.changes.last().map(|change| change.revision);
            self.write(&mut writing, &payloads, last, durable)?;
        }
        if !durable {
            return Ok(None);
        }
        if payloads.is_empty() {
            // It confirms what was written before: that may be lost, on its way, or synced.
            if writing.is_unkept {
                return Err(Fault::Failed);
            }
            if !writing.is_unsynced() {
                return Ok(None);
            }
        }
        let (waiter, synced) = oneshot::channel();
        writing.waiters.push(waiter);
        if writing
            .committer_waits_for
            .is_some_and(|enough| writing.waiters.len() >= enough)
        {
            self.committing.notify_one();
        }
        Ok(Some(synced))
    }

    fn write(
        &self,
        writing: &mut Writing,
        payloads: &[Vec<u8>],
        last: Option<Revision>,
        durable: bool,
    ) -> Result<(), Fault> {
        let written = writing.write(payloads, last, durable);
        if written.is_err() || writing.is_segment_due() {
            self.keeping.notify_one();
        }
        written
    }

    /// Whether a new epoch has to begin before anything else is told: what was told may have been lost. Tells it once.
    pub fn take_epoch_due(&self) -> bool {
        std::mem::take(&mut self.lock().epoch_due)
    }

    /// Whether registrations can be kept.
    pub fn disk_state(&self) -> DiskState {
        self.lock().state.clone()
    }

    /// Has `on_sync` told of every sync from now on. Only the first one is.
    pub fn set_on_sync(&self, on_sync: OnSync) {
        let _ = self.on_sync.set(on_sync);
    }

    /// Has the threads end, once what waits is synced.
    pub fn close(&self) {
        self.lock().closing = true;
        self.committing.notify_all();
        self.keeping.notify_all();
    }

    /// A panic elsewhere leaves it as the last whole operation did.
    fn lock(&self) -> MutexGuard<'_, Writing> {
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The records of what a command does.
fn payloads(applied: &Applied) -> Vec<Vec<u8>> {
    let changes = applied.changes.iter();
    let mut payloads: Vec<_> = changes.map(|change| record::of_change(change)).collect();
    if let (true, Some(instance)) = (applied.reaffirmed, &applied.instance) {
        payloads.push(Kind::Reaffirmed(Reaffirmed::new(instance.key(), instance.incarnation)).payload());
    }
    payloads
}

#[cfg(test)]
pub(crate) mod simulated;
#[cfg(test)]
mod tests;
