//! Protobuf's wire format, read in place: nothing is copied, so that a small request cannot become a large one, and a
//! record that is broken is one record. See <https://protobuf.dev/programming-guides/encoding/>.

mod pairs;
mod text;

use homeroom::model::InvalidField;

pub(crate) use self::{pairs::Pairs, text::Text};

/// How deep a value may be nested. Logging libraries write a few levels; each takes room on the stack.
pub(crate) const DEPTH_MAX: usize = 64;

/// A value and what it is.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Value<'a> {
    Varint(u64),
    Fixed64(u64),
    Fixed32,
    Bytes(&'a [u8]),
}

/// What is not protobuf.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Malformed;

/// Why a value cannot be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unfit {
    Malformed,
    NotUtf8,
    TooDeep,
}

impl From<Malformed> for Unfit {
    fn from(_: Malformed) -> Self {
        Self::Malformed
    }
}

impl Unfit {
    pub(crate) fn at(self, field: &str) -> InvalidField {
        let allowed = match self {
            Self::Malformed => "must be well-formed".to_owned(),
            Self::NotUtf8 => "must be UTF-8".to_owned(),
            Self::TooDeep => format!("must be nested at most {DEPTH_MAX} deep"),
        };
        InvalidField::new(field, allowed)
    }
}

/// Whether a line is UTF-8: whether all texts in it are, each of which has a quote on both sides.
///
/// # Errors
/// When it is not.
pub(crate) fn check_utf8(line: &[u8]) -> Result<(), Unfit> {
    // Most are ASCII, which is known in no time.
    if line.is_ascii() { Ok(()) } else { utf8(line).map(drop) }
}

/// A text of the wire.
#[inline]
pub(crate) fn utf8(bytes: &[u8]) -> Result<&str, Unfit> {
    std::str::from_utf8(bytes).map_err(|_| Unfit::NotUtf8)
}

/// The number of an enum's value: one that no enum has for what is none.
pub(crate) fn enumeration(varint: u64) -> i32 {
    i32::try_from(varint).unwrap_or(i32::MAX)
}

/// The fields of a message, in their order. Ends after the first that is malformed.
#[derive(Debug, Clone)]
pub(crate) struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    pub(crate) fn of(message: &'a [u8]) -> Self {
        Self(message)
    }

    fn field(&mut self) -> Result<(u64, Value<'a>), Malformed> {
        let tag = self.varint()?;
        let value = match tag & 7 {
            0 => Value::Varint(self.varint()?),
            1 => Value::Fixed64(u64::from_le_bytes(self.array()?)),
            2 => {
                let length = usize::try_from(self.varint()?).map_err(|_| Malformed)?;
                Value::Bytes(self.take(length)?)
            }
            5 => self.array::<4>().map(|_| Value::Fixed32)?,
            _ => return Err(Malformed),
        };
        Ok((tag >> 3, value))
    }

    #[inline]
    fn varint(&mut self) -> Result<u64, Malformed> {
        // Nearly all are of one byte.
        if let [byte @ ..0x80, rest @ ..] = self.0 {
            self.0 = rest;
            return Ok(u64::from(*byte));
        }
        let mut number = 0;
        for (n, byte) in self.0.iter().take(10).enumerate() {
            number |= u64::from(byte & 0x7f) << (7 * n);
            if *byte < 0x80 {
                self.0 = &self.0[n + 1..];
                return Ok(number);
            }
        }
        Err(Malformed)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (array, rest) = self.0.split_first_chunk().ok_or(Malformed)?;
        self.0 = rest;
        Ok(*array)
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let (bytes, rest) = self.0.split_at_checked(length).ok_or(Malformed)?;
        self.0 = rest;
        Ok(bytes)
    }
}

impl<'a> Iterator for Fields<'a> {
    /// The number of a field and its value.
    type Item = Result<(u64, Value<'a>), Malformed>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        // Most are short texts and messages, or small numbers: those are read where they are used.
        if let [tag @ ..0x80, byte @ ..0x80, rest @ ..] = self.0 {
            let number = u64::from(tag >> 3);
            match tag & 7 {
                2 => {
                    if let Some((bytes, rest)) = rest.split_at_checked(usize::from(*byte)) {
                        self.0 = rest;
                        return Some(Ok((number, Value::Bytes(bytes))));
                    }
                }
                0 => {
                    self.0 = rest;
                    return Some(Ok((number, Value::Varint(u64::from(*byte)))));
                }
                _ => {}
            }
        }
        if self.0.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.0 = &[];
        }
        Some(field)
    }
}

/// The messages and texts of one repeated field.
pub(crate) fn repeated(message: &[u8], number: u64) -> impl Iterator<Item = Result<&[u8], Malformed>> {
    Fields::of(message).filter_map(move |field| match field {
        Ok((n, Value::Bytes(bytes))) if n == number => Some(Ok(bytes)),
        Ok(_) => None,
        Err(malformed) => Some(Err(malformed)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_beyond_the_end_and_an_endless_number_are_malformed() {
        for message in [
            &[0x0a, 5, 1][..],
            &[0x08; 1],
            &[0xff; 11],
            &[0x09, 1],
            &[0x0d, 1],
            &[0x0b],
        ] {
            let mut fields = Fields::of(message);
            assert!(matches!(fields.next(), Some(Err(Malformed))), "{message:?}");
            assert!(fields.next().is_none(), "{message:?}");
        }
    }
}
