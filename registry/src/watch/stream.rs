//! A watcher's stream: pulled by its reader, so that nothing waits for one that does not read.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
    vec::IntoIter,
};

use futures_util::{Stream, stream};
use homeroom::{
    model::{Epoch, Instance, InstanceKey, Revision},
    proto::registry::v1::{self as proto, WatchServicesResponse},
    shutdown::Shutdown,
};
use prost::Message;
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

use super::{Batch, Guard, Patcher, Scope, Watches};
use crate::{error::Error, store::Store};

/// A message ends when it has this many bytes. The one that a watcher has been given and not read is held encoded, so it
/// has to be small.
const PART_BYTES_MAX: usize = 64 * 1024;

/// What a watcher asks for.
#[derive(Debug)]
pub struct Request {
    /// What it is shown.
    pub scope: Scope,
    /// The position of the view that it holds.
    pub position: Option<(Revision, Epoch)>,
    /// The longest time between two messages.
    pub heartbeat_interval: Duration,
    /// Whether the watcher will acknowledge what it has applied, so that a drain waits for it.
    pub acknowledges: bool,
}

/// Opens a watch: its first message is a snapshot or what was missed. Ends with [`Error::Draining`] at `shutdown`, and
/// with [`Error::InstanceNotFound`] when the instance that it follows is gone.
///
/// # Errors
/// [`Error::TooManyWatchers`].
pub fn messages(
    store: Arc<Store>,
    watches: &Arc<Watches>,
    request: Request,
    shutdown: Shutdown,
) -> Result<impl Stream<Item = Result<WatchServicesResponse, Error>> + use<>, Error> {
    let guard = watches.open(store.started(), request.scope.clone(), request.acknowledges)?;
    let watcher = Watcher {
        revisions: store.revisions(),
        store,
        patcher: Patcher::new(request.scope, request.position),
        guard,
        heartbeat_interval: request.heartbeat_interval,
        heartbeat_at: Instant::now(),
        shutdown,
        pending: None,
        started: false,
    };
    Ok(stream::unfold(Some(watcher), |watcher| async {
        let mut watcher = watcher?;
        match watcher.next().await {
            Ok(message) => Some((Ok(message), Some(watcher))),
            Err(error) => Some((Err(error), None)),
        }
    }))
}

struct Watcher {
    store: Arc<Store>,
    revisions: watch::Receiver<Revision>,
    patcher: Patcher,
    guard: Guard,
    heartbeat_interval: Duration,
    heartbeat_at: Instant,
    shutdown: Shutdown,
    /// What is not sent yet of a batch: at most one view.
    pending: Option<Parts>,
    started: bool,
}

impl Watcher {
    async fn next(&mut self) -> Result<WatchServicesResponse, Error> {
        let mut parts = match self.pending.take() {
            Some(parts) => parts,
            None => self.batch().await?.into(),
        };
        let message = parts.take();
        self.pending = Some(parts).filter(|_| message.more);
        self.heartbeat_at = Instant::now() + self.heartbeat_interval;
        Ok(WatchServicesResponse {
            watch_id: self.guard.id().to_string(),
            ..message
        })
    }

    async fn batch(&mut self) -> Result<Batch, Error> {
        if !self.started {
            return Ok(self.start());
        }
        loop {
            if let Some(batch) = self.wait().await? {
                return Ok(batch);
            }
        }
    }

    fn start(&mut self) -> Batch {
        self.started = true;
        self.revisions.mark_unchanged();
        self.store.read(|state| self.patcher.first(state))
    }

    /// The next batch that the watcher has to be told, a heartbeat if there is none for long.
    async fn wait(&mut self) -> Result<Option<Batch>, Error> {
        let heartbeat = tokio::select! {
            () = self.shutdown.cancelled() => return Err(Error::Draining),
            // The store lives as long as this watcher holds it.
            _ = self.revisions.changed() => false,
            () = sleep_until(self.heartbeat_at) => true,
        };
        self.revisions.mark_unchanged();
        let scope = self.patcher.scope().clone();
        let batch = self.store.read(|state| self.patcher.next(state))?;
        if scope != *self.patcher.scope() {
            self.guard.set_scope(self.patcher.scope());
        }
        Ok((heartbeat || !batch.is_empty()).then_some(batch))
    }
}

/// A batch on its way, cut into messages that are small enough for every client. It holds shared instances, and makes a
/// message of them only when it is asked for: a watcher that does not read costs eight bytes an instance.
#[derive(Debug)]
struct Parts {
    reset: bool,
    removed: IntoIter<InstanceKey>,
    updated: IntoIter<Arc<Instance>>,
    revision: Revision,
    epoch: Epoch,
    view_hash: u64,
}

impl From<Batch> for Parts {
    fn from(batch: Batch) -> Self {
        Self {
            reset: batch.reset,
            removed: batch.removed.into_iter(),
            updated: batch.updated.into_iter(),
            revision: batch.revision,
            epoch: batch.epoch,
            view_hash: batch.view_hash,
        }
    }
}

impl Parts {
    /// The next message: no more instances once they have [`PART_BYTES_MAX`] bytes.
    fn take(&mut self) -> WatchServicesResponse {
        let mut message = WatchServicesResponse {
            revision: self.revision.0,
            epoch: self.epoch.0,
            reset: std::mem::take(&mut self.reset),
            view_hash: self.view_hash,
            server_time: Some(SystemTime::now().into()),
            ..Default::default()
        };
        let mut size_bytes = 0;
        while size_bytes < PART_BYTES_MAX {
            if let Some(key) = self.removed.next() {
                let key = proto::InstanceKey::from(&key);
                size_bytes += key.encoded_len();
                message.removed.push(key);
            } else if let Some(instance) = self.updated.next() {
                let instance = proto::Instance::from(&*instance);
                size_bytes += instance.encoded_len();
                message.updated.push(instance);
            } else {
                break;
            }
        }
        message.more = self.removed.len() + self.updated.len() > 0;
        message
    }
}
