//! What telemetry costs a unary call: `cargo bench -p homeroom --bench telemetry`.
//!
//! Client, server, shipper and a Log that keeps nothing share one thread, so what is measured is all the work that a call
//! causes, on whatever side: the time of 64 calls that are under way at once.

use std::{pin::Pin, sync::OnceLock};

use divan::{Bencher, counter::ItemsCount};
use futures_util::{Stream, StreamExt, future::join_all};
use homeroom::{
    balance::Channel,
    listener,
    proto::{
        grades::v1::{
            AddGradeRequest, AddGradeResponse, GetStudentRequest, GetStudentResponse, ListStudentsRequest,
            ListStudentsResponse,
            grades_client::GradesClient,
            grades_server::{Grades, GradesServer},
        },
        log::v1::{
            GetStatusRequest, GetStatusResponse, GetTraceRequest, GetTraceResponse, IngestRequest, IngestResponse,
            ListTracesRequest, ListTracesResponse, QueryRequest, QueryResponse, TailRequest, TailResponse,
            WriteRequest, WriteResponse,
            log_server::{Log, LogServer},
        },
    },
    shutdown::Shutdown,
    telemetry::{self, Context, Origin, Settings, TraceContext},
};
use tokio::runtime::Runtime;
use tonic::{Request, Response, Status, Streaming, async_trait, service::Routes};
use tracing::subscriber::{NoSubscriber, set_default};

const CALLS: usize = 64;

fn main() {
    divan::main();
}

/// A call without telemetry, in a trace that is not sampled, and in one that is.
#[derive(Debug, Clone, Copy)]
enum Traced {
    Not,
    Unsampled,
    Sampled,
}

#[divan::bench(args = [Traced::Not, Traced::Unsampled, Traced::Sampled], sample_count = 200)]
fn calls(bencher: Bencher<'_, '_>, traced: Traced) {
    let (runtime, channel) = MESH.get_or_init(start);
    let _none = matches!(traced, Traced::Not).then(|| set_default(NoSubscriber::new()));
    let trace = match traced {
        Traced::Sampled => Ok(TraceContext::start()),
        Traced::Not | Traced::Unsampled => "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00".parse(),
    };
    let context = Context::default().with_trace(trace.expect("a trace context"));
    let client = GradesClient::new(channel.clone());
    bencher.counter(ItemsCount::new(CALLS)).bench_local(|| {
        let calls = (0..CALLS).map(|_| {
            let mut client = client.clone();
            context
                .clone()
                .scope(async move { client.get_student(GetStudentRequest::default()).await })
        });
        runtime.block_on(join_all(calls))
    });
}

/// One thread's worth of a mesh, since the telemetry of a process can be set up once.
static MESH: OnceLock<(Runtime, Channel)> = OnceLock::new();

fn start() -> (Runtime, Channel) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime");
    let entered = runtime.enter();
    let listener = listener::bind(([127, 0, 0, 1], 0).into()).expect("a free port");
    let channel = Channel::fixed(listener.local_addr().expect("the socket is bound").into());
    let routes = Routes::new(GradesServer::new(Nothing)).add_service(LogServer::new(Nothing));
    let limits = listener::Limits::default();
    tokio::spawn(listener::serve(
        listener,
        routes,
        limits,
        Shutdown::new(),
        std::future::pending(),
    ));
    let mut telemetry = telemetry::init(&Settings::default()).expect("nobody else has set it up");
    let origin = Origin {
        service: "bench".to_owned(),
        instance: "b:1".to_owned(),
    };
    telemetry.ship(channel.clone(), origin);
    // It ships for as long as the process runs.
    std::mem::forget(telemetry);
    drop(entered);
    (runtime, channel)
}

/// A service that does nothing, and a Log that keeps nothing.
struct Nothing;

type Messages<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

fn nothing<T>() -> Result<T, Status> {
    Err(Status::unimplemented("no bench has needed it"))
}

#[async_trait]
impl Grades for Nothing {
    async fn list_students(&self, _: Request<ListStudentsRequest>) -> Result<Response<ListStudentsResponse>, Status> {
        nothing()
    }

    async fn get_student(&self, _: Request<GetStudentRequest>) -> Result<Response<GetStudentResponse>, Status> {
        Ok(Response::new(GetStudentResponse::default()))
    }

    async fn add_grade(&self, _: Request<AddGradeRequest>) -> Result<Response<AddGradeResponse>, Status> {
        nothing()
    }
}

#[async_trait]
impl Log for Nothing {
    type IngestStream = Messages<IngestResponse>;
    type TailStream = Messages<TailResponse>;

    async fn ingest(
        &self,
        requests: Request<Streaming<IngestRequest>>,
    ) -> Result<Response<Self::IngestStream>, Status> {
        let answers = requests.into_inner().map(|request| {
            request.map(|request| IngestResponse {
                batch: request.batch,
                credit_bytes: u64::MAX,
                ..Default::default()
            })
        });
        Ok(Response::new(Box::pin(answers)))
    }

    async fn write(&self, _: Request<WriteRequest>) -> Result<Response<WriteResponse>, Status> {
        nothing()
    }

    async fn query(&self, _: Request<QueryRequest>) -> Result<Response<QueryResponse>, Status> {
        nothing()
    }

    async fn tail(&self, _: Request<TailRequest>) -> Result<Response<Self::TailStream>, Status> {
        nothing()
    }

    async fn get_trace(&self, _: Request<GetTraceRequest>) -> Result<Response<GetTraceResponse>, Status> {
        nothing()
    }

    async fn list_traces(&self, _: Request<ListTracesRequest>) -> Result<Response<ListTracesResponse>, Status> {
        nothing()
    }

    async fn get_status(&self, _: Request<GetStatusRequest>) -> Result<Response<GetStatusResponse>, Status> {
        nothing()
    }
}
