//! One view as all its watchers share it: where it is, the last changes that led there, and what was made of them.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::Waker,
    time::Duration,
};

use homeroom::model::{Change, Instance, Revision};
use tokio::time::Instant;

use super::{
    Scope, Selection,
    batch::{Batch, Position},
    frame::{AGE_MAX, Told},
    propagation::Propagation,
    seats::Seats,
};
use crate::store::State;

/// How many changes a feed holds, each as a pointer. A watcher that is further behind is served from the history.
const LOG_MAX: usize = 1_024;
/// How many different messages are kept for watchers at different revisions. Beyond, one is made for each.
const READY_MAX: usize = 32;

/// One view. Whoever holds the store's state may lock it, never the other way round.
#[derive(Debug)]
pub(super) struct Feed {
    pub(super) selection: Arc<Selection>,
    /// Held for as long as it takes to note a change or to make one message.
    state: Mutex<FeedState>,
}

#[derive(Debug)]
struct FeedState {
    /// Where the view is: at the last change that concerned it, or where the feed began.
    position: Position,
    view_hash: u64,
    /// The changes that concern the view, oldest first.
    log: VecDeque<Arc<Change>>,
    /// The log has all changes after this revision.
    compacted: Revision,
    /// What has been made since the last change.
    ready: Vec<Ready>,
    seats: Seats,
    propagation: Propagation,
    closed: bool,
}

/// A message that is kept.
#[derive(Debug)]
struct Ready {
    kind: Kind,
    told: Told,
    position: Position,
    made_at: Instant,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Snapshot,
    /// It begins with the change of this revision.
    Patch(Revision),
    Heartbeat,
}

/// What a watcher finds in its feed.
#[derive(Debug)]
pub(super) enum News {
    /// Nothing: it will be woken.
    None,
    /// Something to be told, and where its view is then.
    Message(Told, Position),
    /// The feed does not know what the watcher has missed: the history may.
    Behind,
    /// What it watches has changed: it has to look it up.
    Moved,
    /// The registry is stopping.
    Closed,
}

impl Feed {
    /// A feed that begins at the state.
    pub(super) fn new(selection: Arc<Selection>, state: &State) -> Self {
        let (revision, epoch) = (state.catalog.revision(), state.catalog.epoch());
        let view_hash = selection.view_hash(&state.catalog);
        Self {
            selection,
            state: Mutex::new(FeedState {
                position: (revision, epoch),
                view_hash,
                log: VecDeque::new(),
                compacted: revision,
                ready: Vec::new(),
                seats: Seats::default(),
                propagation: Propagation::default(),
                closed: false,
            }),
        }
    }

    /// Begins again at the state, which is of another epoch.
    pub(super) fn restart(&self, state: &State, woken: &mut Vec<Waker>) {
        let mut feed = self.lock();
        feed.position = (state.catalog.revision(), state.catalog.epoch());
        feed.view_hash = self.selection.view_hash(&state.catalog);
        feed.log.clear();
        feed.compacted = state.catalog.revision();
        feed.ready.clear();
        feed.propagation.clear();
        feed.seats.take_waiting(woken);
    }

    /// Notes the next change, if it concerns the view, and takes the wakers of those who wait for one.
    pub(super) fn push(&self, change: &Arc<Change>, woken: &mut Vec<Waker>) {
        let shown = |instance: &Option<Arc<Instance>>| {
            let shown = instance.as_ref().filter(|instance| self.selection.shows(instance));
            shown.map(|instance| instance.view_hash())
        };
        let (before, after) = (shown(&change.before), shown(&change.after));
        if before.is_none() && after.is_none() {
            return;
        }
        let mut feed = self.lock();
        feed.view_hash = feed
            .view_hash
            .wrapping_sub(before.unwrap_or_default())
            .wrapping_add(after.unwrap_or_default());
        feed.position.0 = change.revision;
        feed.log.push_back(change.clone());
        if feed.log.len() > LOG_MAX
            && let Some(oldest) = feed.log.pop_front()
        {
            feed.compacted = oldest.revision;
        }
        feed.ready.clear();
        feed.propagation.made(change.revision, Instant::now());
        feed.seats.take_waiting(woken);
    }

    /// Ends it for all watchers.
    pub(super) fn close(&self, woken: &mut Vec<Waker>) {
        let mut feed = self.lock();
        feed.closed = true;
        feed.seats.take_waiting(woken);
    }

    pub(super) fn take_seat(&self) -> usize {
        self.lock().seats.take()
    }

    /// Frees a seat. Returns whether it was the last one.
    pub(super) fn leave(&self, seat: usize) -> bool {
        let mut feed = self.lock();
        feed.seats.leave(seat);
        feed.seats.is_empty()
    }

    /// A watcher acknowledges from now on. Returns the revision after which it counts.
    pub(super) fn join_acknowledging(&self) -> Revision {
        let mut feed = self.lock();
        feed.propagation.join();
        feed.position.0
    }

    /// A watcher that counted for the changes after a revision acknowledges no more.
    pub(super) fn leave_acknowledging(&self, after: Revision) {
        self.lock().propagation.leave(after);
    }

    /// A watcher that counted for the changes after a revision has acknowledged another one. Returns how long those took
    /// that it was the last for.
    pub(super) fn acknowledged(&self, after: Revision, until: Revision) -> Vec<Duration> {
        self.lock().propagation.acknowledged(after, until, Instant::now())
    }

    /// Tells one watcher to look up again what it watches.
    pub(super) fn move_away(&self, seat: usize, woken: &mut Vec<Waker>) {
        self.lock().seats.move_away(seat, woken);
    }

    /// What a watcher at a position has to be told; it is woken later when that is nothing.
    pub(super) fn news(&self, seat: usize, (revision, epoch): Position, waker: &Waker) -> News {
        let mut feed = self.lock();
        if feed.closed {
            return News::Closed;
        }
        if feed.seats.take_moved(seat) {
            return News::Moved;
        }
        if epoch != feed.position.1 || revision < feed.compacted {
            return News::Behind;
        }
        if revision >= feed.position.0 {
            feed.seats.wait(seat, waker);
            return News::None;
        }
        let start = feed.log.partition_point(|change| change.revision <= revision);
        let first = feed.log[start].revision;
        let (told, position) = feed.ready(Kind::Patch(first), |feed| {
            Batch::patch(&self.selection, feed.log.range(start..), feed.position, feed.view_hash)
        });
        News::Message(told, position)
    }

    /// The whole view, for one that was at a position: it is not brought back behind that.
    pub(super) fn snapshot(&self, state: &State, position: Option<Position>) -> (Told, Position) {
        let mut feed = self.lock();
        let is_behind = |kept: Position| position.is_some_and(|held| held.1 == kept.1 && held.0 > kept.0);
        feed.ready
            .retain(|ready| ready.kind != Kind::Snapshot || !is_behind(ready.position));
        feed.ready(Kind::Snapshot, |feed| {
            Batch::snapshot(&self.selection, state, feed.view_hash)
        })
    }

    /// What a view misses, as far as the history knows; `None` when it does not, or when the scope itself has changed since.
    pub(super) fn missed(&self, scope: &Scope, state: &State, (revision, epoch): Position) -> Option<(Told, Position)> {
        if epoch != state.catalog.epoch() {
            return None;
        }
        let missed = state.history.since(revision)?;
        if scope.follows().is_some()
            && state
                .history
                .since(revision)?
                .any(|change| scope.depends_on(change.key()))
        {
            return None;
        }
        let position = (state.catalog.revision(), epoch);
        let view_hash = self.lock().view_hash;
        Some((
            Batch::patch(&self.selection, missed, position, view_hash).into(),
            position,
        ))
    }

    /// A sign of life for a view at a position; `None` when there is news by now.
    pub(super) fn heartbeat(&self, state: &State, (revision, epoch): Position) -> Option<(Told, Position)> {
        let mut feed = self.lock();
        if epoch != feed.position.1 || revision < feed.position.0 {
            return None;
        }
        let position = (state.catalog.revision(), epoch);
        // The one that is kept may be of an earlier revision than what this watcher was told.
        feed.ready
            .retain(|ready| ready.kind != Kind::Heartbeat || ready.position == position);
        Some(feed.ready(Kind::Heartbeat, |feed| Batch::heartbeat(position, feed.view_hash)))
    }

    /// A panic elsewhere cannot leave the state half changed.
    fn lock(&self) -> MutexGuard<'_, FeedState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl FeedState {
    /// The message that is kept, or a new one.
    fn ready(&mut self, kind: Kind, make: impl FnOnce(&Self) -> Batch) -> (Told, Position) {
        let now = Instant::now();
        self.ready.retain(|ready| now - ready.made_at < AGE_MAX);
        if let Some(ready) = self.ready.iter().find(|ready| ready.kind == kind) {
            return (ready.told.clone(), ready.position);
        }
        let batch = make(self);
        let position = batch.position;
        let told = Told::from(batch);
        if self.ready.len() < READY_MAX {
            self.ready.push(Ready {
                kind,
                told: told.clone(),
                position,
                made_at: now,
            });
        }
        (told, position)
    }
}
