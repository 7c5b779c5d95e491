//! A number of bytes that many calls share.

use std::{sync::Arc, time::Duration};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::{Code, Status};

use crate::status::Refusal;

/// When a caller who found no bytes left should come back: most calls are over by then.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Bytes that messages take. Clones share them.
#[derive(Debug, Clone)]
pub(super) struct Budget {
    /// The name of the limit, for those who meet it.
    name: &'static str,
    limit: usize,
    left: Arc<Semaphore>,
}

/// Bytes taken from a budget; dropping it gives them back.
#[derive(Debug)]
pub(super) struct Taken(#[expect(dead_code, reason = "held for its drop")] OwnedSemaphorePermit);

impl Budget {
    pub(super) fn new(name: &'static str, limit: usize) -> Self {
        Self {
            name,
            limit,
            // A semaphore holds 2^61 permits at most.
            left: Arc::new(Semaphore::new(limit.min(Semaphore::MAX_PERMITS))),
        }
    }

    /// Takes bytes, all of them or none.
    ///
    /// # Errors
    /// RESOURCE_EXHAUSTED (TOO_MANY_PENDING_BYTES), which names the limit.
    pub(super) fn take(&self, bytes: u32) -> Result<Taken, Status> {
        let taken = self.left.clone().try_acquire_many_owned(bytes);
        taken.map(Taken).map_err(|_| self.used_up())
    }

    fn used_up(&self) -> Status {
        let message = format!(
            "the messages of running calls announce more bytes than the limit of {}",
            self.limit
        );
        Refusal::new(Code::ResourceExhausted, "TOO_MANY_PENDING_BYTES", message)
            .quota(self.name, self.limit)
            .retry_after(RETRY_AFTER)
            .into()
    }
}
