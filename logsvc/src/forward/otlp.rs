//! Entries as OpenTelemetry has them (OTLP 1.x): the way back from `otlp`, which reads what comes in. Pure.
//!
//! What an entry does not say stays empty; what `otlp` keeps as an attribute of the `otel.` namespace gets its field
//! back. Times that OTLP cannot write, those before 1970 and after 2554, become the nearest that it can.

mod span;
mod values;

use std::collections::HashMap;

use homeroom::proto::opentelemetry::proto::{
    collector::{logs::v1::ExportLogsServiceRequest, trace::v1::ExportTraceServiceRequest},
    common::v1::InstrumentationScope,
    logs::v1::{LogRecord, ResourceLogs, ScopeLogs, SeverityNumber},
    resource::v1::Resource,
    trace::v1::{ResourceSpans, ScopeSpans},
};
use prost::Message;

use self::{
    span::otlp_span,
    values::{DROPPED_ATTRIBUTES, EVENT_NAME, SEVERITY_TEXT, id, nanos, pair, pairs, take, take_count, text},
};
use crate::entry::{Entry, Scope, Severity};

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
    let mut attributes: Vec<_> = attributes.map(|(key, value)| pair(key, value)).collect();
    Resource {
        dropped_attributes_count: take_count(&mut attributes, DROPPED_ATTRIBUTES),
        attributes,
        ..Resource::default()
    }
}

fn otlp_scope(scope: &Scope) -> InstrumentationScope {
    let mut attributes = pairs(&scope.attributes);
    InstrumentationScope {
        name: scope.name.clone(),
        version: scope.version.clone(),
        dropped_attributes_count: take_count(&mut attributes, DROPPED_ATTRIBUTES),
        attributes,
    }
}

fn log_record(entry: &Entry) -> LogRecord {
    let (number, name) = severity(entry.severity);
    let mut attributes = pairs(&entry.attributes);
    LogRecord {
        time_unix_nano: nanos(entry.time),
        severity_number: number.into(),
        severity_text: take(&mut attributes, SEVERITY_TEXT).unwrap_or_else(|| name.to_owned()),
        body: Some(text(&entry.message)),
        event_name: take(&mut attributes, EVENT_NAME).unwrap_or_default(),
        dropped_attributes_count: take_count(&mut attributes, DROPPED_ATTRIBUTES),
        attributes,
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

#[cfg(test)]
mod tests;
