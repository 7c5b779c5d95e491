//! Which changes are logged one by one.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use homeroom::model::Change;
use tokio::time::Instant;

/// How many changes are logged one by one in a second: more than people read. The history has all of them, and an entry of
/// the log takes more time and memory than a registration.
const CHANGES_MAX: u32 = 100;
const WINDOW: Duration = Duration::from_secs(1);

/// Logs changes, as long as they are not too many.
#[derive(Debug, Default)]
pub(crate) struct Telling {
    /// Locked for one look at a time.
    pace: Mutex<Pace>,
}

impl Telling {
    /// Logs each change by `tell`, or once that there are more than are logged.
    pub(crate) fn log(&self, changes: &[Arc<Change>], tell: impl Fn(&Change)) {
        for change in changes {
            let turn = self
                .pace
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .next(Instant::now());
            match turn {
                Turn::Tell => tell(change),
                Turn::TellOfMore => tracing::info!(
                    revision = change.revision.0,
                    "the catalog changes faster than is logged: the history has the next changes"
                ),
                Turn::Pass => {}
            }
        }
    }
}

/// How much was logged of late. Pure: the time is an argument.
#[derive(Debug, Default)]
struct Pace {
    began: Option<Instant>,
    changes: u32,
}

/// What is to be logged of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// The change.
    Tell,
    /// That there are more than are logged.
    TellOfMore,
    /// Nothing.
    Pass,
}

impl Pace {
    /// What is to be logged of the next change.
    fn next(&mut self, now: Instant) -> Turn {
        if self.began.is_none_or(|began| now - began >= WINDOW) {
            *self = Self {
                began: Some(now),
                changes: 0,
            };
        }
        self.changes = self.changes.saturating_add(1);
        match self.changes {
            ..=CHANGES_MAX => Turn::Tell,
            changes if changes == CHANGES_MAX + 1 => Turn::TellOfMore,
            _ => Turn::Pass,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_storm_of_changes_is_logged_up_to_a_limit_and_said_to_be_one() {
        let (mut pace, start) = (Pace::default(), Instant::now());
        for second in 0..2 {
            let now = start + WINDOW * second;
            assert!(
                (0..CHANGES_MAX).all(|_| pace.next(now) == Turn::Tell),
                "second {second}"
            );
            assert_eq!(pace.next(now), Turn::TellOfMore);
            assert_eq!(pace.next(now + WINDOW / 2), Turn::Pass);
        }
    }

    #[test]
    fn changes_now_and_then_are_all_logged() {
        let (mut pace, start) = (Pace::default(), Instant::now());
        assert!((0..1_000).all(|n| pace.next(start + WINDOW * n / CHANGES_MAX) == Turn::Tell));
    }
}
