//! A watcher's stream: pulled by its reader, so that nothing waits for one that does not read.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, SystemTime},
};

use futures_util::{Stream, stream};
use homeroom::{
    model::{Epoch, Revision},
    page::{PAGE_SIZE_BYTES_MAX, PAGE_SIZE_MAX},
    proto::registry::v1::{Instance, WatchServicesResponse},
    shutdown::Shutdown,
};
use prost::Message;
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

use super::{Batch, Guard, Patcher, Scope, Watches};
use crate::{error::Error, store::Store};

/// What a watcher asks for.
#[derive(Debug)]
pub struct Request {
    /// What it is shown.
    pub scope: Scope,
    /// The position of the view that it holds.
    pub position: Option<(Revision, Epoch)>,
    /// The longest time between two messages.
    pub heartbeat_interval: Duration,
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
    let guard = watches.open(request.scope.clone())?;
    let watcher = Watcher {
        revisions: store.revisions(),
        store,
        patcher: Patcher::new(request.scope, request.position),
        guard,
        heartbeat_interval: request.heartbeat_interval,
        heartbeat_at: Instant::now(),
        shutdown,
        pending: VecDeque::new(),
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
    /// The parts of a batch that are not sent yet: at most one view.
    pending: VecDeque<WatchServicesResponse>,
    started: bool,
}

impl Watcher {
    async fn next(&mut self) -> Result<WatchServicesResponse, Error> {
        while self.pending.is_empty() {
            let batch = if self.started {
                self.wait().await?
            } else {
                Some(self.start())
            };
            if let Some(batch) = batch {
                self.pending = parts(batch, self.store.read(|state| state.catalog.epoch()), self.guard.id());
            }
        }
        self.heartbeat_at = Instant::now() + self.heartbeat_interval;
        Ok(self.pending.pop_front().expect("the loop ends with a part"))
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

/// A batch as messages, each small enough for every client.
fn parts(batch: Batch, epoch: Epoch, watch_id: u64) -> VecDeque<WatchServicesResponse> {
    let message = || WatchServicesResponse {
        revision: batch.revision.0,
        epoch: epoch.0,
        view_hash: batch.view_hash,
        server_time: Some(SystemTime::now().into()),
        watch_id: watch_id.to_string(),
        ..Default::default()
    };
    let mut parts = VecDeque::from([WatchServicesResponse {
        reset: batch.reset,
        removed: batch.removed.iter().map(Into::into).collect(),
        ..message()
    }]);
    let mut size_bytes = 0;
    for instance in &batch.updated {
        let instance = Instance::from(&**instance);
        size_bytes += instance.encoded_len();
        let last = parts.back_mut().expect("there is a first part");
        if last.updated.len() < PAGE_SIZE_MAX && size_bytes <= PAGE_SIZE_BYTES_MAX {
            last.updated.push(instance);
            continue;
        }
        last.more = true;
        size_bytes = instance.encoded_len();
        parts.push_back(WatchServicesResponse {
            updated: vec![instance],
            ..message()
        });
    }
    parts
}
