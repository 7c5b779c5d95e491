//! The ids of W3C Trace Context.

use homeroom::model::InvalidField;
use serde::{Deserialize, Serialize};

/// An id of `DIGITS` lower-case hex digits, not all of them zero (W3C Trace Context, section 3.2.2).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct HexId<const DIGITS: usize>(String);

/// Names a trace.
pub type TraceId = HexId<32>;
/// Names a span of a trace.
pub type SpanId = HexId<16>;

impl<const DIGITS: usize> HexId<DIGITS> {
    /// Reads an id.
    ///
    /// # Errors
    /// What an id allows.
    pub fn parse(field: &str, id: &str) -> Result<Self, InvalidField> {
        let hex = id.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if id.len() != DIGITS || !hex || id.bytes().all(|b| b == b'0') {
            let allowed = format!("must be {DIGITS} lower-case hex digits, not all zero");
            return Err(InvalidField::new(field, allowed));
        }
        Ok(Self(id.to_owned()))
    }

    /// Reads an id that may be empty: none.
    ///
    /// # Errors
    /// What an id allows.
    pub fn parse_optional(field: &str, id: &str) -> Result<Option<Self>, InvalidField> {
        (!id.is_empty()).then(|| Self::parse(field, id)).transpose()
    }

    /// The digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<const DIGITS: usize> TryFrom<String> for HexId<DIGITS> {
    type Error = InvalidField;

    fn try_from(id: String) -> Result<Self, InvalidField> {
        Self::parse("id", &id)
    }
}

impl<const DIGITS: usize> From<HexId<DIGITS>> for String {
    fn from(id: HexId<DIGITS>) -> Self {
        id.0
    }
}

impl<const DIGITS: usize> std::fmt::Display for HexId<DIGITS> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}
