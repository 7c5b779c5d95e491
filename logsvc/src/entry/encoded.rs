//! An entry as the bytes of its message, written straight from its line: what answers are made of.

mod span;

use bytes::Bytes;
use homeroom::{fields::Fields, proto::log::v1 as proto};
use prost::Message;

use super::{Entry, rest::Rest};

/// An entry that is not looked at any more: a message of type `Entry`, encoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoded {
    /// Its position in the log.
    pub sequence: u64,
    /// The message.
    pub message: Bytes,
}

impl Encoded {
    /// Writes the message of a line, with its line break, if that is one of our own; `None` for all others, though they
    /// may be lines of entries, too.
    ///
    /// The [`head`](super::head()) of such a line says what is in the message.
    pub fn of_line(line: &[u8]) -> Option<Self> {
        // A message is hardly larger than its line.
        let mut message = Vec::with_capacity(line.len());
        let sequence = write(line, &mut Fields::behind(&mut message))?;
        Some(Self {
            sequence,
            message: message.into(),
        })
    }
}

impl From<Entry> for Encoded {
    fn from(entry: Entry) -> Self {
        Self {
            sequence: entry.sequence,
            message: proto::Entry::from(entry).encode_to_vec().into(),
        }
    }
}

/// Appends the fields of `homeroom.log.v1.Entry`, in the order of the line. Returns the number of the entry.
fn write(line: &[u8], fields: &mut Fields<'_>) -> Option<u64> {
    let line = line.strip_suffix(b"}\n").filter(|line| is_text(line))?;
    let rest = &mut Rest::of(line);
    let head = rest.head()?;
    fields.timestamp(1, head.time.into());
    fields.enumeration(2, proto::Severity::from(head.severity));
    fields.bytes(3, head.service.as_bytes());
    fields.bytes(4, head.instance.as_bytes());
    fields.bytes(7, head.trace_id.as_ref().map_or(b"", |id| id.as_bytes()));
    if rest.skip(b",\"span_id\":\"").is_some() {
        fields.bytes(8, rest.id::<16>()?.as_bytes());
    }
    fields.number(9, head.sequence);
    if rest.skip(b",\"span\":{").is_some() {
        fields.message(10, |fields| span::write(rest, fields))?;
    }
    rest.skip(b",\"message\":\"")?;
    text(5, rest, fields)?;
    if rest.skip(b",\"attributes\":{").is_some() {
        pairs(6, rest, fields)?;
    }
    if rest.skip(b",\"resource\":{").is_some() {
        pairs(11, rest, fields)?;
    }
    if rest.skip(b",\"scope\":{").is_some() {
        fields.message(12, |fields| scope(rest, fields))?;
    }
    rest.is_empty().then_some(head.sequence)
}

/// Appends the fields of a `Scope`, each of which may be the first one.
fn scope(rest: &mut Rest<'_>, fields: &mut Fields<'_>) -> Option<()> {
    let mut separator: &[u8] = b"";
    for (field, key) in [(1, &b"\"name\":\""[..]), (2, &b"\"version\":\""[..])] {
        if rest.skip_both(separator, key).is_some() {
            text(field, rest, fields)?;
            separator = b",";
        }
    }
    if rest.skip_both(separator, b"\"attributes\":{").is_some() {
        pairs(3, rest, fields)?;
    }
    rest.skip(b"}")
}

/// Appends the text that comes next.
fn text(number: u8, rest: &mut Rest<'_>, fields: &mut Fields<'_>) -> Option<()> {
    fields.put(number, |bytes| rest.text(bytes))
}

/// Appends the pairs of a map, up to the end of the object that they stand in.
fn pairs(number: u8, rest: &mut Rest<'_>, fields: &mut Fields<'_>) -> Option<()> {
    rest.skip(b"\"")?;
    loop {
        fields.message(number, |pair| {
            text(1, rest, pair)?;
            rest.skip(b":\"")?;
            text(2, rest, pair)
        })?;
        if rest.skip(b",\"").is_none() {
            return rest.skip(b"}");
        }
    }
}

/// Whether a line is UTF-8 without control characters, so that each of its texts is.
fn is_text(line: &[u8]) -> bool {
    let has_control = line.iter().fold(false, |any, byte| any | (*byte < b' '));
    !has_control && std::str::from_utf8(line).is_ok()
}

#[cfg(test)]
mod tests;
