//! What an instance wants its clients to know.

use std::{collections::BTreeMap, fmt};

/// A digit of a length has six bits, so that it is a character of one byte, and this one when another digit follows.
const MORE: u8 = 0x40;

/// Keys with values, by key.
///
/// In one allocation, since tens of thousands of instances are held: each text follows its length in bytes, which is one
/// digit for texts below 64, otherwise the lowest digit and those after it.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Metadata(Box<str>);

impl Metadata {
    /// The pairs, by key.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        let mut rest = &*self.0;
        std::iter::from_fn(move || Some((take(&mut rest)?, take(&mut rest)?)))
    }

    /// The sum of the lengths of all keys and values.
    pub fn size_bytes(&self) -> usize {
        self.iter().map(|(key, value)| key.len() + value.len()).sum()
    }
}

/// Puts a text at the end.
fn put(all: &mut String, text: &str) {
    let mut length = text.len();
    while length >= usize::from(MORE) {
        all.push(char::from(length as u8 % MORE + MORE));
        length /= usize::from(MORE);
    }
    all.push(char::from(length as u8));
    all.push_str(text);
}

/// The next text; `None` at the end.
fn take<'t>(rest: &mut &'t str) -> Option<&'t str> {
    let digits = 1 + rest.bytes().position(|digit| digit < MORE)?;
    let (length, texts) = rest.split_at(digits);
    let length = length.bytes().rev().fold(0, |length, digit| {
        length * usize::from(MORE) + usize::from(digit % MORE)
    });
    let (text, after) = texts.split_at(length);
    *rest = after;
    Some(text)
}

impl fmt::Debug for Metadata {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl From<BTreeMap<String, String>> for Metadata {
    fn from(pairs: BTreeMap<String, String>) -> Self {
        let texts = || pairs.iter().flat_map(|(key, value)| [key, value]);
        let mut all = String::with_capacity(texts().map(|text| 1 + text.len()).sum());
        texts().for_each(|text| put(&mut all, text));
        Self(all.into())
    }
}

impl From<&Metadata> for BTreeMap<String, String> {
    fn from(metadata: &Metadata) -> Self {
        let pairs = metadata.iter();
        pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_comes_back_as_it_was() {
        let texts = [("", "12:"), ("b", ""), ("a", ":1:"), ("ü", "\0\n"), ("1:a", "0:")];
        let pairs: BTreeMap<_, _> = texts.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        let metadata = Metadata::from(pairs.clone());
        assert_eq!(BTreeMap::from(&metadata), pairs);
        assert!(metadata.iter().is_sorted());
        assert_eq!(metadata.iter().count(), texts.len());
        assert_eq!(metadata.size_bytes(), 17);
        assert_eq!(Metadata::default().iter().next(), None);
    }

    #[test]
    fn texts_of_any_length_come_back() {
        for length in [63, 64, 65, 4_095, 4_096, 4_160, 1 << 20] {
            let pairs = BTreeMap::from([("k".to_owned(), "@".repeat(length)), ("l".to_owned(), "v".to_owned())]);
            assert_eq!(BTreeMap::from(&Metadata::from(pairs.clone())), pairs, "{length}");
        }
    }
}
