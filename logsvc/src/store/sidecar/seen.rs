//! Which trigrams the messages of a frame have. Pure.

use std::{iter, sync::LazyLock};

use memchr::{memchr2, memmem::Finder};

use super::trigrams::{self, HASHES};

/// What a message starts with in its line.
static MESSAGE: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\"message\":\""));

/// A bit for each hash that a trigram of the messages of a frame has.
pub(super) type Hashes = Box<[u64; HASHES / 64]>;

/// What is seen of a frame.
#[derive(Debug)]
pub(super) struct Seen {
    /// A byte for each hash, 1 or 0: it is set with one store, a bit is not.
    hashes: Box<[u8; HASHES]>,
    folded: Vec<u8>,
}

impl Default for Seen {
    fn default() -> Self {
        Self {
            hashes: Box::new([0; _]),
            folded: Vec::new(),
        }
    }
}

impl Seen {
    /// Adds the message of the line of a span, or of a log record; of a line that is not as ours are everything.
    pub(super) fn add_line(&mut self, line: &[u8], is_span: bool) {
        let mut rest = line;
        while let Some(at) = MESSAGE.find(rest) {
            let (text, after) = quoted(&rest[at + MESSAGE.needle().len()..]);
            self.add(text);
            rest = after;
            // Only an event of a span may have an attribute of this name in front of the message: it is added, too.
            if !is_span {
                return;
            }
        }
        if rest.len() == line.len() {
            self.add(line);
        }
    }

    fn add(&mut self, text: &[u8]) {
        trigrams::each(text, &mut self.folded, |hash| {
            self.hashes[usize::from(hash) % HASHES] = 1
        });
    }

    /// What was seen of the frame that ends here.
    pub(super) fn take(&mut self) -> Hashes {
        let mut taken = Box::new([0; _]);
        let (words, _) = self.hashes.as_chunks::<64>();
        for (taken, bytes) in taken.iter_mut().zip(words) {
            let bits = bytes.iter().enumerate();
            *taken = bits.fold(0, |word, (bit, is_set)| word | u64::from(*is_set) << bit);
        }
        self.hashes.fill(0);
        taken
    }
}

/// The hashes that are set.
pub(super) fn each(hashes: &Hashes) -> impl Iterator<Item = usize> {
    let words = hashes.iter().enumerate();
    words.flat_map(|(n, word)| {
        let mut left = *word;
        iter::from_fn(move || {
            let bit = left.checked_ilog2()?;
            left ^= 1 << bit;
            Some(n * 64 + bit as usize)
        })
    })
}

/// A text in a line, up to the quote that ends it, and what comes after it.
fn quoted(line: &[u8]) -> (&[u8], &[u8]) {
    let mut end = 0;
    while let Some(at) = memchr2(b'"', b'\\', line.get(end..).unwrap_or_default()) {
        end += at;
        if line[end] == b'"' {
            return line.split_at(end);
        }
        end += 2;
    }
    (line, &[])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Trigrams;

    fn seen(line: &[u8], is_span: bool) -> Hashes {
        let mut seen = Seen::default();
        seen.add_line(line, is_span);
        seen.take()
    }

    fn has(seen: &Hashes, text: &str) -> bool {
        let hashes: Vec<_> = each(seen).collect();
        Trigrams::of([text]).hashes().all(|hash| hashes.contains(&hash))
    }

    #[test]
    fn messages_are_seen_to_their_ends_and_nothing_behind_them() {
        let line = br#"{"seq":1,"message":"a \"quote\" and \\","attributes":{"key":"value"}}"#;
        let seen = seen(line, false);
        assert!(has(&seen, r#"a \"quote\" and \\"#) && has(&seen, "QUOTE"));
        for other in ["seq", "attributes", "value", r#"\\","#] {
            assert!(!has(&seen, other), "{other}");
        }
    }

    #[test]
    fn the_message_of_a_span_is_seen_behind_one_of_an_event() {
        let line = br#"{"seq":1,"span":{"events":[{"attributes":{"message":"inner"}}]},"message":"outer"}"#;
        assert!(has(&seen(line, true), "outer"));
    }

    #[test]
    fn of_a_line_that_is_not_as_ours_are_everything_is_seen() {
        for is_span in [false, true] {
            let seen = seen(br#"{"seq": 1, "message": "spaced"}"#, is_span);
            assert!(has(&seen, "spaced"));
        }
    }

    #[test]
    fn what_is_taken_is_of_one_frame() {
        let mut seen = Seen::default();
        for text in ["first", "second"] {
            seen.add(text.as_bytes());
            assert_eq!(each(&seen.take()).count(), text.len() - 2);
        }
    }
}
