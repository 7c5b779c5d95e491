//! A live view of services: watches the registry, resumes where it was, and asks anew when something was lost.
//!
//! While the registry is away the last view stands: instances that were there are still the best guess.

pub mod view;

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::watch,
    time::{sleep, timeout},
};
use tokio_util::task::AbortOnDropHandle;
use tonic::Status;

pub use self::view::View;
use self::view::ViewError;
use crate::{
    backoff::Backoff,
    balance::Channel,
    model::{Epoch, Revision, ServiceName},
    proto::registry::v1::{
        AcknowledgeRevisionRequest, WatchServicesRequest, WatchServicesResponse, registry_client::RegistryClient,
    },
    telemetry::context::inherit,
};

/// How often the registry is asked for a sign of life.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(2);
/// A stream that is silent for this long is given up: three heartbeats were lost.
const SILENCE_MAX: Duration = Duration::from_secs(6);
/// Between two tries to reach the registry: soon enough to be found back within seconds of its restart, jittered so
/// that not everybody comes at once.
const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(2);

/// A live view. Clones share one watch; it ends when the last clone is dropped.
#[derive(Debug, Clone)]
pub struct Discovery {
    views: watch::Receiver<Arc<View>>,
    _watcher: Arc<AbortOnDropHandle<()>>,
}

impl Discovery {
    /// Starts to watch `services`, serving instances only.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn start(registry: Channel, services: Vec<ServiceName>) -> Self {
        let (publish, views) = watch::channel(Arc::new(View::default()));
        let watcher = Watcher {
            registry: RegistryClient::new(registry),
            services,
            view: View::default(),
            acknowledged: AcknowledgeRevisionRequest::default(),
            publish,
        };
        let task = tokio::spawn(inherit(watcher.run()));
        Self {
            views,
            _watcher: Arc::new(AbortOnDropHandle::new(task)),
        }
    }

    /// The view as it changes, beginning with an empty one. It changes for as long as this or a clone of it lives.
    pub fn views(&self) -> watch::Receiver<Arc<View>> {
        self.views.clone()
    }

    /// Waits for a view that is as wanted. Cancel safe.
    pub async fn wait_for(&self, wanted: impl FnMut(&Arc<View>) -> bool) {
        // The sender lives in the task that this keeps alive; with its runtime gone, nobody is left to wait.
        let _ = self.views().wait_for(wanted).await;
    }
}

/// Why a stream is over.
#[derive(Debug, thiserror::Error)]
enum Lost {
    #[error("{}", .0.message())]
    Status(#[from] Status),
    #[error(transparent)]
    View(#[from] ViewError),
    #[error("it was silent for {SILENCE_MAX:?}")]
    Silent,
    #[error("the stream ended")]
    Ended,
}

struct Watcher {
    registry: RegistryClient<Channel>,
    services: Vec<ServiceName>,
    view: View,
    acknowledged: AcknowledgeRevisionRequest,
    publish: watch::Sender<Arc<View>>,
}

impl Watcher {
    async fn run(mut self) {
        let mut backoff = Backoff::new(RETRY_FIRST, RETRY_MAX);
        // A registry that was never heard is reported by who registers with it.
        let mut known_lost = true;
        loop {
            let mut heard = false;
            let lost = self.follow(&mut heard).await;
            if matches!(lost, Lost::View(_)) {
                tracing::warn!(reason = %lost, "asking the registry for a snapshot");
                self.view = View::default();
            } else if heard {
                backoff.reset();
                known_lost = false;
            }
            if !std::mem::replace(&mut known_lost, true) {
                tracing::warn!(reason = %lost, "no news from the registry, keeping the last view");
            }
            sleep(backoff.next_delay()).await;
        }
    }

    /// Follows one stream to its end. `heard` tells whether anything came.
    async fn follow(&mut self, heard: &mut bool) -> Lost {
        match self.follow_stream(heard).await {
            Ok(never) => match never {},
            Err(lost) => lost,
        }
    }

    async fn follow_stream(&mut self, heard: &mut bool) -> Result<std::convert::Infallible, Lost> {
        // A stream that broke between the parts of a message left a view that no position describes.
        if !self.view.is_consistent() {
            self.view = View::default();
        }
        let request = self.request();
        let opened = timeout(SILENCE_MAX, self.registry.watch_services(request));
        let mut stream = opened.await.map_err(|_| Lost::Silent)??.into_inner();
        loop {
            let message = timeout(SILENCE_MAX, stream.message()).await;
            let message = message.map_err(|_| Lost::Silent)??.ok_or(Lost::Ended)?;
            *heard = true;
            self.apply(message).await?;
        }
    }

    fn request(&self) -> WatchServicesRequest {
        let (Revision(revision), Epoch(epoch)) = self.view.position();
        WatchServicesRequest {
            services: self.services.iter().map(ToString::to_string).collect(),
            revision,
            epoch,
            heartbeat_interval: Some(prost_types::Duration {
                seconds: HEARTBEAT_INTERVAL.as_secs().cast_signed(),
                nanos: 0,
            }),
            acknowledges: true,
            ..Default::default()
        }
    }

    async fn apply(&mut self, message: WatchServicesResponse) -> Result<(), Lost> {
        let watch_id = message.watch_id.clone();
        // The last part of a message has the revision of the parts before it, and yet makes a view that nobody has seen.
        let before = self.view.is_consistent().then(|| self.view.position());
        self.view.apply(message)?;
        if !self.view.is_consistent() {
            return Ok(());
        }
        let position = self.view.position();
        if before != Some(position) {
            self.publish.send_replace(Arc::new(self.view.clone()));
        }
        let (Revision(revision), _) = position;
        self.acknowledge(AcknowledgeRevisionRequest { watch_id, revision })
            .await;
        Ok(())
    }

    /// Tells the registry once what this stream has applied. A lost acknowledgement only makes a drain wait for its
    /// time-out.
    async fn acknowledge(&mut self, applied: AcknowledgeRevisionRequest) {
        if self.acknowledged != applied {
            self.acknowledged = applied.clone();
            let _ = timeout(HEARTBEAT_INTERVAL, self.registry.acknowledge_revision(applied)).await;
        }
    }
}

#[cfg(test)]
mod tests;
