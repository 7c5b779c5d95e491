use homeroom::{
    proto::opentelemetry::proto::{
        collector::{
            logs::v1::{ExportLogsServiceRequest, logs_service_client::LogsServiceClient},
            metrics::v1::{ExportMetricsServiceRequest, metrics_service_client::MetricsServiceClient},
            trace::v1::{ExportTraceServiceRequest, trace_service_client::TraceServiceClient},
        },
        common::v1::{AnyValue, any_value},
        logs::v1::{LogRecord, ResourceLogs, ScopeLogs},
        metrics::v1::{Metric, ResourceMetrics, ScopeMetrics, Sum, metric},
        trace::v1::{ResourceSpans, ScopeSpans, Span},
    },
    shutdown::Shutdown,
    status::reason,
};
use tonic::Code;
use tonic_types::StatusExt;

use super::*;
use crate::config::StoreSettings;

async fn api() -> (tempfile::TempDir, LogApi) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let api = LogApi::open(directory.path(), &StoreSettings::default(), Shutdown::new()).await;
    (directory, api.expect("an open log"))
}

fn logs(bodies: &[&str]) -> ExportLogsServiceRequest {
    let record = |body: &&str| LogRecord {
        body: Some(AnyValue {
            value: Some(any_value::Value::StringValue((*body).to_owned())),
        }),
        ..Default::default()
    };
    let scope_logs = vec![ScopeLogs {
        log_records: bodies.iter().map(record).collect(),
        ..Default::default()
    }];
    ExportLogsServiceRequest {
        resource_logs: vec![ResourceLogs {
            scope_logs,
            ..Default::default()
        }],
    }
}

fn last(api: &LogApi) -> u64 {
    *api.store.visible().borrow()
}

#[tokio::test]
async fn log_records_are_kept_once_they_are_answered_compressed_or_not() {
    let (_directory, api) = api().await;
    let mut client = LogsServiceClient::new(Export::<Logs>::new(api.clone()));
    let answer = client.export(logs(&["a", "b"])).await.expect("it is kept").into_inner();
    assert_eq!((last(&api), answer.partial_success), (2, None));
    let mut client = client.send_compressed(CompressionEncoding::Gzip);
    let answer = client.export(logs(&["c"])).await.expect("it is kept").into_inner();
    assert_eq!((last(&api), answer.partial_success), (3, None));
}

#[tokio::test]
async fn what_is_small_only_as_long_as_it_is_compressed_is_refused() {
    let (_directory, api) = api().await;
    let client = LogsServiceClient::new(Export::<Logs>::new(api.clone()));
    let bomb = "x".repeat(4 * 1024 * 1024);
    let status = client
        .send_compressed(CompressionEncoding::Gzip)
        .export(logs(&[&bomb]))
        .await;
    assert_eq!(status.expect_err("it is too large").code(), Code::ResourceExhausted);
    assert_eq!(last(&api), 0);
}

#[tokio::test]
async fn spans_that_are_not_valid_are_told_and_the_others_kept() {
    let (_directory, api) = api().await;
    let span = |trace_id| Span {
        trace_id,
        span_id: vec![1; 8],
        ..Default::default()
    };
    let scope_spans = vec![ScopeSpans {
        spans: vec![span(vec![]), span(vec![1; 16])],
        ..Default::default()
    }];
    let request = ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            scope_spans,
            ..Default::default()
        }],
    };
    let mut client = TraceServiceClient::new(Export::<Traces>::new(api.clone()));
    let answer = client.export(request).await.expect("some of it is kept").into_inner();
    let partial = answer.partial_success.expect("some of it is not");
    assert_eq!((last(&api), partial.rejected_spans), (1, 1));
    assert_eq!(
        partial.error_message,
        "resource_spans[0].scope_spans[0].spans[0].trace_id is required"
    );
}

#[tokio::test]
async fn metrics_are_taken_and_said_not_to_be_kept() {
    let (_directory, api) = api().await;
    let sum = Sum {
        data_points: vec![Default::default(); 2],
        ..Default::default()
    };
    let metrics = vec![Metric {
        data: Some(metric::Data::Sum(sum)),
        ..Default::default()
    }];
    let scope_metrics = vec![ScopeMetrics {
        metrics,
        ..Default::default()
    }];
    let request = ExportMetricsServiceRequest {
        resource_metrics: vec![ResourceMetrics {
            scope_metrics,
            ..Default::default()
        }],
    };
    let mut client = MetricsServiceClient::new(Export::<Metrics>::new(api));
    let answer = client.export(request).await.expect("it is taken").into_inner();
    let partial = answer.partial_success.expect("it is not kept");
    assert_eq!(
        (partial.rejected_data_points, partial.error_message.as_str()),
        (2, "metrics are not stored")
    );
}

#[tokio::test]
async fn a_sender_is_told_when_to_come_again() {
    let (_directory, api) = api().await;
    api.close().await;
    let mut client = LogsServiceClient::new(Export::<Logs>::new(api));
    let status = client.export(logs(&["a"])).await.expect_err("it is closed");
    assert_eq!(
        (status.code(), reason(&status).as_deref()),
        (Code::Unavailable, Some("DRAINING"))
    );
    assert!(
        status
            .get_details_retry_info()
            .is_some_and(|retry| retry.retry_delay.is_some())
    );
}

#[tokio::test]
async fn what_is_no_request_is_refused_with_the_field() {
    let (_directory, api) = api().await;
    // Field 1 of this one is no message.
    let request = ExportLogsServiceRequest::default();
    let mut client = LogsServiceClient::new(Export::<Logs>::new(api.clone()));
    assert!(client.export(request).await.is_ok(), "an empty one is one");
    let status = Logs::export(&api, Bytes::from_static(&[0x0a, 9]))
        .await
        .expect_err("it is none");
    assert_eq!(reason(&status).as_deref(), Some("INVALID_FIELD"));
}
