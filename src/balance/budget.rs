//! How much a channel may add to the load of its service by sending calls again. Pure.

use tokio::time::Instant;

/// What each call adds to the budget: a service that fails altogether gets a fifth more calls, not a multiple.
const PER_CALL: f64 = 0.2;
/// What each second adds, so that a channel with few calls can repeat them too.
const PER_SECOND: f64 = 5.0;
/// What is saved at most: enough for the calls that were under way on one endpoint when it crashed.
const SAVED_MAX: f64 = 100.0;
/// What a new channel begins with.
const SAVED_FIRST: f64 = 10.0;

/// Tokens, one for each call that is sent again.
#[derive(Debug)]
pub(super) struct RetryBudget {
    tokens: f64,
    refilled: Instant,
}

impl RetryBudget {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            tokens: SAVED_FIRST,
            refilled: now,
        }
    }

    /// Adds what a new call is worth.
    pub(super) fn deposit(&mut self, now: Instant) {
        self.refill(now);
        self.tokens = (self.tokens + PER_CALL).min(SAVED_MAX);
    }

    /// Takes what sending a call again costs, if it is there.
    pub(super) fn withdraw(&mut self, now: Instant) -> bool {
        self.refill(now);
        let affordable = self.tokens >= 1.0;
        if affordable {
            self.tokens -= 1.0;
        }
        affordable
    }

    fn refill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.refilled);
        self.refilled = self.refilled.max(now);
        self.tokens = passed.as_secs_f64().mul_add(PER_SECOND, self.tokens).min(SAVED_MAX);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_service_that_fails_altogether_gets_a_fifth_more_calls() {
        let now = Instant::now();
        let mut budget = RetryBudget::new(now);
        while budget.withdraw(now) {}
        let mut again = 0;
        for _ in 0..1_000 {
            budget.deposit(now);
            again += u32::from(budget.withdraw(now));
        }
        assert!((195..=200).contains(&again), "{again}");
    }

    #[tokio::test(start_paused = true)]
    async fn time_fills_the_budget_up_to_what_may_be_saved() {
        let start = Instant::now();
        let mut budget = RetryBudget::new(start);
        while budget.withdraw(start) {}
        let second = start + Duration::from_secs(1);
        let affordable =
            |budget: &mut RetryBudget, now| std::iter::from_fn(|| budget.withdraw(now).then_some(())).count();
        assert_eq!(affordable(&mut budget, second), 5);
        assert_eq!(affordable(&mut budget, start), 0, "time that goes back adds nothing");
        assert_eq!(affordable(&mut budget, start + Duration::from_secs(3600)), 100);
    }

    proptest! {
        #[test]
        fn never_more_is_sent_again_than_was_saved_and_earned(
            steps in prop::collection::vec((0_u64..400, 0_u32..5, 0_u32..5), 1..200),
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
            let start = runtime.expect("a runtime").block_on(async { Instant::now() });
            let mut budget = RetryBudget::new(start);
            let (mut millis, mut calls, mut again) = (0, 0_u32, 0_u32);
            for (passed, new, tries) in steps {
                millis += passed;
                let now = start + Duration::from_millis(millis);
                for _ in 0..new {
                    calls += 1;
                    budget.deposit(now);
                }
                again += (0..tries).filter(|_| budget.withdraw(now)).count() as u32;
                let earned = f64::from(calls) * PER_CALL + Duration::from_millis(millis).as_secs_f64() * PER_SECOND;
                prop_assert!(f64::from(again) <= SAVED_FIRST + earned + 1e-6);
            }
        }
    }
}
