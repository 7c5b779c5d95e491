//! Numbers, times and texts as bytes, little-endian, and back.

use std::io;

use prost_types::Timestamp;

use crate::{entry::Time, store::damaged};

/// Appends a time: its seconds (8 bytes) and nanoseconds (4 bytes).
pub(super) fn put_time(time: Time, out: &mut Vec<u8>) {
    let Timestamp { seconds, nanos } = time.into();
    out.extend_from_slice(&seconds.to_le_bytes());
    out.extend_from_slice(&nanos.to_le_bytes());
}

/// Appends a text: its length (1 byte), then itself.
///
/// # Panics
/// When it has more than 255 bytes.
pub(super) fn put_text(text: &str, out: &mut Vec<u8>) {
    out.push(u8::try_from(text.len()).expect("names are shorter"));
    out.extend_from_slice(text.as_bytes());
}

/// Reads what is there from its start on.
///
/// # Errors
/// Each fails with `InvalidData` when there is less than it reads.
#[derive(Debug)]
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl<'a> Fields<'a> {
    pub(super) fn bytes(&mut self, length: usize) -> io::Result<&'a [u8]> {
        let (bytes, rest) = self
            .0
            .split_at_checked(length)
            .ok_or_else(|| damaged("a field is cut off"))?;
        self.0 = rest;
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        Ok(self.bytes(N)?.try_into().expect("as many as asked for"))
    }

    pub(super) fn u8(&mut self) -> io::Result<u8> {
        Ok(u8::from_le_bytes(self.array()?))
    }

    pub(super) fn u16(&mut self) -> io::Result<u16> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    pub(super) fn u32(&mut self) -> io::Result<u32> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub(super) fn u64(&mut self) -> io::Result<u64> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    pub(super) fn time(&mut self) -> io::Result<Time> {
        let seconds = i64::from_le_bytes(self.array()?);
        let nanos = i32::from_le_bytes(self.array()?);
        Time::parse("time", Timestamp { seconds, nanos }).map_err(|_| damaged("a time is out of its bounds"))
    }

    pub(super) fn text(&mut self) -> io::Result<&'a str> {
        let length = self.u8()?;
        let text = self.bytes(usize::from(length))?;
        std::str::from_utf8(text).map_err(|_| damaged("a text is not UTF-8"))
    }
}
