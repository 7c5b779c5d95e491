//! A log record of OTLP as an entry.

use std::borrow::Cow;

use homeroom::model::InvalidField;

use super::{
    Target,
    value::{self, attribute},
};
use crate::{
    entry::{self, HexId, MESSAGE_BYTES_MAX, Severity, SpanId, Time, TraceId, line::Parts},
    wire::{Fields, Text, Unfit, Value, utf8},
};

/// What a record says that has neither a text nor a name: a line needs a message.
const NO_BODY: &str = "(no body)";

/// A `LogRecord`, in place.
#[derive(Default)]
struct LogRecord<'a> {
    time: u64,
    observed_time: u64,
    severity_number: u64,
    severity_text: &'a str,
    body: Option<&'a [u8]>,
    dropped_attributes: u64,
    trace_id: &'a [u8],
    span_id: &'a [u8],
    event_name: &'a str,
}

/// Adds the entry of a `LogRecord`.
pub(super) fn add<'a>(message: &'a [u8], target: &mut Target<'a, '_>) -> Result<(), InvalidField> {
    target.pairs.clear();
    let record = read(message, target)?;
    let body = body(&record)?;
    let (severity, severity_text) = severity(record.severity_number, record.severity_text)?;
    if let Some(text) = severity_text {
        target.pairs.note("otel.severity_text", text);
    }
    if !record.event_name.is_empty() && body.as_ref() != record.event_name.as_bytes() {
        target.pairs.note("otel.event.name", record.event_name);
    }
    target
        .pairs
        .note_dropped("otel.dropped_attributes_count", record.dropped_attributes);
    let trace_id: Option<TraceId> = id("trace_id", record.trace_id)?;
    let span_id: Option<SpanId> = id("span_id", record.span_id)?;
    target.push(&Parts {
        time: time(record.time)
            .or_else(|| time(record.observed_time))
            .unwrap_or(target.now),
        severity,
        trace_id: trace_id.as_ref(),
        span_id: span_id.as_ref(),
        span: None,
        message: body.as_ref(),
    })
}

/// Reads the fields of a record; its attributes go to the target.
fn read<'a>(message: &'a [u8], target: &mut Target<'a, '_>) -> Result<LogRecord<'a>, InvalidField> {
    let mut record = LogRecord::default();
    for field in Fields::of(message) {
        match field.map_err(|error| Unfit::from(error).at("attributes"))? {
            (1, Value::Fixed64(nanos)) => record.time = nanos,
            (2, Value::Varint(number)) => record.severity_number = number,
            (3, Value::Bytes(text)) => record.severity_text = utf8(text).map_err(|unfit| unfit.at("severity_text"))?,
            (5, Value::Bytes(value)) => record.body = Some(value),
            (6, Value::Bytes(pair)) => target.pairs.read("attributes", attribute(pair))?,
            (7, Value::Varint(count)) => record.dropped_attributes = count,
            (9, Value::Bytes(id)) => record.trace_id = id,
            (10, Value::Bytes(id)) => record.span_id = id,
            (11, Value::Fixed64(nanos)) => record.observed_time = nanos,
            (12, Value::Bytes(text)) => record.event_name = utf8(text).map_err(|unfit| unfit.at("event_name"))?,
            _ => {}
        }
    }
    Ok(record)
}

fn body<'a>(record: &LogRecord<'a>) -> Result<Text<'a>, InvalidField> {
    let body = record.body.map_or(Ok(Text::default()), value::text);
    let body = match body.map_err(|unfit| unfit.at("body"))? {
        body if !body.as_ref().is_empty() => body,
        _ if record.event_name.is_empty() => NO_BODY.into(),
        _ => record.event_name.into(),
    };
    entry::text("body", body, 1, MESSAGE_BYTES_MAX)
}

/// The severity of a record, and its text where that says something else.
fn severity(number: u64, text: &str) -> Result<(Severity, Option<Cow<'_, str>>), InvalidField> {
    let severity = match number {
        0 => by_name(text).unwrap_or(Severity::Info),
        1..=4 => Severity::Trace,
        5..=8 => Severity::Debug,
        9..=12 => Severity::Info,
        13..=16 => Severity::Warn,
        17..=20 => Severity::Error,
        21..=24 => Severity::Fatal,
        _ => return Err(InvalidField::new("severity_number", "must be 0 to 24")),
    };
    let text = match (text, number % 4) {
        // The names that OpenTelemetry gives to what lies between: `INFO2` to `INFO4`.
        ("", 0) if number > 0 => Some(format!("{}4", severity.as_str()).into()),
        ("", step) if step > 1 => Some(format!("{}{step}", severity.as_str()).into()),
        (text, _) if text.is_empty() || text == severity.as_str() => None,
        (text, _) => (by_name(text) != Some(severity)).then_some(text.into()),
    };
    Ok((severity, text))
}

fn by_name(text: &str) -> Option<Severity> {
    let mut name = [0; "WARNING".len()];
    let name = name.get_mut(..text.len())?;
    name.copy_from_slice(text.as_bytes());
    name.make_ascii_uppercase();
    match &*name {
        b"WARNING" => Some(Severity::Warn),
        name => Severity::read(name),
    }
}

/// A time of OTLP: nanoseconds since 1970, 0 is none.
pub(super) fn time(nanos: u64) -> Option<Time> {
    (nanos > 0).then(|| Time::from_nanos(nanos))
}

/// An id of OTLP: empty or all zero is none.
pub(super) fn id<const DIGITS: usize>(field: &str, bytes: &[u8]) -> Result<Option<HexId<DIGITS>>, InvalidField> {
    if !bytes.is_empty() && bytes.len() * 2 != DIGITS {
        return Err(InvalidField::new(field, format!("must be {} bytes", DIGITS / 2)));
    }
    Ok(HexId::from_bytes(bytes))
}
