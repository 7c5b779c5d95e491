mod events;
mod shipping;
mod spans;
mod traces;

use std::pin::Pin;

use futures_util::Stream;
use tokio::sync::mpsc;
use tonic::{Request, Response, Status, Streaming};
use tracing::subscriber::{DefaultGuard, set_default, with_default};
use tracing_subscriber::{Layer, layer::SubscriberExt};

use super::{
    QueueSettings, Recorder, Sampler, Settings,
    layer::Queueing,
    queue::{Entries, queue},
    targets,
};
use crate::{
    proto::log::v1::{
        Durability, Entry, GetStatusRequest, GetStatusResponse, GetTraceRequest, GetTraceResponse, IngestRequest,
        IngestResponse, ListTracesRequest, ListTracesResponse, QueryRequest, QueryResponse, TailRequest, TailResponse,
        WriteRequest, WriteResponse,
        log_server::{Log, LogServer},
    },
    testing::soon,
};

/// A Log whose `Ingest` answers as the test says.
pub(crate) fn scripted_log() -> (LogServer<impl Log>, Ingests) {
    let (opened, ingests) = mpsc::channel(8);
    (LogServer::new(ScriptedLog { opened }), Ingests(ingests))
}

/// The streams that were opened.
pub(crate) struct Ingests(mpsc::Receiver<Ingest>);

impl Ingests {
    async fn next(&mut self) -> Ingest {
        soon("a stream", self.0.recv()).await.expect("the server runs")
    }

    /// The next stream, on which everything is under way at once, of a Log that has the batches up to this one. Also
    /// tells who writes.
    async fn greeted(&mut self, batch: u64) -> (Ingest, String) {
        let mut ingest = self.next().await;
        let greeting = ingest.request().await;
        assert_eq!((greeting.batch, greeting.entries.len()), (0, 0));
        ingest.acknowledge(batch).await;
        (ingest, greeting.writer)
    }
}

struct Ingest {
    requests: Streaming<IngestRequest>,
    answers: mpsc::Sender<Result<IngestResponse, Status>>,
}

impl Ingest {
    async fn request(&mut self) -> IngestRequest {
        let request = soon("a batch", self.requests.message()).await;
        request.expect("no error").expect("the stream goes on")
    }

    async fn acknowledge(&self, batch: u64) {
        let answer = IngestResponse {
            batch,
            credit_bytes: u64::MAX,
            ..Default::default()
        };
        self.answers.send(Ok(answer)).await.expect("the stream is open");
    }

    async fn fail(self, status: Status) {
        // Who has gone needs no answer.
        let _ = self.answers.send(Err(status)).await;
    }

    /// Acknowledges the next batch.
    async fn written(&mut self) -> Vec<Entry> {
        let request = self.request().await;
        assert_eq!(request.durability(), Durability::Written);
        assert_eq!(request.writer, "");
        self.acknowledge(request.batch).await;
        request.entries
    }

    /// Waits until nobody sends any more.
    async fn ended(mut self) {
        while let Ok(Some(_)) = soon("the end of the stream", self.requests.message()).await {}
    }
}

struct ScriptedLog {
    opened: mpsc::Sender<Ingest>,
}

type Messages<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl Log for ScriptedLog {
    type IngestStream = Messages<IngestResponse>;
    type TailStream = Messages<TailResponse>;

    async fn ingest(&self, request: Request<Streaming<IngestRequest>>) -> Result<Response<Self::IngestStream>, Status> {
        let (answers, mut queued) = mpsc::channel(8);
        let requests = request.into_inner();
        let over = |_| Status::cancelled("the test is over");
        self.opened.send(Ingest { requests, answers }).await.map_err(over)?;
        let answers = futures_util::stream::poll_fn(move |cx| queued.poll_recv(cx));
        Ok(Response::new(Box::pin(answers)))
    }

    async fn write(&self, _: Request<WriteRequest>) -> Result<Response<WriteResponse>, Status> {
        Err(Status::unimplemented("not scripted"))
    }

    async fn query(&self, _: Request<QueryRequest>) -> Result<Response<QueryResponse>, Status> {
        Err(Status::unimplemented("not scripted"))
    }

    async fn tail(&self, _: Request<TailRequest>) -> Result<Response<Self::TailStream>, Status> {
        Err(Status::unimplemented("not scripted"))
    }

    async fn get_trace(&self, _: Request<GetTraceRequest>) -> Result<Response<GetTraceResponse>, Status> {
        Err(Status::unimplemented("not scripted"))
    }

    async fn list_traces(&self, _: Request<ListTracesRequest>) -> Result<Response<ListTracesResponse>, Status> {
        Err(Status::unimplemented("not scripted"))
    }

    async fn get_status(&self, _: Request<GetStatusRequest>) -> Result<Response<GetStatusResponse>, Status> {
        Err(Status::unimplemented("not scripted"))
    }
}

/// The layer, and what it puts into its queue.
fn layer(settings: QueueSettings) -> (Queueing, Entries) {
    let (queue, entries) = queue(settings);
    (Queueing::new(Recorder::new(queue, Some(Sampler::default()))), entries)
}

/// The entries of what is logged meanwhile.
fn logged(log: impl FnOnce()) -> Entries {
    let (layer, entries) = layer(QueueSettings::default());
    with_default(tracing_subscriber::registry().with(layer), log);
    entries
}

/// Records what all tasks of this thread do while the guard lives, as by default.
fn recording(sampler: impl Into<Option<Sampler>>) -> (DefaultGuard, Entries) {
    let (queue, entries) = queue(QueueSettings::default());
    let targets = targets(&Settings::default()).expect("the default can be read");
    let layer = Queueing::new(Recorder::new(queue, sampler.into())).with_filter(targets);
    (set_default(tracing_subscriber::registry().with(layer)), entries)
}

fn only(entries: &Entries) -> Entry {
    let mut all = entries.take(usize::MAX);
    assert_eq!(all.len(), 1, "{all:?}");
    all.remove(0)
}
