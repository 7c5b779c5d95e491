//! Brings queued entries to the Log service in batches, and to stderr what people must see or Log cannot take.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, SystemTime},
};

use prost::Message;
use tokio::{
    io::AsyncWriteExt,
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};
use tracing::instrument::WithSubscriber;

use super::{Entries, context::Origin, words};
use crate::{
    balance::Channel,
    proto::log::v1::{Durability, Entry, Severity, WriteRequest, log_client::LogClient},
    shutdown::Shutdown,
};

/// A batch goes when it has this many entries, or when the queue is empty: under load batches grow by themselves.
pub(super) const BATCH_ENTRIES_MAX: usize = 1000;
/// Far below the message size that Log accepts, with the longest entry that the layer makes on top.
const BATCH_BYTES_MAX: usize = 1024 * 1024;
/// How long a batch waits for Log before it is printed: a service that starts with the mesh is heard, and one whose
/// Log is gone is not held up for long.
const LOG_PATIENCE: Duration = Duration::from_secs(5);
/// Once Log is away, how long each batch asks for it before it is printed.
const AWAY_PATIENCE: Duration = Duration::from_millis(100);
/// How long Log is taken to be away before a batch waits for it as the first one did.
const AWAY_MAX: Duration = Duration::from_secs(30);
/// Once the process stops, how long a batch still waits.
const STOP_PATIENCE: Duration = Duration::from_millis(500);

/// The telemetry of this process: entries are queued from the start, and shipped from [`Telemetry::ship`] on.
#[derive(Debug)]
pub struct Telemetry {
    entries: Option<Entries>,
    shipper: Option<(Shutdown, JoinHandle<()>)>,
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
            away_since: None,
            stop: Shutdown::new(),
        };
        let stop = shipper.stop.clone();
        // What the shipper itself causes must not become entries: it would never come to an end.
        let run = shipper.run().with_subscriber(tracing::subscriber::NoSubscriber::new());
        self.shipper = Some((stop, tokio::spawn(run)));
    }

    /// Ships or prints what is queued, and stops. Entries after that are lost; gives up after `patience`.
    pub async fn flush(self, patience: Duration) {
        match (self.shipper, self.entries) {
            (Some((stop, mut shipper)), _) => {
                stop.cancel();
                if timeout(patience, &mut shipper).await.is_err() {
                    shipper.abort();
                }
            }
            (None, Some(mut entries)) => {
                let queued: Vec<_> = std::iter::from_fn(|| entries.receiver.try_recv().ok()).collect();
                print(queued.iter()).await;
            }
            (None, None) => {}
        }
    }
}

struct Shipper {
    entries: Entries,
    log: LogClient<Channel>,
    origin: Arc<Origin>,
    away_since: Option<Instant>,
    stop: Shutdown,
}

impl Shipper {
    async fn run(mut self) {
        let mut batch = Vec::with_capacity(BATCH_ENTRIES_MAX);
        let stop = self.stop.clone();
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
                () = stop.cancelled() => return,
            }
        }
    }

    async fn deliver(&mut self, mut entries: Vec<Entry>) {
        let dropped = self.entries.dropped.swap(0, Ordering::Relaxed);
        if dropped > 0 {
            entries.push(drop_report(dropped));
        }
        for entry in entries.iter_mut().filter(|entry| entry.service.is_empty()) {
            entry.service.clone_from(&self.origin.service);
            entry.instance.clone_from(&self.origin.instance);
        }
        print(entries.iter().filter(|entry| is_for_people(entry))).await;
        for batch in batches(entries) {
            if self.write(batch.clone()).await {
                self.away_since = None;
            } else {
                self.away_since.get_or_insert_with(Instant::now);
                print(batch.iter().filter(|entry| !is_for_people(entry))).await;
            }
        }
    }

    /// Whether Log took the batch within the patience, which is short once the process stops.
    async fn write(&mut self, entries: Vec<Entry>) -> bool {
        let mut request = tonic::Request::new(WriteRequest {
            entries,
            durability: Durability::Written.into(),
        });
        // From time to time a Log that is slow gets all the time again.
        let away = self.away_since.is_some_and(|since| since.elapsed() < AWAY_MAX);
        request.set_timeout(if away { AWAY_PATIENCE } else { LOG_PATIENCE });
        if !away {
            self.away_since = None;
        }
        let stopping = async {
            self.stop.cancelled().await;
            sleep(STOP_PATIENCE).await;
        };
        tokio::select! {
            answer = self.log.write(request) => answer.is_ok(),
            () = stopping => false,
        }
    }
}

/// Cuts entries into batches that Log accepts.
fn batches(entries: Vec<Entry>) -> Vec<Vec<Entry>> {
    let mut batches = vec![Vec::new()];
    let mut size_bytes = 0;
    for entry in entries {
        size_bytes += entry.encoded_len();
        if size_bytes > BATCH_BYTES_MAX {
            size_bytes = entry.encoded_len();
            batches.push(Vec::new());
        }
        batches.last_mut().expect("there is a first batch").push(entry);
    }
    batches
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
async fn print<'e>(entries: impl Iterator<Item = &'e Entry>) {
    let text: String = entries.map(|entry| words::line(entry) + "\n").collect();
    let mut stderr = tokio::io::stderr();
    let _ = stderr.write_all(text.as_bytes()).await;
    let _ = stderr.flush().await;
}
