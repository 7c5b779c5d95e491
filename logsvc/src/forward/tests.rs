use homeroom::{
    proto::{
        log::v1 as proto,
        opentelemetry::proto::collector::{
            logs::v1::{
                ExportLogsPartialSuccess, ExportLogsServiceRequest, ExportLogsServiceResponse,
                logs_service_server::{LogsService, LogsServiceServer},
            },
            trace::v1::{
                ExportTraceServiceRequest, ExportTraceServiceResponse,
                trace_service_server::{TraceService, TraceServiceServer},
            },
        },
    },
    testing::{Calls, Method, Server, soon},
};
use tokio_util::task::AbortOnDropHandle;
use tonic::{Code, Request, Response, Status, service::Routes};

use super::*;
use crate::{
    config::StoreSettings,
    entry::{Entry, Time, tests::entry},
    native::tests::{batch_of, parsed},
    query::tests::world::{delete_oldest, small_segments},
    store::{Durability, Fate},
};

type Logs = Calls<ExportLogsServiceRequest, ExportLogsServiceResponse>;
type Spans = Calls<ExportTraceServiceRequest, ExportTraceServiceResponse>;

struct ScriptedLogs(Method<ExportLogsServiceRequest, ExportLogsServiceResponse>);
struct ScriptedSpans(Method<ExportTraceServiceRequest, ExportTraceServiceResponse>);

#[tonic::async_trait]
impl LogsService for ScriptedLogs {
    async fn export(
        &self,
        request: Request<ExportLogsServiceRequest>,
    ) -> Result<Response<ExportLogsServiceResponse>, Status> {
        self.0.call(request).await
    }
}

#[tonic::async_trait]
impl TraceService for ScriptedSpans {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        self.0.call(request).await
    }
}

fn span(name: &str) -> Entry {
    let message = proto::Entry {
        message: name.to_owned(),
        trace_id: "a".repeat(32),
        span_id: "b".repeat(16),
        span: Some(proto::Span::default()),
        ..Default::default()
    };
    parsed(message, Time::MIN).expect("a valid span")
}

fn backend() -> (Server, Logs, Spans) {
    let ((logs, log_calls), (spans, span_calls)) = (Method::new(), Method::new());
    let routes = Routes::new(LogsServiceServer::new(ScriptedLogs(logs)))
        .add_service(TraceServiceServer::new(ScriptedSpans(spans)));
    (Server::start(routes), log_calls, span_calls)
}

/// A log and what forwards it.
struct Running {
    directory: tempfile::TempDir,
    store: Arc<Store>,
    forward: Arc<Forward>,
    task: AbortOnDropHandle<()>,
}

const PACE: Pace = Pace {
    linger: Duration::ZERO,
    backoff_min: Duration::from_millis(1),
    backoff_max: Duration::from_millis(1),
};

impl Running {
    async fn start(server: &Server, entries: &[Entry]) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let store = Arc::new(Store::open(directory.path(), &StoreSettings::default()).expect("an open store"));
        write(&store, entries).await;
        let forward = Forward::open(directory.path(), server.address().clone(), Counts::default()).await;
        Self::go_on(directory, store, forward)
    }

    fn go_on(directory: tempfile::TempDir, store: Arc<Store>, forward: Arc<Forward>) -> Self {
        let task = tokio::spawn(forward.clone().run_at(store.clone(), PACE));
        Self {
            directory,
            store,
            forward,
            task: AbortOnDropHandle::new(task),
        }
    }

    /// Waits until the backend has everything up to a number.
    async fn reaches(&self, sequence: u64) {
        let mut position = self.forward.sequence.subscribe();
        let reached = position.wait_for(|position| *position == sequence);
        drop(soon("the position", reached).await.expect("it is forwarded"));
    }

    fn counts(&self) -> [u64; 4] {
        let counts = &self.forward.counts;
        [&counts.sent, &counts.refused, &counts.missed, &counts.failed].map(Counter::get)
    }
}

async fn write(store: &Store, entries: &[Entry]) {
    let fate = Fate::default();
    let written = store.append(batch_of(entries), Durability::Written, &fate);
    written.await.expect("queued").wait().await.expect("written");
}

fn bodies(request: &ExportLogsServiceRequest) -> Vec<String> {
    use homeroom::proto::opentelemetry::proto::common::v1::any_value::Value;
    let scopes = request.resource_logs.iter().flat_map(|logs| &logs.scope_logs);
    let records = scopes.flat_map(|scope| &scope.log_records);
    let body = |value| match value {
        Some(Value::StringValue(text)) => text,
        other => panic!("not a text: {other:?}"),
    };
    records
        .map(|record| body(record.body.clone().expect("a body").value))
        .collect()
}

fn names(request: &ExportTraceServiceRequest) -> Vec<String> {
    let scopes = request.resource_spans.iter().flat_map(|spans| &spans.scope_spans);
    scopes
        .flat_map(|scope| scope.spans.iter().map(|span| span.name.clone()))
        .collect()
}

#[tokio::test]
async fn everything_goes_to_its_service_in_order_and_then_what_is_new() {
    let (server, mut logs, mut spans) = backend();
    let running = Running::start(&server, &[entry("a"), span("s"), entry("b")]).await;
    let call = logs.next().await;
    assert_eq!(bodies(&call.request), ["a", "b"]);
    call.answer(Ok(ExportLogsServiceResponse::default()));
    let call = spans.next().await;
    assert_eq!(names(&call.request), ["s"]);
    assert_eq!(running.forward.sequence(), 0, "not all of it is there yet");
    call.answer(Ok(ExportTraceServiceResponse::default()));
    running.reaches(3).await;
    write(&running.store, &[entry("c")]).await;
    let call = logs.next().await;
    assert_eq!(bodies(&call.request), ["c"]);
    call.answer(Ok(ExportLogsServiceResponse::default()));
    running.reaches(4).await;
    assert_eq!(running.counts(), [4, 0, 0, 0]);
}

#[tokio::test]
async fn a_restart_goes_on_after_what_was_taken() {
    let (server, mut logs, _spans) = backend();
    let running = Running::start(&server, &[entry("a")]).await;
    logs.next().await.answer(Ok(ExportLogsServiceResponse::default()));
    running.reaches(1).await;
    write(&running.store, &[entry("b")]).await;
    // It is on its way when the process ends.
    let cut_off = logs.next().await;
    assert_eq!(bodies(&cut_off.request), ["b"]);
    running.forward.save().await;
    let Running {
        directory, store, task, ..
    } = running;
    drop(task);
    let forward = Forward::open(directory.path(), server.address().clone(), Counts::default()).await;
    assert_eq!(forward.sequence(), 1);
    let running = Running::go_on(directory, store, forward);
    let call = logs.next().await;
    assert_eq!(bodies(&call.request), ["b"]);
    call.answer(Ok(ExportLogsServiceResponse::default()));
    running.reaches(2).await;
}

#[tokio::test]
async fn a_call_that_fails_is_repeated_until_it_is_taken_and_says_why_meanwhile() {
    let (server, mut logs, _spans) = backend();
    let running = Running::start(&server, &[entry("a")]).await;
    for code in [
        Code::Unavailable,
        Code::PermissionDenied,
        Code::Internal,
        Code::ResourceExhausted,
    ] {
        let call = logs.next().await;
        assert_eq!(bodies(&call.request), ["a"]);
        call.answer(Err(Status::new(code, "not now")));
    }
    let call = logs.next().await;
    assert!(
        running.forward.cause().ends_with(": not now"),
        "{}",
        running.forward.cause()
    );
    call.answer(Ok(ExportLogsServiceResponse::default()));
    running.reaches(1).await;
    assert_eq!(running.forward.cause(), "");
    assert_eq!(running.counts(), [1, 0, 0, 4]);
}

#[tokio::test]
async fn an_entry_that_is_refused_alone_does_not_hold_up_the_others() {
    let (server, mut logs, _spans) = backend();
    let entries: Vec<_> = ["a", "b", "bad", "c", "d"].map(entry).into();
    let running = Running::start(&server, &entries).await;
    let mut taken = Vec::new();
    while taken.len() < 4 {
        let call = logs.next().await;
        let bodies = bodies(&call.request);
        if bodies.iter().any(|body| body == "bad") {
            call.answer(Err(Status::invalid_argument("bad")));
        } else {
            taken.extend(bodies);
            call.answer(Ok(ExportLogsServiceResponse::default()));
        }
    }
    assert_eq!(taken, ["a", "b", "c", "d"]);
    running.reaches(5).await;
    let [sent, refused, missed, _] = running.counts();
    assert_eq!((sent, refused, missed), (4, 1, 0));
}

#[tokio::test]
async fn what_is_too_much_at_once_is_sent_in_parts_and_a_single_one_is_given_up_only_when_it_is_large() {
    let (server, mut logs, _spans) = backend();
    let large = "x".repeat(1024 * 1024);
    let entries: Vec<_> = ["a", &large, "b", "c"].map(entry).into();
    let running = Running::start(&server, &entries).await;
    let mut taken = Vec::new();
    while taken.len() < 3 {
        let call = logs.next().await;
        let bodies = bodies(&call.request);
        if bodies.len() > 1 || bodies[0] == large {
            call.answer(Err(Status::resource_exhausted("message larger than max")));
        } else {
            taken.extend(bodies);
            call.answer(Ok(ExportLogsServiceResponse::default()));
        }
    }
    assert_eq!(taken, ["a", "b", "c"]);
    running.reaches(4).await;
    assert_eq!(running.counts()[..2], [3, 1]);
}

#[tokio::test]
async fn a_backend_without_one_service_gets_what_the_other_takes() {
    let (server, mut logs, mut spans) = backend();
    let running = Running::start(&server, &[entry("a"), span("s")]).await;
    logs.next().await.answer(Err(Status::unimplemented("no logs")));
    let call = spans.next().await;
    assert_eq!(names(&call.request), [""; 0], "it is asked first");
    call.answer(Ok(ExportTraceServiceResponse::default()));
    let call = spans.next().await;
    assert_eq!(names(&call.request), ["s"]);
    call.answer(Ok(ExportTraceServiceResponse::default()));
    running.reaches(2).await;
    assert_eq!(running.counts()[..2], [1, 1]);
}

#[tokio::test]
async fn a_backend_without_either_service_is_waited_for() {
    let (server, mut logs, mut spans) = backend();
    let running = Running::start(&server, &[entry("a")]).await;
    logs.next().await.answer(Err(Status::unimplemented("no logs")));
    spans.next().await.answer(Err(Status::unimplemented("no spans")));
    let call = logs.next().await;
    assert!(running.forward.cause().contains("no logs"));
    call.answer(Ok(ExportLogsServiceResponse::default()));
    running.reaches(1).await;
}

#[tokio::test]
async fn what_a_backend_takes_only_a_part_of_is_counted_and_not_repeated() {
    let (server, mut logs, _spans) = backend();
    let running = Running::start(&server, &[entry("a"), entry("b")]).await;
    logs.next().await.answer(Ok(ExportLogsServiceResponse {
        partial_success: Some(ExportLogsPartialSuccess {
            rejected_log_records: 1,
            error_message: "one is too old".to_owned(),
        }),
    }));
    running.reaches(2).await;
    assert_eq!(running.counts(), [1, 1, 0, 0]);
}

#[tokio::test]
async fn a_position_of_a_log_that_is_gone_goes_on_at_the_end() {
    let (server, mut logs, _spans) = backend();
    let directory = tempfile::tempdir().expect("a temporary directory");
    let cursor = Cursor::new(directory.path(), server.address().clone());
    cursor.write(1_000).expect("written");
    let store = Arc::new(Store::open(directory.path(), &StoreSettings::default()).expect("an open store"));
    write(&store, &[entry("a")]).await;
    let forward = Forward::open(directory.path(), server.address().clone(), Counts::default()).await;
    let running = Running::go_on(directory, store, forward);
    running.reaches(1).await;
    write(&running.store, &[entry("b")]).await;
    assert_eq!(bodies(&logs.next().await.request), ["b"]);
}

#[tokio::test]
async fn what_retention_deletes_before_it_is_taken_is_counted_and_the_rest_goes_on() {
    let (server, mut logs, _spans) = backend();
    let directory = tempfile::tempdir().expect("a temporary directory");
    let store = small_segments(&directory);
    for text in ["taken", "deleted", "deleted, too", "kept"] {
        write(&store, &[entry(text)]).await;
    }
    drop(store);
    delete_oldest(&directory, 3);
    let cursor = Cursor::new(directory.path(), server.address().clone());
    cursor.write(1).expect("written");
    let forward = Forward::open(directory.path(), server.address().clone(), Counts::default()).await;
    let store = small_segments(&directory);
    let running = Running::go_on(directory, store, forward);
    let call = logs.next().await;
    assert_eq!(bodies(&call.request), ["kept"]);
    call.answer(Ok(ExportLogsServiceResponse::default()));
    running.reaches(4).await;
    assert_eq!(running.counts(), [1, 0, 2, 0]);
}

#[tokio::test]
async fn a_damaged_position_starts_with_the_first_entry() {
    let (server, mut logs, _spans) = backend();
    let directory = tempfile::tempdir().expect("a temporary directory");
    std::fs::write(directory.path().join("forward.json"), "?").expect("written");
    let store = Arc::new(Store::open(directory.path(), &StoreSettings::default()).expect("an open store"));
    write(&store, &[entry("a")]).await;
    let forward = Forward::open(directory.path(), server.address().clone(), Counts::default()).await;
    let _running = Running::go_on(directory, store, forward);
    assert_eq!(bodies(&logs.next().await.request), ["a"]);
}
