//! Tells the registry what a watcher has applied, so that a drain need not wait longer for it.

use std::{convert::Infallible, time::Duration};

use tokio::{sync::watch, time::timeout};

use crate::{
    balance::Channel,
    model::{Epoch, Revision},
    proto::registry::v1::{AcknowledgeRevisionRequest, registry_client::RegistryClient},
};

/// How long the registry may take to take note. An acknowledgement that is lost only makes a drain wait for its time-out,
/// and the next one stands for it too.
const PATIENCE: Duration = Duration::from_secs(2);

/// What one stream has applied last.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Applied {
    watch_id: String,
    position: (Revision, Epoch),
}

/// Takes note of what one stream has applied. What was overtaken before it could be told is not told.
#[derive(Debug)]
pub(super) struct Acknowledger(watch::Sender<Applied>);

impl Acknowledger {
    /// An acknowledger, and the work of telling the registry, which ends with the acknowledger's stream.
    pub(super) fn new(client: RegistryClient<Channel>) -> (Self, impl Future<Output = Infallible>) {
        let (sender, applied) = watch::channel(Applied::default());
        (Self(sender), tell(client, applied))
    }

    /// Notes that the view is at this position. A heartbeat repeats it, and a watch that was not named cannot tell it:
    /// neither is told.
    pub(super) fn applied(&self, watch_id: &str, position: (Revision, Epoch)) {
        if watch_id.is_empty() {
            return;
        }
        self.0.send_if_modified(|applied| {
            if applied.position == position && applied.watch_id == watch_id {
                return false;
            }
            *applied = Applied {
                watch_id: watch_id.to_owned(),
                position,
            };
            true
        });
    }
}

async fn tell(mut client: RegistryClient<Channel>, mut applied: watch::Receiver<Applied>) -> Infallible {
    while applied.changed().await.is_ok() {
        let request = {
            let applied = applied.borrow_and_update();
            let (Revision(revision), _) = applied.position;
            AcknowledgeRevisionRequest {
                watch_id: applied.watch_id.clone(),
                revision,
            }
        };
        let _ = timeout(PATIENCE, client.acknowledge_revision(request)).await;
    }
    // The stream that is dropped together with this says how it ended.
    std::future::pending().await
}
