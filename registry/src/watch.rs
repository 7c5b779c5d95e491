//! Who watches what, and how far each has come: tells every change to those who asked, and knows who has applied it.
//!
//! A watcher has a position in the history and no queue: what it has not read yet is merged when it reads, so a slow
//! one holds up nobody, and costs no more than pointers to the instances of its view.

mod patch;
mod scope;
mod stream;

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use homeroom::model::{Epoch, InvalidField, Revision, ServiceName};
use tokio::{sync::Notify, time::timeout};

pub use self::{
    patch::{Batch, Patcher},
    scope::Scope,
    stream::{Request, messages},
};
use crate::error::Error;

/// How many watches may be open: at some 4 KiB each, 80 MiB. One that does not read takes eight bytes an instance of its
/// view besides, and the one message that the transport holds for it.
pub const WATCHERS_MAX: usize = 20_000;
/// How many services one watch may name: more is better watched as all.
pub const SERVICES_MAX: usize = 1_000;

/// The open watches.
#[derive(Debug, Default)]
pub struct Watches {
    /// Guards the map only; never held while something is awaited.
    open: Mutex<Open>,
    /// Told whenever a watcher acknowledges or goes.
    progress: Notify,
}

#[derive(Debug, Default)]
struct Open {
    last_id: u64,
    watches: HashMap<u64, Watch>,
}

#[derive(Debug)]
struct Watch {
    scope: Scope,
    /// The last revision that it has acknowledged; `None` for a watcher that never does.
    acknowledged: Option<Revision>,
}

/// Names a watch, also from those of an earlier registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WatchId {
    /// The start of the registry, as [`crate::store::Store::started`] tells it.
    pub epoch: Epoch,
    /// The number of the watch.
    pub number: u64,
}

impl fmt::Display for WatchId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.epoch, self.number)
    }
}

impl WatchId {
    /// Reads what it is displayed as; `None` for anything else, which names no watch.
    pub fn parse(text: &str) -> Option<Self> {
        let (epoch, number) = text.split_once('-')?;
        Some(Self {
            epoch: Epoch(epoch.parse().ok()?),
            number: number.parse().ok()?,
        })
    }
}

/// What a drain came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drained {
    /// How many watchers it waited for.
    pub watchers: usize,
    /// The watches that had not acknowledged when the time was up, by number.
    pub late: Vec<u64>,
}

/// Keeps a watch open until it is dropped.
#[derive(Debug)]
pub struct Guard {
    watches: Arc<Watches>,
    id: WatchId,
}

impl Guard {
    /// What names the watch.
    pub fn id(&self) -> WatchId {
        self.id
    }

    /// Notes what the watch covers from now on.
    pub fn set_scope(&self, scope: &Scope) {
        if let Some(watch) = self.watches.lock().watches.get_mut(&self.id.number) {
            watch.scope = scope.clone();
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.watches.lock().watches.remove(&self.id.number);
        self.watches.progress.notify_waiters();
    }
}

impl Watches {
    /// Opens a watch. A watcher that says that it acknowledges is waited for from now on, another one once it has.
    ///
    /// # Errors
    /// [`Error::TooManyWatchers`].
    pub fn open(self: &Arc<Self>, epoch: Epoch, scope: Scope, acknowledges: bool) -> Result<Guard, Error> {
        let mut open = self.lock();
        if open.watches.len() >= WATCHERS_MAX {
            return Err(Error::TooManyWatchers);
        }
        open.last_id += 1;
        let id = WatchId {
            epoch,
            number: open.last_id,
        };
        let watch = Watch {
            scope,
            acknowledged: acknowledges.then_some(Revision::default()),
        };
        open.watches.insert(id.number, watch);
        drop(open);
        Ok(Guard {
            watches: self.clone(),
            id,
        })
    }

    /// Notes that a watcher has applied a revision of the catalog, which is at `current`.
    ///
    /// # Errors
    /// [`Error::WatchNotFound`]; a revision that the catalog does not have yet.
    pub fn acknowledge(&self, id: WatchId, revision: Revision, current: (Epoch, Revision)) -> Result<(), Error> {
        let (epoch, newest) = current;
        if id.epoch == epoch && revision > newest {
            return Err(InvalidField::new("revision", "must be one that the watch was told").into());
        }
        let mut open = self.lock();
        let watch = open.watches.get_mut(&id.number).filter(|_| id.epoch == epoch);
        let watch = watch.ok_or_else(|| Error::WatchNotFound(id.to_string()))?;
        watch.acknowledged = watch.acknowledged.max(Some(revision));
        drop(open);
        self.progress.notify_waiters();
        Ok(())
    }

    /// Waits until every watcher of a service that acknowledges revisions has acknowledged this one, or is gone.
    /// Cancel safe.
    pub async fn applied(&self, service: &ServiceName, revision: Revision, patience: Duration) -> Drained {
        let watchers = self.acknowledging(service).len();
        let all = async {
            loop {
                // Asked for before looking, so that nothing that happens in between is missed.
                let progress = self.progress.notified();
                if self.late(service, revision).is_empty() {
                    return;
                }
                progress.await;
            }
        };
        let late = match timeout(patience, all).await {
            Ok(()) => Vec::new(),
            Err(_) => self.late(service, revision),
        };
        Drained { watchers, late }
    }

    fn late(&self, service: &ServiceName, revision: Revision) -> Vec<u64> {
        let acknowledging = self.acknowledging(service).into_iter();
        let mut late: Vec<_> = acknowledging
            .filter(|(_, at)| *at < revision)
            .map(|(id, _)| id)
            .collect();
        late.sort_unstable();
        late
    }

    fn acknowledging(&self, service: &ServiceName) -> Vec<(u64, Revision)> {
        let open = self.lock();
        let covering = open.watches.iter().filter(|(_, watch)| watch.scope.covers(service));
        covering
            .filter_map(|(id, watch)| Some((*id, watch.acknowledged?)))
            .collect()
    }

    /// A panic elsewhere cannot leave the map in a bad state.
    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
