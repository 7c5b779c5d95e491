//! Which changes are logged one by one. Pure: the time is an argument.

use std::time::Duration;

use tokio::time::Instant;

/// How many changes are logged one by one in a second: more than people read. The history has all of them, and an entry of
/// the log takes more time and memory than a registration.
const CHANGES_MAX: u32 = 100;
const WINDOW: Duration = Duration::from_secs(1);

/// How much was logged of late.
#[derive(Debug, Default)]
pub(super) struct Pace {
    began: Option<Instant>,
    changes: u32,
}

/// What is to be logged of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// The change.
    Tell,
    /// That there are more than are logged.
    TellOfMore,
    /// Nothing.
    Pass,
}

impl Pace {
    /// What is to be logged of the next change.
    pub(super) fn next(&mut self, now: Instant) -> Turn {
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
