//! Times, ids and attributes as OTLP has them.

use homeroom::proto::opentelemetry::proto::common::v1::{AnyValue, KeyValue, any_value::Value};

use crate::entry::{Attributes, HexId, Time};

/// What `otlp` keeps as attributes, since an entry has no field for it.
pub(super) const SEVERITY_TEXT: &str = "otel.severity_text";
pub(super) const EVENT_NAME: &str = "otel.event.name";
pub(super) const TRACE_STATE: &str = "otel.trace_state";
pub(super) const DROPPED_ATTRIBUTES: &str = "otel.dropped_attributes_count";
pub(super) const DROPPED_EVENTS: &str = "otel.dropped_events_count";
pub(super) const DROPPED_LINKS: &str = "otel.dropped_links_count";

/// Nanoseconds since 1970. 0 stands for a time that is not known.
pub(super) fn nanos(time: Time) -> u64 {
    let time = prost_types::Timestamp::from(time);
    let nanos = i128::from(time.seconds) * 1_000_000_000 + i128::from(time.nanos);
    nanos.clamp(1, u64::MAX.into()).try_into().unwrap_or(u64::MAX)
}

/// The bytes of an id; empty when there is none.
pub(super) fn id<const DIGITS: usize>(id: Option<&HexId<DIGITS>>) -> Vec<u8> {
    let digit = |byte: &u8| {
        char::from(*byte)
            .to_digit(16)
            .and_then(|digit| u8::try_from(digit).ok())
    };
    let digits: Vec<_> = id
        .map_or("", HexId::as_str)
        .as_bytes()
        .iter()
        .filter_map(digit)
        .collect();
    digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

pub(super) fn pairs(attributes: &Attributes) -> Vec<KeyValue> {
    attributes.iter().map(|(key, value)| pair(key, value)).collect()
}

pub(super) fn pair(key: &str, value: &str) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(text(value)),
        ..KeyValue::default()
    }
}

/// Takes out the attribute of a name.
pub(super) fn take(attributes: &mut Vec<KeyValue>, key: &str) -> Option<String> {
    let at = attributes.iter().position(|pair| pair.key == key)?;
    match attributes.remove(at).value?.value? {
        Value::StringValue(text) => Some(text),
        _ => None,
    }
}

/// Takes out the attribute of a name when it is a number; 0 when there is none.
pub(super) fn take_count(attributes: &mut Vec<KeyValue>, key: &str) -> u32 {
    let Some(text) = take(attributes, key) else {
        return 0;
    };
    text.parse().unwrap_or_else(|_| {
        attributes.push(pair(key, &text));
        0
    })
}

pub(super) fn text(value: &str) -> AnyValue {
    AnyValue {
        value: Some(Value::StringValue(value.to_owned())),
    }
}
