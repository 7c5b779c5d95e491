//! The fields of a message, one behind the other: numbers up to 15, so that a key is one byte.

use std::{
    io::Write,
    net::IpAddr,
    time::{Duration, SystemTime},
};

/// Puts fields at the end of some bytes. What is empty, zero or false is left out, as proto3 has it.
pub(super) struct Fields<'b>(pub(super) &'b mut Vec<u8>);

/// How a field's value is written.
#[derive(Clone, Copy)]
enum WireType {
    Varint = 0,
    LengthDelimited = 2,
}

impl Fields<'_> {
    pub(super) fn text(&mut self, number: u8, text: &str) {
        if text.is_empty() {
            return;
        }
        self.key(number, WireType::LengthDelimited);
        self.varint(text.len() as u64);
        self.0.extend_from_slice(text.as_bytes());
    }

    /// As text. The usual kind digit by digit: formatting it takes six times as many instructions.
    pub(super) fn ip(&mut self, number: u8, ip: IpAddr) {
        self.delimited(number, |bytes| match ip {
            IpAddr::V4(ip) => {
                for (n, octet) in ip.octets().into_iter().enumerate() {
                    if n > 0 {
                        bytes.push(b'.');
                    }
                    put_decimal(bytes, octet);
                }
            }
            IpAddr::V6(ip) => write!(bytes, "{ip}").expect("a vector takes everything"),
        });
    }

    pub(super) fn number(&mut self, number: u8, value: u64) {
        if value != 0 {
            self.given_number(number, value);
        }
    }

    /// One that is written though it be zero.
    pub(super) fn given_number(&mut self, number: u8, value: u64) {
        self.key(number, WireType::Varint);
        self.varint(value);
    }

    pub(super) fn flag(&mut self, number: u8, flag: bool) {
        self.number(number, flag.into());
    }

    pub(super) fn enumeration(&mut self, number: u8, value: impl Into<i32>) {
        self.signed(number, value.into().into());
    }

    pub(super) fn duration(&mut self, number: u8, duration: Duration) {
        self.message(number, |fields| {
            fields.number(1, duration.as_secs());
            fields.number(2, duration.subsec_nanos().into());
        });
    }

    pub(super) fn time(&mut self, number: u8, time: SystemTime) {
        let time = prost_types::Timestamp::from(time);
        self.message(number, |fields| {
            fields.signed(1, time.seconds);
            fields.signed(2, time.nanos.into());
        });
    }

    pub(super) fn message(&mut self, number: u8, fill: impl FnOnce(&mut Fields<'_>)) {
        self.delimited(number, |bytes| fill(&mut Fields(bytes)));
    }

    /// Below zero it takes ten bytes, as protobuf has it.
    fn signed(&mut self, number: u8, value: i64) {
        self.number(number, value.cast_unsigned());
    }

    /// The length stands in front and is known at the end: one byte is kept for it, which most need no more than.
    fn delimited(&mut self, number: u8, fill: impl FnOnce(&mut Vec<u8>)) {
        self.key(number, WireType::LengthDelimited);
        let length_at = self.0.len();
        self.0.push(0);
        fill(self.0);
        let end = self.0.len();
        let length = end - length_at - 1;
        if length < 0x80 {
            self.0[length_at] = length as u8;
            return;
        }
        self.varint(length as u64);
        let length_bytes = self.0.len() - end;
        self.0.remove(length_at);
        self.0[length_at..].rotate_right(length_bytes);
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

fn put_decimal(bytes: &mut Vec<u8>, octet: u8) {
    if octet >= 100 {
        bytes.push(b'0' + octet / 100);
    }
    if octet >= 10 {
        bytes.push(b'0' + octet / 10 % 10);
    }
    bytes.push(b'0' + octet % 10);
}
