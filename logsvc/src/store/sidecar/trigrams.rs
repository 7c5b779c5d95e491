//! What tells texts apart without having them: their trigrams, the sequences of three bytes in them. Pure.
//!
//! Texts are looked at as they stand in lines. Digits are taken for one another, and so are letters of either case: ids and
//! numbers, which are everywhere, have few trigrams then, and a search that ignores case has some.

/// How many hashes of trigrams there are: a power of two.
pub(super) const HASHES: usize = 4096;
/// How many trigrams of a text are looked at: hardly one has so many and is still taken for one that is there.
const LOOKED_AT_MAX: usize = 64;

/// Trigrams of texts that a message has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trigrams(Box<[u16]>);

impl Trigrams {
    /// Of texts that a message has all of, as they stand in lines; not of all of them when they are many.
    pub fn of<T: AsRef<[u8]>>(texts: impl IntoIterator<Item = T>) -> Self {
        let (mut hashes, mut folded) = (Vec::new(), Vec::new());
        for text in texts {
            each(text.as_ref(), &mut folded, |hash| hashes.push(hash));
        }
        hashes.sort_unstable();
        hashes.dedup();
        // In the order of their hashes they are from everywhere in the text.
        hashes.truncate(LOOKED_AT_MAX);
        Self(hashes.into())
    }

    /// What stands for a byte and those that are taken for it.
    pub const fn folded(byte: u8) -> u8 {
        if byte.is_ascii_digit() {
            b'0'
        } else {
            byte.to_ascii_lowercase()
        }
    }

    /// Whether there are none, as of texts of two letters: every message may have them.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Their hashes, each below [`HASHES`].
    pub(super) fn hashes(&self) -> impl Iterator<Item = usize> {
        self.0.iter().map(|hash| usize::from(*hash))
    }
}

/// Calls for the hash of each trigram of a text, each below [`HASHES`]. `folded` is room for the text.
pub(super) fn each(text: &[u8], folded: &mut Vec<u8>, mut call: impl FnMut(u16)) {
    folded.clear();
    // Four bytes are read at once, of which the first does not count.
    folded.push(0);
    folded.extend_from_slice(text);
    for byte in &mut folded[1..] {
        *byte = Trigrams::folded(*byte);
    }
    for bytes in folded.array_windows() {
        let trigram = u32::from_le_bytes(*bytes) >> 8;
        // Fibonacci hashing.
        let hash = trigram.wrapping_mul(0x9E37_79B1) >> (u32::BITS - HASHES.trailing_zeros());
        call(u16::try_from(hash).expect("its upper half is cut off"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_the_same_and_letters_of_either_case_and_nothing_else() {
        let trigrams = |text: &str| Trigrams::of([text]);
        assert_eq!(trigrams("Order 17"), trigrams("oRDER 90"));
        for other in ["order x7", "order_17", "order 1"] {
            assert_ne!(trigrams("order 17"), trigrams(other), "{other}");
        }
    }

    #[test]
    fn what_is_short_has_none_and_of_what_is_long_only_some_are_looked_at() {
        assert!(Trigrams::of(["", "ab", "cd"]).is_empty());
        assert_eq!(Trigrams::of(["abc", "bcd"]), Trigrams::of(["abcd"]));
        let long: String = ('a'..='z').flat_map(|a| [a, '-', a, '+', '.', a]).collect();
        assert_eq!(Trigrams::of([long]).hashes().count(), LOOKED_AT_MAX);
    }
}
