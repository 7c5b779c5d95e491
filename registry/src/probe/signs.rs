//! How often an idle connection is asked for a sign of life.
//!
//! The stream of a `Health/Watch` tells what changes, and the end of a connection that a process has died, within
//! milliseconds. Only a host that hangs, or vanishes without a word, has to be asked to be found out. So that this costs
//! little, all of them together are asked at a bounded rate: with more connections than the rate allows within
//! their intervals, all intervals are stretched alike. At 200 a second, 5,000 idle connections are asked every 25 s; one
//! whose sign of life is missing is asked at its own interval from then on. (A host that vanishes is found sooner, by the
//! kernel: `transport` has it ask every 10 s.) Whoever pings within the interval by himself, as servers of this library do
//! every 20 s, is not asked.
//!
//! Those that are due at about the same time are asked together: much of what a single one costs is to wake up for it, and
//! for its answer.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

/// Those due within this time are asked together, at most: 100 at 200 a second.
const TOGETHER_MAX: Duration = Duration::from_millis(500);
/// And within this part of their interval.
const TOGETHER_PART: u32 = 16;
/// A millionth of a sign of life a second.
const MICRO: f64 = 1_000_000.0;

/// The signs of life that are asked for.
#[derive(Debug)]
pub(super) struct Signs {
    rate_max: f64,
    /// What all connections together would ask for at their own intervals, in millionths a second.
    wanted: AtomicU64,
    /// What the times to ask together are counted from.
    start: Instant,
}

impl Signs {
    /// So many a second at most.
    pub(super) fn new(rate_max: u32) -> Self {
        Self {
            rate_max: f64::from(rate_max),
            wanted: AtomicU64::new(0),
            start: Instant::now(),
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
            since: Instant::now(),
            // Connections that were opened together are not asked together.
            jitter: fastrand::f64(),
        }
    }

    /// The next time from this one on at which others of that interval are asked, too.
    fn together(&self, time: Instant, interval: Duration) -> Instant {
        let together = TOGETHER_MAX.min(interval / TOGETHER_PART);
        let late = time.duration_since(self.start).as_nanos() % together.as_nanos();
        let late = Duration::from_nanos(u64::try_from(late).expect("it is less than a second"));
        if late.is_zero() { time } else { time + together - late }
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
    /// When it was last asked, or heard of unasked.
    since: Instant,
    /// The share of the interval after which it is asked again.
    jitter: f64,
}

impl Part {
    /// When it is to be asked, as things stand: later when more connections have come.
    pub(super) fn due(&self) -> Instant {
        let interval = self.interval.mul_f64(self.signs.stretch());
        self.signs
            .together(self.since + interval.mul_f64(self.jitter), interval)
    }

    /// It was heard of unasked. Keeps its share: those that were heard of together at first are not asked together.
    pub(super) fn heard(&mut self) {
        self.since = Instant::now();
    }

    /// It was asked: when it is to be asked again.
    pub(super) fn next(&mut self) -> Instant {
        self.since = Instant::now();
        self.jitter = fastrand::f64().mul_add(0.2, 0.9);
        self.due()
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

    fn waits(next: Instant) -> Duration {
        next.duration_since(Instant::now())
    }

    #[tokio::test(start_paused = true)]
    async fn few_connections_are_asked_at_their_own_interval() {
        let signs = Arc::new(Signs::new(400));
        let mut part = signs.take_part(INTERVAL);
        let together = INTERVAL / TOGETHER_PART;
        assert!(waits(part.due()) <= INTERVAL + together);
        for _ in 0..100 {
            let wait = waits(part.next());
            assert!(
                wait >= INTERVAL.mul_f64(0.9) && wait <= INTERVAL.mul_f64(1.1) + together,
                "{wait:?}"
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn many_connections_together_are_asked_at_the_bounded_rate() {
        let signs = Arc::new(Signs::new(400));
        for connections in [1_200, 5_000, 20_000] {
            let mut parts: Vec<_> = (0..connections).map(|_| signs.take_part(INTERVAL)).collect();
            let rate: f64 = parts
                .iter_mut()
                .map(|part| 1.0 / waits(part.next()).as_secs_f64())
                .sum();
            assert!(rate > 360.0 && rate < 420.0, "{rate} a second of {connections}");
        }
        assert_eq!(signs.wanted.load(Ordering::Relaxed), 0, "all are gone");
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_came_first_is_asked_later_when_many_have_come_since() {
        let signs = Arc::new(Signs::new(400));
        let mut part = signs.take_part(INTERVAL);
        let alone = part.next();
        let many: Vec<_> = (0..12_000).map(|_| signs.take_part(INTERVAL)).collect();
        assert!(part.due() >= alone + INTERVAL.mul_f64(0.9 * 9.0));
        drop(many);
        assert_eq!(part.due(), alone);
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_is_heard_of_unasked_is_asked_as_much_later() {
        let signs = Arc::new(Signs::new(400));
        let mut part = signs.take_part(INTERVAL);
        let due = part.due();
        tokio::time::advance(INTERVAL).await;
        part.heard();
        assert_eq!(part.due(), due + INTERVAL);
    }

    #[tokio::test(start_paused = true)]
    async fn those_that_are_due_at_about_the_same_time_are_asked_together() {
        let signs = Arc::new(Signs::new(400));
        let mut part = signs.take_part(INTERVAL);
        tokio::time::advance(Duration::from_micros(12_345_678)).await;
        let mut times = |_: &[Part]| {
            let mut times: Vec<_> = (0..1_000).map(|_| part.next()).collect();
            times.sort_unstable();
            times.dedup();
            times.len()
        };
        // The jitter spans 600 ms, of which 187 ms go together.
        let few = times(&[]);
        assert!((3..=5).contains(&few), "{few} times");
        // 30 s have a jitter of 6 s.
        let crowd: Vec<_> = (0..12_000).map(|_| signs.take_part(INTERVAL)).collect();
        let many = times(&crowd);
        assert!((11..=14).contains(&many), "{many} times");
    }
}
