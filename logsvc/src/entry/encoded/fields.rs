//! Fields of protobuf, as generated code writes them: what is zero or empty is left out. See
//! <https://protobuf.dev/programming-guides/encoding/>.

use prost::encoding::encode_varint;

use crate::entry::{Time, rest::Rest};

/// Appends an integer; a negative one as its two's complement.
pub(super) fn number(field: u8, value: u64, out: &mut Vec<u8>) {
    if value != 0 {
        out.push(field << 3);
        encode_varint(value, out);
    }
}

/// Appends bytes, or a text.
pub(super) fn bytes(field: u8, value: &[u8], out: &mut Vec<u8>) {
    if !value.is_empty() {
        out.push(field << 3 | 2);
        length(value.len(), out);
        out.extend_from_slice(value);
    }
}

/// Appends a length: most are of one byte.
fn length(length: usize, out: &mut Vec<u8>) {
    match u8::try_from(length) {
        Ok(length @ ..0x80) => out.push(length),
        _ => encode_varint(length as u64, out),
    }
}

/// Appends a `google.protobuf.Timestamp`.
pub(super) fn time(field: u8, time: Time, out: &mut Vec<u8>) {
    let time = prost_types::Timestamp::from(time);
    prost::encoding::message::encode(field.into(), &time, out);
}

/// Appends a message of which `write` appends the fields.
pub(super) fn delimited(field: u8, out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>) -> Option<()>) -> Option<()> {
    // Most are small: for the length of others room is made afterwards.
    out.extend_from_slice(&[field << 3 | 2, 0]);
    let start = out.len();
    write(out)?;
    match u8::try_from(out.len() - start) {
        Ok(length @ ..0x80) => out[start - 1] = length,
        _ => {
            let mut length = Vec::with_capacity(10);
            encode_varint((out.len() - start) as u64, &mut length);
            out.splice(start - 1..start, length);
        }
    }
    Some(())
}

/// Appends the text that comes next.
pub(super) fn text(field: u8, rest: &mut Rest<'_>, out: &mut Vec<u8>) -> Option<()> {
    let start = out.len();
    delimited(field, out, |out| rest.text(out))?;
    if out[start + 1] == 0 {
        out.truncate(start);
    }
    Some(())
}

/// Appends the pairs of a map, up to the end of the object that they stand in.
pub(super) fn pairs(field: u8, rest: &mut Rest<'_>, out: &mut Vec<u8>) -> Option<()> {
    rest.skip(b"\"")?;
    loop {
        delimited(field, out, |out| {
            text(1, rest, out)?;
            rest.skip(b":\"")?;
            text(2, rest, out)
        })?;
        if rest.skip(b",\"").is_none() {
            return rest.skip(b"}");
        }
    }
}
