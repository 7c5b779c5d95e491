//! The ids of W3C Trace Context.

use std::str::FromStr;

use homeroom::model::InvalidField;
use serde::{Deserialize, Deserializer};

use super::text::FromText;

/// The digits of each byte.
static HEX: [[u8; 2]; 256] = {
    let digits = b"0123456789abcdef";
    let mut hex = [[0; 2]; 256];
    let mut byte = 0;
    while byte < hex.len() {
        hex[byte] = [digits[byte >> 4], digits[byte & 15]];
        byte += 1;
    }
    hex
};

/// An id of `DIGITS` lower-case hex digits, not all of them zero (W3C Trace Context, section 3.2.2).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HexId<const DIGITS: usize>([u8; DIGITS]);

/// Names a trace.
pub type TraceId = HexId<32>;
/// Names a span of a trace.
pub type SpanId = HexId<16>;

impl<const DIGITS: usize> HexId<DIGITS> {
    /// Reads an id.
    ///
    /// # Errors
    /// What an id allows.
    pub fn parse(field: &str, id: impl AsRef<[u8]>) -> Result<Self, InvalidField> {
        let allowed = || format!("must be {DIGITS} lower-case hex digits, not all zero");
        Self::read(id.as_ref()).ok_or_else(|| InvalidField::new(field, allowed()))
    }

    /// Reads an id that may be empty: none.
    ///
    /// # Errors
    /// What an id allows.
    pub fn parse_optional(field: &str, id: impl AsRef<[u8]>) -> Result<Option<Self>, InvalidField> {
        (!id.as_ref().is_empty()).then(|| Self::parse(field, id)).transpose()
    }

    /// Reads an id; `None` when it is none.
    pub(super) fn read(id: &[u8]) -> Option<Self> {
        let digits: [u8; DIGITS] = id.try_into().ok()?;
        // Without a branch, so that one instruction looks at many digits.
        let is_hex = |byte: u8| (byte.wrapping_sub(b'0') < 10) | (byte.wrapping_sub(b'a') < 6);
        let hex = digits.iter().fold(true, |all, byte| all & is_hex(*byte));
        (hex && digits != [b'0'; DIGITS]).then_some(Self(digits))
    }

    /// The id of these bytes; `None` when it is none.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        if bytes.len() * 2 != DIGITS {
            return None;
        }
        let mut digits = [b'0'; DIGITS];
        let (pairs, _) = digits.as_chunks_mut();
        for (n, pair) in pairs.iter_mut().enumerate() {
            *pair = HEX[usize::from(bytes[n])];
        }
        (digits != [b'0'; DIGITS]).then_some(Self(digits))
    }

    /// The digits, as they stand in a line.
    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// What the last eight digits say.
    pub(crate) fn low(&self) -> u32 {
        // Letters have the bit above those of the digits.
        let digit = |byte: &u8| u32::from((byte & 15) + (byte >> 6) * 9);
        self.0[DIGITS - 8..]
            .iter()
            .fold(0, |number, byte| number << 4 | digit(byte))
    }

    /// The digits.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("hex digits are text")
    }
}

impl<const DIGITS: usize> FromStr for HexId<DIGITS> {
    type Err = InvalidField;

    fn from_str(id: &str) -> Result<Self, InvalidField> {
        Self::parse("id", id)
    }
}

impl<const DIGITS: usize> From<HexId<DIGITS>> for String {
    fn from(id: HexId<DIGITS>) -> Self {
        id.as_str().to_owned()
    }
}

impl<const DIGITS: usize> std::fmt::Display for HexId<DIGITS> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.as_str().fmt(f)
    }
}

impl<'de, const DIGITS: usize> Deserialize<'de> for HexId<DIGITS> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        FromText::read(deserializer)
    }
}
