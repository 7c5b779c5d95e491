//! How long an endpoint takes to answer. Pure.

use std::time::Duration;

use tokio::time::Instant;

/// How fast old samples fade: after this time they count for little more than a third. An endpoint that was slow once,
/// and is left alone for that, is asked again some ten seconds later.
const FADE: Duration = Duration::from_secs(5);

/// A moving average that believes bad news at once and good news slowly ("peak EWMA", as Finagle's and tower's balancers
/// have it), and fades while there are none.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Latency {
    last: Option<(f64, Instant)>,
}

/// What is known of a latency, in seconds. The longer nobody asked, the further these are apart.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Estimate {
    /// It is at least this: what was found out, faded. So an endpoint that was slow is asked again some time.
    pub(super) at_least: f64,
    /// It is at most this: what was found out. So an endpoint that nobody asked for long does not pass for a fast one.
    pub(super) at_most: f64,
}

impl Latency {
    /// Takes note of an answer.
    pub(super) fn record(&mut self, sample: Duration, now: Instant) {
        let sample = sample.as_secs_f64();
        let (seconds, at) = self.last.unwrap_or((sample, now));
        let kept = kept(at, now);
        let seconds = if sample > seconds * kept {
            sample
        } else {
            seconds.mul_add(kept, sample * (1.0 - kept))
        };
        self.last = Some((seconds, at.max(now)));
    }

    /// What is known; `None` before the first answer.
    pub(super) fn estimate(&self, now: Instant) -> Option<Estimate> {
        let (seconds, at) = self.last?;
        Some(Estimate {
            at_least: seconds * kept(at, now),
            at_most: seconds,
        })
    }
}

fn kept(at: Instant, now: Instant) -> f64 {
    let passed = now.saturating_duration_since(at).as_secs_f64();
    (-passed / FADE.as_secs_f64()).exp()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MILLI: Duration = Duration::from_millis(1);

    fn at_least(latency: &Latency, now: Instant) -> f64 {
        latency.estimate(now).expect("it was asked").at_least
    }

    #[tokio::test(start_paused = true)]
    async fn bad_news_count_at_once_and_fade() {
        let start = Instant::now();
        let mut latency = Latency::default();
        assert_eq!(latency.estimate(start), None);
        latency.record(MILLI, start);
        latency.record(100 * MILLI, start);
        assert!((at_least(&latency, start) - 0.1).abs() < 1e-9);
        latency.record(MILLI, start + MILLI);
        assert!(
            at_least(&latency, start + MILLI) > 0.09,
            "one good answer proves little"
        );
        let later = latency.estimate(start + 4 * FADE).expect("it was asked");
        assert!(later.at_least < 0.003 && later.at_most > 0.09, "{later:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_steady_endpoint_is_known_for_what_it_takes() {
        let start = Instant::now();
        let mut latency = Latency::default();
        latency.record(50 * MILLI, start);
        let mut now = start;
        for _ in 0..3_000 {
            now += 10 * MILLI;
            latency.record(2 * MILLI, now);
        }
        assert!((at_least(&latency, now) - 0.002).abs() < 0.000_5);
    }

    proptest! {
        #[test]
        fn an_estimate_never_leaves_the_range_of_its_samples(
            samples in prop::collection::vec((1_u64..1_000, 0_u64..10_000), 1..100),
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
            let mut now = runtime.expect("a runtime").block_on(async { Instant::now() });
            let mut latency = Latency::default();
            let most = samples.iter().map(|(sample, _)| *sample).max().unwrap_or_default();
            for (sample, passed) in samples {
                now += Duration::from_millis(passed);
                latency.record(Duration::from_millis(sample), now);
                let estimate = latency.estimate(now).expect("it was asked");
                prop_assert!(0.0 <= estimate.at_least && estimate.at_least <= estimate.at_most);
                prop_assert!(estimate.at_most * 1_000.0 <= most as f64 + 1e-6, "{estimate:?} of {most}");
            }
        }
    }
}
