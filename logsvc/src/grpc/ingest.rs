//! `Ingest`: batches are queued as they come and acknowledged in order, so that a slow sync does not stop the stream.

mod answers;
mod reading;
mod writers;

use std::sync::Arc;

use futures_util::stream::{self, Stream};
use homeroom::{
    proto::log::v1::{self as proto, in_place::IngestRequest},
    shutdown::Shutdown,
};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio_util::task::AbortOnDropHandle;
use tonic::Status;

pub(super) use self::writers::Streams;
use self::{answers::Answers, reading::Reading};
use crate::store::{Store, Written};

/// How many batches of a stream wait for their acknowledgement; the client's next ones wait in the transport. Small ones
/// fill many a group of the committer, and cost little to keep.
const UNACKNOWLEDGED_MAX: usize = 256;
/// How many bytes of requests of a stream wait for their acknowledgement: a few times what a fast client sends while a
/// disk syncs, and more than the largest request.
const CREDIT_BYTES: usize = 8 * 1024 * 1024;

/// A batch that was queued, or why none is any more.
type Queued = Result<Pending, Status>;

/// A batch that waits for its acknowledgement.
#[derive(Debug)]
struct Pending {
    batch: u64,
    outcome: Outcome,
    /// The part of the credit that it takes up.
    _room: Option<OwnedSemaphorePermit>,
}

#[derive(Debug)]
enum Outcome {
    /// It was written before, which a writer that comes back is told.
    Known,
    /// The committer knows.
    Queued(Written),
}

/// Writes the batches of `requests` and acknowledges them, in order. Ends with the first error, after which nothing is
/// written; when `shutdown` is cancelled, with DRAINING after the acknowledgements of what was received.
///
/// Dropping it stops the reading; what is queued is still written.
pub(super) fn acknowledge(
    store: Arc<Store>,
    streams: Arc<Streams>,
    shutdown: Shutdown,
    requests: impl Stream<Item = Result<IngestRequest, Status>> + Send + Unpin + 'static,
) -> impl Stream<Item = Result<proto::IngestResponse, Status>> + Send {
    let (queue, queued) = mpsc::channel(UNACKNOWLEDGED_MAX);
    let reading = Reading::new(store, streams, queue);
    let reader = AbortOnDropHandle::new(tokio::spawn(reading.run(shutdown, requests)));
    stream::unfold(Some((Answers::new(queued), reader)), |state| async {
        let (mut answers, reader) = state?;
        match answers.next().await? {
            Ok(answer) => Some((Ok(answer), Some((answers, reader)))),
            Err(status) => Some((Err(status), None)),
        }
    })
}

#[cfg(test)]
mod tests;
