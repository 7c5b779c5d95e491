//! The changes that are still held, so that a watcher can be given only what it missed. Pure.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, SystemTime},
};

use homeroom::model::{Change, Revision};

/// How much they may take: as many changes of usual instances fit, and fewer of such with much metadata.
pub const CHANGES_BYTES_MAX: usize = 64 * 1024 * 1024;
/// What a change takes besides its texts.
const CHANGE_BYTES: usize = 512;

/// The last changes, in order and without gaps.
#[derive(Debug)]
pub struct History {
    changes: VecDeque<Arc<Change>>,
    size_bytes: usize,
    max: usize,
    bytes_max: usize,
    age_max: Duration,
    newest: Revision,
}

impl History {
    /// An empty history that holds `max` changes of about `bytes_max` bytes that are at most `age_max` old; others are
    /// compacted.
    pub fn new(max: usize, bytes_max: usize, age_max: Duration) -> Self {
        Self {
            changes: VecDeque::new(),
            size_bytes: 0,
            max,
            bytes_max,
            age_max,
            newest: Revision::default(),
        }
    }

    /// Forgets all changes: the next one is that after `newest`.
    pub fn start_after(&mut self, newest: Revision) {
        self.changes.clear();
        self.size_bytes = 0;
        self.newest = newest;
    }

    /// Forgets the changes after `newest`, which are to come again.
    ///
    /// # Panics
    /// When `newest` is yet to come.
    pub fn cut_after(&mut self, newest: Revision) {
        assert!(newest <= self.newest, "what is cut after has been");
        while self.changes.back().is_some_and(|change| change.revision > newest) {
            let change = self.changes.pop_back();
            self.size_bytes -= change.map_or(0, |change| size_bytes(&change));
        }
        self.newest = newest;
    }

    /// The revision of the oldest change that is held.
    pub fn oldest(&self) -> Option<Revision> {
        self.changes.front().map(|change| change.revision)
    }

    /// Adds the next change.
    ///
    /// # Panics
    /// When a revision was left out.
    pub fn push(&mut self, change: Arc<Change>) {
        assert_eq!(change.revision, self.newest.next(), "revisions rise by one a change");
        self.newest = change.revision;
        self.size_bytes += size_bytes(&change);
        self.changes.push_back(change);
        while self.changes.len() > self.max || self.size_bytes > self.bytes_max {
            self.compact_oldest();
        }
    }

    /// Compacts the changes that are too old by now.
    pub fn expire(&mut self, now: SystemTime) {
        let Some(oldest_allowed) = now.checked_sub(self.age_max) else {
            return;
        };
        while self.changes.front().is_some_and(|change| change.time < oldest_allowed) {
            self.compact_oldest();
        }
    }

    fn compact_oldest(&mut self) {
        if let Some(oldest) = self.changes.pop_front() {
            self.size_bytes -= size_bytes(&oldest);
        }
    }

    /// How many changes are held.
    pub fn len(&self) -> usize {
        self.changes.len()
    }

    /// Whether none is held.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// The revision before the oldest change that is held: [`History::since`] it are all of them.
    pub fn start(&self) -> Revision {
        let before = |oldest: &Arc<Change>| Revision(oldest.revision.0 - 1);
        self.changes.front().map_or(self.newest, before)
    }

    /// The changes after a revision, oldest first; `None` when some of them are compacted, or the revision is not of
    /// this history.
    pub fn since(&self, revision: Revision) -> Option<impl DoubleEndedIterator<Item = &Arc<Change>>> {
        let missed = usize::try_from(self.newest.0.checked_sub(revision.0)?).ok()?;
        let start = self.changes.len().checked_sub(missed)?;
        Some(self.changes.range(start..))
    }

    /// All changes that are held, newest first.
    pub fn newest_first(&self) -> impl Iterator<Item = &Arc<Change>> {
        self.changes.iter().rev()
    }
}

/// About how much memory a change keeps: what was found of the instance, and its registration, unless the instance has it
/// from before.
fn size_bytes(change: &Change) -> usize {
    let before = change.before.as_ref().map(|instance| &instance.registration);
    let after = change.after.as_ref().map(|instance| &instance.registration);
    let new = after.filter(|after| before.is_none_or(|before| !Arc::ptr_eq(before, after)));
    let found = change.after.as_ref().map_or(0, |after| after.health.detail.len());
    CHANGE_BYTES + found + new.map_or(0, |registration| registration.metadata.size_bytes())
}

#[cfg(test)]
mod tests {
    use homeroom::{
        model::{Cause, Instance},
        proto::registry::v1 as proto,
    };

    use super::*;

    fn history(max: usize, changes: u64) -> History {
        let mut history = History::new(max, usize::MAX, Duration::from_secs(10));
        for revision in 1..=changes {
            history.push(Arc::new(Change {
                revision: Revision(revision),
                time: SystemTime::UNIX_EPOCH + Duration::from_secs(revision),
                cause: Cause::Registered,
                actor: "test".into(),
                before: None,
                after: None,
            }));
        }
        history
    }

    fn since(history: &History, revision: u64) -> Option<Vec<u64>> {
        let changes = history.since(Revision(revision))?;
        Some(changes.map(|change| change.revision.0).collect())
    }

    #[test]
    fn what_was_missed_is_given_in_order() {
        let history = history(10, 5);
        assert_eq!(since(&history, 3), Some(vec![4, 5]));
        assert_eq!(since(&history, 5), Some(vec![]));
        assert_eq!(since(&history, 0), Some(vec![1, 2, 3, 4, 5]));
    }

    #[test]
    fn changes_are_compacted_by_their_bytes_too() {
        let mut all = history(10, 5);
        assert_eq!(all.size_bytes, 5 * CHANGE_BYTES);
        all.bytes_max = 3 * CHANGE_BYTES;
        let next = Change {
            revision: Revision(6),
            ..(*all.changes[0]).clone()
        };
        all.push(Arc::new(next));
        assert_eq!(since(&all, 3), Some(vec![4, 5, 6]));
        assert_eq!(since(&all, 2), None);
    }

    #[test]
    fn what_was_found_of_an_instance_counts() {
        let message = proto::Instance {
            service: "s".to_owned(),
            id: "a".to_owned(),
            address: "127.0.0.1:1".to_owned(),
            health: Some(proto::Health {
                detail: "x".repeat(1000),
                ..Default::default()
            }),
            ..Default::default()
        };
        let mut history = history(10, 1);
        let change = Change {
            revision: Revision(2),
            after: Some(Arc::new(Instance::try_from(message).expect("a valid instance"))),
            ..(*history.changes[0]).clone()
        };
        history.push(Arc::new(change));
        assert_eq!(history.size_bytes, 2 * CHANGE_BYTES + 1000);
    }

    #[test]
    fn changes_are_compacted_by_their_age_too() {
        let mut history = history(10, 5);
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        history.expire(at(11));
        assert_eq!(since(&history, 0), Some(vec![1, 2, 3, 4, 5]), "the oldest is 10 s old");
        history.expire(at(13));
        assert_eq!(since(&history, 2), Some(vec![3, 4, 5]));
        assert_eq!(since(&history, 1), None);
        history.expire(at(100));
        assert_eq!((history.oldest(), history.size_bytes), (None, 0));
        assert_eq!(since(&history, 5), Some(vec![]), "nothing was missed");
    }

    #[test]
    fn a_history_goes_on_after_a_revision() {
        let mut history = history(10, 5);
        let next = Change {
            revision: Revision(8),
            ..(*history.changes[0]).clone()
        };
        history.start_after(Revision(7));
        history.push(Arc::new(next.clone()));
        assert_eq!(since(&history, 7), Some(vec![8]));
        assert_eq!(since(&history, 5), None);
        history.cut_after(Revision(7));
        assert_eq!(since(&history, 7), Some(vec![]));
        history.push(Arc::new(next));
        assert_eq!(since(&history, 7), Some(vec![8]));
    }

    #[test]
    fn compacted_and_foreign_revisions_are_not_resumed() {
        let history = history(3, 5);
        assert_eq!(since(&history, 2), Some(vec![3, 4, 5]));
        assert_eq!(since(&history, 1), None, "revision 2 is compacted");
        assert_eq!(since(&history, 6), None, "nobody was told of revision 6");
    }
}
