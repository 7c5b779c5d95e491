//! What makes an entry a span.

use homeroom::proto::log::v1 as proto;

use super::fields::{bytes, delimited, number, pairs, text, time};
use crate::entry::{SpanKind, SpanStatus, rest::Rest};

/// Appends the fields of a `Span`, up to the end of the object that they stand in.
pub(super) fn write(rest: &mut Rest<'_>, out: &mut Vec<u8>) -> Option<()> {
    if rest.skip(b"\"parent_span_id\":\"").is_some() {
        bytes(1, rest.id::<16>()?.as_bytes(), out);
        rest.skip(b",")?;
    }
    rest.skip(b"\"kind\":\"")?;
    let kind = SpanKind::read(rest.plain()?)?;
    number(2, proto::SpanKind::from(kind) as u64, out);
    rest.skip(b",\"end_time\":\"")?;
    time(3, rest.time()?, out);
    if rest.skip(b",\"status\":\"").is_some() {
        let status = SpanStatus::read(rest.plain()?)?;
        number(4, proto::SpanStatus::from(status) as u64, out);
    }
    if rest.skip(b",\"status_message\":\"").is_some() {
        text(5, rest, out)?;
    }
    if rest.skip(b",\"events\":[").is_some() {
        list(6, rest, out, event)?;
    }
    if rest.skip(b",\"links\":[").is_some() {
        list(7, rest, out, link)?;
    }
    if rest.skip(b",\"trace_state\":\"").is_some() {
        text(8, rest, out)?;
    }
    rest.skip(b"}")
}

/// Appends messages, up to the end of the list that they stand in.
fn list(
    field: u8,
    rest: &mut Rest<'_>,
    out: &mut Vec<u8>,
    item: impl Fn(&mut Rest<'_>, &mut Vec<u8>) -> Option<()>,
) -> Option<()> {
    loop {
        delimited(field, out, |out| {
            item(rest, out)?;
            if rest.skip(b",\"attributes\":{").is_some() {
                pairs(3, rest, out)?;
            }
            rest.skip(b"}")
        })?;
        if rest.skip(b",").is_none() {
            return rest.skip(b"]");
        }
    }
}

/// Appends the fields of a `SpanEvent` but its attributes.
fn event(rest: &mut Rest<'_>, out: &mut Vec<u8>) -> Option<()> {
    rest.skip(b"{\"time\":\"")?;
    time(1, rest.time()?, out);
    rest.skip(b",\"name\":\"")?;
    text(2, rest, out)
}

/// Appends the fields of a `SpanLink` but its attributes.
fn link(rest: &mut Rest<'_>, out: &mut Vec<u8>) -> Option<()> {
    rest.skip(b"{\"trace_id\":\"")?;
    bytes(1, rest.id::<32>()?.as_bytes(), out);
    rest.skip(b",\"span_id\":\"")?;
    bytes(2, rest.id::<16>()?.as_bytes(), out);
    Some(())
}
