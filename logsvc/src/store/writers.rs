//! Which batch of which writer was written last, so that a batch that comes again is not written again. Pure.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use homeroom::model::InvalidField;

/// How many writers are known: who wrote least recently is forgotten. A megabyte or two.
const WRITERS_MAX: usize = 10_000;
/// A writer's name is in each of its batches.
const ID_BYTES_MAX: usize = 64;

/// Names a writer across its streams: 1 to 64 of the characters `A-Z a-z 0-9 . _ : -`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct WriterId(Arc<str>);

impl WriterId {
    /// Reads the name of a writer.
    ///
    /// # Errors
    /// What a name allows.
    pub fn parse(field: &str, id: &str) -> Result<Self, InvalidField> {
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._:-".contains(&byte);
        if !(1..=ID_BYTES_MAX).contains(&id.len()) || !id.bytes().all(is_allowed) {
            let allowed = format!("must be 1 to {ID_BYTES_MAX} of the characters A-Z a-z 0-9 . _ : -");
            return Err(InvalidField::new(field, allowed));
        }
        Ok(Self(id.into()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The last batch of a writer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LastBatch {
    /// The number that the writer gave it.
    pub(super) number: u64,
    /// The number of its last entry.
    pub(super) last_sequence: u64,
}

/// The last batches of those writers that wrote last.
#[derive(Debug, Default)]
pub(super) struct Writers {
    last: HashMap<WriterId, LastBatch>,
    /// The same writers, who wrote least recently first: no two batches end with the same entry.
    by_sequence: BTreeMap<u64, WriterId>,
}

impl Writers {
    pub(super) fn get(&self, writer: &WriterId) -> Option<LastBatch> {
        self.last.get(writer).copied()
    }

    /// All of them as bytes, who wrote least recently first.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for writer in self.by_sequence.values() {
            let Some(batch) = self.last.get(writer) else { continue };
            bytes.push(u8::try_from(writer.0.len()).expect("a name is short"));
            bytes.extend_from_slice(writer.0.as_bytes());
            bytes.extend_from_slice(&batch.number.to_le_bytes());
            bytes.extend_from_slice(&batch.last_sequence.to_le_bytes());
        }
        bytes
    }

    /// Notes what [`encode`](Self::encode) made; `None` when it did not.
    #[must_use]
    pub(super) fn restore(&mut self, mut bytes: &[u8]) -> Option<()> {
        while let Some((length, rest)) = bytes.split_first() {
            let (id, rest) = rest.split_at_checked(usize::from(*length))?;
            let (number, rest) = rest.split_first_chunk()?;
            let (last_sequence, rest) = rest.split_first_chunk()?;
            let writer = WriterId::parse("writer", std::str::from_utf8(id).ok()?).ok()?;
            let batch = LastBatch {
                number: u64::from_le_bytes(*number),
                last_sequence: u64::from_le_bytes(*last_sequence),
            };
            self.note(&writer, batch);
            bytes = rest;
        }
        Some(())
    }

    /// Notes a batch, unless a later one of its writer is known.
    pub(super) fn note(&mut self, writer: &WriterId, batch: LastBatch) {
        if let Some(known) = self.last.get(writer).copied() {
            if known.number >= batch.number {
                return;
            }
            self.by_sequence.remove(&known.last_sequence);
        }
        self.last.insert(writer.clone(), batch);
        self.by_sequence.insert(batch.last_sequence, writer.clone());
        if self.last.len() > WRITERS_MAX
            && let Some((_, forgotten)) = self.by_sequence.pop_first()
        {
            self.last.remove(&forgotten);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn writer(id: &str) -> WriterId {
        WriterId::parse("writer", id).expect("a valid name")
    }

    fn batch(number: u64, last_sequence: u64) -> LastBatch {
        LastBatch { number, last_sequence }
    }

    #[test]
    fn a_name_has_only_what_is_harmless_anywhere() {
        assert_eq!(writer("Az09._:-").as_str(), "Az09._:-");
        assert!(WriterId::parse("writer", &"a".repeat(ID_BYTES_MAX)).is_ok());
        for id in ["", "a b", "a/b", "\u{e9}", "a\n", "\"", &"a".repeat(ID_BYTES_MAX + 1)] {
            let error = WriterId::parse("writer", id).expect_err(id);
            assert!(error.to_string().contains("writer"), "{error}");
        }
    }

    #[test]
    fn the_last_batch_of_a_writer_only_rises() {
        let (mut writers, a) = (Writers::default(), writer("a"));
        assert_eq!(writers.get(&a), None);
        for (noted, last) in [(3, 3), (2, 3), (9, 9)] {
            writers.note(&a, batch(noted, 10 * noted));
            assert_eq!(writers.get(&a), Some(batch(last, 10 * last)));
        }
    }

    #[test]
    fn what_is_encoded_is_restored_and_nothing_else_is() {
        let (mut writers, mut restored) = (Writers::default(), Writers::default());
        writers.note(&writer("a"), batch(7, 20));
        writers.note(&writer("b:b"), batch(u64::MAX, 10));
        let bytes = writers.encode();
        assert_eq!(restored.restore(&bytes), Some(()));
        assert_eq!(
            (&restored.last, &restored.by_sequence),
            (&writers.last, &writers.by_sequence)
        );
        for end in (1..bytes.len()).filter(|end| *end != bytes.len() / 2 + 1) {
            assert_eq!(Writers::default().restore(&bytes[..end]), None, "{end}");
        }
        assert_eq!(Writers::default().restore(&[1; 18]), None);
    }

    #[test]
    fn who_wrote_least_recently_is_forgotten() {
        let mut writers = Writers::default();
        let named = |n: usize| writer(&n.to_string());
        for n in 0..WRITERS_MAX {
            writers.note(&named(n), batch(1, n as u64 + 1));
        }
        writers.note(&named(0), batch(2, WRITERS_MAX as u64 + 1));
        writers.note(&writer("new"), batch(1, WRITERS_MAX as u64 + 2));
        assert_eq!(writers.last.len(), WRITERS_MAX);
        assert_eq!(writers.by_sequence.len(), WRITERS_MAX);
        assert!(writers.get(&named(0)).is_some() && writers.get(&named(2)).is_some());
        assert!(writers.get(&named(1)).is_none());
    }
}
