//! Which endpoint takes a call. Pure.

use super::latency::Estimate;

/// Latencies closer than this are alike, and so are those within a factor of two: chance must not turn the weights over.
const LATENCY_NOISE_SECONDS: f64 = 0.001;
const LATENCY_NOISE_FACTOR: f64 = 2.0;

/// An endpoint that may be picked.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Candidate {
    /// Its share, relative to others; at least 1.
    pub(super) weight: u32,
    /// The calls that it is working on.
    pub(super) outstanding: usize,
    /// How long it takes to answer; `None` when that is not known.
    pub(super) latency: Option<Estimate>,
}

impl Candidate {
    /// Whether it has less to do for its weight; and when the two differ in speed, whether it would be done earlier with
    /// one more call.
    fn is_better_than(self, other: Self) -> bool {
        let cost = |a: Self, seconds: f64| (a.outstanding as f64 + 1.0) * seconds / f64::from(a.weight);
        if let (Some(a), Some(b)) = (self.latency, other.latency) {
            if is_slower(a, b) {
                return cost(self, a.at_least) < cost(other, b.at_most);
            }
            if is_slower(b, a) {
                return cost(self, a.at_most) < cost(other, b.at_least);
            }
        }
        let load = |a: Self, b: Self| a.outstanding as u128 * u128::from(b.weight);
        load(self, other) < load(other, self)
    }
}

fn is_slower(a: Estimate, b: Estimate) -> bool {
    a.at_least > b.at_most.mul_add(LATENCY_NOISE_FACTOR, LATENCY_NOISE_SECONDS)
}

/// The weights of some endpoints, so that one can be drawn by weight without looking at all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Weights {
    /// For each one the sum of the weights up to and with it.
    sums: Vec<u64>,
}

impl FromIterator<u32> for Weights {
    fn from_iter<T: IntoIterator<Item = u32>>(weights: T) -> Self {
        let mut sum = 0;
        let sums = weights.into_iter().map(|weight| {
            sum += u64::from(weight);
            sum
        });
        Self { sums: sums.collect() }
    }
}

impl Weights {
    /// Draws two different ones by weight; the same one twice when there is only one.
    pub(super) fn draw_two(&self, random: &mut fastrand::Rng) -> Option<(usize, usize)> {
        let total = *self.sums.last()?;
        let first = self.at(random.u64(..total));
        let before = first.checked_sub(1).map_or(0, |index| self.sums[index]);
        let weight = self.sums[first] - before;
        if total == weight {
            return Some((first, first));
        }
        let point = random.u64(..total - weight);
        // As if the first one were not there.
        let point = if point < before { point } else { point + weight };
        Some((first, self.at(point)))
    }

    fn at(&self, point: u64) -> usize {
        self.sums.partition_point(|sum| *sum <= point)
    }
}

/// Picks by two choices: of two that were drawn by weight, takes the second only when it is better than the first.
/// Without load that is the weights' own distribution; under load nobody is swamped.
pub(super) fn better<T>(first: (T, Candidate), second: (T, Candidate)) -> T {
    if second.1.is_better_than(first.1) {
        second.0
    } else {
        first.0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn share(candidates: &[Candidate]) -> Vec<usize> {
        let mut random = fastrand::Rng::with_seed(11);
        let weights: Weights = candidates.iter().map(|candidate| candidate.weight).collect();
        let mut counts = vec![0; candidates.len()];
        for _ in 0..10_000 {
            let (first, second) = weights.draw_two(&mut random).expect("a candidate");
            counts[better((first, candidates[first]), (second, candidates[second]))] += 1;
        }
        counts
    }

    fn takes(seconds: f64) -> Option<Estimate> {
        Some(Estimate {
            at_least: seconds,
            at_most: seconds,
        })
    }

    fn idle(weight: u32) -> Candidate {
        Candidate {
            weight,
            outstanding: 0,
            latency: takes(0.01),
        }
    }

    #[test]
    fn nobody_is_drawn_from_nothing_and_one_alone_is_drawn_always() {
        let mut random = fastrand::Rng::with_seed(1);
        assert_eq!(Weights::default().draw_two(&mut random), None);
        let alone: Weights = [3].into_iter().collect();
        assert_eq!(alone.draw_two(&mut random), Some((0, 0)));
    }

    #[test]
    fn idle_endpoints_share_by_weight_though_their_latencies_differ_a_little() {
        let faster = Candidate {
            latency: takes(0.006),
            ..idle(100)
        };
        let counts = share(&[idle(800), idle(100), faster]);
        assert!((7_800..8_200).contains(&counts[0]), "{counts:?}");
        assert!((850..1_150).contains(&counts[1]), "{counts:?}");
    }

    #[test]
    fn of_two_the_one_with_less_to_do_for_its_weight_is_picked() {
        let busy = Candidate {
            outstanding: 9,
            ..idle(100)
        };
        assert_eq!(share(&[busy, idle(1)])[0], 0);
        let heavy = Candidate {
            outstanding: 10,
            ..idle(1000)
        };
        let counts = share(&[busy, heavy]);
        assert_eq!(counts[0], 0, "10 calls are less for a weight of 1000 than 9 for 100");
    }

    #[test]
    fn a_slow_endpoint_is_picked_only_when_the_fast_ones_have_that_much_more_to_do() {
        let slow = Candidate {
            latency: takes(0.1),
            ..idle(100)
        };
        assert_eq!(share(&[slow, idle(100)])[0], 0);
        let nearly_as_busy = Candidate {
            outstanding: 8,
            ..idle(100)
        };
        assert_eq!(share(&[slow, nearly_as_busy])[0], 0);
        let busier = Candidate {
            outstanding: 10,
            ..idle(100)
        };
        assert_eq!(share(&[slow, busier])[1], 0);
    }

    #[test]
    fn an_endpoint_that_is_not_known_passes_for_neither_fast_nor_slow() {
        for unknown in [
            None,
            Some(Estimate {
                at_least: 0.0,
                at_most: 0.1,
            }),
        ] {
            let new = Candidate {
                latency: unknown,
                outstanding: 1,
                ..idle(100)
            };
            assert_eq!(share(&[new, idle(100)])[0], 0, "it has more to do");
            let counts = share(&[Candidate { outstanding: 0, ..new }, idle(100)]);
            assert!((4_800..5_200).contains(&counts[0]), "{counts:?}");
        }
    }

    proptest! {
        #[test]
        fn two_are_drawn_as_from_a_list_with_each_one_as_often_as_its_weight(
            weights in prop::collection::vec(1_u32..50, 2..8),
            seed: u64,
        ) {
            let sums: Weights = weights.iter().copied().collect();
            let tickets: Vec<usize> = weights.iter().enumerate().flat_map(|(n, w)| vec![n; *w as usize]).collect();
            let (first, second) = sums.draw_two(&mut fastrand::Rng::with_seed(seed)).expect("some");
            let mut random = fastrand::Rng::with_seed(seed);
            prop_assert_eq!(first, tickets[random.u64(..tickets.len() as u64) as usize]);
            let others: Vec<usize> = tickets.into_iter().filter(|n| *n != first).collect();
            prop_assert_eq!(second, others[random.u64(..others.len() as u64) as usize]);
        }
    }
}
