//! Which endpoint takes a call. Pure.

/// An endpoint that may be picked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Candidate {
    /// Its share, relative to others; at least 1.
    pub(super) weight: u32,
    /// The calls that it is working on.
    pub(super) outstanding: usize,
}

impl Candidate {
    fn is_less_loaded_than(self, other: Self) -> bool {
        let load = |a: Self, b: Self| a.outstanding as u128 * u128::from(b.weight);
        load(self, other) < load(other, self)
    }
}

/// Picks by two choices: draws two different candidates by weight, and takes the second only when it has less to do for
/// its weight than the first. Without load that is the weights' own distribution; under load nobody is swamped.
pub(super) fn pick(candidates: &[Candidate], random: &mut fastrand::Rng) -> Option<usize> {
    let first = draw(candidates, None, random)?;
    match draw(candidates, Some(first), random) {
        Some(second) if candidates[second].is_less_loaded_than(candidates[first]) => Some(second),
        _ => Some(first),
    }
}

fn draw(candidates: &[Candidate], except: Option<usize>, random: &mut fastrand::Rng) -> Option<usize> {
    let eligible = || {
        candidates
            .iter()
            .enumerate()
            .filter(|(index, _)| Some(*index) != except)
    };
    let total: u64 = eligible().map(|(_, candidate)| u64::from(candidate.weight)).sum();
    let mut left = (total > 0).then(|| random.u64(..total))?;
    for (index, candidate) in eligible() {
        match left.checked_sub(u64::from(candidate.weight)) {
            Some(rest) => left = rest,
            None => return Some(index),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share(candidates: &[Candidate]) -> Vec<usize> {
        let mut random = fastrand::Rng::with_seed(11);
        let mut counts = vec![0; candidates.len()];
        for _ in 0..10_000 {
            counts[pick(candidates, &mut random).expect("a candidate")] += 1;
        }
        counts
    }

    fn idle(weight: u32) -> Candidate {
        Candidate { weight, outstanding: 0 }
    }

    #[test]
    fn nobody_is_picked_from_nothing() {
        assert_eq!(pick(&[], &mut fastrand::Rng::with_seed(1)), None);
    }

    #[test]
    fn idle_endpoints_share_by_weight() {
        let counts = share(&[idle(800), idle(100), idle(100)]);
        assert!((7_800..8_200).contains(&counts[0]), "{counts:?}");
        assert!((850..1_150).contains(&counts[1]), "{counts:?}");
    }

    #[test]
    fn of_two_the_one_with_less_to_do_for_its_weight_is_picked() {
        let busy = Candidate {
            weight: 100,
            outstanding: 9,
        };
        assert_eq!(share(&[busy, idle(1)])[0], 0);
        let counts = share(&[
            busy,
            Candidate {
                weight: 1000,
                outstanding: 10,
            },
        ]);
        assert_eq!(counts[0], 0, "10 calls are less for a weight of 1000 than 9 for 100");
    }
}
