//! What comes in over a stream: checked, encoded, and queued for the committer.

use std::sync::Arc;

use futures_util::stream::{Stream, StreamExt};
use homeroom::{model::InvalidField, proto::log::v1::in_place::IngestRequest, shutdown::Shutdown};
use prost::Message;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tonic::Status;

use super::{
    super::decode,
    CREDIT_BYTES, Outcome, Pending, Queued,
    writers::{Seat, Streams},
};
use crate::{
    error::Error,
    store::{Durability, Fate, Store, WriterId},
};

/// Where the reading of a stream is.
pub(super) struct Reading {
    store: Arc<Store>,
    streams: Arc<Streams>,
    queue: mpsc::Sender<Queued>,
    credit: Arc<Semaphore>,
    fate: Fate,
    is_begun: bool,
    seat: Option<Seat>,
    /// The number of the last batch.
    previous: Option<u64>,
}

impl Reading {
    pub(super) fn new(store: Arc<Store>, streams: Arc<Streams>, queue: mpsc::Sender<Queued>) -> Self {
        Self {
            store,
            streams,
            queue,
            credit: Arc::new(Semaphore::new(CREDIT_BYTES)),
            fate: Fate::default(),
            is_begun: false,
            seat: None,
            previous: None,
        }
    }

    /// Queues what comes until the stream, the service or its first error ends it.
    pub(super) async fn run(
        mut self,
        shutdown: Shutdown,
        mut requests: impl Stream<Item = Result<IngestRequest, Status>> + Unpin,
    ) {
        loop {
            let request = tokio::select! {
                biased;
                () = shutdown.cancelled() => Err(Error::Draining.into()),
                () = replaced(self.seat.as_ref()) => Err(Error::WriterReplaced.into()),
                request = requests.next() => match request {
                    Some(request) => request,
                    None => return,
                },
            };
            let taken = match request {
                Ok(request) => self.take(request).await,
                Err(status) => Err(status),
            };
            if let Err(status) = taken {
                // Who does not listen any more has gone by itself.
                let _ = self.queue.send(Err(status)).await;
                return;
            }
        }
    }

    /// Queues a batch, once there is credit for it.
    async fn take(&mut self, request: IngestRequest) -> Result<(), Status> {
        let room = self.room(&request).await;
        if !std::mem::replace(&mut self.is_begun, true) && self.begin(&request).await? {
            return Ok(());
        }
        self.check(&request)?;
        let (mut batch, durability) = decode(&request.entries, request.durability)?;
        if durability == Durability::Received {
            let allowed = "must be WRITTEN or SYNCED: an acknowledgement counts here";
            return Err(InvalidField::new("durability", allowed).into());
        }
        self.previous = Some(request.batch);
        if let Some(seat) = &self.seat {
            batch = batch.of_writer(seat.writer().clone(), request.batch);
        }
        let written = self.store.append(batch, durability, &self.fate).await?;
        self.queue(request.batch, Outcome::Queued(written), Some(room)).await;
        Ok(())
    }

    /// Waits until the requests that are not acknowledged leave credit for this one.
    async fn room(&self, request: &IngestRequest) -> OwnedSemaphorePermit {
        let size_bytes = request.encoded_len().min(CREDIT_BYTES);
        let size_bytes = u32::try_from(size_bytes).expect("the credit is counted in 32 bits");
        let room = self.credit.clone().acquire_many_owned(size_bytes).await;
        room.expect("the semaphore is never closed")
    }

    /// Reads what only the first request has. Of a writer, it answers at once which batch was the last that was written.
    /// Returns whether the request was only there to ask for that.
    async fn begin(&mut self, request: &IngestRequest) -> Result<bool, Status> {
        if request.writer.is_empty() {
            return Ok(false);
        }
        let writer = WriterId::parse("writer", &request.writer)?;
        // What an older stream still queues is told by its numbers from what comes here.
        let seat = self.streams.take(writer);
        let batch = self.store.last_batch(seat.writer()).unwrap_or(0);
        self.seat = Some(seat);
        self.queue(batch, Outcome::Known, None).await;
        Ok(request.batch == 0 && request.entries.is_empty())
    }

    fn check(&self, request: &IngestRequest) -> Result<(), InvalidField> {
        let writer = self.seat.as_ref().map_or("", |seat| seat.writer().as_str());
        if !request.writer.is_empty() && request.writer != writer {
            let allowed = "must be that of the first request of the stream, or empty";
            return Err(InvalidField::new("writer", allowed));
        }
        if self.seat.is_some() && request.batch == 0 {
            return Err(InvalidField::new(
                "batch",
                "must be at least 1 where there is a `writer`",
            ));
        }
        if self.previous.is_some_and(|previous| request.batch <= previous) {
            return Err(InvalidField::new("batch", "must be above that of the batch before"));
        }
        Ok(())
    }

    async fn queue(&self, batch: u64, outcome: Outcome, room: Option<OwnedSemaphorePermit>) {
        let pending = Pending {
            batch,
            outcome,
            _room: room,
        };
        // Who does not listen any more has gone by itself.
        let _ = self.queue.send(Ok(pending)).await;
    }
}

async fn replaced(seat: Option<&Seat>) {
    match seat {
        Some(seat) => seat.replaced().await,
        None => std::future::pending().await,
    }
}
