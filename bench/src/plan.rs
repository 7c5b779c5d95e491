//! How much is measured.

use std::time::Duration;

use crate::workload::SERVICES;

/// How much is measured; the whole run takes as long as its sums say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// How often each measurement is repeated, the peers taking turns; the median is told.
    pub repetitions: usize,
    /// How long a rate is measured.
    pub window: Duration,
    /// How long the load runs before that.
    pub warm_up: Duration,
    /// Watchers of the large fan-out.
    pub watchers: usize,
    /// Watchers of the small fan-out.
    pub watchers_few: usize,
    /// The connections that they share.
    pub connections: usize,
    /// How many single changes are timed at least.
    pub changes: usize,
    /// Services that are registered, of 100 instances each.
    pub services: usize,
    /// How many instances are killed.
    pub kills: usize,
    /// How many instances are probed.
    pub probed: usize,
    /// How long the registry's idle processor time is measured: each instance pings every 20 s.
    pub idle: Duration,
}

impl Plan {
    /// What is published: some six minutes.
    pub fn full() -> Self {
        Self {
            repetitions: 3,
            window: Duration::from_secs(3),
            warm_up: Duration::from_secs(1),
            watchers: 10_000,
            watchers_few: 1_000,
            connections: 100,
            changes: 20,
            services: SERVICES,
            kills: 50,
            probed: 5_000,
            idle: Duration::from_secs(20),
        }
    }

    /// The same sizes, measured once and briefly: some two minutes.
    pub fn quick() -> Self {
        Self {
            repetitions: 1,
            window: Duration::from_secs(1),
            warm_up: Duration::from_millis(300),
            changes: 5,
            kills: 8,
            ..Self::full()
        }
    }

    /// Whether it works at all: seconds, on a busy machine too. Says nothing about speed.
    pub fn smoke() -> Self {
        Self {
            repetitions: 1,
            window: Duration::from_millis(50),
            warm_up: Duration::ZERO,
            watchers: 20,
            watchers_few: 10,
            connections: 4,
            changes: 2,
            services: 2,
            kills: 1,
            probed: 10,
            idle: Duration::from_millis(50),
        }
    }
}
