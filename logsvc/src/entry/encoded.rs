//! An entry as the bytes of its message, written straight from its line: what answers are made of.

mod fields;
mod span;

use bytes::Bytes;
use homeroom::proto::log::v1 as proto;
use prost::Message;

use self::fields::{bytes, delimited, number, pairs, text, time};
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
        let sequence = write(line, &mut message)?;
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
fn write(line: &[u8], out: &mut Vec<u8>) -> Option<u64> {
    let line = line.strip_suffix(b"}\n").filter(|line| is_text(line))?;
    let rest = &mut Rest::of(line);
    let head = rest.head()?;
    time(1, head.time, out);
    number(2, proto::Severity::from(head.severity) as u64, out);
    bytes(3, head.service.as_bytes(), out);
    bytes(4, head.instance.as_bytes(), out);
    bytes(7, head.trace_id.as_ref().map_or(b"", |id| id.as_bytes()), out);
    if rest.skip(b",\"span_id\":\"").is_some() {
        bytes(8, rest.id::<16>()?.as_bytes(), out);
    }
    number(9, head.sequence, out);
    if rest.skip(b",\"span\":{").is_some() {
        delimited(10, out, |out| span::write(rest, out))?;
    }
    rest.skip(b",\"message\":\"")?;
    text(5, rest, out)?;
    if rest.skip(b",\"attributes\":{").is_some() {
        pairs(6, rest, out)?;
    }
    if rest.skip(b",\"resource\":{").is_some() {
        pairs(11, rest, out)?;
    }
    if rest.skip(b",\"scope\":{").is_some() {
        delimited(12, out, |out| scope(rest, out))?;
    }
    rest.is_empty().then_some(head.sequence)
}

/// Appends the fields of a `Scope`, each of which may be the first one.
fn scope(rest: &mut Rest<'_>, out: &mut Vec<u8>) -> Option<()> {
    let mut separator: &[u8] = b"";
    for (field, key) in [(1, &b"\"name\":\""[..]), (2, &b"\"version\":\""[..])] {
        if rest.skip_both(separator, key).is_some() {
            text(field, rest, out)?;
            separator = b",";
        }
    }
    if rest.skip_both(separator, b"\"attributes\":{").is_some() {
        pairs(3, rest, out)?;
    }
    rest.skip(b"}")
}

/// Whether a line is UTF-8 without control characters, so that each of its texts is.
fn is_text(line: &[u8]) -> bool {
    let has_control = line.iter().fold(false, |any, byte| any | (*byte < b' '));
    !has_control && std::str::from_utf8(line).is_ok()
}

#[cfg(test)]
mod tests;
