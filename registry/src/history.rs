//! The changes that are still held, so that a watcher can be given only what it missed. Pure.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use homeroom::model::{Change, Revision};

/// How much the changes may take: as many as are held by default changes of usual instances fit, and fewer of such with much metadata.
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
    /// An empty history that holds `max` changes of about `bytes_max` bytes; older ones are compacted.
    pub fn new(max: usize, bytes_max: usize) -> Self {
        Self {
            changes: VecDeque::new(),
            size_bytes: 0,
            max,
            bytes_max,
            age_max: Duration::MAX,
            newest: Revision::default(),
        }
    }

    /// The same history, which compacts changes that are older than this. The clock is that of the changes: the last
    /// ones stay for as long as nothing follows them.
    #[must_use]
    pub fn aging(mut self, age_max: Duration) -> Self {
        self.age_max = age_max;
        self
    }

    /// Adds the next change.
    ///
    /// # Panics
    /// When a revision was left out.
    pub fn push(&mut self, change: Arc<Change>) {
        assert_eq!(change.revision, self.newest.next(), "revisions rise by one a change");
        self.newest = change.revision;
        self.size_bytes += size_bytes(&change);
        let now = change.time;
        self.changes.push_back(change);
        let aged = |oldest: &Change| now.duration_since(oldest.time).is_ok_and(|age| age > self.age_max);
        while self.changes.len() > self.max
            || self.size_bytes > self.bytes_max
            || self.changes.front().is_some_and(|oldest| aged(oldest))
        {
            let Some(oldest) = self.changes.pop_front() else {
                return;
            };
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

/// About how much memory a change keeps: its registration, unless the instance has it from before.
fn size_bytes(change: &Change) -> usize {
    let before = change.before.as_ref().map(|instance| &instance.registration);
    let after = change.after.as_ref().map(|instance| &instance.registration);
    let new = after.filter(|after| before.is_none_or(|before| !Arc::ptr_eq(before, after)));
    let pairs = new.into_iter().flat_map(|registration| &registration.metadata);
    let metadata: usize = pairs.map(|(key, value)| key.len() + value.len()).sum();
    CHANGE_BYTES + change.detail.len() + metadata
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use homeroom::model::Cause;

    use super::*;

    fn history(max: usize, changes: u64) -> History {
        let mut history = History::new(max, usize::MAX);
        for revision in 1..=changes {
            history.push(Arc::new(Change {
                revision: Revision(revision),
                time: SystemTime::UNIX_EPOCH,
                cause: Cause::Registered,
                detail: String::new(),
                actor: "test".into(),
                before: None,
                after: None,
            }));
        }
        history
    }

    #[test]
    fn changes_are_compacted_by_their_age_when_newer_ones_come() {
        let mut history = history(10, 3).aging(Duration::from_secs(60));
        assert_eq!((history.len(), history.start()), (3, Revision(0)));
        let next = |revision, age| Change {
            revision: Revision(revision),
            time: SystemTime::UNIX_EPOCH + Duration::from_secs(age),
            ..(*history.changes[0]).clone()
        };
        let (within, beyond) = (next(4, 60), next(5, 61));
        history.push(Arc::new(within));
        assert_eq!(history.len(), 4);
        history.push(Arc::new(beyond));
        assert_eq!((since(&history, 3), history.start()), (Some(vec![4, 5]), Revision(3)));
        assert_eq!(History::new(1, 1).start(), Revision(0), "of an empty one");
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
    fn compacted_and_foreign_revisions_are_not_resumed() {
        let history = history(3, 5);
        assert_eq!(since(&history, 2), Some(vec![3, 4, 5]));
        assert_eq!(since(&history, 1), None, "revision 2 is compacted");
        assert_eq!(since(&history, 6), None, "nobody was told of revision 6");
    }
}
