//! How long a change takes to the last of the watchers that acknowledge. Pure.

use std::{collections::VecDeque, time::Duration};

use homeroom::model::Revision;
use tokio::time::Instant;

/// How many changes are followed: those that watchers are slower with than that are not measured.
const CHANGES_MAX: usize = 1_024;

/// The changes of one view that some watcher has not acknowledged yet.
#[derive(Debug, Default)]
pub(super) struct Propagation {
    /// Watchers that acknowledge.
    watchers: usize,
    /// In order.
    changes: VecDeque<Underway>,
}

#[derive(Debug)]
struct Underway {
    revision: Revision,
    since: Instant,
    /// How many of those who acknowledged when it was made have not.
    watchers: usize,
}

impl Propagation {
    /// Another watcher acknowledges: it counts for the changes to come.
    pub(super) fn join(&mut self) {
        self.watchers += 1;
    }

    /// A watcher has gone that counted for the changes after a revision.
    pub(super) fn leave(&mut self, after: Revision) {
        self.watchers -= 1;
        self.settle(after, Revision(u64::MAX));
        // Nobody knows when those who stay had acknowledged them.
        while self.changes.front().is_some_and(|change| change.watchers == 0) {
            self.changes.pop_front();
        }
    }

    /// A change was made.
    pub(super) fn made(&mut self, revision: Revision, now: Instant) {
        if self.watchers == 0 {
            return;
        }
        if self.changes.len() == CHANGES_MAX {
            self.changes.pop_front();
        }
        self.changes.push_back(Underway {
            revision,
            since: now,
            watchers: self.watchers,
        });
    }

    /// A watcher that counted for the changes after a revision has acknowledged another one. Returns how long those took
    /// that it was the last for.
    pub(super) fn acknowledged(&mut self, after: Revision, until: Revision, now: Instant) -> Vec<Duration> {
        self.settle(after, until);
        let mut took = Vec::new();
        // Who has acknowledged a change has acknowledged all before it.
        while let Some(change) = self.changes.pop_front_if(|change| change.watchers == 0) {
            took.push(now - change.since);
        }
        took
    }

    /// Another epoch begins: what was under way is not told as such.
    pub(super) fn clear(&mut self) {
        self.changes.clear();
    }

    fn settle(&mut self, after: Revision, until: Revision) {
        let start = self.changes.partition_point(|change| change.revision <= after);
        let settled = self.changes.iter_mut().skip(start);
        settled
            .take_while(|change| change.revision <= until)
            .for_each(|change| change.watchers -= 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn millis(took: Vec<Duration>) -> Vec<u128> {
        took.iter().map(Duration::as_millis).collect()
    }

    #[test]
    fn a_change_takes_until_the_last_watcher_has_acknowledged_it() {
        let (mut propagation, start) = (Propagation::default(), Instant::now());
        let at = |millis| start + Duration::from_millis(millis);
        propagation.made(Revision(1), at(0));
        propagation.join();
        propagation.join();
        propagation.made(Revision(2), at(10));
        propagation.made(Revision(4), at(20));
        let early = propagation.acknowledged(Revision(1), Revision(3), at(30));
        assert!(early.is_empty(), "the other one has not");
        let both = propagation.acknowledged(Revision(1), Revision(4), at(40));
        assert_eq!(millis(both), [30], "revision 2, which both have");
        propagation.join();
        let last = propagation.acknowledged(Revision(3), Revision(5), at(50));
        assert_eq!(millis(last), [30], "who came later is not waited for");
    }

    #[test]
    fn who_goes_is_not_waited_for() {
        let (mut propagation, now) = (Propagation::default(), Instant::now());
        propagation.join();
        propagation.join();
        propagation.made(Revision(1), now);
        propagation.made(Revision(2), now);
        assert!(propagation.acknowledged(Revision(0), Revision(1), now).is_empty());
        propagation.leave(Revision(0));
        assert!(propagation.changes.iter().map(|change| change.revision.0).eq([2]));
        assert_eq!(propagation.acknowledged(Revision(1), Revision(2), now).len(), 1);
        propagation.leave(Revision(2));
        propagation.made(Revision(3), now);
        assert!(propagation.changes.is_empty(), "nobody acknowledges");
    }

    #[test]
    fn what_is_followed_is_bounded() {
        let (mut propagation, now) = (Propagation::default(), Instant::now());
        propagation.join();
        (1..=2 * CHANGES_MAX as u64).for_each(|revision| propagation.made(Revision(revision), now));
        assert_eq!(propagation.changes.len(), CHANGES_MAX);
        let all = Revision(2 * CHANGES_MAX as u64);
        assert_eq!(propagation.acknowledged(Revision(0), all, now).len(), CHANGES_MAX);
    }
}
