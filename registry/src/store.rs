//! Where a command takes effect: the one place that every change of the catalog passes.
//!
//! State lives in memory, and is kept by a [`Journal`]. A change is written before it is seen, so that nobody is told
//! what a killed registry would forget; only who asked for it waits until it is synced, news of health never do.

mod keeper;

use std::{
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::JoinHandle,
    time::SystemTime,
};

use homeroom::model::{Change, Epoch, Registration, Revision};
use tokio::sync::watch;

pub use crate::journal::{DiskState, OnSync, OpenError};
use crate::{
    catalog::{Applied, Catalog, Command},
    config::Limits,
    error::Error,
    history::{CHANGES_BYTES_MAX, History},
    journal::{Journal, Synced, new_epoch},
    watch::{Feeds, Woken},
};

/// The catalog with its history.
///
/// Dropping it closes it, as [`Store::close`] does.
#[derive(Debug)]
pub struct Store {
    shared: Arc<Shared>,
    /// The threads of the journal, until it is closed.
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// What the store's threads share with it.
#[derive(Debug)]
struct Shared {
    /// Guards the catalog and its history together, so that nobody sees one without the other. Held for as long as one
    /// command or one read takes, never while something is awaited.
    state: Mutex<State>,
    published: watch::Sender<Revision>,
    feeds: Arc<Feeds>,
    journal: Option<Arc<Journal>>,
}

/// What a reader sees: both at the same revision.
#[derive(Debug)]
pub struct State {
    /// The instances.
    pub catalog: Catalog,
    /// The changes that led to them.
    pub history: History,
    /// Whether nothing changes any more.
    closed: bool,
}

impl Store {
    /// An empty store that keeps nothing. Its epoch is the time, which no earlier one had.
    pub fn new(now: SystemTime) -> Self {
        Self::ephemeral(now, &Limits::default())
    }

    /// An empty store that keeps nothing, with these limits.
    pub fn ephemeral(now: SystemTime, limits: &Limits) -> Self {
        let state = State {
            catalog: Catalog::new(new_epoch(now, Epoch::default())).limited(limits.instances),
            history: history(limits),
            closed: false,
        };
        Self::start(state, None)
    }

    /// The store that is kept in a folder: empty when there is none, otherwise as it was, but unverified. Blocks.
    ///
    /// # Errors
    /// Why the registry must not start.
    pub fn open(directory: &Path, limits: &Limits) -> Result<Self, OpenError> {
        let (journal, catalog, history) = Journal::open(directory, history(limits))?;
        Ok(Self::restore(journal, catalog.limited(limits.instances), history))
    }

    fn restore(journal: Journal, catalog: Catalog, history: History) -> Self {
        let state = State {
            catalog,
            history,
            closed: false,
        };
        let store = Self::start(state, Some(Arc::new(journal)));
        let restored: Vec<Arc<Registration>> = store.read(|state| {
            let instances = state.catalog.instances();
            instances.map(|instance| instance.registration.clone()).collect()
        });
        for registration in restored {
            // It is never refused, and does nothing to one that has changed already.
            let _ = store.apply(Command::Restore { registration });
        }
        store
    }

    fn start(state: State, journal: Option<Arc<Journal>>) -> Self {
        let shared = Arc::new(Shared {
            published: watch::Sender::new(state.catalog.revision()),
            state: Mutex::new(state),
            feeds: Arc::default(),
            journal,
        });
        Self {
            threads: Mutex::new(keeper::start(&shared)),
            shared,
        }
    }

    /// Does what a command says and publishes what it changed, whether or not it can be kept: for what is found out.
    ///
    /// # Errors
    /// Why the command is refused; nothing has changed then.
    pub fn apply(&self, command: Command) -> Result<Applied, Error> {
        let (applied, _) = self.shared.take_effect(command, false)?;
        Ok(applied)
    }

    /// Does what a command says and publishes what it changed, and returns once a power cut would not undo it: for what
    /// is asked for. When the caller does not wait, it is done all the same.
    ///
    /// # Errors
    /// Why the command is refused; nothing has changed then. [`Error::StoreFailed`] when it has changed and may not be
    /// kept.
    pub async fn commit(&self, command: Command) -> Result<Applied, Error> {
        let (applied, synced) = self.shared.take_effect(command, true)?;
        match synced {
            None => Ok(applied),
            // Whatever the fault is, it came too late to change nothing.
            Some(synced) => match synced.await {
                Ok(Ok(())) => Ok(applied),
                Ok(Err(_)) | Err(_) => Err(Error::StoreFailed),
            },
        }
    }

    /// Reads the state as one revision shows it.
    pub fn read<T>(&self, read: impl FnOnce(&State) -> T) -> T {
        let mut state = self.shared.lock();
        state.history.expire(SystemTime::now());
        read(&state)
    }

    /// Begins another epoch, as when what was published may not be found again.
    #[cfg(test)]
    pub(crate) fn begin_epoch(&self, epoch: Epoch) {
        let mut state = self.shared.lock();
        state.catalog.begin_epoch(epoch);
        let woken = self.shared.publish(&state, &[]);
        drop(state);
        woken.wake();
    }

    /// The views that somebody watches.
    pub fn feeds(&self) -> &Arc<Feeds> {
        &self.shared.feeds
    }

    /// The revision of the last change, as it rises.
    pub fn revisions(&self) -> watch::Receiver<Revision> {
        self.shared.published.subscribe()
    }

    /// Whether registrations can be kept.
    pub fn disk_state(&self) -> DiskState {
        let journal = self.shared.journal.as_ref();
        journal.map_or(DiskState::Ephemeral, |journal| journal.disk_state())
    }

    /// Has `on_sync` told how long each sync takes from now on. Only the first one is.
    pub fn set_on_sync(&self, on_sync: OnSync) {
        if let Some(journal) = &self.shared.journal {
            journal.set_on_sync(on_sync);
        }
    }

    /// Takes no more commands, syncs what was written, and says that nothing is missing. Blocks.
    pub fn close(&self) {
        self.shared.lock().closed = true;
        if let Some(journal) = &self.shared.journal {
            journal.close();
        }
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!("a thread of the store panicked");
            }
        }
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.close();
    }
}

fn history(limits: &Limits) -> History {
    History::new(limits.history, CHANGES_BYTES_MAX, limits.history_age)
}

impl Shared {
    fn take_effect(&self, command: Command, durable: bool) -> Result<(Applied, Option<Synced>), Error> {
        let mut state = self.lock();
        if state.closed {
            // What is found out now will be found out again.
            return if durable {
                Err(Error::Draining)
            } else {
                Ok(Default::default())
            };
        }
        let now = SystemTime::now();
        let applied = state.catalog.decide(command, now)?;
        // As most findings: nobody waits, and there is nothing to keep or to tell.
        if applied.is_empty() && !durable {
            return Ok((applied, None));
        }
        let synced = self.keep(&mut state, &applied, durable)?;
        state.catalog.commit(&applied);
        for change in &applied.changes {
            state.history.push(change.clone());
        }
        state.history.expire(now);
        let woken = self.publish(&state, &applied.changes);
        drop(state);
        woken.wake();
        Ok((applied, synced))
    }

    /// Writes what is decided, before anybody sees it.
    fn keep(&self, state: &mut State, applied: &Applied, durable: bool) -> Result<Option<Synced>, Error> {
        let Some(journal) = &self.journal else {
            return Ok(None);
        };
        let written = journal.append(applied, durable);
        self.renew_epoch(state, journal);
        match written {
            Err(fault) if durable => Err(fault.into()),
            written => Ok(written.unwrap_or_default()),
        }
    }

    /// Begins another epoch where what was told may not be found again.
    fn renew_epoch(&self, state: &mut State, journal: &Journal) {
        if journal.take_epoch_due() {
            let epoch = new_epoch(SystemTime::now(), state.catalog.epoch());
            state.catalog.begin_epoch(epoch);
            // Under the lock, which they wait for: it is once a fault of the disk.
            self.publish(state, &[]).wake();
        }
    }

    /// Tells everybody what has changed. Under the lock, so that revisions are published in order; who has to be woken
    /// is woken after it.
    fn publish(&self, state: &State, changes: &[Arc<Change>]) -> Woken {
        let revision = state.catalog.revision();
        self.published
            .send_if_modified(|published| std::mem::replace(published, revision) != revision);
        self.feeds.publish(state, changes)
    }

    /// A panic in a reader leaves the state as it was.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
