//! The same entries as each peer takes them: messages of gRPC that are ready to be sent, and lines of syslog. Pure.

use std::{collections::BTreeMap, fmt::Write};

use bytes::Bytes;
use homeroom::proto::{
    log::v1::{Entry, IngestRequest, Severity, WriteRequest},
    opentelemetry::proto::{
        collector::logs::v1::ExportLogsServiceRequest,
        common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value::Value},
        logs::v1::{LogRecord, ResourceLogs, ScopeLogs, SeverityNumber},
        resource::v1::Resource,
    },
};
use prost::Message;

use super::entries::{Entries, Length};

/// How a batch of entries is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// `Write`, SYNCED.
    Write,
    /// `Ingest`, SYNCED; the number of the batch is put in front when it is sent.
    Ingest,
    /// OTLP's `Export`.
    Export,
}

impl Form {
    /// The method that takes it.
    pub(crate) fn path(self) -> &'static str {
        match self {
            Self::Write => "/homeroom.log.v1.Log/Write",
            Self::Ingest => "/homeroom.log.v1.Log/Ingest",
            Self::Export => "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
        }
    }

    /// The message of a batch.
    pub(crate) fn encode(self, entries: Vec<Entry>) -> Bytes {
        let message = match self {
            Self::Write => WriteRequest {
                entries,
                ..Default::default()
            }
            .encode_to_vec(),
            Self::Ingest => IngestRequest {
                entries,
                ..Default::default()
            }
            .encode_to_vec(),
            Self::Export => export(entries).encode_to_vec(),
        };
        message.into()
    }

    /// So many different batches of so many entries.
    pub(crate) fn batches(self, count: usize, size: usize, length: Length) -> Vec<Bytes> {
        let mut entries = Entries::new(size as u64, length);
        let mut batch = || self.encode((0..size).map(|_| entries.next()).collect());
        (0..count).map(|_| batch()).collect()
    }
}

/// The batch of one process: an SDK has one resource.
fn export(entries: Vec<Entry>) -> ExportLogsServiceRequest {
    let service = entries.first().map(|entry| entry.service.clone()).unwrap_or_default();
    let instance = entries.first().map(|entry| entry.instance.clone()).unwrap_or_default();
    let resource = [
        ("service.name", service),
        ("service.instance.id", instance),
        ("host.name", "rack-07".to_owned()),
    ];
    ExportLogsServiceRequest {
        resource_logs: vec![ResourceLogs {
            resource: Some(Resource {
                attributes: resource.map(|(key, value)| pair(key, value)).into(),
                ..Default::default()
            }),
            scope_logs: vec![ScopeLogs {
                scope: Some(InstrumentationScope {
                    name: "bench".to_owned(),
                    ..Default::default()
                }),
                log_records: entries.into_iter().map(record).collect(),
                ..Default::default()
            }],
            ..Default::default()
        }],
    }
}

fn record(entry: Entry) -> LogRecord {
    let severity = match entry.severity() {
        Severity::Debug => SeverityNumber::Debug,
        Severity::Warn => SeverityNumber::Warn,
        Severity::Error => SeverityNumber::Error,
        _ => SeverityNumber::Info,
    };
    let time = entry.time.unwrap_or_default();
    let nanos = time.seconds.cast_unsigned() * 1_000_000_000 + u64::from(time.nanos.cast_unsigned());
    LogRecord {
        time_unix_nano: nanos,
        observed_time_unix_nano: nanos,
        severity_number: severity.into(),
        severity_text: severity.as_str_name().trim_start_matches("SEVERITY_NUMBER_").to_owned(),
        body: Some(text(entry.message)),
        attributes: entry
            .attributes
            .into_iter()
            .map(|(key, value)| pair(&key, value))
            .collect(),
        trace_id: bytes(&entry.trace_id),
        span_id: bytes(&entry.span_id),
        ..Default::default()
    }
}

fn pair(key: &str, value: String) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(text(value)),
        ..Default::default()
    }
}

fn text(value: String) -> AnyValue {
    AnyValue {
        value: Some(Value::StringValue(value)),
    }
}

fn bytes(hex: &str) -> Vec<u8> {
    let pair = |at| u8::from_str_radix(&hex[at..at + 2], 16).expect("ids of the load are hexadecimal");
    (0..hex.len()).step_by(2).map(pair).collect()
}

/// The lines of syslog (RFC 5424) that say the same as these entries.
pub(crate) fn syslog(entries: &[Entry]) -> Bytes {
    let mut lines = String::new();
    for entry in entries {
        let attributes: &BTreeMap<_, _> = &entry.attributes;
        let time = entry.time.unwrap_or_default();
        // 2026-01-01 and what follows of the day, as far as a load comes.
        let (second, micros) = (time.seconds % 86_400, time.nanos / 1000);
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        let (service, instance, message) = (&entry.service, &entry.instance, &entry.message);
        let (trace, span) = (&entry.trace_id, &entry.span_id);
        write!(
            lines,
            "<134>1 2026-01-01T{hour:02}:{minute:02}:{second:02}.{micros:06}Z rack-07 {service} {instance} - - {message} \
             trace_id={trace} span_id={span}"
        )
        .expect("text grows");
        for (key, value) in attributes {
            write!(lines, " {key}={value}").expect("text grows");
        }
        lines.push('\n');
    }
    lines.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_forms_carry_the_same_entries() {
        let entries: Vec<_> = {
            let mut all = Entries::new(1, Length::Usual);
            (0..10).map(|_| all.next()).collect()
        };
        let written = WriteRequest::decode(Form::Write.encode(entries.clone())).expect("a request");
        assert_eq!(written.entries, entries);
        let ingested = IngestRequest::decode(Form::Ingest.encode(entries.clone())).expect("a request");
        assert_eq!(ingested.entries, entries);
        let lines = syslog(&entries);
        let lines: Vec<_> = std::str::from_utf8(&lines).expect("text").lines().collect();
        assert_eq!(lines.len(), 10);
        let exported = ExportLogsServiceRequest::decode(Form::Export.encode(entries.clone())).expect("a request");
        let records = &exported.resource_logs[0].scope_logs[0].log_records;
        for ((entry, line), record) in entries.iter().zip(lines).zip(records) {
            assert!(
                line.contains(&entry.message) && line.contains(&entry.trace_id),
                "{line}"
            );
            assert_eq!(record.body, Some(text(entry.message.clone())));
            assert_eq!(
                (record.trace_id.len(), record.span_id.len(), record.attributes.len()),
                (16, 8, 3)
            );
        }
    }
}
