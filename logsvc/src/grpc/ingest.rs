//! `Ingest`: batches are queued as they come and acknowledged in order, so that a slow sync does not stop the stream.

use std::sync::Arc;

use futures_util::stream::{self, Stream, StreamExt};
use homeroom::{model::InvalidField, proto::log::v1 as proto, shutdown::Shutdown, status::Refusal};
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;
use tonic::Status;

use super::decode;
use crate::store::{Fate, Store, Written};

/// How many batches of a stream wait for their acknowledgement; the client's next ones wait in the transport.
const UNACKNOWLEDGED_MAX: usize = 64;

type Queued = Result<(u64, Written), Status>;

/// Writes the batches of `requests` and acknowledges each, in order. Ends with the first error, after which nothing is
/// written; when `shutdown` is cancelled, with DRAINING after the acknowledgements of what was received.
///
/// Dropping it stops the reading; what is queued is still written.
pub(super) fn acknowledge(
    store: Arc<Store>,
    shutdown: Shutdown,
    requests: impl Stream<Item = Result<proto::IngestRequest, Status>> + Send + Unpin + 'static,
) -> impl Stream<Item = Result<proto::IngestResponse, Status>> + Send {
    let (queued, unacknowledged) = mpsc::channel(UNACKNOWLEDGED_MAX);
    let reader = AbortOnDropHandle::new(tokio::spawn(read(store, shutdown, requests, queued)));
    stream::unfold(Some((unacknowledged, reader)), |state| async {
        let (mut unacknowledged, reader) = state?;
        match written(unacknowledged.recv().await?).await {
            Ok(answer) => Some((Ok(answer), Some((unacknowledged, reader)))),
            Err(status) => Some((Err(status), None)),
        }
    })
}

async fn written(queued: Queued) -> Result<proto::IngestResponse, Status> {
    let (batch, written) = queued?;
    let last_sequence = written.wait().await?;
    Ok(proto::IngestResponse {
        batch,
        last_sequence,
        ..Default::default()
    })
}

/// Queues what comes until the stream, the service or its first error ends it.
async fn read(
    store: Arc<Store>,
    shutdown: Shutdown,
    mut requests: impl Stream<Item = Result<proto::IngestRequest, Status>> + Unpin,
    queued: mpsc::Sender<Queued>,
) {
    let (fate, mut previous) = (Fate::default(), None);
    loop {
        let request = tokio::select! {
            biased;
            () = shutdown.cancelled() => Err(Refusal::draining().into()),
            request = requests.next() => match request {
                Some(request) => request,
                None => return,
            },
        };
        let answer = match request {
            Ok(request) => queue(&store, &fate, &mut previous, request).await,
            Err(status) => Err(status),
        };
        let is_over = answer.is_err();
        if queued.send(answer).await.is_err() || is_over {
            return;
        }
    }
}

async fn queue(store: &Store, fate: &Fate, previous: &mut Option<u64>, request: proto::IngestRequest) -> Queued {
    if previous.is_some_and(|previous| request.batch <= previous) {
        return Err(InvalidField::new("batch", "must be above that of the batch before").into());
    }
    *previous = Some(request.batch);
    let (batch, durability) = decode(request.entries, request.durability)?;
    Ok((request.batch, store.append(batch, durability, fate).await?))
}
