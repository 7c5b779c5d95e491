//! What an entry costs on its way into a line and out of it, without a server: `cargo bench -p logsvc`.
//!
//! The entry is the one that the store is measured with: a message of about 100 bytes, three attributes and both ids,
//! 180 bytes in all; a batch has a thousand of them.

use bytes::Bytes;
use divan::{Bencher, counter::ItemsCount};
use homeroom::proto::{
    log::v1::{self as proto, in_place::WriteRequest},
    opentelemetry::proto::{
        collector::{logs::v1::ExportLogsServiceRequest, trace::v1::ExportTraceServiceRequest},
        common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value::Value},
        logs::v1::{LogRecord, ResourceLogs, ScopeLogs},
        resource::v1::Resource,
        trace::v1::{ResourceSpans, ScopeSpans, Span},
    },
};
use logsvc::{
    entry::{Encoded, Entry, Time, encode, head, number, parse},
    native, otlp,
    store::Batch,
};
use prost::Message;

const ENTRIES: usize = 1_000;

fn main() {
    divan::main();
}

fn message(n: usize) -> proto::Entry {
    let text = |text: &str| text.to_owned();
    proto::Entry {
        time: Some(prost_types::Timestamp {
            seconds: 1_790_000_000,
            nanos: 123_456_789,
        }),
        service: text("grades"),
        message: format!("request {n} has been answered, and this is what there is to say of it"),
        attributes: [
            ("rpc.method", "homeroom.grades.v1.Grades/List"),
            ("peer", "10.0.0.1:5555"),
            ("n", "17"),
        ]
        .map(|(key, value)| (text(key), text(value)))
        .into(),
        trace_id: format!("{:032x}", n + 1),
        span_id: format!("{:016x}", n + 1),
        ..Default::default()
    }
}

fn request() -> Vec<u8> {
    let request = proto::WriteRequest {
        entries: (0..ENTRIES).map(message).collect(),
        durability: 0,
    };
    request.encode_to_vec()
}

/// What becomes of a request, from the wire on.
fn batch(request: &Bytes) -> Batch {
    let request = WriteRequest::decode(request.clone()).expect("a request");
    native::batch(&request.entries, Time::MIN).expect("valid entries")
}

fn lines() -> Vec<Vec<u8>> {
    let batch = batch(&request().into());
    let line = |(n, text): (usize, &[u8])| {
        let mut line = Vec::new();
        number(n as u64 + 1, None, text, &mut line);
        line
    };
    let lines = batch.text().split_inclusive(|byte| *byte == b'\n');
    lines.enumerate().map(line).collect()
}

fn entries() -> Vec<Entry> {
    lines()
        .iter()
        .map(|line| parse(line).expect("the line of an entry"))
        .collect()
}

#[divan::bench]
fn an_entry_becomes_a_line(bencher: Bencher<'_, '_>) {
    let (entries, mut out) = (entries(), Vec::new());
    bencher.counter(ItemsCount::new(ENTRIES)).bench_local(|| {
        out.clear();
        entries.iter().for_each(|entry| encode(entry, &mut out));
        out.len()
    });
}

#[divan::bench]
fn a_request_becomes_lines(bencher: Bencher<'_, '_>) {
    let request = request().into();
    bencher
        .counter(ItemsCount::new(ENTRIES))
        .bench_local(|| batch(&request));
}

#[divan::bench]
fn the_head_of_a_line_is_read(bencher: Bencher<'_, '_>) {
    let lines = lines();
    bencher
        .counter(ItemsCount::new(ENTRIES))
        .bench_local(|| lines.iter().filter(|line| head(line).is_some()).count());
}

#[divan::bench]
fn a_whole_line_is_read(bencher: Bencher<'_, '_>) {
    let lines = lines();
    bencher
        .counter(ItemsCount::new(ENTRIES))
        .bench_local(|| lines.iter().filter(|line| parse(line).is_ok()).count());
}

#[divan::bench]
fn a_line_becomes_a_message(bencher: Bencher<'_, '_>) {
    let lines = lines();
    bencher.counter(ItemsCount::new(ENTRIES)).bench_local(|| {
        let messages = lines.iter().filter_map(|line| Encoded::of_line(line));
        assert_eq!(messages.count(), ENTRIES);
    });
}

/// The same by way of an entry, as for lines that are not written as ours are: for comparison.
#[divan::bench]
fn a_line_becomes_an_entry_and_a_message(bencher: Bencher<'_, '_>) {
    let lines = lines();
    bencher.counter(ItemsCount::new(ENTRIES)).bench_local(|| {
        let messages = lines.iter().filter_map(|line| parse(line).ok().map(Encoded::from));
        assert_eq!(messages.count(), ENTRIES);
    });
}

fn any(text: &str) -> Option<AnyValue> {
    let value = Some(Value::StringValue(text.to_owned()));
    Some(AnyValue { value })
}

fn pairs<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Vec<KeyValue> {
    let pair = |(key, value): (&str, &str)| KeyValue {
        key: key.to_owned(),
        value: any(value),
        ..Default::default()
    };
    pairs.into_iter().map(pair).collect()
}

fn resource() -> Option<Resource> {
    let sdk = [
        ("telemetry.sdk.name", "opentelemetry"),
        ("telemetry.sdk.language", "rust"),
    ];
    let attributes = pairs(
        [("service.name", "grades"), ("host.name", "alpha")]
            .into_iter()
            .chain(sdk),
    );
    Some(Resource {
        attributes,
        ..Default::default()
    })
}

fn scope() -> Option<InstrumentationScope> {
    Some(InstrumentationScope {
        name: "library".to_owned(),
        ..Default::default()
    })
}

fn log_record(n: usize) -> LogRecord {
    let entry = message(n);
    LogRecord {
        time_unix_nano: 1_790_000_000_123_456_789,
        severity_number: 9,
        severity_text: "INFO".to_owned(),
        body: any(&entry.message),
        attributes: pairs(
            entry
                .attributes
                .iter()
                .map(|(key, value)| (key.as_str(), value.as_str())),
        ),
        trace_id: (n as u128 + 1).to_be_bytes().into(),
        span_id: (n as u64 + 1).to_be_bytes().into(),
        ..Default::default()
    }
}

fn logs() -> Vec<u8> {
    let scope_logs = vec![ScopeLogs {
        scope: scope(),
        log_records: (0..ENTRIES).map(log_record).collect(),
        ..Default::default()
    }];
    let resource_logs = vec![ResourceLogs {
        resource: resource(),
        scope_logs,
        ..Default::default()
    }];
    ExportLogsServiceRequest { resource_logs }.encode_to_vec()
}

fn spans() -> Vec<u8> {
    let span = |record: LogRecord| Span {
        trace_id: record.trace_id,
        span_id: record.span_id,
        name: "homeroom.grades.v1.Grades/List".to_owned(),
        start_time_unix_nano: record.time_unix_nano,
        end_time_unix_nano: record.time_unix_nano + 1,
        attributes: record.attributes,
        ..Default::default()
    };
    let scope_spans = vec![ScopeSpans {
        scope: scope(),
        spans: (0..ENTRIES).map(log_record).map(span).collect(),
        ..Default::default()
    }];
    let resource_spans = vec![ResourceSpans {
        resource: resource(),
        scope_spans,
        ..Default::default()
    }];
    ExportTraceServiceRequest { resource_spans }.encode_to_vec()
}

#[divan::bench]
fn an_otlp_request_of_logs_becomes_lines(bencher: Bencher<'_, '_>) {
    let request = logs();
    bencher
        .counter(ItemsCount::new(ENTRIES))
        .bench_local(|| otlp::logs(&request, Time::MIN).expect("a request"));
}

#[divan::bench]
fn an_otlp_request_of_spans_becomes_lines(bencher: Bencher<'_, '_>) {
    let request = spans();
    bencher
        .counter(ItemsCount::new(ENTRIES))
        .bench_local(|| otlp::spans(&request, Time::MIN).expect("a request"));
}

/// What the generated types take for a request before anything is done with it: for comparison.
#[divan::bench]
fn an_otlp_request_of_logs_is_decoded(bencher: Bencher<'_, '_>) {
    let request = logs();
    bencher
        .counter(ItemsCount::new(ENTRIES))
        .bench_local(|| ExportLogsServiceRequest::decode(&request[..]).expect("a request"));
}
