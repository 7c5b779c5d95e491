//! An entry as a span of OTLP.

use homeroom::proto::opentelemetry::proto::trace::v1::{Span as OtlpSpan, Status, span, status};

use super::values::{
    DROPPED_ATTRIBUTES, DROPPED_EVENTS, DROPPED_LINKS, TRACE_STATE, id, nanos, pairs, take, take_count,
};
use crate::entry::{Entry, Span, SpanEvent, SpanKind, SpanLink, SpanStatus};

/// The span that an entry is; `None` when it is none.
pub(super) fn otlp_span(entry: &Entry) -> Option<OtlpSpan> {
    let span: &Span = entry.span.as_deref()?;
    let mut attributes = pairs(&entry.attributes);
    Some(OtlpSpan {
        trace_id: id(entry.trace_id.as_ref()),
        span_id: id(entry.span_id.as_ref()),
        trace_state: span.trace_state.clone(),
        parent_span_id: id(span.parent_span_id.as_ref()),
        name: entry.message.clone(),
        kind: kind(span.kind).into(),
        start_time_unix_nano: nanos(entry.time),
        end_time_unix_nano: nanos(span.end_time),
        dropped_attributes_count: take_count(&mut attributes, DROPPED_ATTRIBUTES),
        dropped_events_count: take_count(&mut attributes, DROPPED_EVENTS),
        dropped_links_count: take_count(&mut attributes, DROPPED_LINKS),
        attributes,
        events: span.events.iter().map(event).collect(),
        links: span.links.iter().map(link).collect(),
        status: status(span),
        ..OtlpSpan::default()
    })
}

fn kind(kind: SpanKind) -> span::SpanKind {
    match kind {
        SpanKind::Internal => span::SpanKind::Internal,
        SpanKind::Server => span::SpanKind::Server,
        SpanKind::Client => span::SpanKind::Client,
        SpanKind::Producer => span::SpanKind::Producer,
        SpanKind::Consumer => span::SpanKind::Consumer,
    }
}

fn status(span: &Span) -> Option<Status> {
    let code = match span.status {
        SpanStatus::Unset if span.status_message.is_empty() => return None,
        SpanStatus::Unset => status::StatusCode::Unset,
        SpanStatus::Ok => status::StatusCode::Ok,
        SpanStatus::Error => status::StatusCode::Error,
    };
    Some(Status {
        message: span.status_message.clone(),
        code: code.into(),
    })
}

fn event(event: &SpanEvent) -> span::Event {
    let mut attributes = pairs(&event.attributes);
    span::Event {
        time_unix_nano: nanos(event.time),
        name: event.name.clone(),
        dropped_attributes_count: take_count(&mut attributes, DROPPED_ATTRIBUTES),
        attributes,
    }
}

fn link(link: &SpanLink) -> span::Link {
    let mut attributes = pairs(&link.attributes);
    span::Link {
        trace_id: id(Some(&link.trace_id)),
        span_id: id(Some(&link.span_id)),
        trace_state: take(&mut attributes, TRACE_STATE).unwrap_or_default(),
        dropped_attributes_count: take_count(&mut attributes, DROPPED_ATTRIBUTES),
        attributes,
        ..span::Link::default()
    }
}
