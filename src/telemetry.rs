//! Logs and traces: who speaks, in which trace, and how it gets to the Log service.
//!
//! [`context`] carries the origin and the trace of the running task, a layer turns events into entries, and
//! [`Telemetry`] brings them to Log, or to stderr while Log is away; [`words`] is how people read them.

pub mod context;
mod layer;
mod shipper;
pub mod words;

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use tokio::sync::mpsc;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::{
    Layer,
    filter::{ParseError, Targets},
    layer::SubscriberExt,
    util::SubscriberInitExt,
};

pub use self::{
    context::{Origin, TraceContext},
    shipper::Telemetry,
};
use crate::proto::log::v1::Entry;

/// How many entries may wait for the shipper. At a few hundred bytes each, a process whose Log is slow holds a few
/// megabytes; what comes on top is dropped and counted.
const QUEUE_ENTRIES_MAX: usize = 8192;

/// The transports under the mesh speak only of trouble: what they do for the shipper must not feed it.
const QUIET_TARGETS: [&str; 6] = ["h2", "hyper", "hyper_util", "tonic", "tower", "sqlx"];

/// Sets up tracing for this process: events of level INFO and above go to Log once [`Telemetry::ship`] knows where
/// that is, and WARN and above to stderr. `levels` says otherwise for Log, as in `info,grades=debug`; the transports
/// under the mesh stay at WARN unless it names them.
///
/// # Errors
/// When `levels` cannot be read, or the process has a subscriber already.
pub fn init(levels: Option<&str>) -> Result<Telemetry, String> {
    let targets: Targets = levels
        .unwrap_or("info")
        .parse()
        .map_err(|error: ParseError| error.to_string())?;
    let named = |quiet: &str| targets.iter().any(|(target, _)| target == quiet);
    let quiet = QUIET_TARGETS.into_iter().filter(|quiet| !named(quiet));
    let quiet: Vec<_> = quiet.map(|quiet| (quiet, LevelFilter::WARN)).collect();
    let targets = targets.with_targets(quiet);
    let (queue, entries) = queue();
    tracing_subscriber::registry()
        .with(layer::Queueing::new(queue).with_filter(targets))
        .try_init()
        .map_err(|error| error.to_string())?;
    Ok(Telemetry::new(entries))
}

/// The sending end of the bounded queue between the layer and the shipper.
#[derive(Debug, Clone)]
struct Queue {
    sender: mpsc::Sender<Entry>,
    dropped: Arc<AtomicU64>,
}

/// The receiving end.
#[derive(Debug)]
struct Entries {
    receiver: mpsc::Receiver<Entry>,
    dropped: Arc<AtomicU64>,
}

fn queue() -> (Queue, Entries) {
    let (sender, receiver) = mpsc::channel(QUEUE_ENTRIES_MAX);
    let dropped = Arc::new(AtomicU64::new(0));
    let queue = Queue {
        sender,
        dropped: dropped.clone(),
    };
    (queue, Entries { receiver, dropped })
}

impl Queue {
    /// Hands an entry to the shipper. Never waits: an entry that does not fit is counted and gone.
    fn push(&self, entry: Entry) {
        if self.sender.try_send(entry).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
