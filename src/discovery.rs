//! A live view of services: watches the registry, resumes where it was, and asks anew when something was lost.
//!
//! While the registry is away the last view stands: instances that were there are still the best guess. How old it is can
//! be asked: [`Discovery::age`].

mod acknowledge;
pub mod view;

use std::{convert::Infallible, sync::Arc, time::Duration};

use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout},
};
use tokio_util::task::AbortOnDropHandle;
use tonic::Status;

pub use self::view::View;
use self::{acknowledge::Acknowledger, view::ViewError};
use crate::{
    backoff::Backoff,
    balance::Channel,
    model::{Epoch, Revision, ServiceName},
    proto::registry::v1::{WatchServicesRequest, WatchServicesResponse, registry_client::RegistryClient},
    telemetry::context::inherit_origin,
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
    freshness: watch::Receiver<Freshness>,
    _watcher: Arc<AbortOnDropHandle<()>>,
}

/// How far a view can be trusted to show what the registry holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Freshness {
    /// When the registry last confirmed the view: the arrival, by this machine's monotonic clock, of the last message
    /// after which the view was whole and had the registry's hash. `None` before the first one.
    pub confirmed_at: Option<Instant>,
    /// Whether a stream is open on which such a message has come, so that every change will be told.
    pub connected: bool,
    /// How many times a view did not have the registry's hash, or could not be continued, and was asked for anew.
    pub resyncs: u64,
}

impl Discovery {
    /// Starts to watch `services`, serving instances only.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn start(registry: Channel, services: Vec<ServiceName>) -> Self {
        let (publish, views) = watch::channel(Arc::new(View::default()));
        let (confirm, freshness) = watch::channel(Freshness::default());
        let watcher = Watcher {
            client: RegistryClient::new(registry.clone()),
            registry,
            services,
            view: View::default(),
            publish,
            confirm,
        };
        let task = tokio::spawn(inherit_origin(watcher.run()));
        Self {
            views,
            freshness,
            _watcher: Arc::new(AbortOnDropHandle::new(task)),
        }
    }

    /// The view as it is now.
    pub fn view(&self) -> Arc<View> {
        self.views.borrow().clone()
    }

    /// The view as it changes, beginning with an empty one. It changes for as long as this or a clone of it lives.
    pub fn views(&self) -> watch::Receiver<Arc<View>> {
        self.views.clone()
    }

    /// How long ago the registry last confirmed the view, by this machine's clock; `None` when it never has, and the view
    /// is empty for want of news.
    ///
    /// The registry speaks at least every two seconds, so a view that is older than a few of them has lost its registry:
    /// it may show instances that are gone, and lack new ones. An age counts from the arrival of the news, and leaves out
    /// how long that was under way.
    pub fn age(&self) -> Option<Duration> {
        let confirmed_at = self.freshness.borrow().confirmed_at?;
        Some(confirmed_at.elapsed())
    }

    /// Whether the registry is connected and will tell every change to the view.
    pub fn is_connected(&self) -> bool {
        self.freshness.borrow().connected
    }

    /// How far the view can be trusted, as it changes: with every message of the registry.
    pub fn freshness(&self) -> watch::Receiver<Freshness> {
        self.freshness.clone()
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
    registry: Channel,
    client: RegistryClient<Channel>,
    services: Vec<ServiceName>,
    view: View,
    publish: watch::Sender<Arc<View>>,
    confirm: watch::Sender<Freshness>,
}

impl Watcher {
    async fn run(mut self) {
        let mut backoff = Backoff::new(RETRY_FIRST, RETRY_MAX);
        // A registry that was never heard is reported by who registers with it.
        let mut known_lost = true;
        loop {
            let mut heard = false;
            let lost = self.follow(&mut heard).await;
            self.confirm.send_modify(|freshness| freshness.connected = false);
            if matches!(lost, Lost::View(_)) {
                tracing::warn!(reason = %lost, "asking the registry for a snapshot");
                self.confirm.send_modify(|freshness| freshness.resyncs += 1);
                self.view = View::default();
            } else if heard {
                backoff.reset();
                known_lost = false;
            }
            if matches!(lost, Lost::Silent) {
                // A connection whose other end has vanished looks open for a long time.
                self.registry.reconnect();
            }
            if !std::mem::replace(&mut known_lost, true) {
                tracing::warn!(reason = %lost, "no news from the registry, keeping the last view");
            }
            sleep(backoff.next_delay()).await;
        }
    }

    /// Follows one stream to its end. `heard` tells whether anything came.
    async fn follow(&mut self, heard: &mut bool) -> Lost {
        // Beside the stream, so that a slow acknowledgement does not hold up the news.
        let (acknowledger, acknowledging) = Acknowledger::new(self.client.clone());
        tokio::select! {
            followed = self.follow_stream(&acknowledger, heard) => match followed {
                Ok(never) => match never {},
                Err(lost) => lost,
            },
            never = acknowledging => match never {},
        }
    }

    async fn follow_stream(&mut self, acknowledger: &Acknowledger, heard: &mut bool) -> Result<Infallible, Lost> {
        // A stream that broke between the parts of a message left a view that no position describes.
        if !self.view.is_consistent() {
            self.view = View::default();
        }
        let request = self.request();
        let opened = timeout(SILENCE_MAX, self.client.watch_services(request));
        let mut stream = opened.await.map_err(|_| Lost::Silent)??.into_inner();
        let mut watch_id = String::new();
        loop {
            let message = timeout(SILENCE_MAX, stream.message()).await;
            let mut message = message.map_err(|_| Lost::Silent)??.ok_or(Lost::Ended)?;
            *heard = true;
            // Only the first message of a stream names it.
            if !message.watch_id.is_empty() {
                watch_id = std::mem::take(&mut message.watch_id);
            }
            self.apply(message)?;
            if self.view.is_consistent() {
                // After the view was published: whoever picks an instance from now on picks from it.
                acknowledger.applied(&watch_id, self.view.position());
            }
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

    /// Applies a message, and publishes the view once it is whole.
    fn apply(&mut self, message: WatchServicesResponse) -> Result<(), Lost> {
        // The last part of a message has the revision of the parts before it, and yet makes a view that nobody has seen.
        let before = self.view.is_consistent().then(|| self.view.position());
        self.view.apply(message)?;
        if !self.view.is_consistent() {
            return Ok(());
        }
        if before != Some(self.view.position()) {
            self.publish.send_replace(Arc::new(self.view.clone()));
        }
        self.confirm.send_modify(|freshness| {
            freshness.confirmed_at = Some(Instant::now());
            freshness.connected = true;
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests;
