//! Which traces a segment surely does not have, in so few bytes that they stay in memory: a Bloom filter. Pure.

use super::traces;
use crate::entry::TraceId;

/// For each trace. With as many probes, one in a hundred of the traces that a segment does not have looks as if it had.
const BITS: usize = 10;
const PROBES: u32 = 7;

/// The traces of a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::store) struct Filter(Box<[u8]>);

impl Filter {
    /// Of traces with these hashes.
    pub(in crate::store) fn of_hashes(hashes: impl Iterator<Item = u32> + Clone) -> Self {
        let mut filter = Self(vec![0; (hashes.clone().count() * BITS).div_ceil(8)].into());
        for hash in hashes {
            for bit in probes(hash, filter.0.len()) {
                filter.0[bit / 8] |= 1 << (bit % 8);
            }
        }
        filter
    }

    /// Whether an entry may be of a trace.
    pub(in crate::store) fn may_have(&self, id: &TraceId) -> bool {
        let is_set = |bit: usize| self.0[bit / 8] >> (bit % 8) & 1 == 1;
        !self.0.is_empty() && probes(traces::hash(id), self.0.len()).all(is_set)
    }

    /// How much memory it takes.
    pub(in crate::store) fn size_bytes(&self) -> usize {
        self.0.len()
    }

    pub(super) fn encode(&self) -> &[u8] {
        &self.0
    }

    pub(super) fn decode(bytes: Vec<u8>) -> Self {
        Self(bytes.into())
    }
}

/// The bits of a hash, of those in so many bytes.
fn probes(hash: u32, size_bytes: usize) -> impl Iterator<Item = usize> {
    // Any odd number of many bits: a step has to differ from the place where it starts.
    let step = hash.rotate_left(16).wrapping_mul(0x9E37_79B1) | 1;
    (0..PROBES).map(move |n| {
        let place = u64::from(hash.wrapping_add(n.wrapping_mul(step)));
        usize::try_from((place * (size_bytes as u64 * 8)) >> 32).expect("a bit of the filter")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u128) -> TraceId {
        TraceId::parse("trace_id", format!("{n:032x}")).expect("a valid id")
    }

    #[test]
    fn a_trace_that_is_there_is_never_denied_and_one_in_fifty_others_at_most_is_not() {
        let count = 20_000;
        // At random, and one after the other.
        for id_of in [
            |n: u128| id(n.wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835)),
            |n: u128| id(n),
        ] {
            let filter = Filter::of_hashes((1..=count).map(|n| traces::hash(&id_of(n))));
            assert!((1..=count).all(|n| filter.may_have(&id_of(n))));
            let wrong = (count + 1..=2 * count).filter(|n| filter.may_have(&id_of(*n))).count();
            assert!(wrong < 400, "{wrong} of {count}");
            assert_eq!(filter.size_bytes(), 25_000);
        }
    }

    #[test]
    fn where_there_is_no_trace_none_may_be() {
        let filter = Filter::decode(Filter::of_hashes(std::iter::empty()).encode().to_vec());
        assert!(!filter.may_have(&id(1)));
    }
}
