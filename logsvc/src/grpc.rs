//! The Log service on the wire: translates, and decides nothing.
//!
//! Logs nothing above `debug` for a request: the log of this service goes into itself.

mod ingest;
pub mod otlp;
mod query;
mod status;
mod tail;
mod trace;

use std::{
    path::{Path, PathBuf},
    pin::Pin,
    str::FromStr,
    sync::Arc,
    time::{Instant, SystemTime},
};

use bytes::Bytes;
use futures_util::stream::{Stream, StreamExt};
use homeroom::{
    metrics::Metrics,
    model::{Address, InvalidField},
    page::Page,
    proto::log::v1::{
        self as proto,
        in_place::{IngestRequest, QueryResponse, TailResponse, WriteRequest, log_server::Log},
    },
    shutdown::Shutdown,
};
use tonic::{Request, Response, Status, Streaming};

use self::ingest::Streams;
use crate::{
    config::StoreSettings,
    entry::Time,
    error::Error,
    forward::Forward,
    metrics::{self, LogMetrics},
    native,
    query::{Filter, Found, FromLine, Limit, Order, Scan},
    store::{Batch, Durability, Fate, Store},
    tail::Tails,
};

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// The Log service over the file of a data directory. Clones share it.
#[derive(Debug, Clone)]
pub struct LogApi {
    store: Arc<Store>,
    tails: Tails,
    shutdown: Shutdown,
    streams: Arc<Streams>,
    settings: Arc<StoreSettings>,
    start_time: SystemTime,
    forward: Option<Arc<Forward>>,
    metrics: LogMetrics,
}

impl LogApi {
    /// Opens the data directory, which it makes when there is none. Streams end when `shutdown` is cancelled.
    ///
    /// # Errors
    /// [`Error::InUse`] when another process has it, [`Error::Open`] when it cannot be used.
    pub async fn open(data_dir: &Path, settings: &StoreSettings, shutdown: Shutdown) -> Result<Self, Error> {
        let settings = Arc::new(settings.clone());
        let (path, kept): (PathBuf, _) = (data_dir.to_owned(), settings.clone());
        let store = tokio::task::spawn_blocking(move || Store::open(&path, &kept)).await;
        let failed = |error: tokio::task::JoinError| Error::Open {
            path: data_dir.to_owned(),
            source: error.into(),
        };
        let (store, metrics) = (Arc::new(store.map_err(failed)??), LogMetrics::default());
        let told = metrics.clone();
        store.set_on_commit(move |commit| told.on_commit(commit));
        Ok(Self {
            tails: Tails::new(store.clone()),
            store,
            shutdown,
            streams: Arc::default(),
            settings,
            start_time: SystemTime::now(),
            forward: None,
            metrics,
        })
    }

    /// Forwards entries to a backend from now on, for as long as what it returns is polled. The position there is kept in
    /// the data directory.
    pub async fn forward(
        &mut self,
        data_dir: &Path,
        endpoint: Address,
    ) -> (Arc<Forward>, impl Future<Output = ()> + use<>) {
        let forward = Forward::open(data_dir, endpoint, self.metrics.forward().clone()).await;
        self.forward = Some(forward.clone());
        (forward.clone(), forward.run(self.store.clone()))
    }

    /// Tells what is counted from now on. To be called once for the same service.
    pub fn tell(&self, metrics: &Metrics) {
        self.metrics.register(metrics);
        let store = self.store.clone();
        let (name, help) = ("homeroom_log_queued_bytes", "Bytes of lines that wait to be written");
        metrics.register_gauge(name, help, move || store.queued_bytes() as u64);
        let streams = self.streams.clone();
        let (name, help) = ("homeroom_log_writers", "Writers that have a stream of Ingest open");
        metrics.register_gauge(name, help, move || streams.len() as u64);
        let log = self.clone();
        metrics::tell_status(metrics, move || status::status(&log, SystemTime::now()));
    }

    /// Writes and syncs what is queued, and takes no more: to be called once the server has drained. Reads go on.
    ///
    /// Cancel safe: it goes on by itself.
    pub async fn close(&self) {
        let store = self.store.clone();
        if let Err(error) = tokio::task::spawn_blocking(move || store.close()).await {
            tracing::error!(%error, "cannot close the log");
        }
    }

    fn ingest_from<R>(&self, requests: R) -> impl Stream<Item = Result<proto::IngestResponse, Status>> + Send + use<R>
    where
        R: Stream<Item = Result<IngestRequest, Status>> + Send + Unpin + 'static,
    {
        let (store, streams) = (self.store.clone(), self.streams.clone());
        let answers = ingest::acknowledge(store, streams, self.shutdown.clone(), requests);
        let metrics = self.metrics.clone();
        answers.inspect(move |answer| {
            if let Err(status) = answer {
                metrics.on_refused(status);
            }
        })
    }

    /// Writes a batch, and waits until it is as durable as asked. Returns the number of its last entry; 0 when nothing is
    /// waited for.
    async fn append(&self, batch: Batch, durability: Durability) -> Result<u64, Error> {
        let written = self.store.append(batch, durability, &Fate::default()).await?;
        match durability {
            Durability::Received => Ok(0),
            Durability::Written | Durability::Synced => written.wait().await,
        }
    }

    async fn scan<T: FromLine>(
        &self,
        filter: Filter,
        order: Order,
        limit: Limit,
        after: Option<u64>,
    ) -> Result<Found<T>, Error> {
        let visible = *self.store.visible().borrow();
        let scan = Scan::new(Arc::new(filter), order, limit, after, visible);
        scan.finish(&self.store).await
    }

    /// Counts how long it takes to find something.
    async fn timed<T>(&self, finding: impl Future<Output = Result<T, Error>>) -> Result<Response<T>, Status> {
        let begun = Instant::now();
        let found = finding.await;
        self.metrics.query_seconds().observe(begun.elapsed());
        Ok(Response::new(found?))
    }
}

#[tonic::async_trait]
impl Log for LogApi {
    type IngestStream = Answers<proto::IngestResponse>;
    type TailStream = Answers<TailResponse>;

    async fn write(&self, request: Request<WriteRequest>) -> Result<Response<proto::WriteResponse>, Status> {
        let request = request.into_inner();
        let written = async {
            let (batch, durability) = decode(&request.entries, request.durability)?;
            Ok(self.append(batch, durability).await?)
        };
        let last_sequence = written.await.inspect_err(|status| self.metrics.on_refused(status))?;
        Ok(Response::new(proto::WriteResponse { last_sequence }))
    }

    async fn ingest(&self, request: Request<Streaming<IngestRequest>>) -> Result<Response<Self::IngestStream>, Status> {
        Ok(Response::new(self.ingest_from(request.into_inner()).boxed()))
    }

    async fn query(&self, request: Request<proto::QueryRequest>) -> Result<Response<QueryResponse>, Status> {
        self.timed(query::query(self, request.into_inner())).await
    }

    async fn tail(&self, request: Request<proto::TailRequest>) -> Result<Response<Self::TailStream>, Status> {
        Ok(Response::new(tail::tail(self, request.into_inner())?.boxed()))
    }

    async fn get_trace(
        &self,
        request: Request<proto::GetTraceRequest>,
    ) -> Result<Response<proto::GetTraceResponse>, Status> {
        self.timed(trace::get(self, request.into_inner())).await
    }

    async fn list_traces(
        &self,
        request: Request<proto::ListTracesRequest>,
    ) -> Result<Response<proto::ListTracesResponse>, Status> {
        self.timed(trace::list(self, request.into_inner())).await
    }

    async fn get_status(
        &self,
        _: Request<proto::GetStatusRequest>,
    ) -> Result<Response<proto::GetStatusResponse>, Status> {
        Ok(Response::new(status::status(self, SystemTime::now())))
    }
}

/// Reads a batch, received now, and how durable it is to be.
fn decode(entries: &[Bytes], durability: i32) -> Result<(Batch, Durability), InvalidField> {
    let refused = |_| InvalidField::new("durability", "must be one of the values of `Durability`");
    let durability = match proto::Durability::try_from(durability).map_err(refused)? {
        proto::Durability::Unspecified | proto::Durability::Synced => Durability::Synced,
        proto::Durability::Written => Durability::Written,
        proto::Durability::Received => Durability::Received,
    };
    let batch = native::batch(entries, Time::from(SystemTime::now()))?;
    Ok((batch, durability))
}

/// The cursor in the token of a page.
fn cursor<T: FromStr>(page: &Page) -> Result<Option<T>, InvalidField> {
    let cursor = page.cursor.as_ref().map(|cursor| cursor.parse());
    let refused = |_| InvalidField::new("page_token", "must be a `next_page_token`, unchanged");
    cursor.transpose().map_err(refused)
}

#[cfg(test)]
mod tests;
