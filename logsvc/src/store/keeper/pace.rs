//! How fast entries come. Pure.

use std::time::Instant;

/// More entries in a second than this are a burst: sealing as many takes a processor a good part of that second.
const BURST_ENTRIES: u64 = 100_000;
/// With more in a second than this the log is busy: sealing as many thoroughly takes a seventh of a processor.
const BUSY_ENTRIES: u64 = 20_000;

/// How fast entries come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Speed {
    Quiet,
    Busy,
    Burst,
}

/// Where the log ended when it was looked at.
#[derive(Debug)]
pub(super) struct Pace {
    since: Instant,
    last: u64,
}

impl Pace {
    pub(super) fn new(now: Instant, last: u64) -> Self {
        Self { since: now, last }
    }

    /// How fast entries have come since the last look, now that `last` is the number of the last one.
    pub(super) fn look(&mut self, now: Instant, last: u64) -> Speed {
        let before = std::mem::replace(self, Self::new(now, last));
        let (entries, elapsed) = (
            last.saturating_sub(before.last),
            now.saturating_duration_since(before.since),
        );
        let is_above = |limit| u128::from(entries) * 1_000_000_000 > u128::from(limit) * elapsed.as_nanos();
        match () {
            () if is_above(BURST_ENTRIES) => Speed::Burst,
            () if is_above(BUSY_ENTRIES) => Speed::Busy,
            () => Speed::Quiet,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_counts_are_the_entries_a_second_since_the_last_look() {
        let (start, mut at) = (Instant::now(), Duration::ZERO);
        let (mut pace, mut last) = (Pace::new(start, 7), 7);
        let rows = [
            (1000, 0, Speed::Quiet),
            (1000, BUSY_ENTRIES, Speed::Quiet),
            (1000, BUSY_ENTRIES + 1, Speed::Busy),
            (1000, BURST_ENTRIES, Speed::Busy),
            (1000, BURST_ENTRIES + 1, Speed::Burst),
            (100, BURST_ENTRIES / 10, Speed::Busy),
            (100, BURST_ENTRIES / 5, Speed::Burst),
            (5000, BUSY_ENTRIES * 2, Speed::Quiet),
            (0, 0, Speed::Quiet),
            (0, 1, Speed::Burst),
        ];
        for (millis, entries, speed) in rows {
            (at, last) = (at + Duration::from_millis(millis), last + entries);
            assert_eq!(pace.look(start + at, last), speed, "{entries} in {millis} ms");
        }
    }
}
