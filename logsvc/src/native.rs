//! Homeroom's own batches as lines: what `Write` and `Ingest` bring. Pure. Must never import `grpc`.
//!
//! Entries are read in place, off the wire, as those of OTLP are.

use bytes::Bytes;
use homeroom::{model::InvalidField, proto::log::v1 as proto};
use prost::Message;
use prost_types::Timestamp;

use crate::{
    entry::{
        self, ENTRIES_MAX, ENTRY_BYTES_MAX, MESSAGE_BYTES_MAX, NAME_BYTES_MAX, Scope, Severity, Span, SpanId, Time,
        TraceId,
        line::{self, Parts},
        severity_of,
    },
    store::Batch,
    wire::{Fields, Pairs, Text, Unfit, Value, check_utf8, enumeration, utf8},
};

/// Reads the entries of a batch, received at `now`: messages of type `Entry`. What is output only is ignored.
///
/// # Errors
/// The first field that is not valid, such as `entries[3].message`; none, or more than [`ENTRIES_MAX`] entries.
pub fn batch(messages: &[Bytes], now: Time) -> Result<Batch, InvalidField> {
    if !(1..=ENTRIES_MAX).contains(&messages.len()) {
        let allowed = format!("must be 1 to {ENTRIES_MAX} entries");
        return Err(InvalidField::new("entries", allowed));
    }
    let mut batch = Batch::default();
    batch.make_room(messages.len(), messages.iter().map(Bytes::len).sum());
    let mut pairs = [Pairs::default(), Pairs::default()];
    for (n, message) in messages.iter().enumerate() {
        add(message, now, &mut pairs, &mut batch).map_err(|error| error.within(&format!("entries[{n}]")))?;
    }
    Ok(batch)
}

/// An `Entry`, in place but for what only few have.
#[derive(Default)]
struct Entry<'a> {
    time: Option<Timestamp>,
    severity: i32,
    service: &'a [u8],
    instance: &'a [u8],
    message: &'a [u8],
    trace_id: &'a [u8],
    span_id: &'a [u8],
    span: Option<proto::Span>,
    scope: Option<proto::Scope>,
}

/// Adds the line of an entry. `pairs` is room for its attributes, and for those of its resource.
fn add<'a>(message: &'a [u8], now: Time, pairs: &mut [Pairs<'a>; 2], batch: &mut Batch) -> Result<(), InvalidField> {
    if message.len() > ENTRY_BYTES_MAX {
        return Err(line::too_large());
    }
    let entry = read(message, pairs)?;
    let time = entry.time.map_or(Ok(now), |time| Time::parse("time", time))?;
    let trace_id = TraceId::parse_optional("trace_id", entry.trace_id)?;
    let span_id = SpanId::parse_optional("span_id", entry.span_id)?;
    let span = entry.span.map(|span| Span::parse(span, time)).transpose();
    let span = span.map_err(|error| error.within("span"))?;
    if span.is_some() {
        let required = |field| InvalidField::new(field, "is required of a span");
        trace_id.as_ref().ok_or_else(|| required("trace_id"))?;
        span_id.as_ref().ok_or_else(|| required("span_id"))?;
    }
    let severity = Severity::parse("severity", entry.severity)?.unwrap_or_else(|| severity_of(span.as_ref()));
    let service = name("service", entry.service)?;
    let instance = name("instance", entry.instance)?;
    let message = entry::text("message", entry.message, 1, MESSAGE_BYTES_MAX)?;
    let [attributes, resource] = pairs;
    attributes.settle("attributes")?;
    resource.settle("resource")?;
    let scope = entry.scope.map(Scope::parse).transpose();
    let scope = scope.map_err(|error| error.within("scope"))?;
    let parts = Parts {
        time,
        severity,
        trace_id: trace_id.as_ref(),
        span_id: span_id.as_ref(),
        span: span.as_ref(),
        message,
    };
    batch.push(&parts.head(service, instance), |out| {
        let start = out.len();
        line::write(
            &parts,
            |line| line::names(line, service, instance),
            attributes.iter(),
            |line| line::surroundings(line, resource.iter(), scope.as_ref()),
            out,
        );
        check_utf8(&out[start..]).map_err(|unfit| {
            let pairs = attributes.check_utf8("attributes");
            let pairs = pairs.and_then(|()| resource.check_utf8("resource"));
            pairs.err().unwrap_or_else(|| unfit.at("message"))
        })
    })
}

/// Reads the fields of an entry; its pairs go to `pairs`.
fn read<'a>(message: &'a [u8], [attributes, resource]: &mut [Pairs<'a>; 2]) -> Result<Entry<'a>, InvalidField> {
    attributes.clear();
    resource.clear();
    let mut entry = Entry::default();
    for field in Fields::of(message) {
        match field.map_err(|error| Unfit::from(error).at(""))? {
            (1, Value::Bytes(time)) => merge("time", time, &mut entry.time)?,
            (2, Value::Varint(severity)) => entry.severity = enumeration(severity),
            (3, Value::Bytes(service)) => entry.service = service,
            (4, Value::Bytes(instance)) => entry.instance = instance,
            (5, Value::Bytes(message)) => entry.message = message,
            (6, Value::Bytes(item)) => attributes.read("attributes", pair(item))?,
            (7, Value::Bytes(id)) => entry.trace_id = id,
            (8, Value::Bytes(id)) => entry.span_id = id,
            (10, Value::Bytes(span)) => merge("span", span, &mut entry.span)?,
            (11, Value::Bytes(item)) => resource.read("resource", pair(item))?,
            (12, Value::Bytes(scope)) => merge("scope", scope, &mut entry.scope)?,
            _ => {}
        }
    }
    Ok(entry)
}

/// Reads a message within another one, which protobuf lets come in parts.
fn merge<M: Message + Default>(field: &str, part: &[u8], message: &mut Option<M>) -> Result<(), InvalidField> {
    let merged = message.get_or_insert_default().merge(part);
    merged.map_err(|_| Unfit::Malformed.at(field))
}

fn name<'a>(field: &str, name: &'a [u8]) -> Result<&'a str, InvalidField> {
    let name = utf8(name).map_err(|unfit| unfit.at(field))?;
    entry::text(field, name, 0, NAME_BYTES_MAX)
}

/// Reads an item of a `map<string, string>`.
fn pair(message: &[u8]) -> Result<(&[u8], Text<'_>), Unfit> {
    let (mut key, mut value) = (&[][..], &[][..]);
    for field in Fields::of(message) {
        match field? {
            (1, Value::Bytes(text)) => key = text,
            (2, Value::Bytes(text)) => value = text,
            _ => {}
        }
    }
    Ok((key, Text::Wire(value)))
}

#[cfg(test)]
pub(crate) mod tests;
