//! Brings queued entries to the Log service in batches, and to stderr what people must see or Log cannot take.
//!
//! Batches go over one `Ingest` stream, numbered, and are kept until they are acknowledged: after a break they are sent
//! again, and Log writes none twice. When Log has acknowledged nothing for five seconds, what waits for it is printed,
//! and so is at once what comes until it is back. What was printed is still sent then, as far as it is kept: the newest 8
//! MiB. What is given up for want of that room, or as Log refuses it, is reported when Log is back.

mod backlog;
mod fallback;
mod link;

use std::{future::pending, sync::atomic::Ordering::Relaxed, time::Duration};

use tokio::{
    sync::watch,
    time::{Instant, sleep, sleep_until},
};
use tonic::{Code, Status};

use self::{
    backlog::Backlog,
    fallback::{Unshipped, drop_report, is_for_log, is_for_people, print},
    link::Link,
};
use super::{identity::Identity, queue::Entries};
use crate::{
    balance::Channel,
    proto::log::v1::{Entry, IngestResponse},
};

/// A batch goes when it has this many entries, or a little after its first one.
pub(super) const BATCH_ENTRIES_MAX: usize = 1000;
/// How long that is. Calls that log one entry each would otherwise cause a batch each.
const LINGER: Duration = Duration::from_millis(10);
/// How long batches wait for Log before they are printed: a service that starts with the mesh is heard, and one whose
/// Log is gone is not held up for long.
const LOG_PATIENCE: Duration = Duration::from_secs(5);
/// How long after that a stream on which nothing is acknowledged is given up.
const STALLED_MAX: Duration = Duration::from_secs(30);
/// Once the process stops, how long Log may acknowledge nothing before the rest is printed.
const STOP_PATIENCE: Duration = Duration::from_millis(500);

/// When everything must have been shipped or printed, once the process stops.
pub(super) type Stop = watch::Receiver<Option<Instant>>;

/// Ships what is queued.
pub(super) struct Shipper {
    entries: Entries,
    identity: Identity,
    backlog: Backlog,
    link: Link,
    /// How many bytes Log lets be under way.
    credit_bytes: usize,
    /// When a batch was acknowledged, or began to wait behind none.
    progress_at: Instant,
    /// Whether Log has taken nothing for so long that everything is printed.
    away: bool,
    unshipped: Unshipped,
    /// The end of all patience, once the process stops.
    stop_at: Option<Instant>,
}

impl Shipper {
    pub(super) fn new(entries: Entries, log: Channel, identity: Identity) -> Self {
        Self {
            entries,
            link: Link::new(log),
            identity,
            backlog: Backlog::new(),
            credit_bytes: 0,
            progress_at: Instant::now(),
            away: false,
            unshipped: Unshipped::default(),
            stop_at: None,
        }
    }

    /// Runs until `stop` tells when everything must have been shipped or printed. Ends before that when it has been.
    pub(super) async fn run(mut self, mut stop: Stop) {
        while self.stop_at.is_none() || !self.entries.is_empty() || !self.backlog.is_empty() {
            self.send();
            let patience = self.patience_ends_at();
            tokio::select! {
                biased;
                stop_at = told(&mut stop), if self.stop_at.is_none() => {
                    self.stop_at = Some(stop_at);
                    self.progress_at = Instant::now();
                }
                answer = self.link.next(), if self.link.is_open() || !self.backlog.is_empty() => {
                    self.answered(answer).await;
                }
                () = sleep_until(patience), if !self.backlog.is_empty() => {
                    if self.stop_at.is_some() {
                        break;
                    }
                    self.patience_has_ended().await;
                }
                () = batch(&self.entries, self.stop_at.is_some()), if self.backlog.has_room() => self.take().await,
            }
        }
        self.print_rest().await;
    }

    fn patience_ends_at(&self) -> Instant {
        match self.stop_at {
            Some(stop_at) => stop_at.min(self.progress_at + STOP_PATIENCE),
            None if self.away => self.progress_at + STALLED_MAX,
            None => self.progress_at + LOG_PATIENCE,
        }
    }

    /// Sends what may be sent now.
    fn send(&mut self) {
        while self.link.is_ready()
            && let Some(request) = self.backlog.send(self.credit_bytes)
        {
            self.link.send(request);
        }
    }

    async fn answered(&mut self, answer: Result<IngestResponse, Status>) {
        match answer {
            Ok(answer) => {
                self.credit_bytes = usize::try_from(answer.credit_bytes).unwrap_or(usize::MAX);
                let shipped = self.backlog.acknowledge(answer.batch);
                if shipped > 0 {
                    self.entries.counters().shipped.fetch_add(shipped as u64, Relaxed);
                    self.progress().await;
                }
            }
            Err(status) => {
                // The stream ends with the error of the first batch that was not written.
                if status.code() == Code::InvalidArgument && self.backlog.is_under_way() {
                    self.refused(&status).await;
                }
                self.backlog.send_again();
                self.link.close(&status);
            }
        }
    }

    async fn progress(&mut self) {
        self.link.works();
        self.progress_at = Instant::now();
        self.away = false;
        if let Some(report) = self.unshipped.report() {
            self.add(vec![report]).await;
        }
    }

    /// Gives up a batch that Log will never take.
    async fn refused(&mut self, status: &Status) {
        let Some(entries) = self.backlog.pop() else {
            return;
        };
        let cause = ("cause", status.message().to_owned());
        let complaint = fallback::report("Log refuses entries", vec![cause]);
        print([complaint].iter()).await;
        print(entries.iter().filter(|entry| is_for_log(entry))).await;
        self.give_up(&entries);
    }

    fn give_up(&mut self, entries: &[Entry]) {
        self.entries
            .counters()
            .unshipped
            .fetch_add(entries.len() as u64, Relaxed);
        self.unshipped.add(entries);
    }

    /// Takes what is queued.
    async fn take(&mut self) {
        let mut entries = self.entries.take(BATCH_ENTRIES_MAX);
        entries.extend(drop_report(self.entries.take_dropped()));
        self.add(entries).await;
    }

    async fn add(&mut self, mut entries: Vec<Entry>) {
        for entry in &mut entries {
            self.identity.sign(entry);
        }
        print(entries.iter().filter(|entry| is_for_people(entry))).await;
        if self.backlog.is_empty() {
            self.progress_at = Instant::now();
        }
        self.backlog.push(entries);
        if self.away {
            self.print_waiting().await;
        }
    }

    /// Prints what waits for Log, and makes room for more. A stream that does not get on is given up.
    async fn patience_has_ended(&mut self) {
        if self.away {
            self.backlog.send_again();
            self.link.close(&Status::unavailable("nothing is acknowledged"));
        }
        self.away = true;
        self.progress_at = Instant::now();
        self.print_waiting().await;
    }

    async fn print_waiting(&mut self) {
        for waiting in self.backlog.print() {
            print(waiting.iter().filter(|entry| is_for_log(entry))).await;
        }
        while !self.backlog.has_room()
            && let Some(oldest) = self.backlog.pop()
        {
            self.give_up(&oldest);
        }
    }

    /// The process stops, and Log has not taken everything.
    async fn print_rest(&mut self) {
        let queued = print_queued(&self.entries, Some(&self.identity)).await;
        self.give_up(&queued);
        self.print_waiting().await;
        while let Some(entries) = self.backlog.pop() {
            self.give_up(&entries);
        }
        // The log records were printed.
        self.unshipped.entries = 0;
        print(self.unshipped.report().iter()).await;
    }
}

/// Prints what is queued, and how much was dropped before. Returns it.
pub(super) async fn print_queued(entries: &Entries, identity: Option<&Identity>) -> Vec<Entry> {
    let mut queued = entries.take(usize::MAX);
    queued.extend(drop_report(entries.take_dropped()));
    if let Some(identity) = identity {
        queued.iter_mut().for_each(|entry| identity.sign(entry));
    }
    print(queued.iter().filter(|entry| entry.span.is_none())).await;
    queued
}

/// Waits until there is a batch to be taken: a full one, or some entries whose company was waited for. Cancel safe.
async fn batch(entries: &Entries, at_once: bool) {
    entries.some().await;
    if !at_once {
        tokio::select! {
            () = entries.many() => {}
            () = sleep(LINGER) => {}
        }
    }
}

/// When the process stops; never, when nobody will tell.
async fn told(stop: &mut Stop) -> Instant {
    let told = stop.wait_for(Option::is_some).await;
    match told.ok().and_then(|stop_at| *stop_at) {
        Some(stop_at) => stop_at,
        None => pending().await,
    }
}

/// Prints what is queued until `stop` tells, for a process without telemetry.
pub(super) async fn print_all(entries: Entries, identity: Identity, mut stop: Stop) {
    loop {
        tokio::select! {
            biased;
            () = entries.some() => drop(print_queued(&entries, Some(&identity)).await),
            _ = told(&mut stop) => return,
        }
    }
}
