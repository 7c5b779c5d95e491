//! What an instance wants its clients to know.

use std::{
    collections::BTreeMap,
    fmt::{self, Write},
};

/// What a length and its colon usually take.
const LENGTH_BYTES: usize = 3;

/// Keys with values, by key.
///
/// In one allocation, since tens of thousands of instances are held: each text follows its length in bytes and a colon, as in
/// `5:build2:17`.
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

/// The next text; `None` at the end.
fn take<'t>(rest: &mut &'t str) -> Option<&'t str> {
    let (length, texts) = rest.split_once(':')?;
    let (text, after) = texts.split_at(length.parse().ok()?);
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
        let size_bytes = texts().map(|text| text.len() + LENGTH_BYTES).sum();
        let mut all = String::with_capacity(size_bytes);
        for text in texts() {
            write!(all, "{}:{text}", text.len()).expect("a string takes everything");
        }
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
}
