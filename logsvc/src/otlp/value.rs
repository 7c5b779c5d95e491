//! OTLP's values as text.

use crate::{
    entry::{decimal::Decimal, json},
    wire::{self, DEPTH_MAX, Fields, Text, Unfit, Value},
};
use base64::{Engine, prelude::BASE64_STANDARD};

/// A value.
enum Any<'a> {
    None,
    Text(&'a [u8]),
    Bool(bool),
    Int(i64),
    Double(f64),
    List(&'a [u8]),
    Map(&'a [u8]),
    Bytes(&'a [u8]),
}

impl<'a> Any<'a> {
    #[inline]
    fn read(message: &'a [u8]) -> Result<Self, Unfit> {
        let mut any = Self::None;
        for field in Fields::of(message) {
            any = match field? {
                (1, Value::Bytes(text)) => Self::Text(text),
                (2, Value::Varint(bool)) => Self::Bool(bool != 0),
                (3, Value::Varint(int)) => Self::Int(int.cast_signed()),
                (4, Value::Fixed64(bits)) => Self::Double(f64::from_bits(bits)),
                (5, Value::Bytes(list)) => Self::List(list),
                (6, Value::Bytes(map)) => Self::Map(map),
                (7, Value::Bytes(bytes)) => Self::Bytes(bytes),
                (1..=7, _) => return Err(Unfit::Malformed),
                _ => any,
            };
        }
        Ok(any)
    }
}

/// Reads an `AnyValue` as text: what is no text as JSON, bytes as base64, no value as the empty text.
/// Whether it is UTF-8 is left to who writes it.
pub(super) fn text(message: &[u8]) -> Result<Text<'_>, Unfit> {
    // Most are short texts.
    if let [0x0a, length @ ..0x80, text @ ..] = message
        && text.len() == usize::from(*length)
    {
        return Ok(Text::Wire(text));
    }
    Ok(match Any::read(message)? {
        Any::None => Text::default(),
        Any::Text(text) => Text::Wire(text),
        Any::Bool(bool) => bool_text(bool).into(),
        Any::Int(int) => Text::Number(int.into()),
        Any::Double(double) => double_text(double).into(),
        Any::Bytes(bytes) => BASE64_STANDARD.encode(bytes).into(),
        any @ (Any::List(_) | Any::Map(_)) => {
            let mut out = Vec::new();
            write(any, &mut out, DEPTH_MAX)?;
            Text::Made(out)
        }
    })
}

fn bool_text(bool: bool) -> &'static str {
    if bool { "true" } else { "false" }
}

/// As JSON has it, and protobuf's JSON where JSON has nothing.
fn double_text(double: f64) -> String {
    match serde_json::Number::from_f64(double) {
        Some(number) => number.to_string(),
        None if double.is_nan() => "NaN".to_owned(),
        None if double > 0.0 => "Infinity".to_owned(),
        None => "-Infinity".to_owned(),
    }
}

/// Appends a value as JSON.
fn write(any: Any<'_>, out: &mut Vec<u8>, depth: usize) -> Result<(), Unfit> {
    match any {
        Any::None => out.extend_from_slice(b"null"),
        Any::Text(text) => json::text(text, out),
        Any::Bool(bool) => out.extend_from_slice(bool_text(bool).as_bytes()),
        Any::Int(int) => out.extend_from_slice(Decimal::from(int).as_ref()),
        Any::Double(double) if double.is_finite() => out.extend_from_slice(double_text(double).as_bytes()),
        Any::Double(double) => json::text(double_text(double).as_bytes(), out),
        Any::Bytes(bytes) => json::text(BASE64_STANDARD.encode(bytes).as_bytes(), out),
        Any::List(list) => write_all(list, (b'[', b']'), out, depth)?,
        Any::Map(map) => write_all(map, (b'{', b'}'), out, depth)?,
    }
    Ok(())
}

/// Appends the values of a list, or the pairs of a map.
fn write_all(message: &[u8], (open, close): (u8, u8), out: &mut Vec<u8>, depth: usize) -> Result<(), Unfit> {
    let depth = depth.checked_sub(1).ok_or(Unfit::TooDeep)?;
    out.push(open);
    for (n, item) in wire::repeated(message, 1).enumerate() {
        if n > 0 {
            out.push(b',');
        }
        let value = if open == b'{' {
            let (key, value) = pair(item?)?;
            json::text(key, out);
            out.push(b':');
            value
        } else {
            item?
        };
        write(Any::read(value)?, out, depth)?;
    }
    out.push(close);
    Ok(())
}

/// Reads a `KeyValue`, its value as text.
pub(super) fn attribute(message: &[u8]) -> Result<(&[u8], Text<'_>), Unfit> {
    let (key, value) = pair(message)?;
    Ok((key, text(value)?))
}

/// Reads a `KeyValue`: its key, and its value as a message.
#[inline]
fn pair(message: &[u8]) -> Result<(&[u8], &[u8]), Unfit> {
    let (mut key, mut value) = (&[][..], &[][..]);
    for field in Fields::of(message) {
        match field? {
            (1, Value::Bytes(bytes)) => key = bytes,
            (2, Value::Bytes(bytes)) => value = bytes,
            (1 | 2, _) => return Err(Unfit::Malformed),
            _ => {}
        }
    }
    Ok((key, value))
}
