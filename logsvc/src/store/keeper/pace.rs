//! How fast entries come. Pure.

use std::time::Instant;

/// More entries in a second than this are a burst: sealing as many takes a processor a good part of that second.
const BURST_ENTRIES: u64 = 100_000;

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

    /// Whether entries have come in a burst since the last look, now that `last` is the number of the last one.
    pub(super) fn is_burst(&mut self, now: Instant, last: u64) -> bool {
        let before = std::mem::replace(self, Self::new(now, last));
        let (entries, elapsed) = (
            last.saturating_sub(before.last),
            now.saturating_duration_since(before.since),
        );
        u128::from(entries) * 1_000_000_000 > u128::from(BURST_ENTRIES) * elapsed.as_nanos()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_burst_is_more_than_so_many_entries_a_second_since_the_last_look() {
        let (start, mut at) = (Instant::now(), Duration::ZERO);
        let (mut pace, mut last) = (Pace::new(start, 7), 7);
        let rows = [
            (1000, 0, false),
            (1000, BURST_ENTRIES, false),
            (1000, BURST_ENTRIES + 1, true),
            (100, BURST_ENTRIES / 10, false),
            (100, BURST_ENTRIES / 5, true),
            (5000, BURST_ENTRIES * 2, false),
            (0, 0, false),
            (0, 1, true),
        ];
        for (millis, entries, is_burst) in rows {
            (at, last) = (at + Duration::from_millis(millis), last + entries);
            assert_eq!(pace.is_burst(start + at, last), is_burst, "{entries} in {millis} ms");
        }
    }
}
