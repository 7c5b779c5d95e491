//! How often an idle connection is asked for a sign of life.
//!
//! The stream of a `Health/Watch` tells what changes, and the end of a connection that a process has died, within
//! milliseconds. Only a host that hangs, or vanishes without a word, has to be asked to be found out. That costs some
//! 20 us each, so all of them together are asked at a bounded rate: with more connections than the rate allows within
//! their intervals, all intervals are stretched alike. At 400 a second, 5,000 idle connections are asked every 12.5 s; one
//! whose sign of life is missing is asked at its own interval from then on.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// A millionth of a sign of life a second.
const MICRO: f64 = 1_000_000.0;

/// The signs of life that are asked for.
#[derive(Debug)]
pub(super) struct Signs {
    rate_max: f64,
    /// What all connections together would ask for at their own intervals, in millionths a second.
    wanted: AtomicU64,
}

impl Signs {
    /// So many a second at most.
    pub(super) fn new(rate_max: u32) -> Self {
        Self {
            rate_max: f64::from(rate_max),
            wanted: AtomicU64::new(0),
        }
    }

    /// Counts a connection in while the answer lives.
    pub(super) fn take_part(self: &Arc<Self>, interval: Duration) -> Part {
        // An interval is bounded, so this is a small number.
        let wants = (MICRO / interval.as_secs_f64()).round();
        let wants = if wants >= 1.0 { wants as u64 } else { 1 };
        self.wanted.fetch_add(wants, Ordering::Relaxed);
        Part {
            signs: self.clone(),
            interval,
            wants,
        }
    }

    /// By how much intervals are stretched: 1 or more.
    fn stretch(&self) -> f64 {
        let wanted = self.wanted.load(Ordering::Relaxed) as f64 / MICRO;
        (wanted / self.rate_max).max(1.0)
    }
}

/// One connection's part.
#[derive(Debug)]
pub(super) struct Part {
    signs: Arc<Signs>,
    interval: Duration,
    wants: u64,
}

impl Part {
    /// How long to wait before the first sign: anything up to the interval, so that connections that were opened
    /// together are not asked together.
    pub(super) fn first(&self) -> Duration {
        self.interval.mul_f64(self.signs.stretch() * fastrand::f64())
    }

    /// How long to wait before the next one, jittered.
    pub(super) fn next(&self) -> Duration {
        self.interval
            .mul_f64(self.signs.stretch() * fastrand::f64().mul_add(0.2, 0.9))
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        self.signs.wanted.fetch_sub(self.wants, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(3);

    /// How many signs a second so many connections ask for.
    fn asked(signs: &Arc<Signs>, connections: usize) -> f64 {
        let parts: Vec<_> = (0..connections).map(|_| signs.take_part(INTERVAL)).collect();
        parts.iter().map(|part| 1.0 / part.next().as_secs_f64()).sum()
    }

    #[test]
    fn few_connections_are_asked_at_their_own_interval() {
        let signs = Arc::new(Signs::new(400));
        let part = signs.take_part(INTERVAL);
        for _ in 0..100 {
            let next = part.next();
            assert!(
                next >= INTERVAL.mul_f64(0.9) && next <= INTERVAL.mul_f64(1.1),
                "{next:?}"
            );
            assert!(part.first() <= INTERVAL);
        }
    }

    #[test]
    fn many_connections_together_are_asked_at_the_bounded_rate() {
        let signs = Arc::new(Signs::new(400));
        for connections in [1_200, 5_000, 20_000] {
            let rate = asked(&signs, connections);
            assert!(rate > 380.0 && rate < 420.0, "{rate} a second of {connections}");
        }
        assert_eq!(signs.wanted.load(Ordering::Relaxed), 0, "all are gone");
    }
}
