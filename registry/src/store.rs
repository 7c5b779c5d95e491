//! Where a command takes effect: the one place that every change of the catalog passes.
//!
//! State lives in memory. What comes to put it on disk belongs between applying a command and publishing its changes:
//! nobody sees a change before [`Store::apply`] has let it through.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

use homeroom::model::{Epoch, Revision};
use tokio::sync::watch;

use crate::{
    catalog::{Applied, Catalog, Command},
    config::Limits,
    error::Error,
    history::{CHANGES_BYTES_MAX, History},
    watch::Feeds,
};

/// The catalog with its history.
#[derive(Debug)]
pub struct Store {
    /// Guards the catalog and its history together, so that nobody sees one without the other. Held for as long as one
    /// command or one read takes, never while something is awaited.
    state: Mutex<State>,
    published: watch::Sender<Revision>,
    feeds: Arc<Feeds>,
}

/// What a reader sees: both at the same revision.
#[derive(Debug)]
pub struct State {
    /// The instances.
    pub catalog: Catalog,
    /// The changes that led to them.
    pub history: History,
}

impl Store {
    /// An empty store with the default limits.
    pub fn new(now: SystemTime) -> Self {
        Self::with_limits(now, &Limits::default())
    }

    /// An empty store. Its epoch is the time, which no earlier one had.
    pub fn with_limits(now: SystemTime, limits: &Limits) -> Self {
        let micros = now
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default()
            .as_micros();
        let epoch = Epoch(u64::try_from(micros).unwrap_or(u64::MAX));
        let state = State {
            catalog: Catalog::new(epoch).limited(limits.instances),
            history: History::new(limits.history, CHANGES_BYTES_MAX).aging(limits.history_age),
        };
        Self {
            state: Mutex::new(state),
            published: watch::Sender::new(Revision::default()),
            feeds: Arc::default(),
        }
    }

    /// Does what a command says, and publishes what it changed.
    ///
    /// # Errors
    /// Why the command is refused; nothing has changed then.
    pub fn apply(&self, command: Command) -> Result<Applied, Error> {
        let mut state = self.lock();
        let applied = state.catalog.apply(command, SystemTime::now())?;
        let changes: Vec<_> = applied.changes.iter().cloned().map(Arc::new).collect();
        for change in &changes {
            state.history.push(change.clone());
        }
        // Published under the lock, so that revisions are published in order.
        let revision = state.catalog.revision();
        self.published
            .send_if_modified(|published| std::mem::replace(published, revision) != revision);
        let woken = self.feeds.publish(&state, &changes);
        drop(state);
        woken.wake();
        Ok(applied)
    }

    /// Begins another epoch, as a store does that could not keep what it has published.
    #[cfg(test)]
    pub(crate) fn begin_epoch(&self, epoch: Epoch) {
        let mut state = self.lock();
        state.catalog.begin_epoch(epoch);
        let woken = self.feeds.publish(&state, &[]);
        drop(state);
        woken.wake();
    }

    /// The views that somebody watches.
    pub fn feeds(&self) -> &Arc<Feeds> {
        &self.feeds
    }

    /// Reads the state as one revision shows it.
    pub fn read<T>(&self, read: impl FnOnce(&State) -> T) -> T {
        read(&self.lock())
    }

    /// The revision of the last change, as it rises.
    pub fn revisions(&self) -> watch::Receiver<Revision> {
        self.published.subscribe()
    }

    /// A panic in a reader leaves the state as it was.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
