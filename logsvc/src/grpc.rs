//! The Log service on the wire: translates, and decides nothing.
//!
//! Logs nothing above `debug` for a request: the log of this service goes into itself.

mod ingest;
pub mod otlp;

use std::{
    path::{Path, PathBuf},
    pin::Pin,
    sync::Arc,
    time::SystemTime,
};

use futures_util::stream::{Stream, StreamExt};
use homeroom::{
    model::InvalidField,
    page::Page,
    proto::log::v1::{self as proto, log_server::Log},
    shutdown::Shutdown,
};
use tonic::{Request, Response, Status, Streaming};

use crate::{
    config::StoreSettings,
    entry::{Time, TraceId, batch},
    error::Error,
    query::{Filter, Found, Limit, Order, Scan},
    store::{Batch, Durability, Fate, Store},
    tail,
};

/// The most that `GetTrace` answers: below the 4 MiB that stock clients accept.
const TRACE_BYTES_MAX: usize = 3 * 1024 * 1024;
/// As the contract has it.
const TRACE_ENTRIES_MAX: usize = 10_000;

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// The Log service over the file of a data directory. Clones share it.
#[derive(Debug, Clone)]
pub struct LogApi {
    store: Arc<Store>,
    shutdown: Shutdown,
}

impl LogApi {
    /// Opens the data directory, which it makes when there is none. Streams end when `shutdown` is cancelled.
    ///
    /// # Errors
    /// [`Error::InUse`] when another process has it, [`Error::Open`] when it cannot be used.
    pub async fn open(data_dir: &Path, settings: &StoreSettings, shutdown: Shutdown) -> Result<Self, Error> {
        let (path, settings): (PathBuf, _) = (data_dir.to_owned(), settings.clone());
        let store = tokio::task::spawn_blocking(move || Store::open(&path, &settings)).await;
        let failed = |error: tokio::task::JoinError| Error::Open {
            path: data_dir.to_owned(),
            source: error.into(),
        };
        Ok(Self {
            store: Arc::new(store.map_err(failed)??),
            shutdown,
        })
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

    async fn scan(&self, filter: Filter, order: Order, limit: Limit, after: Option<u64>) -> Result<Found, Error> {
        let visible = *self.store.visible().borrow();
        let scan = Scan::new(Arc::new(filter), order, limit, after, visible);
        scan.finish(&self.store).await
    }
}

#[tonic::async_trait]
impl Log for LogApi {
    type IngestStream = Answers<proto::IngestResponse>;
    type TailStream = Answers<proto::TailResponse>;

    async fn write(&self, request: Request<proto::WriteRequest>) -> Result<Response<proto::WriteResponse>, Status> {
        let request = request.into_inner();
        let (batch, durability) = decode(request.entries, request.durability)?;
        let written = self.store.append(batch, durability, &Fate::default()).await?;
        let last_sequence = match durability {
            Durability::Received => 0,
            Durability::Written | Durability::Synced => written.wait().await?,
        };
        Ok(Response::new(proto::WriteResponse { last_sequence }))
    }

    async fn ingest(
        &self,
        request: Request<Streaming<proto::IngestRequest>>,
    ) -> Result<Response<Self::IngestStream>, Status> {
        let answers = ingest::acknowledge(self.store.clone(), self.shutdown.clone(), request.into_inner());
        Ok(Response::new(answers.boxed()))
    }

    async fn query(&self, request: Request<proto::QueryRequest>) -> Result<Response<proto::QueryResponse>, Status> {
        let request = request.into_inner();
        let filter = filter(request.filter)?;
        let order = Order::parse("order", request.order)?;
        let list = format!("Query {filter:?} {order:?}");
        let page = Page::parse(list, request.page_size, &request.page_token)?;
        let limit = Limit {
            entries: page.size,
            ..Limit::PAGE
        };
        let found = self.scan(filter, order, limit, cursor(&page)?).await?;
        Ok(Response::new(proto::QueryResponse {
            entries: found.entries.into_iter().map(Into::into).collect(),
            next_page_token: page.next_token(found.more.then(|| found.after.to_string())),
        }))
    }

    async fn tail(&self, request: Request<proto::TailRequest>) -> Result<Response<Self::TailStream>, Status> {
        let request = request.into_inner();
        let filter = filter(request.filter)?;
        let (store, shutdown) = (self.store.clone(), self.shutdown.clone());
        let parts = tail::follow(store, filter, request.after_sequence, shutdown);
        let answers = parts.map(|part| {
            let part = part?;
            Ok(proto::TailResponse {
                entries: part.entries.into_iter().map(Into::into).collect(),
                sequence: part.sequence,
                dropped: None,
            })
        });
        Ok(Response::new(answers.boxed()))
    }

    async fn get_trace(
        &self,
        request: Request<proto::GetTraceRequest>,
    ) -> Result<Response<proto::GetTraceResponse>, Status> {
        let id = TraceId::parse("trace_id", &request.into_inner().trace_id)?;
        let limit = Limit {
            entries: TRACE_ENTRIES_MAX,
            size_bytes: TRACE_BYTES_MAX,
        };
        let mut found = self
            .scan(Filter::trace(id.clone()), Order::OldestFirst, limit, None)
            .await?;
        if found.entries.is_empty() {
            return Err(Error::TraceNotFound(id).into());
        }
        found.entries.sort_by_key(|entry| (entry.time, entry.sequence));
        Ok(Response::new(proto::GetTraceResponse {
            entries: found.entries.into_iter().map(Into::into).collect(),
            truncated: found.more,
            ..Default::default()
        }))
    }

    async fn list_traces(
        &self,
        _: Request<proto::ListTracesRequest>,
    ) -> Result<Response<proto::ListTracesResponse>, Status> {
        Err(Status::unimplemented("not yet"))
    }

    async fn get_status(
        &self,
        _: Request<proto::GetStatusRequest>,
    ) -> Result<Response<proto::GetStatusResponse>, Status> {
        Err(Status::unimplemented("not yet"))
    }
}

/// Reads a batch, received now, and how durable it is to be.
fn decode(entries: Vec<proto::Entry>, durability: i32) -> Result<(Batch, Durability), InvalidField> {
    let refused = |_| InvalidField::new("durability", "must be one of the values of `Durability`");
    let durability = match proto::Durability::try_from(durability).map_err(refused)? {
        proto::Durability::Unspecified | proto::Durability::Synced => Durability::Synced,
        proto::Durability::Written => Durability::Written,
        proto::Durability::Received => Durability::Received,
    };
    let entries = batch(entries, Time::from(SystemTime::now()))?;
    Ok((Batch::encode(&entries), durability))
}

fn filter(message: Option<proto::Filter>) -> Result<Filter, InvalidField> {
    let filter = Filter::try_from(message.unwrap_or_default());
    filter.map_err(|error| error.within("filter"))
}

fn cursor(page: &Page) -> Result<Option<u64>, InvalidField> {
    let cursor = page.cursor.as_ref().map(|cursor| cursor.parse());
    let refused = |_| InvalidField::new("page_token", "must be a `next_page_token`, unchanged");
    cursor.transpose().map_err(refused)
}

#[cfg(test)]
mod tests;
