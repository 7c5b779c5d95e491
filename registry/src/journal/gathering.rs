//! Group commit: how long who syncs for many waits for more of them. Pure.
//!
//! A disk takes about as long, and a processor as much work, to sync for one as for fifty. Those whom a sync answers
//! come back soon if they have more to say, so a little patience right after it makes the next group large. Half of
//! them are enough: while the disk syncs for these, the processor works for the others. A caller who is alone never
//! waits.

use std::time::{Duration, Instant};

/// The longest wait, whatever a sync takes: what a call over a local network takes anyway.
const PATIENCE_MAX: Duration = Duration::from_millis(1);
/// How many times longer than the sync before it a wait may be.
const SYNCS: u32 = 2;

/// How many callers the next sync is to have.
#[derive(Debug, Clone, Copy)]
pub(super) struct Gathering {
    callers: usize,
    until: Instant,
}

impl Gathering {
    /// Of a committer that has not synced yet: one caller is enough.
    pub(super) fn new(now: Instant) -> Self {
        Self { callers: 1, until: now }
    }

    /// After a sync that took this long and ended `now`: `callers` are those whom it answered, and those who have come
    /// in the meantime.
    pub(super) fn after(callers: usize, took: Duration, now: Instant) -> Self {
        Self {
            callers: callers.div_ceil(2),
            until: now + (took * SYNCS).min(PATIENCE_MAX),
        }
    }

    /// How many callers are enough to sync `now`, and for how long that holds if it is more than one.
    pub(super) fn enough(&self, now: Instant) -> (usize, Option<Duration>) {
        let rest = self.until.saturating_duration_since(now);
        match self.callers {
            2.. if !rest.is_zero() => (self.callers, Some(rest)),
            _ => (1, None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SYNC: Duration = Duration::from_micros(200);

    #[test]
    fn one_caller_alone_never_waits() {
        let now = Instant::now();
        assert_eq!(Gathering::new(now).enough(now), (1, None));
        assert_eq!(Gathering::after(1, SYNC, now).enough(now), (1, None));
        assert_eq!(Gathering::after(2, SYNC, now).enough(now), (1, None));
        assert_eq!(Gathering::after(0, SYNC, now).enough(now), (1, None));
    }

    #[test]
    fn half_of_those_there_were_are_waited_for_as_long_as_two_syncs_take() {
        let now = Instant::now();
        let gathering = Gathering::after(7, SYNC, now);
        assert_eq!(gathering.enough(now), (4, Some(SYNC * 2)));
        assert_eq!(gathering.enough(now + SYNC), (4, Some(SYNC)));
        assert_eq!(gathering.enough(now + SYNC * 2), (1, None));
    }

    #[test]
    fn a_slow_disk_is_not_waited_for_any_longer() {
        let now = Instant::now();
        let gathering = Gathering::after(7, Duration::from_secs(1), now);
        assert_eq!(gathering.enough(now), (4, Some(PATIENCE_MAX)));
    }
}
