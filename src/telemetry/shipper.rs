//! Brings queued entries to the Log service in batches, and to stderr what people must see or Log cannot take.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, SystemTime},
};

use tokio::{io::AsyncWriteExt, sync::oneshot, task::JoinHandle, time::timeout};
use tracing::instrument::WithSubscriber;

use super::{Entries, context::Origin};
use crate::{
    balance::Channel,
    proto::log::v1::{Durability, Entry, Severity, WriteRequest, log_client::LogClient},
};

/// A batch goes when it has this many entries, or when the queue is empty: under load batches grow by themselves.
pub(super) const BATCH_ENTRIES_MAX: usize = 1000;
/// How long a batch waits for Log before it is printed: a service that starts with the mesh is heard, and one whose
/// Log is gone is not held up for long.
const LOG_PATIENCE: Duration = Duration::from_secs(5);
/// Once Log is away, how long each batch asks for it before it is printed.
const AWAY_PATIENCE: Duration = Duration::from_millis(100);

/// The telemetry of this process: entries are queued from the start, and shipped from [`Telemetry::ship`] on.
#[derive(Debug)]
pub struct Telemetry {
    entries: Option<Entries>,
    shipper: Option<(oneshot::Sender<()>, JoinHandle<()>)>,
}

impl Telemetry {
    pub(super) fn new(entries: Entries) -> Self {
        Self {
            entries: Some(entries),
            shipper: None,
        }
    }

    /// Starts to ship to `log`, entries that no task's context names the origin of under `origin`. The first call
    /// counts, later ones do nothing.
    pub fn ship(&mut self, log: Channel, origin: Origin) {
        let Some(entries) = self.entries.take() else {
            return;
        };
        let shipper = Shipper {
            entries,
            log: LogClient::new(log),
            origin: Arc::new(origin),
            patience: LOG_PATIENCE,
        };
        let (stop, stopped) = oneshot::channel();
        // What the shipper itself causes must not become entries: it would never come to an end.
        let run = shipper
            .run(stopped)
            .with_subscriber(tracing::subscriber::NoSubscriber::new());
        self.shipper = Some((stop, tokio::spawn(run)));
    }

    /// Ships or prints what is queued, and stops. Entries after that are lost; gives up after `patience`.
    pub async fn flush(self, patience: Duration) {
        match (self.shipper, self.entries) {
            (Some((stop, mut shipper)), _) => {
                // The shipper may have ended already; there is nothing to flush then.
                let _ = stop.send(());
                if timeout(patience, &mut shipper).await.is_err() {
                    shipper.abort();
                }
            }
            (None, Some(mut entries)) => {
                let queued: Vec<_> = std::iter::from_fn(|| entries.receiver.try_recv().ok()).collect();
                print(&queued).await;
            }
            (None, None) => {}
        }
    }
}

struct Shipper {
    entries: Entries,
    log: LogClient<Channel>,
    origin: Arc<Origin>,
    patience: Duration,
}

impl Shipper {
    async fn run(mut self, mut stopped: oneshot::Receiver<()>) {
        let mut batch = Vec::with_capacity(BATCH_ENTRIES_MAX);
        loop {
            tokio::select! {
                biased;
                count = self.entries.receiver.recv_many(&mut batch, BATCH_ENTRIES_MAX) => {
                    if count == 0 {
                        return;
                    }
                    self.deliver(std::mem::take(&mut batch)).await;
                }
                // Only an empty queue lets the stop through: everything queued before it is delivered first.
                _ = &mut stopped => return,
            }
        }
    }

    async fn deliver(&mut self, mut batch: Vec<Entry>) {
        let dropped = self.entries.dropped.swap(0, Ordering::Relaxed);
        if dropped > 0 {
            batch.push(drop_report(dropped));
        }
        for entry in batch.iter_mut().filter(|entry| entry.service.is_empty()) {
            entry.service.clone_from(&self.origin.service);
            entry.instance.clone_from(&self.origin.instance);
        }
        let (seen, unseen): (Vec<_>, Vec<_>) = batch.iter().cloned().partition(is_for_people);
        print(&seen).await;
        if self.write(batch).await {
            self.patience = LOG_PATIENCE;
        } else {
            self.patience = AWAY_PATIENCE;
            print(&unseen).await;
        }
    }

    /// Whether Log took the batch within the patience.
    async fn write(&mut self, entries: Vec<Entry>) -> bool {
        let mut request = tonic::Request::new(WriteRequest {
            entries,
            durability: Durability::Written.into(),
        });
        request.set_timeout(self.patience);
        self.log.write(request).await.is_ok()
    }
}

fn drop_report(dropped: u64) -> Entry {
    Entry {
        time: Some(SystemTime::now().into()),
        severity: Severity::Warn.into(),
        message: "log entries were dropped: the queue was full".to_owned(),
        attributes: [("dropped".to_owned(), dropped.to_string())].into(),
        ..Entry::default()
    }
}

fn is_for_people(entry: &Entry) -> bool {
    entry.severity >= Severity::Warn as i32
}

/// Prints entries on stderr. Nothing is left to try when that fails.
async fn print(entries: &[Entry]) {
    let text: String = entries.iter().map(|entry| line(entry) + "\n").collect();
    let _ = tokio::io::stderr().write_all(text.as_bytes()).await;
}

/// An entry as one line for people, with nothing in it that a terminal would obey.
pub(super) fn line(entry: &Entry) -> String {
    let time = entry.time.map(|time| time.to_string()).unwrap_or_default();
    let severity = entry
        .severity()
        .as_str_name()
        .trim_start_matches("SEVERITY_")
        .to_owned();
    let mut attributes: Vec<_> = entry.attributes.iter().filter(|(key, _)| *key != "target").collect();
    attributes.sort();
    let attributes: String = attributes
        .iter()
        .map(|(key, value)| format!(" {key}={value}"))
        .collect();
    let line = format!("{time} {severity:5} {} {}{attributes}", entry.service, entry.message);
    crate::text::printable(&line)
}
