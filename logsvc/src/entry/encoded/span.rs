//! What makes an entry a span.

use homeroom::{fields::Fields, proto::log::v1 as proto};

use super::{pairs, text};
use crate::entry::{SpanKind, SpanStatus, rest::Rest};

/// Appends the fields of a `Span`, up to the end of the object that they stand in.
pub(super) fn write(rest: &mut Rest<'_>, fields: &mut Fields<'_>) -> Option<()> {
    if rest.skip(b"\"parent_span_id\":\"").is_some() {
        fields.bytes(1, rest.id::<16>()?.as_bytes());
        rest.skip(b",")?;
    }
    rest.skip(b"\"kind\":\"")?;
    let kind = SpanKind::read(rest.plain()?)?;
    fields.enumeration(2, proto::SpanKind::from(kind));
    rest.skip(b",\"end_time\":\"")?;
    fields.timestamp(3, rest.time()?.into());
    if rest.skip(b",\"status\":\"").is_some() {
        let status = SpanStatus::read(rest.plain()?)?;
        fields.enumeration(4, proto::SpanStatus::from(status));
    }
    if rest.skip(b",\"status_message\":\"").is_some() {
        text(5, rest, fields)?;
    }
    if rest.skip(b",\"events\":[").is_some() {
        list(6, rest, fields, event)?;
    }
    if rest.skip(b",\"links\":[").is_some() {
        list(7, rest, fields, link)?;
    }
    if rest.skip(b",\"trace_state\":\"").is_some() {
        text(8, rest, fields)?;
    }
    rest.skip(b"}")
}

/// Appends messages, up to the end of the list that they stand in.
fn list(
    field: u8,
    rest: &mut Rest<'_>,
    fields: &mut Fields<'_>,
    item: impl Fn(&mut Rest<'_>, &mut Fields<'_>) -> Option<()>,
) -> Option<()> {
    loop {
        fields.message(field, |fields| {
            item(rest, fields)?;
            if rest.skip(b",\"attributes\":{").is_some() {
                pairs(3, rest, fields)?;
            }
            rest.skip(b"}")
        })?;
        if rest.skip(b",").is_none() {
            return rest.skip(b"]");
        }
    }
}

/// Appends the fields of a `SpanEvent` but its attributes.
fn event(rest: &mut Rest<'_>, fields: &mut Fields<'_>) -> Option<()> {
    rest.skip(b"{\"time\":\"")?;
    fields.timestamp(1, rest.time()?.into());
    rest.skip(b",\"name\":\"")?;
    text(2, rest, fields)
}

/// Appends the fields of a `SpanLink` but its attributes.
fn link(rest: &mut Rest<'_>, fields: &mut Fields<'_>) -> Option<()> {
    rest.skip(b"{\"trace_id\":\"")?;
    fields.bytes(1, rest.id::<32>()?.as_bytes());
    rest.skip(b",\"span_id\":\"")?;
    fields.bytes(2, rest.id::<16>()?.as_bytes());
    Some(())
}
