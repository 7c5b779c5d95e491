//! Texts off the wire, on their way into a line.

use std::borrow::Cow;

use crate::entry::decimal::Decimal;

/// A text, or what was made one. Nobody has asked yet whether it is UTF-8: of a whole line that is asked at once.
#[derive(Debug, Clone)]
pub(crate) enum Text<'a> {
    /// As it came.
    Wire(&'a [u8]),
    Number(Decimal),
    Made(Vec<u8>),
}

impl Default for Text<'_> {
    fn default() -> Self {
        Self::Wire(&[])
    }
}

impl Text<'_> {
    pub(crate) fn into_bytes(self) -> Vec<u8> {
        match self {
            Self::Made(text) => text,
            text => text.as_ref().to_owned(),
        }
    }
}

impl AsRef<[u8]> for Text<'_> {
    #[inline]
    fn as_ref(&self) -> &[u8] {
        match self {
            Self::Wire(text) => text,
            Self::Number(number) => number.as_ref(),
            Self::Made(text) => text,
        }
    }
}

impl<'a> From<&'a str> for Text<'a> {
    fn from(text: &'a str) -> Self {
        Self::Wire(text.as_bytes())
    }
}

impl From<String> for Text<'_> {
    fn from(text: String) -> Self {
        Self::Made(text.into())
    }
}

impl<'a> From<Cow<'a, str>> for Text<'a> {
    fn from(text: Cow<'a, str>) -> Self {
        match text {
            Cow::Borrowed(text) => text.into(),
            Cow::Owned(text) => text.into(),
        }
    }
}
