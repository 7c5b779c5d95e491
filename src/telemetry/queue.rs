//! The bounded queue between those who log, on any thread, and the shipper.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::{
    runtime::{Handle, RuntimeFlavor},
    sync::Notify,
};

use super::settings::{QueuePolicy, QueueSettings};
use crate::proto::log::v1::Entry;

/// How long a thread waits for room at most, where the policy is to block.
const BLOCK_MAX: Duration = Duration::from_secs(1);

/// The end that entries are put in at. Clones share the queue.
#[derive(Debug, Clone)]
pub(super) struct Queue(Arc<Shared>);

/// The end that they are taken from. Once it is dropped, the queue takes no more.
#[derive(Debug)]
pub(super) struct Entries(Arc<Shared>);

/// What became of the entries of this process so far.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    /// Dropped for want of room in the queue.
    pub(crate) dropped: AtomicU64,
    /// Acknowledged by Log.
    pub(crate) shipped: AtomicU64,
    /// Given up, as Log did not take them.
    pub(crate) unshipped: AtomicU64,
}

#[derive(Debug)]
struct Shared {
    settings: QueueSettings,
    /// Never held while anything is awaited.
    entries: Mutex<VecDeque<Entry>>,
    /// There are entries, or many.
    filled: Notify,
    room: Condvar,
    /// A thread has waited for room in vain, and none was made since.
    stuck: AtomicBool,
    closed: AtomicBool,
    /// Dropped since the last report.
    unreported: AtomicU64,
    counters: Counters,
}

/// Both ends of a queue.
pub(super) fn queue(settings: QueueSettings) -> (Queue, Entries) {
    let shared = Arc::new(Shared {
        settings,
        entries: Mutex::default(),
        filled: Notify::new(),
        room: Condvar::new(),
        stuck: AtomicBool::new(false),
        closed: AtomicBool::new(false),
        unreported: AtomicU64::new(0),
        counters: Counters::default(),
    });
    (Queue(shared.clone()), Entries(shared))
}

impl Shared {
    /// A panic elsewhere leaves a queue of whole entries.
    fn lock(&self) -> MutexGuard<'_, VecDeque<Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_full(&self, entries: &VecDeque<Entry>) -> bool {
        entries.len() >= self.settings.entries_max
    }

    fn count_dropped(&self) {
        self.unreported.fetch_add(1, Relaxed);
        self.counters.dropped.fetch_add(1, Relaxed);
    }

    /// Waits for room, for as long as may be, and where that is not in vain.
    fn wait_for_room(&self) {
        let wait = || {
            let full = |entries: &mut VecDeque<Entry>| self.is_full(entries) && !self.closed.load(Relaxed);
            let waited = self.room.wait_timeout_while(self.lock(), BLOCK_MAX, full);
            let (_entries, result) = waited.unwrap_or_else(PoisonError::into_inner);
            self.stuck.store(result.timed_out(), Relaxed);
        };
        match Handle::try_current().map(|runtime| runtime.runtime_flavor()) {
            _ if self.stuck.load(Relaxed) => {}
            Err(_) => wait(),
            // The other tasks of this thread, of which the shipper may be one, are taken over by another thread.
            Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(wait),
            Ok(_) => {}
        }
    }
}

impl Queue {
    /// Hands an entry to the shipper, or counts it as dropped. Waits only where the policy says so.
    pub(super) fn push(&self, entry: Entry) {
        let shared = &*self.0;
        let mut entries = shared.lock();
        if shared.is_full(&entries) && shared.settings.policy == QueuePolicy::Block {
            drop(entries);
            shared.wait_for_room();
            entries = shared.lock();
        }
        if shared.closed.load(Relaxed) {
            return shared.count_dropped();
        }
        if shared.is_full(&entries) {
            shared.count_dropped();
            if shared.settings.policy != QueuePolicy::DropOldest {
                return;
            }
            entries.pop_front();
        }
        entries.push_back(entry);
        let count = entries.len();
        drop(entries);
        if count == 1 || count == many(shared.settings) {
            shared.filled.notify_one();
        }
    }

    /// How many entries wait.
    pub(super) fn len(&self) -> usize {
        self.0.lock().len()
    }

    pub(super) fn settings(&self) -> QueueSettings {
        self.0.settings
    }

    pub(super) fn counters(&self) -> &Counters {
        &self.0.counters
    }
}

/// So many entries do not wait for more.
fn many(settings: QueueSettings) -> usize {
    super::shipper::BATCH_ENTRIES_MAX.min(settings.entries_max.div_ceil(2))
}

impl Entries {
    /// Waits until there are entries. Cancel safe.
    pub(super) async fn some(&self) {
        self.filled(1).await;
    }

    /// Waits until there are so many that no batch would take more. Cancel safe.
    pub(super) async fn many(&self) {
        self.filled(many(self.0.settings)).await;
    }

    async fn filled(&self, count: usize) {
        while self.0.lock().len() < count {
            self.0.filled.notified().await;
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.lock().is_empty()
    }

    /// Takes the oldest entries, as many as there are and at most `count`.
    pub(super) fn take(&self, count: usize) -> Vec<Entry> {
        let mut entries = self.0.lock();
        let count = count.min(entries.len());
        let taken: Vec<_> = entries.drain(..count).collect();
        drop(entries);
        self.0.stuck.store(false, Relaxed);
        self.0.room.notify_all();
        taken
    }

    /// How many were dropped since this was asked the last time.
    pub(super) fn take_dropped(&self) -> u64 {
        self.0.unreported.swap(0, Relaxed)
    }

    pub(super) fn counters(&self) -> &Counters {
        &self.0.counters
    }
}

impl Drop for Entries {
    fn drop(&mut self) {
        // Under the lock, so that a thread that is about to wait sees it.
        let entries = self.0.lock();
        self.0.closed.store(true, Relaxed);
        drop(entries);
        self.0.room.notify_all();
    }
}

#[cfg(test)]
mod tests;
