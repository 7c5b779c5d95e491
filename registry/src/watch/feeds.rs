//! The views that somebody watches: a feed each, there from its first watcher to its last.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::Waker,
};

use homeroom::model::{Change, Epoch, InstanceKey, ServiceName};

use super::{
    Scope, Selection,
    batch::Position,
    feed::{Feed, News},
    frame::Told,
};
use crate::store::State;

/// The feeds. Locks are taken in this order: the store's state, this map, a feed.
#[derive(Debug, Default)]
pub struct Feeds {
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    feeds: HashMap<Arc<Selection>, Arc<Feed>>,
    /// Those of them that show all services.
    of_all: Vec<Arc<Feed>>,
    /// The others, by the services that they show.
    by_service: HashMap<ServiceName, Vec<Arc<Feed>>>,
    /// The seats of watchers that follow an instance.
    followers: HashMap<InstanceKey, Vec<(Arc<Feed>, usize)>>,
    epoch: Option<Epoch>,
    closed: bool,
}

/// Watchers that have news. To be woken when no lock is held.
#[derive(Debug)]
#[must_use = "they would sleep through the news"]
pub struct Woken(Vec<Waker>);

impl Woken {
    /// Wakes them.
    pub fn wake(self) {
        self.0.into_iter().for_each(Waker::wake);
    }
}

impl Feeds {
    /// Puts changes before those whom they concern. `state` has them already, and is locked, so that changes come in
    /// order. An epoch that is another than the last one makes every watcher start over.
    pub fn publish(&self, state: &State, changes: &[Arc<Change>]) -> Woken {
        let mut woken = Vec::new();
        let mut open = self.lock();
        let epoch = Some(state.catalog.epoch());
        if std::mem::replace(&mut open.epoch, epoch) != epoch {
            open.restart(state, &mut woken);
        } else {
            for change in changes {
                open.push(change, &mut woken);
            }
        }
        Woken(woken)
    }

    /// Ends all streams, and those to come.
    pub fn close(&self) {
        let mut woken = Vec::new();
        let mut open = self.lock();
        open.closed = true;
        open.feeds.values().for_each(|feed| feed.close(&mut woken));
        drop(open);
        Woken(woken).wake();
    }

    /// How many different views are watched.
    pub fn len(&self) -> usize {
        self.lock().feeds.len()
    }

    /// Whether nothing is watched.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A watcher's place in the feed of what its scope shows now.
    pub(super) fn take_seat(self: &Arc<Self>, scope: Scope, state: &State) -> Seat {
        let mut open = self.lock();
        open.epoch.get_or_insert(state.catalog.epoch());
        let feed = match open.feeds.get(scope.selection()) {
            Some(feed) => feed.clone(),
            None => open.add(scope.selection(), state),
        };
        let number = feed.take_seat();
        if let Some(instance) = scope.follows() {
            let followers = open.followers.entry(instance.clone()).or_default();
            followers.push((feed.clone(), number));
        }
        drop(open);
        Seat {
            feeds: self.clone(),
            feed,
            number,
            scope,
        }
    }

    /// A panic elsewhere cannot leave the map in a bad state.
    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Open {
    fn push(&self, change: &Arc<Change>, woken: &mut Vec<Waker>) {
        let key = change.key();
        let by_service = self.by_service.get(&key.service).into_iter().flatten();
        for feed in self.of_all.iter().chain(by_service) {
            feed.push(change, woken);
        }
        let Some(followers) = self.followers.get(key) else {
            return;
        };
        let required = |instance: &Option<Arc<homeroom::model::Instance>>| {
            instance.as_ref().map(|instance| instance.registration.clone())
        };
        let (before, after) = (required(&change.before), required(&change.after));
        if before.map(|before| before.required_services.clone()) != after.map(|after| after.required_services.clone()) {
            followers.iter().for_each(|(feed, seat)| feed.move_away(*seat, woken));
        }
    }

    fn restart(&self, state: &State, woken: &mut Vec<Waker>) {
        self.feeds.values().for_each(|feed| feed.restart(state, woken));
        let followers = self.followers.values().flatten();
        followers.for_each(|(feed, seat)| feed.move_away(*seat, woken));
    }

    fn add(&mut self, selection: &Arc<Selection>, state: &State) -> Arc<Feed> {
        let feed = Arc::new(Feed::new(selection.clone(), state));
        if self.closed {
            feed.close(&mut Vec::new());
        }
        match selection.services() {
            None => self.of_all.push(feed.clone()),
            Some(services) => {
                for service in services {
                    self.by_service.entry(service.clone()).or_default().push(feed.clone());
                }
            }
        }
        self.feeds.insert(selection.clone(), feed.clone());
        feed
    }

    fn remove(&mut self, feed: &Arc<Feed>) {
        self.feeds.remove(&feed.selection);
        let is_other = |other: &Arc<Feed>| !Arc::ptr_eq(other, feed);
        let Some(services) = feed.selection.services() else {
            return self.of_all.retain(is_other);
        };
        for service in services {
            if let Some(feeds) = self.by_service.get_mut(service) {
                feeds.retain(is_other);
                if feeds.is_empty() {
                    self.by_service.remove(service);
                }
            }
        }
    }
}

/// A watcher's place in a feed. The feed goes with its last one.
#[derive(Debug)]
pub(super) struct Seat {
    feeds: Arc<Feeds>,
    feed: Arc<Feed>,
    number: usize,
    scope: Scope,
}

impl Seat {
    pub(super) fn scope(&self) -> &Scope {
        &self.scope
    }

    pub(super) fn feed(&self) -> &Arc<Feed> {
        &self.feed
    }

    /// What the watcher has to be told; it is woken later when that is nothing.
    pub(super) fn news(&self, position: Position, waker: &Waker) -> News {
        self.feed.news(self.number, position, waker)
    }

    /// What a view misses that is at a position: as the history has it, otherwise the whole view.
    pub(super) fn missed(&self, state: &State, position: Option<Position>) -> (Told, Position) {
        let missed = position.and_then(|position| self.feed.missed(&self.scope, state, position));
        missed.unwrap_or_else(|| self.feed.snapshot(state, position))
    }

    /// A sign of life for a view at a position; `None` when there is news by now.
    pub(super) fn heartbeat(&self, state: &State, position: Position) -> Option<(Told, Position)> {
        self.feed.heartbeat(state, position)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut open = self.feeds.lock();
        if let Some(instance) = self.scope.follows()
            && let Some(followers) = open.followers.get_mut(instance)
        {
            followers.retain(|(feed, number)| !Arc::ptr_eq(feed, &self.feed) || *number != self.number);
            if followers.is_empty() {
                open.followers.remove(instance);
            }
        }
        if self.feed.leave(self.number) {
            open.remove(&self.feed);
        }
    }
}
