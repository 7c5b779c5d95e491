//! Jittered exponential backoff. Pure: the random numbers come from a generator that can be seeded.

use std::time::Duration;

/// Delays that double up to a maximum, each drawn between half of its step and the whole step, so that many who fail at
/// once do not come back at once.
#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    max: Duration,
    step: Duration,
    random: fastrand::Rng,
}

impl Backoff {
    /// Delays from `first` to `max`, with a generator seeded by the system.
    pub fn new(first: Duration, max: Duration) -> Self {
        Self::with_random(first, max, fastrand::Rng::new())
    }

    /// Delays from `first` to `max`, with this generator.
    pub fn with_random(first: Duration, max: Duration, random: fastrand::Rng) -> Self {
        Self {
            first,
            max,
            step: first,
            random,
        }
    }

    /// The delay before the next try.
    pub fn next_delay(&mut self) -> Duration {
        let delay = self.step.mul_f64(self.random.f64().mul_add(0.5, 0.5));
        self.step = (self.step * 2).min(self.max);
        delay
    }

    /// Starts over: the last try succeeded.
    pub fn reset(&mut self) {
        self.step = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_within_their_jitter_up_to_the_maximum_and_start_over() {
        let (first, max) = (Duration::from_millis(100), Duration::from_secs(1));
        let mut backoff = Backoff::with_random(first, max, fastrand::Rng::with_seed(7));
        for step_ms in [100, 200, 400, 800, 1000, 1000] {
            let delay = backoff.next_delay();
            let step = Duration::from_millis(step_ms);
            assert!(step / 2 <= delay && delay <= step, "{delay:?} of {step:?}");
        }
        backoff.reset();
        assert!(backoff.next_delay() <= first);
    }
}
