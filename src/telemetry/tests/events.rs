use std::sync::Arc;

use tracing::subscriber::with_default;
use tracing_subscriber::layer::SubscriberExt;

use super::{
    super::{Context, Origin, QueueSettings, TraceContext, layer::TEXT_BYTES_MAX, words::line},
    layer, logged, only,
};
use crate::proto::log::v1::{Entry, Severity};

#[test]
fn an_event_becomes_an_entry_with_its_severity_fields_and_target() {
    let entry = only(&logged(
        || tracing::warn!(instance.id = %"a:1", attempts = 3, known = true, "probe failed"),
    ));
    assert_eq!(entry.severity(), Severity::Warn);
    assert_eq!(entry.message, "probe failed");
    let expected = [
        ("instance.id", "a:1"),
        ("attempts", "3"),
        ("known", "true"),
        ("target", module_path!()),
    ];
    let expected = expected.map(|(key, value)| (key.to_owned(), value.to_owned()));
    assert_eq!(entry.attributes, expected.into());
    assert!(entry.time.is_some());
    assert_eq!((entry.service.as_str(), entry.trace_id.as_str()), ("", ""));
}

#[test]
fn every_level_has_its_severity() {
    let entries = logged(|| {
        tracing::trace!("1");
        tracing::debug!("2");
        tracing::info!("3");
        tracing::warn!("4");
        tracing::error!("5");
    });
    let severities = entries.take(9).into_iter().map(|entry| entry.severity());
    let expected = [
        Severity::Trace,
        Severity::Debug,
        Severity::Info,
        Severity::Warn,
        Severity::Error,
    ];
    assert!(severities.eq(expected));
}

#[tokio::test]
async fn an_entry_names_the_instance_and_the_trace_of_its_task() {
    let (layer, entries) = layer(QueueSettings::default());
    let subscriber = tracing_subscriber::registry().with(layer);
    let trace = TraceContext::start();
    let context = Context {
        origin: Some(Arc::new(Origin {
            service: "grades".to_owned(),
            instance: "g:1".to_owned(),
        })),
        trace: Some(trace),
        trace_state: None,
    };
    context
        .scope(async { with_default(subscriber, || tracing::info!("hello")) })
        .await;
    let entry = only(&entries);
    assert_eq!((entry.service.as_str(), entry.instance.as_str()), ("grades", "g:1"));
    assert_eq!((entry.trace_id, entry.span_id), (trace.trace_id(), trace.span_id()));
}

#[test]
fn a_text_over_the_limit_is_cut_between_characters() {
    let long = "ä".repeat(TEXT_BYTES_MAX);
    let entry = only(&logged(|| tracing::info!(value = "x".to_owned() + &long, "{long}")));
    assert_eq!(entry.message.len(), TEXT_BYTES_MAX);
    assert_eq!(entry.attributes["value"].len(), TEXT_BYTES_MAX - 1);
}

#[test]
fn a_line_has_nothing_in_it_that_a_terminal_would_obey() {
    let entry = Entry {
        severity: Severity::Error.into(),
        service: "grades".to_owned(),
        message: "a\nb\x1b[2J".to_owned(),
        attributes: [
            ("target".to_owned(), "hidden".to_owned()),
            ("z".to_owned(), "\u{202e}".to_owned()),
            ("k".to_owned(), "v".to_owned()),
        ]
        .into(),
        ..Entry::default()
    };
    assert_eq!(line(&entry), "  ERROR  grades  a\\nb\\u{1b}[2J k=v z=\\u{202e}");
}
