//! A protobuf message written field by field, for what is encoded too often for a generated message to be made of it.
//! See <https://protobuf.dev/programming-guides/encoding/>.

use std::time::{Duration, SystemTime};

use prost_types::Timestamp;

/// Puts fields at the end of some bytes, numbers up to 15, so that a key is one byte. What is empty, zero or false is left
/// out, as proto3 has it.
#[derive(Debug)]
pub struct Fields<'b>(&'b mut Vec<u8>);

/// How a field's value is written.
#[derive(Clone, Copy)]
enum WireType {
    Varint = 0,
    LengthDelimited = 2,
}

impl<'b> Fields<'b> {
    /// Fields behind what there is.
    pub fn behind(bytes: &'b mut Vec<u8>) -> Self {
        Self(bytes)
    }

    /// A `string`.
    pub fn text(&mut self, number: u8, text: &str) {
        self.bytes(number, text.as_bytes());
    }

    /// A `bytes`, or a `string` that is known to be one.
    pub fn bytes(&mut self, number: u8, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        self.key(number, WireType::LengthDelimited);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    /// A `string` that `fill` puts at the end of the bytes; returns what `fill` does.
    pub fn put<R>(&mut self, number: u8, fill: impl FnOnce(&mut Vec<u8>) -> R) -> R {
        let start = self.0.len();
        let begin = self.open(number);
        let filled = fill(self.0);
        if self.0.len() == begin {
            self.0.truncate(start);
        } else {
            self.close(begin);
        }
        filled
    }

    /// An unsigned integer.
    pub fn number(&mut self, number: u8, value: u64) {
        if value != 0 {
            self.given_number(number, value);
        }
    }

    /// An `optional` unsigned integer, which is written though it be zero.
    pub fn given_number(&mut self, number: u8, value: u64) {
        self.key(number, WireType::Varint);
        self.varint(value);
    }

    /// A `bool`.
    pub fn flag(&mut self, number: u8, flag: bool) {
        self.number(number, flag.into());
    }

    /// A value of an enum.
    pub fn enumeration(&mut self, number: u8, value: impl Into<i32>) {
        self.signed(number, value.into().into());
    }

    /// A `google.protobuf.Duration`.
    pub fn duration(&mut self, number: u8, duration: Duration) {
        self.message(number, |fields| {
            fields.number(1, duration.as_secs());
            fields.number(2, duration.subsec_nanos().into());
        });
    }

    /// A `google.protobuf.Timestamp` of a clock.
    pub fn time(&mut self, number: u8, time: SystemTime) {
        self.timestamp(number, time.into());
    }

    /// A `google.protobuf.Timestamp`.
    pub fn timestamp(&mut self, number: u8, time: Timestamp) {
        self.message(number, |fields| {
            fields.signed(1, time.seconds);
            fields.signed(2, time.nanos.into());
        });
    }

    /// A message, which is written though it be empty; returns what `fill` does.
    pub fn message<R>(&mut self, number: u8, fill: impl FnOnce(&mut Fields<'_>) -> R) -> R {
        let begin = self.open(number);
        let filled = fill(&mut Fields(self.0));
        self.close(begin);
        filled
    }

    /// Below zero it takes ten bytes, as protobuf has it.
    fn signed(&mut self, number: u8, value: i64) {
        self.number(number, value.cast_unsigned());
    }

    /// Returns where a value begins. Its length stands in front and is known at the end: one byte is kept for it, which
    /// most need no more than.
    fn open(&mut self, number: u8) -> usize {
        self.key(number, WireType::LengthDelimited);
        self.0.push(0);
        self.0.len()
    }

    fn close(&mut self, begin: usize) {
        let end = self.0.len();
        let length = end - begin;
        if length < 0x80 {
            self.0[begin - 1] = length as u8;
            return;
        }
        self.varint(length as u64);
        let length_bytes = self.0.len() - end;
        self.0.remove(begin - 1);
        self.0[begin - 1..].rotate_right(length_bytes);
    }

    fn key(&mut self, number: u8, wire_type: WireType) {
        debug_assert!(number < 16, "a larger number takes more than one byte");
        self.0.push(number << 3 | wire_type as u8);
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }
}
