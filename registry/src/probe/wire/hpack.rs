//! Header fields (RFC 7541), without a table of what was sent before: peers are told that this side keeps none.

use super::huffman;

/// The fields of the static table that an answer may consist of, from this index on: `:status` with its value.
const STATUS: [u16; 7] = [200, 204, 206, 304, 400, 404, 500];
const STATUS_INDEX: usize = 8;
const STATIC_MAX: usize = 61;

/// No header block, or one that refers to what this side does not keep.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// What tells how a call ended; all other fields are of no interest.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Fields {
    pub(super) http_status: Option<u16>,
    pub(super) grpc_status: Option<i32>,
    pub(super) grpc_message: String,
}

/// Reads a whole block.
///
/// # Errors
/// When it is none.
pub(super) fn decode(mut block: &[u8]) -> Result<Fields, Malformed> {
    let mut fields = Fields::default();
    while let Some(first) = block.first().copied() {
        if first & 0x80 != 0 {
            let index = integer(&mut block, 7)?;
            if !(1..=STATIC_MAX).contains(&index) {
                return Err(Malformed);
            }
            let status = index.checked_sub(STATUS_INDEX).and_then(|index| STATUS.get(index));
            fields.http_status = status.copied().or(fields.http_status);
        } else if first & 0xe0 == 0x20 {
            // The size of the table, which is none.
            integer(&mut block, 5)?;
        } else {
            let index = integer(&mut block, if first & 0x40 == 0 { 4 } else { 6 })?;
            let name = match index {
                0 => string(&mut block)?,
                8..=14 => b":status".to_vec(),
                1..=STATIC_MAX => Vec::new(),
                _ => return Err(Malformed),
            };
            let value = string(&mut block)?;
            fields.take(&name, &value);
        }
    }
    Ok(fields)
}

impl Fields {
    fn take(&mut self, name: &[u8], value: &[u8]) {
        let text = || std::str::from_utf8(value).ok();
        match name {
            b":status" => self.http_status = text().and_then(|text| text.parse().ok()),
            // What is no number is no status that anybody knows.
            b"grpc-status" => self.grpc_status = Some(text().and_then(|text| text.parse().ok()).unwrap_or(2)),
            b"grpc-message" => self.grpc_message = percent_decode(value),
            _ => {}
        }
    }
}

/// Text as gRPC sends it: bytes that are not printable are written as `%` and two digits.
fn percent_decode(text: &[u8]) -> String {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, after)) = rest.split_first() {
        let digits = after.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match byte {
            Some(byte) if *first == b'%' => {
                decoded.push(byte);
                rest = &after[2..];
            }
            _ => {
                decoded.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

/// A number of which the first byte has so many bits.
fn integer(block: &mut &[u8], bits: u32) -> Result<usize, Malformed> {
    let (first, mut rest) = block.split_first().ok_or(Malformed)?;
    let max = (1 << bits) - 1;
    let mut number = usize::from(*first) & max;
    if number == max {
        // No string in a block is longer than three times seven bits say.
        for shift in [0, 7, 14, 21] {
            let (next, after) = rest.split_first().ok_or(Malformed)?;
            rest = after;
            number += usize::from(next & 0x7f) << shift;
            if next & 0x80 == 0 {
                break;
            }
            if shift == 21 {
                return Err(Malformed);
            }
        }
    }
    *block = rest;
    Ok(number)
}

fn string(block: &mut &[u8]) -> Result<Vec<u8>, Malformed> {
    let is_coded = block.first().is_some_and(|first| first & 0x80 != 0);
    let length = integer(block, 7)?;
    let (text, rest) = block.split_at_checked(length).ok_or(Malformed)?;
    *block = rest;
    if is_coded {
        huffman::decode(text).ok_or(Malformed)
    } else {
        Ok(text.to_vec())
    }
}

/// Writes a field whose name is of the static table, never to be kept.
pub(super) fn put_named(block: &mut Vec<u8>, index: u8, value: &str) {
    match index.checked_sub(15) {
        None => block.push(index),
        Some(more) => block.extend([15, more]),
    }
    put_string(block, value);
}

/// Writes a field with its name, never to be kept.
pub(super) fn put(block: &mut Vec<u8>, name: &str, value: &str) {
    block.push(0);
    put_string(block, name);
    put_string(block, value);
}

fn put_string(block: &mut Vec<u8>, text: &str) {
    const MAX: usize = 127;
    if text.len() < MAX {
        block.push(u8::try_from(text.len()).expect("it is short"));
    } else {
        block.push(MAX as u8);
        let mut more = text.len() - MAX;
        while more > MAX {
            block.push((more & MAX) as u8 | 0x80);
            more >>= 7;
        }
        block.push(more as u8);
    }
    block.extend_from_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_tells_its_status_however_it_is_written() {
        let indexed = b"\x88\x5f\x10application/grpc\x00\x0bgrpc-status\x0212";
        let huffman = b"\x20\x48\x82\x64\x02\x40\x88\x9a\xca\xc8\xb2\x12\x34\xda\x8f\x03\x31\x31\x30";
        let fields = decode(indexed).expect("a block");
        assert_eq!((fields.http_status, fields.grpc_status), (Some(200), Some(12)));
        let fields = decode(huffman).expect("a block");
        assert_eq!((fields.http_status, fields.grpc_status), (Some(302), Some(110)));
    }

    #[test]
    fn what_was_written_is_read_again_whatever_its_length() {
        for length in [0, 1, 126, 127, 128, 254, 255, 300, 8_000] {
            let mut block = Vec::new();
            put(&mut block, "grpc-message", &"a".repeat(length));
            put_named(&mut block, 58, "homeroom");
            put_named(&mut block, 8, "503");
            let fields = decode(&block).expect("a block");
            assert_eq!((fields.grpc_message.len(), fields.http_status), (length, Some(503)));
        }
    }

    #[test]
    fn a_message_is_decoded() {
        for (text, decoded) in [
            ("a%20%C3%A4 b", "a ä b"),
            ("100%", "100%"),
            ("%zz%4", "%zz%4"),
            ("%ff", "\u{fffd}"),
        ] {
            assert_eq!(percent_decode(text.as_bytes()), decoded);
        }
    }

    #[test]
    fn a_block_that_is_cut_off_or_refers_to_what_was_never_kept_is_none() {
        let whole = b"\x88\x00\x0bgrpc-status\x0212";
        for length in (2..whole.len()).chain([3]) {
            assert_eq!(decode(&whole[..length]), Err(Malformed), "{length} bytes");
        }
        for broken in [
            &b"\xbe"[..],
            b"\x80",
            b"\x7e\x01a",
            b"\x00\x7f\xff\xff\xff\xff\xff\x01",
            b"\x00\x81\x00",
        ] {
            assert_eq!(decode(broken), Err(Malformed), "{broken:x?}");
        }
    }
}
