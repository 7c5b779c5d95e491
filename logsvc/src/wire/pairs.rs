//! Attributes off the wire.

use homeroom::model::InvalidField;

use super::{Text, Unfit, utf8};
use crate::entry::{ATTRIBUTES_MAX, Attributes, check_attributes};

/// Key-value pairs as they come. Reused from record to record for its room.
#[derive(Debug, Default)]
pub(crate) struct Pairs<'a> {
    pairs: Vec<(&'a [u8], Text<'a>)>,
    /// How many of them the sender has given; the others were noted here.
    given: usize,
}

impl<'a> Pairs<'a> {
    pub(crate) fn clear(&mut self) {
        self.pairs.clear();
        self.given = 0;
    }

    /// Adds what was read of a pair.
    ///
    /// # Errors
    /// When it could not be, or there are more than there may be.
    pub(crate) fn read(&mut self, field: &str, pair: Result<(&'a [u8], Text<'a>), Unfit>) -> Result<(), InvalidField> {
        self.given += 1;
        if self.given > ATTRIBUTES_MAX {
            return Err(InvalidField::new(
                field,
                format!("must have at most {ATTRIBUTES_MAX} pairs"),
            ));
        }
        self.pairs.push(pair.map_err(|unfit| unfit.at(field))?);
        Ok(())
    }

    /// Adds what an entry has no field for.
    pub(crate) fn note(&mut self, key: &'static str, value: impl Into<Text<'a>>) {
        self.pairs.push((key.as_bytes(), value.into()));
    }

    /// Adds how many things the sender has left out, when it has.
    pub(crate) fn note_dropped(&mut self, key: &'static str, count: u64) {
        if count > 0 {
            self.note(key, count.to_string());
        }
    }

    /// Takes a pair out.
    pub(crate) fn take(&mut self, key: &str) -> Option<Text<'a>> {
        let at = self.pairs.iter().rposition(|(name, _)| *name == key.as_bytes())?;
        let (_, value) = self.pairs.remove(at);
        Some(value)
    }

    /// Puts the pairs into the order of their keys, as in every line; of those with one key the last is kept.
    ///
    /// # Errors
    /// When they are beyond the limits.
    pub(crate) fn settle(&mut self, field: &str) -> Result<(), InvalidField> {
        self.pairs.sort_by_key(|(key, _)| *key);
        self.pairs.dedup_by(|later, kept| {
            let is_again = later.0 == kept.0;
            if is_again {
                std::mem::swap(later, kept);
            }
            is_again
        });
        check_attributes(field, self.iter())
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.pairs.iter().map(|(key, value)| (*key, value.as_ref()))
    }

    /// Asks each text by itself, which a whole line that is UTF-8 makes needless.
    ///
    /// # Errors
    /// When they are not all UTF-8.
    pub(crate) fn check_utf8(&self, field: &str) -> Result<(), InvalidField> {
        let mut texts = self.iter().flat_map(|(key, value)| [key, value]);
        texts
            .try_for_each(|text| utf8(text).map(drop))
            .map_err(|unfit| unfit.at(field))
    }

    /// The same as texts.
    ///
    /// # Errors
    /// When they are not all UTF-8.
    pub(crate) fn to_attributes(&self, field: &str) -> Result<Attributes, InvalidField> {
        let owned = |(key, value)| Ok((utf8(key)?.to_owned(), utf8(value)?.to_owned()));
        let attributes: Result<_, Unfit> = self.iter().map(owned).collect();
        attributes.map_err(|unfit| unfit.at(field))
    }
}
