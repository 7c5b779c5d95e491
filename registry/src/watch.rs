//! Who watches what, and how far each has come: tells every change to those who asked, and knows who has applied it.
//!
//! Each view that is watched has one feed, which every message is encoded in once. A watcher has a position in its feed
//! and no queue: what it has not read yet is merged when it reads, so a slow one holds up nobody, and costs no more than
//! pointers to the instances of its view.

mod batch;
mod feed;
mod feeds;
mod frame;
mod propagation;
mod scope;
mod seats;
mod watcher;

use std::{
    collections::{HashMap, HashSet},
    fmt,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::{Duration, SystemTime},
};

use homeroom::model::{InvalidField, Revision, ServiceName};
use tokio::{sync::Notify, time::timeout};

use self::feed::Feed;
pub use self::{
    batch::{Batch, Position},
    feeds::{Feeds, Woken},
    scope::{Scope, Selection},
    watcher::{Request, Watcher},
};
use crate::{config::Limits, error::Error};

/// The open watches, and how far each has come. One that does not read takes eight bytes an instance of its view besides
/// what it is itself, and the one message that the transport holds for it.
#[derive(Debug)]
pub struct Watches {
    /// How many may be open.
    limit: usize,
    /// When this registry began, in microseconds: tells its watches from those of an earlier one.
    start: u64,
    /// Never held while something is awaited. A feed may be locked under it, never the other way round.
    open: Mutex<Open>,
    propagated: OnceLock<Observer>,
}

/// Is told how long a change took from its commit to the last watcher of a view that acknowledged it.
struct Observer(Box<dyn Fn(Duration) + Send + Sync>);

impl fmt::Debug for Observer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Observer")
    }
}

#[derive(Debug, Default)]
struct Open {
    last_number: u64,
    watches: HashMap<u64, Watch>,
    drains: HashMap<u64, Drain>,
    last_drain: u64,
}

#[derive(Debug)]
struct Watch {
    selection: Arc<Selection>,
    /// The last position that it has acknowledged; `None` for a watcher that never does.
    acknowledged: Option<Position>,
    /// Where the propagation of changes to it is measured, and the revision after which it counts.
    measured: Option<(Arc<Feed>, Revision)>,
    feed: Option<Arc<Feed>>,
}

/// Somebody waits until watchers have come to a position.
#[derive(Debug)]
struct Drain {
    service: ServiceName,
    position: Position,
    /// The numbers of the watches that have not.
    waiting: HashSet<u64>,
    /// Told when none is left.
    done: Arc<Notify>,
}

/// Names a watch, also from those of an earlier registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct WatchId {
    /// When the registry began.
    pub start: u64,
    /// The number of the watch.
    pub number: u64,
}

impl fmt::Display for WatchId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.start, self.number)
    }
}

impl WatchId {
    /// Reads what it is displayed as; `None` for anything else, which names no watch.
    pub fn parse(text: &str) -> Option<Self> {
        let (start, number) = text.split_once('-')?;
        Some(Self {
            start: start.parse().ok()?,
            number: number.parse().ok()?,
        })
    }
}

/// What a drain came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drained {
    /// How many watchers it waited for.
    pub watchers: usize,
    /// The watches that had not acknowledged when the time was up.
    pub late: Vec<WatchId>,
}

/// Keeps a watch open until it is dropped.
#[derive(Debug)]
pub struct Guard {
    watches: Arc<Watches>,
    number: u64,
}

impl Guard {
    /// What names the watch.
    pub fn id(&self) -> WatchId {
        self.watches.id(self.number)
    }

    /// Notes which feed the watcher is told by from now on. It starts over there, so it is waited for only where it
    /// covers a service as before.
    fn follow(&self, feed: &Arc<Feed>) {
        let mut open = self.watches.lock();
        if let Some(watch) = open.watches.get_mut(&self.number) {
            watch.follow(feed);
        }
        open.settle(self.number, |drain| !feed.selection.covers(&drain.service));
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let mut open = self.watches.lock();
        if let Some(mut watch) = open.watches.remove(&self.number) {
            watch.stop_measuring();
        }
        open.settle(self.number, |_| true);
    }
}

/// How many watches are open.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WatchCounts {
    /// All of them.
    pub open: usize,
    /// Those that acknowledge revisions.
    pub acknowledging: usize,
}

impl Default for Watches {
    fn default() -> Self {
        Self::new(Limits::default().watchers, SystemTime::now())
    }
}

impl Watches {
    /// No watches yet, and at most this many, of a registry that begins now.
    pub fn new(limit: usize, now: SystemTime) -> Self {
        let micros = now
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default()
            .as_micros();
        Self {
            limit,
            start: u64::try_from(micros).unwrap_or(u64::MAX),
            open: Mutex::default(),
            propagated: OnceLock::new(),
        }
    }

    /// Has told how long each change takes from its commit to the last watcher of a view that acknowledges it. Only the
    /// first observer is told.
    pub fn observe_propagation(&self, observer: impl Fn(Duration) + Send + Sync + 'static) {
        // Another one is there already.
        let _ = self.propagated.set(Observer(Box::new(observer)));
    }

    /// How many watches are open.
    pub fn counts(&self) -> WatchCounts {
        let open = self.lock();
        let acknowledging = |watch: &&Watch| watch.acknowledged.is_some();
        WatchCounts {
            open: open.watches.len(),
            acknowledging: open.watches.values().filter(acknowledging).count(),
        }
    }

    /// Opens a watch. A watcher that says that it acknowledges is waited for from now on, another one once it has.
    ///
    /// # Errors
    /// [`Error::TooManyWatchers`].
    pub fn open(self: &Arc<Self>, scope: &Scope, acknowledges: bool) -> Result<Guard, Error> {
        let mut open = self.lock();
        if open.watches.len() >= self.limit {
            return Err(Error::TooManyWatchers { limit: self.limit });
        }
        open.last_number += 1;
        let number = open.last_number;
        let watch = Watch {
            selection: scope.selection().clone(),
            acknowledged: acknowledges.then(Position::default),
            measured: None,
            feed: None,
        };
        open.watches.insert(number, watch);
        drop(open);
        Ok(Guard {
            watches: self.clone(),
            number,
        })
    }

    /// Notes that a watcher has applied a revision of the catalog, which is at `current`.
    ///
    /// # Errors
    /// [`Error::WatchNotFound`]; a revision that the catalog does not have yet.
    pub fn acknowledge(&self, id: WatchId, revision: Revision, current: Position) -> Result<(), Error> {
        let (newest, epoch) = current;
        if id.start == self.start && revision > newest {
            return Err(InvalidField::new("revision", "must be one that the watch was told").into());
        }
        let mut open = self.lock();
        let watch = open.watches.get_mut(&id.number).filter(|_| id.start == self.start);
        let watch = watch.ok_or_else(|| Error::WatchNotFound(id.to_string()))?;
        let is_first = watch.acknowledged.is_none();
        // A revision of another epoch says nothing of this one.
        let before = watch.acknowledged.filter(|(_, of)| *of == epoch);
        let position = (before.map_or(revision, |(before, _)| before.max(revision)), epoch);
        watch.acknowledged = Some(position);
        let took = watch.measure(revision);
        let selection = watch.selection.clone();
        if is_first {
            open.join_drains(id.number, &selection);
        }
        open.settle(id.number, |drain| is_at(position, drain.position));
        drop(open);
        if let Some(Observer(observe)) = self.propagated.get() {
            took.into_iter().for_each(observe);
        }
        Ok(())
    }

    /// Waits until every watcher of a service that acknowledges revisions has acknowledged this one, or is gone.
    /// Cancel safe.
    pub async fn applied(&self, service: &ServiceName, position: Position, patience: Duration) -> Drained {
        let done = Arc::new(Notify::new());
        let (watchers, drain) = self.lock().begin_drain(service, position, &done);
        // Forgets the drain, also when nobody waits for it any more.
        let drain = Draining { watches: self, drain };
        let _ = timeout(patience, done.notified()).await;
        let mut late: Vec<_> = drain.late().into_iter().map(|number| self.id(number)).collect();
        late.sort_unstable();
        Drained { watchers, late }
    }

    fn id(&self, number: u64) -> WatchId {
        WatchId {
            start: self.start,
            number,
        }
    }

    /// A panic elsewhere cannot leave the map in a bad state.
    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watch {
    fn follow(&mut self, feed: &Arc<Feed>) {
        self.stop_measuring();
        self.selection = feed.selection.clone();
        self.feed = Some(feed.clone());
        if self.acknowledged.is_some() {
            self.start_measuring();
        }
    }

    /// Counts a revision that was acknowledged. Returns how long the changes took that it was the last to acknowledge.
    fn measure(&mut self, revision: Revision) -> Vec<Duration> {
        let Some((feed, counts_after)) = &mut self.measured else {
            self.start_measuring();
            return Vec::new();
        };
        if revision <= *counts_after {
            return Vec::new();
        }
        feed.acknowledged(std::mem::replace(counts_after, revision), revision)
    }

    fn start_measuring(&mut self) {
        let feed = self.feed.clone();
        self.measured = feed.map(|feed| (feed.clone(), feed.join_acknowledging()));
    }

    fn stop_measuring(&mut self) {
        if let Some((feed, counts_after)) = self.measured.take() {
            feed.leave_acknowledging(counts_after);
        }
    }
}

/// Whether a watcher that has acknowledged a position has seen another one.
fn is_at((revision, epoch): Position, wanted: Position) -> bool {
    epoch == wanted.1 && revision >= wanted.0
}

impl Open {
    fn begin_drain(&mut self, service: &ServiceName, position: Position, done: &Arc<Notify>) -> (usize, u64) {
        let covering = self.watches.iter().filter(|(_, watch)| watch.selection.covers(service));
        let at: Vec<_> = covering
            .filter_map(|(n, watch)| Some((*n, watch.acknowledged?)))
            .collect();
        let late = at.iter().filter(|(_, acknowledged)| !is_at(*acknowledged, position));
        let drain = Drain {
            service: service.clone(),
            position,
            waiting: late.map(|(number, _)| *number).collect(),
            done: done.clone(),
        };
        drain.tell();
        self.last_drain += 1;
        self.drains.insert(self.last_drain, drain);
        (at.len(), self.last_drain)
    }

    /// Who acknowledges for the first time is waited for from then on.
    fn join_drains(&mut self, number: u64, selection: &Selection) {
        let covered = self
            .drains
            .values_mut()
            .filter(|drain| selection.covers(&drain.service));
        covered.for_each(|drain| {
            drain.waiting.insert(number);
        });
    }

    /// Those drains need not wait for a watch any longer.
    fn settle(&mut self, number: u64, is_settled: impl Fn(&Drain) -> bool) {
        for drain in self.drains.values_mut().filter(|drain| is_settled(drain)) {
            if drain.waiting.remove(&number) {
                drain.tell();
            }
        }
    }
}

impl Drain {
    fn tell(&self) {
        if self.waiting.is_empty() {
            self.done.notify_one();
        }
    }
}

/// A drain for as long as it is waited for.
struct Draining<'w> {
    watches: &'w Watches,
    drain: u64,
}

impl Draining<'_> {
    fn late(&self) -> HashSet<u64> {
        let open = self.watches.lock();
        open.drains
            .get(&self.drain)
            .map(|drain| drain.waiting.clone())
            .unwrap_or_default()
    }
}

impl Drop for Draining<'_> {
    fn drop(&mut self) {
        self.watches.lock().drains.remove(&self.drain);
    }
}

#[cfg(test)]
pub(crate) mod tests;

#[cfg(test)]
mod properties;
