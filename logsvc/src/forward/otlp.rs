//! Entries as OpenTelemetry has them (OTLP 1.x): the way back from `otlp`, which reads what comes in. Pure.
//!
//! What an entry is not told of stays empty. Times that OTLP cannot write, those before 1970 and after 2554, become the
//! nearest that it can.

use std::collections::HashMap;

use homeroom::proto::opentelemetry::proto::{
    collector::{logs::v1::ExportLogsServiceRequest, trace::v1::ExportTraceServiceRequest},
    common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value::Value},
    logs::v1::{LogRecord, ResourceLogs, ScopeLogs, SeverityNumber},
    resource::v1::Resource,
    trace::v1::{ResourceSpans, ScopeSpans, Span as OtlpSpan, Status, span, status},
};
use prost::Message;

use crate::entry::{Attributes, Entry, HexId, Scope, Severity, Span, SpanEvent, SpanKind, SpanLink, SpanStatus, Time};

/// The resource attribute that names the service (OpenTelemetry's semantic conventions).
const SERVICE: &str = "service.name";
/// The one that names its instance.
const INSTANCE: &str = "service.instance.id";

/// The request that takes these log records to a backend, in order within each scope of each resource.
pub(super) fn logs(entries: &[&Entry]) -> ExportLogsServiceRequest {
    let resource_logs = grouped(entries, log_record).into_iter();
    let resource_logs = resource_logs.map(|(resource, scopes)| ResourceLogs {
        resource: Some(resource),
        scope_logs: scopes
            .into_iter()
            .map(|(scope, log_records)| ScopeLogs {
                scope,
                log_records,
                schema_url: String::new(),
            })
            .collect(),
        schema_url: String::new(),
    });
    ExportLogsServiceRequest {
        resource_logs: resource_logs.collect(),
    }
}

/// The request that takes these spans to a backend. Entries that are none are left out.
pub(super) fn spans(entries: &[&Entry]) -> ExportTraceServiceRequest {
    let resource_spans = grouped(entries, otlp_span).into_iter();
    let resource_spans = resource_spans.map(|(resource, scopes)| ResourceSpans {
        resource: Some(resource),
        scope_spans: scopes
            .into_iter()
            .map(|(scope, spans)| ScopeSpans {
                scope,
                spans: spans.into_iter().flatten().collect(),
                schema_url: String::new(),
            })
            .collect(),
        schema_url: String::new(),
    });
    ExportTraceServiceRequest {
        resource_spans: resource_spans.collect(),
    }
}

/// How large the message is that takes this entry alone.
pub(super) fn size_bytes(entry: &Entry) -> usize {
    match entry.span {
        Some(_) => spans(&[entry]).encoded_len(),
        None => logs(&[entry]).encoded_len(),
    }
}

/// What comes from one scope, and what comes from one resource.
type OfScope<T> = (Option<InstrumentationScope>, Vec<T>);
type OfResource<T> = (Resource, Vec<OfScope<T>>);

/// Converts entries, and puts together what has the same resource, and the same scope in it: each in the order in which
/// it comes first.
fn grouped<T>(entries: &[&Entry], convert: impl Fn(&Entry) -> T) -> Vec<OfResource<T>> {
    let mut groups: Vec<OfResource<T>> = Vec::new();
    let (mut resources, mut scopes) = (HashMap::new(), HashMap::new());
    for entry in entries {
        let key = (&entry.service, &entry.instance, &entry.resource);
        let resource = *resources.entry(key).or_insert_with(|| {
            groups.push((resource(entry), Vec::new()));
            groups.len() - 1
        });
        let group = &mut groups[resource].1;
        let key = entry
            .scope
            .as_ref()
            .map(|scope| (&scope.name, &scope.version, &scope.attributes));
        let scope = *scopes.entry((resource, key)).or_insert_with(|| {
            group.push((entry.scope.as_deref().map(otlp_scope), Vec::new()));
            group.len() - 1
        });
        group[scope].1.push(convert(entry));
    }
    groups
}

fn resource(entry: &Entry) -> Resource {
    let named = [(SERVICE, &entry.service), (INSTANCE, &entry.instance)];
    let named = named.into_iter().filter(|(_, value)| !value.is_empty());
    let named: Vec<_> = named.collect();
    let others = entry.resource.iter().map(|(key, value)| (key.as_str(), value));
    let others = others.filter(|(key, _)| named.iter().all(|(name, _)| name != key));
    let attributes = named.iter().copied().chain(others);
    Resource {
        attributes: attributes.map(|(key, value)| pair(key, value)).collect(),
        ..Resource::default()
    }
}

fn otlp_scope(scope: &Scope) -> InstrumentationScope {
    InstrumentationScope {
        name: scope.name.clone(),
        version: scope.version.clone(),
        attributes: pairs(&scope.attributes),
        ..InstrumentationScope::default()
    }
}

fn log_record(entry: &Entry) -> LogRecord {
    let (number, name) = severity(entry.severity);
    LogRecord {
        time_unix_nano: nanos(entry.time),
        severity_number: number.into(),
        severity_text: name.to_owned(),
        body: Some(text(&entry.message)),
        attributes: pairs(&entry.attributes),
        trace_id: id(entry.trace_id.as_ref()),
        span_id: id(entry.span_id.as_ref()),
        ..LogRecord::default()
    }
}

fn severity(severity: Severity) -> (SeverityNumber, &'static str) {
    match severity {
        Severity::Trace => (SeverityNumber::Trace, "TRACE"),
        Severity::Debug => (SeverityNumber::Debug, "DEBUG"),
        Severity::Info => (SeverityNumber::Info, "INFO"),
        Severity::Warn => (SeverityNumber::Warn, "WARN"),
        Severity::Error => (SeverityNumber::Error, "ERROR"),
        Severity::Fatal => (SeverityNumber::Fatal, "FATAL"),
    }
}

fn otlp_span(entry: &Entry) -> Option<OtlpSpan> {
    let span: &Span = entry.span.as_deref()?;
    Some(OtlpSpan {
        trace_id: id(entry.trace_id.as_ref()),
        span_id: id(entry.span_id.as_ref()),
        trace_state: span.trace_state.clone(),
        parent_span_id: id(span.parent_span_id.as_ref()),
        name: entry.message.clone(),
        kind: kind(span.kind).into(),
        start_time_unix_nano: nanos(entry.time),
        end_time_unix_nano: nanos(span.end_time),
        attributes: pairs(&entry.attributes),
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
    span::Event {
        time_unix_nano: nanos(event.time),
        name: event.name.clone(),
        attributes: pairs(&event.attributes),
        ..span::Event::default()
    }
}

fn link(link: &SpanLink) -> span::Link {
    span::Link {
        trace_id: id(Some(&link.trace_id)),
        span_id: id(Some(&link.span_id)),
        attributes: pairs(&link.attributes),
        ..span::Link::default()
    }
}

/// Nanoseconds since 1970. 0 stands for a time that is not known.
fn nanos(time: Time) -> u64 {
    let time = prost_types::Timestamp::from(time);
    let nanos = i128::from(time.seconds) * 1_000_000_000 + i128::from(time.nanos);
    nanos.clamp(1, u64::MAX.into()).try_into().unwrap_or(u64::MAX)
}

/// The bytes of an id; empty when there is none.
fn id<const DIGITS: usize>(id: Option<&HexId<DIGITS>>) -> Vec<u8> {
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

fn pairs(attributes: &Attributes) -> Vec<KeyValue> {
    attributes.iter().map(|(key, value)| pair(key, value)).collect()
}

fn pair(key: &str, value: &str) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(text(value)),
        ..KeyValue::default()
    }
}

fn text(value: &str) -> AnyValue {
    AnyValue {
        value: Some(Value::StringValue(value.to_owned())),
    }
}

#[cfg(test)]
mod tests;
