use std::{pin::Pin, sync::Arc, time::Duration};

use futures_util::Stream;
use tonic::{Request, Response, Status, service::Routes};
use tracing::subscriber::with_default;
use tracing_subscriber::layer::SubscriberExt;

use super::{
    Entries, Origin, QUEUE_ENTRIES_MAX, Telemetry, TraceContext,
    context::Context,
    layer::{Queueing, TEXT_BYTES_MAX},
    queue,
    shipper::BATCH_ENTRIES_MAX,
    words::line,
};
use crate::{
    balance::Channel,
    proto::log::v1::{
        Durability, Entry, GetStatusRequest, GetStatusResponse, GetTraceRequest, GetTraceResponse, IngestRequest,
        IngestResponse, ListTracesRequest, ListTracesResponse, QueryRequest, QueryResponse, Severity, TailRequest,
        TailResponse, WriteRequest, WriteResponse,
        log_server::{Log, LogServer},
    },
    testing::{Calls, Method, Port, Server, soon},
};

/// A Log whose `Write` answers as the test says.
pub(crate) fn scripted_log() -> (LogServer<impl Log>, Calls<WriteRequest, WriteResponse>) {
    let (write, calls) = Method::new();
    (LogServer::new(ScriptedLog { write }), calls)
}

struct ScriptedLog {
    write: Method<WriteRequest, WriteResponse>,
}

type Messages<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl Log for ScriptedLog {
    type IngestStream = Messages<IngestResponse>;
    type TailStream = Messages<TailResponse>;

    async fn write(&self, request: Request<WriteRequest>) -> Result<Response<WriteResponse>, Status> {
        self.write.call(request).await
    }

    async fn ingest(
        &self,
        _: Request<tonic::Streaming<IngestRequest>>,
    ) -> Result<Response<Self::IngestStream>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn query(&self, _: Request<QueryRequest>) -> Result<Response<QueryResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn tail(&self, _: Request<TailRequest>) -> Result<Response<Self::TailStream>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn get_trace(&self, _: Request<GetTraceRequest>) -> Result<Response<GetTraceResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn list_traces(&self, _: Request<ListTracesRequest>) -> Result<Response<ListTracesResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn get_status(&self, _: Request<GetStatusRequest>) -> Result<Response<GetStatusResponse>, Status> {
        Err(Status::unimplemented(""))
    }
}

/// The entries of what is logged meanwhile.
fn logged(log: impl FnOnce()) -> Entries {
    let (queue, entries) = queue();
    with_default(tracing_subscriber::registry().with(Queueing::new(queue)), log);
    entries
}

fn only(mut entries: Entries) -> Entry {
    let entry = entries.receiver.try_recv().expect("an entry");
    assert!(entries.receiver.try_recv().is_err(), "there is only one");
    entry
}

fn shipped(entries: Entries, log: Channel) -> Telemetry {
    let mut telemetry = Telemetry::new(entries);
    let origin = Origin {
        service: "process".to_owned(),
        instance: "p:1".to_owned(),
    };
    telemetry.ship(log, origin);
    telemetry
}

async fn written(writes: &mut Calls<WriteRequest, WriteResponse>) -> Vec<Entry> {
    let call = writes.next().await;
    let request = call.request.clone();
    assert_eq!(request.durability(), Durability::Written);
    call.answer(Ok(WriteResponse::default()));
    request.entries
}

#[test]
fn an_event_becomes_an_entry_with_its_severity_fields_and_target() {
    let entry = only(logged(
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
    let mut entries = logged(|| {
        tracing::trace!("1");
        tracing::debug!("2");
        tracing::info!("3");
        tracing::warn!("4");
        tracing::error!("5");
    });
    let severities = std::iter::from_fn(|| entries.receiver.try_recv().ok()).map(|entry| entry.severity());
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
    let (queue, entries) = queue();
    let subscriber = tracing_subscriber::registry().with(Queueing::new(queue));
    let trace = TraceContext::start();
    let context = Context {
        origin: Some(Arc::new(Origin {
            service: "grades".to_owned(),
            instance: "g:1".to_owned(),
        })),
        trace: Some(trace),
    };
    context
        .scope(async { with_default(subscriber, || tracing::info!("hello")) })
        .await;
    let entry = only(entries);
    assert_eq!((entry.service.as_str(), entry.instance.as_str()), ("grades", "g:1"));
    assert_eq!((entry.trace_id, entry.span_id), (trace.trace_id(), trace.span_id()));
}

#[test]
fn a_text_over_the_limit_is_cut_between_characters() {
    let long = "ä".repeat(TEXT_BYTES_MAX);
    let entry = only(logged(|| tracing::info!(value = "x".to_owned() + &long, "{long}")));
    assert_eq!(entry.message.len(), TEXT_BYTES_MAX);
    assert_eq!(entry.attributes["value"].len(), TEXT_BYTES_MAX - 1);
}

#[tokio::test]
async fn what_a_full_queue_drops_is_counted_and_reported() {
    let entries = logged(|| {
        for _ in 0..QUEUE_ENTRIES_MAX + 3 {
            tracing::info!("again");
        }
    });
    let (log, mut writes) = scripted_log();
    let server = Server::start(Routes::new(log));
    let telemetry = shipped(entries, server.channel());
    let flushed = tokio::spawn(telemetry.flush(Duration::from_secs(10)));
    let mut all = Vec::new();
    while all.len() <= QUEUE_ENTRIES_MAX {
        all.extend(written(&mut writes).await);
    }
    flushed.await.expect("no panic");
    assert_eq!(all.len(), QUEUE_ENTRIES_MAX + 1);
    let report = all.iter().find(|entry| entry.message != "again").expect("a report");
    assert_eq!(report.severity(), Severity::Warn);
    assert_eq!(report.attributes["dropped"], "3");
    assert_eq!(report.service, "process");
}

#[tokio::test]
async fn entries_are_shipped_in_order_in_batches_of_a_bounded_size() {
    let count = 2 * BATCH_ENTRIES_MAX + 500;
    let entries = logged(|| {
        for n in 0..count {
            tracing::info!("{n}");
        }
    });
    let (log, mut writes) = scripted_log();
    let server = Server::start(Routes::new(log));
    let telemetry = shipped(entries, server.channel());
    let mut all = Vec::new();
    for expected in [BATCH_ENTRIES_MAX, BATCH_ENTRIES_MAX, 500] {
        let batch = written(&mut writes).await;
        assert_eq!(batch.len(), expected);
        all.extend(batch);
    }
    let messages = all.iter().map(|entry| entry.message.clone());
    assert!(messages.eq((0..count).map(|n| n.to_string())));
    assert!(
        all.iter()
            .all(|entry| entry.service == "process" && entry.instance == "p:1")
    );
    soon("the flush", telemetry.flush(Duration::from_secs(10))).await;
}

#[tokio::test]
async fn a_flush_ends_though_log_is_away() {
    let nobody = Port::take();
    let entries = logged(|| tracing::debug!("printed"));
    let telemetry = shipped(entries, Channel::fixed(nobody.address().into()));
    soon("the flush", telemetry.flush(Duration::from_secs(60))).await;
}

#[tokio::test]
async fn a_flush_gives_up_on_a_log_that_does_not_answer() {
    let (log, mut writes) = scripted_log();
    let server = Server::start(Routes::new(log));
    let telemetry = shipped(logged(|| tracing::info!("waits")), server.channel());
    let unanswered = writes.next().await;
    soon("the flush", telemetry.flush(Duration::from_millis(50))).await;
    unanswered.cancelled().await;
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

#[test]
fn a_traceparent_is_read_and_written_as_the_standard_has_it() {
    let text = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let trace: TraceContext = text.parse().expect("the standard's own example");
    assert_eq!(trace.trace_id(), "0af7651916cd43dd8448eb211c80319c");
    assert_eq!(trace.span_id(), "b7ad6b7169203331");
    assert_eq!(trace.to_string(), text);
    let later = "cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-what-the-future-will-be-like";
    assert_eq!(later.parse(), Ok(trace));
    for nonsense in [
        "",
        "00",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
        "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "00-00000000000000000000000000000000-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
        "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-1",
        "00-0af7651916cd43dd8448eb211c80319-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319g-b7ad6b7169203331-01",
        "0x-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    ] {
        assert!(nonsense.parse::<TraceContext>().is_err(), "{nonsense}");
    }
}

#[test]
fn a_child_span_stays_in_its_trace() {
    let trace = TraceContext::start();
    let child = trace.child();
    assert_eq!(child.trace_id(), trace.trace_id());
    assert_ne!(child.span_id(), trace.span_id());
}
