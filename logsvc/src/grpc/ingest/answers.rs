//! The acknowledgements of a stream: one for all batches that are done by the time it is made.

use homeroom::proto::log::v1 as proto;
use tokio::sync::mpsc;
use tonic::Status;

use super::{CREDIT_BYTES, Outcome, Pending, Queued};
use crate::error::Error;

/// What is to be acknowledged, in order.
pub(super) struct Answers {
    queued: mpsc::Receiver<Queued>,
    /// The one after those that were acknowledged, when it was looked at.
    next: Option<Queued>,
}

impl Answers {
    pub(super) fn new(queued: mpsc::Receiver<Queued>) -> Self {
        Self { queued, next: None }
    }

    /// The next acknowledgement or the error that ends the stream; `None` when all is acknowledged and no more comes.
    pub(super) async fn next(&mut self) -> Option<Result<proto::IngestResponse, Status>> {
        let queued = match self.next.take() {
            Some(queued) => queued,
            None => self.queued.recv().await?,
        };
        // Which batch was the last one is an answer of its own: others must not hide it.
        let is_known = matches!(&queued, Ok(pending) if matches!(pending.outcome, Outcome::Known));
        let mut acknowledged = match done(queued).await {
            Ok(acknowledged) => acknowledged,
            Err(status) => return Some(Err(status)),
        };
        while !is_known && let Ok(queued) = self.queued.try_recv() {
            match queued.map(Pending::now) {
                Ok(Ok(Ok(later))) => acknowledged = later,
                Ok(Ok(Err(error))) => self.next = Some(Err(error.into())),
                Ok(Err(pending)) => self.next = Some(Ok(pending)),
                Err(status) => self.next = Some(Err(status)),
            }
            if self.next.is_some() {
                break;
            }
        }
        let (batch, last_sequence) = acknowledged;
        Some(Ok(proto::IngestResponse {
            batch,
            last_sequence,
            credit_bytes: CREDIT_BYTES as u64,
        }))
    }
}

/// A batch and the number of its last entry.
type Acknowledged = (u64, u64);

async fn done(queued: Queued) -> Result<Acknowledged, Status> {
    let pending = queued?;
    let last_sequence = match pending.outcome {
        Outcome::Known => 0,
        Outcome::Queued(written) => written.wait().await?,
    };
    Ok((pending.batch, last_sequence))
}

impl Pending {
    /// What came of it, if that is known by now.
    fn now(mut self) -> Result<Result<Acknowledged, Error>, Self> {
        let outcome = match &mut self.outcome {
            Outcome::Known => Some(Ok(0)),
            Outcome::Queued(written) => written.now(),
        };
        let batch = self.batch;
        outcome.map(|done| done.map(|last| (batch, last))).ok_or(self)
    }
}
