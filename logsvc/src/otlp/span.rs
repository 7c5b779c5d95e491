//! A span of OTLP as an entry.

use homeroom::{model::InvalidField, proto::log::v1 as proto};
use prost_types::Timestamp;

use super::{
    Target,
    record::{id, time},
    value::attribute,
};
use crate::{
    entry::{self, EVENTS_MAX, MESSAGE_BYTES_MAX, Span, SpanId, TraceId, line::Parts, severity_of},
    wire::{Fields, Malformed, Pairs, Unfit, Value, enumeration, utf8},
};

/// What a span is called that has no name (OTLP: "equivalent to an unknown span name").
const NO_NAME: &str = "(no name)";

/// A `Span`, in place but for what only spans have.
#[derive(Default)]
struct OtlpSpan<'a> {
    trace_id: &'a [u8],
    span_id: &'a [u8],
    name: &'a str,
    start: u64,
    rest: proto::Span,
}

/// Adds the entry of a `Span`.
pub(super) fn add<'a>(message: &'a [u8], target: &mut Target<'a, '_>) -> Result<(), InvalidField> {
    target.pairs.clear();
    let span = read(message, target)?;
    let required = |field| InvalidField::new(field, "is required");
    let trace_id: TraceId = id("trace_id", span.trace_id)?.ok_or_else(|| required("trace_id"))?;
    let span_id: SpanId = id("span_id", span.span_id)?.ok_or_else(|| required("span_id"))?;
    let start = time(span.start).unwrap_or(target.now);
    let name = if span.name.is_empty() { NO_NAME } else { span.name };
    let rest = Span::parse(span.rest, start)?;
    target.push(&Parts {
        time: start,
        severity: severity_of(Some(&rest)),
        trace_id: Some(&trace_id),
        span_id: Some(&span_id),
        span: Some(&rest),
        message: entry::text("name", name, 1, MESSAGE_BYTES_MAX)?.as_bytes(),
    })
}

/// Reads the fields of a span; its attributes go to the target.
fn read<'a>(message: &'a [u8], target: &mut Target<'a, '_>) -> Result<OtlpSpan<'a>, InvalidField> {
    let mut span = OtlpSpan::default();
    for field in Fields::of(message) {
        match field.map_err(|error| malformed(error, "attributes"))? {
            (1, Value::Bytes(id)) => span.trace_id = id,
            (2, Value::Bytes(id)) => span.span_id = id,
            (3, Value::Bytes(state)) => span.rest.trace_state = owned("trace_state", state)?,
            (4, Value::Bytes(parent)) => span.rest.parent_span_id = hex::<16>("parent_span_id", parent)?,
            (5, Value::Bytes(name)) => span.name = utf8(name).map_err(|unfit| unfit.at("name"))?,
            (6, Value::Varint(kind)) => span.rest.kind = enumeration(kind),
            (7, Value::Fixed64(nanos)) => span.start = nanos,
            (8, Value::Fixed64(nanos)) => span.rest.end_time = timestamp(nanos),
            (9, Value::Bytes(pair)) => target.pairs.read("attributes", attribute(pair))?,
            (10, Value::Varint(count)) => target.pairs.note_dropped("otel.dropped_attributes_count", count),
            (11, Value::Bytes(item)) => limited("events", item, &mut span.rest.events, event)?,
            (12, Value::Varint(count)) => target.pairs.note_dropped("otel.dropped_events_count", count),
            (13, Value::Bytes(item)) => limited("links", item, &mut span.rest.links, link)?,
            (14, Value::Varint(count)) => target.pairs.note_dropped("otel.dropped_links_count", count),
            (15, Value::Bytes(status)) => read_status(status, &mut span.rest)?,
            _ => {}
        }
    }
    Ok(span)
}

fn malformed(error: Malformed, field: &str) -> InvalidField {
    Unfit::from(error).at(field)
}

/// Adds an item, unless there are more already than there may be.
fn limited<'a, T>(
    field: &str,
    message: &'a [u8],
    items: &mut Vec<T>,
    read: impl Fn(&'a [u8]) -> Result<T, InvalidField>,
) -> Result<(), InvalidField> {
    if items.len() <= EVENTS_MAX {
        let item = read(message).map_err(|error| error.within(&format!("{field}[{}]", items.len())));
        items.push(item?);
    }
    Ok(())
}

fn event(message: &[u8]) -> Result<proto::SpanEvent, InvalidField> {
    let (mut event, mut attributes, mut dropped) = (proto::SpanEvent::default(), Pairs::default(), 0);
    for field in Fields::of(message) {
        match field.map_err(|error| malformed(error, "attributes"))? {
            (1, Value::Fixed64(nanos)) => event.time = timestamp(nanos),
            (2, Value::Bytes(name)) => event.name = owned("name", name)?,
            (3, Value::Bytes(pair)) => attributes.read("attributes", attribute(pair))?,
            (4, Value::Varint(count)) => dropped = count,
            _ => {}
        }
    }
    attributes.note_dropped("otel.dropped_attributes_count", dropped);
    event.attributes = attributes.to_attributes("attributes")?;
    Ok(event)
}

fn link(message: &[u8]) -> Result<proto::SpanLink, InvalidField> {
    let (mut link, mut attributes, mut dropped) = (proto::SpanLink::default(), Pairs::default(), 0);
    for field in Fields::of(message) {
        match field.map_err(|error| malformed(error, "attributes"))? {
            (1, Value::Bytes(trace)) => link.trace_id = hex::<32>("trace_id", trace)?,
            (2, Value::Bytes(span)) => link.span_id = hex::<16>("span_id", span)?,
            (3, Value::Bytes(state)) if !state.is_empty() => {
                attributes.note("otel.trace_state", owned("trace_state", state)?);
            }
            (4, Value::Bytes(pair)) => attributes.read("attributes", attribute(pair))?,
            (5, Value::Varint(count)) => dropped = count,
            _ => {}
        }
    }
    attributes.note_dropped("otel.dropped_attributes_count", dropped);
    link.attributes = attributes.to_attributes("attributes")?;
    Ok(link)
}

fn read_status(message: &[u8], span: &mut proto::Span) -> Result<(), InvalidField> {
    for field in Fields::of(message) {
        match field.map_err(|error| malformed(error, "status"))? {
            (2, Value::Bytes(text)) => span.status_message = owned("status.message", text)?,
            (3, Value::Varint(code)) => span.status = enumeration(code),
            _ => {}
        }
    }
    Ok(())
}

fn timestamp(nanos: u64) -> Option<Timestamp> {
    time(nanos).map(Into::into)
}

fn owned(field: &str, text: &[u8]) -> Result<String, InvalidField> {
    utf8(text).map(str::to_owned).map_err(|unfit| unfit.at(field))
}

fn hex<const DIGITS: usize>(field: &str, bytes: &[u8]) -> Result<String, InvalidField> {
    Ok(id::<DIGITS>(field, bytes)?.map(String::from).unwrap_or_default())
}
