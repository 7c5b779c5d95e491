//! How much is measured.

use std::time::Duration;

use super::entries::Length;

/// How much is measured; the whole run takes as long as its sums say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// How often each rate is measured, the peers taking turns; the median is told.
    pub repetitions: usize,
    /// How long a rate is measured.
    pub window: Duration,
    /// How long the load runs before that.
    pub warm_up: Duration,
    /// How many different batches a load has.
    pub batches: usize,
    /// How many single writes are timed.
    pub writes: usize,
    /// How many entries are kept when it is looked for some of them.
    pub entries: usize,
    /// How many traces and services are looked for.
    pub looks: usize,
    /// How long the segment is that has to be recovered, in bytes.
    pub segment_bytes: u64,
    /// How much an entry says.
    pub length: Length,
}

impl Plan {
    /// What is published: some four minutes.
    pub fn full() -> Self {
        Self {
            repetitions: 3,
            window: Duration::from_secs(4),
            warm_up: Duration::from_secs(1),
            batches: 64,
            writes: 5_000,
            entries: 5_000_000,
            looks: 15,
            segment_bytes: 62 << 20,
            length: Length::Usual,
        }
    }

    /// The same sizes, measured once and briefly: about a minute.
    pub fn quick() -> Self {
        Self {
            repetitions: 1,
            window: Duration::from_secs(2),
            warm_up: Duration::from_millis(500),
            writes: 1_000,
            looks: 5,
            ..Self::full()
        }
    }

    /// Whether it works at all: seconds, on a busy machine too. Says nothing about speed.
    pub fn smoke() -> Self {
        Self {
            repetitions: 1,
            window: Duration::from_millis(50),
            warm_up: Duration::ZERO,
            batches: 2,
            writes: 10,
            entries: 5_000,
            looks: 2,
            segment_bytes: 1 << 20,
            ..Self::full()
        }
    }
}
