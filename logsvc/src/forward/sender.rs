//! The loop that reads what is new, and brings it to the backend until that has it.

use std::{sync::Arc, time::Duration};

use homeroom::{backoff::Backoff, proto::log::v1 as proto};
use tokio::time::{Instant, sleep};
use tonic::Status;
use tracing::{info, warn};

use super::{
    Forward, Pace,
    backend::{Backend, Partial, Signal, Verdict, judge},
    otlp,
};
use crate::{
    entry::{ENTRIES_MAX, Entry},
    error::Error,
    query::{Filter, Found, Limit, Order, Scan},
    store::Store,
};

/// What is sent at once. The bytes are counted as lines; as a message they are less than twice as many, and so below the
/// 4 MiB that stock servers accept. Only a single entry can be more.
const BATCH: Limit = Limit {
    entries: ENTRIES_MAX,
    size_bytes: 2 * 1024 * 1024,
    read_bytes: u64::MAX,
};
/// A single entry below this is never too large for a backend: who says so means something else.
const LARGE_BYTES: usize = 1024 * 1024;
/// A backend may ask to be left alone for so long.
const ASKED_MAX: Duration = Duration::from_secs(5 * 60);
/// How often the same trouble is logged: each time is an entry, which is forwarded too.
const WARNING_INTERVAL: Duration = Duration::from_secs(60);

/// Who forwards.
pub(super) struct Sender {
    forward: Arc<Forward>,
    store: Arc<Store>,
    filter: Arc<Filter>,
    backend: Backend,
    pace: Pace,
    backoff: Backoff,
    /// What the backend has no service for.
    untaken: Option<Signal>,
    warned: Warned,
}

/// What has been logged.
#[derive(Default)]
struct Warned {
    /// Of failures, since the last success.
    is_failing: bool,
    failed: Option<Instant>,
    missed: Option<Instant>,
    /// How many were missed since.
    missed_entries: u64,
    refused: bool,
    partial: bool,
}

impl Sender {
    pub(super) fn new(forward: Arc<Forward>, store: Arc<Store>, pace: Pace) -> Self {
        let everything = proto::Filter {
            kind: proto::EntryKind::Any.into(),
            ..proto::Filter::default()
        };
        Self {
            backend: Backend::new(forward.endpoint().clone()),
            filter: Arc::new(Filter::try_from(everything).expect("a kind alone is a valid filter")),
            backoff: Backoff::new(pace.backoff_min, pace.backoff_max),
            forward,
            store,
            pace,
            untaken: None,
            warned: Warned::default(),
        }
    }

    /// Works until the store is closed.
    pub(super) async fn run(mut self) {
        let mut visible = self.store.visible();
        self.start(*visible.borrow());
        loop {
            let after = self.forward.sequence();
            let Ok(last) = visible.wait_for(|last| *last > after).await.map(|last| *last) else {
                return;
            };
            if last - after < BATCH.entries as u64 {
                sleep(self.pace.linger).await;
            }
            let last = *visible.borrow();
            match self.read(after, last).await {
                Ok(found) => self.deliver_all(after, found).await,
                Err(error) => self.fail(&error.to_string(), Duration::ZERO).await,
            }
        }
    }

    /// A position beyond the end is that of a log that is gone: what is there is new.
    fn start(&self, last: u64) {
        let sequence = self.forward.sequence();
        if sequence > last {
            warn!(sequence, last, "more was forwarded than there is: going on at the end");
            self.forward.pass(last);
        }
    }

    async fn read(&self, after: u64, last: u64) -> Result<Found, Error> {
        let scan = Scan::new(self.filter.clone(), Order::OldestFirst, BATCH, Some(after), last);
        Ok(scan.step(&self.store).await?.found())
    }

    async fn deliver_all(&mut self, after: u64, found: Found) {
        let sequences = found.entries.iter().map(|entry| entry.sequence);
        self.miss(missed(after, sequences, found.after, self.store.first()));
        let (spans, logs): (Vec<_>, Vec<_>) = found.entries.iter().partition(|entry| entry.span.is_some());
        self.deliver(Signal::Logs, &logs).await;
        self.deliver(Signal::Spans, &spans).await;
        self.forward.pass(found.after);
    }

    /// Brings entries to the backend, in order, in smaller parts where it wants them so.
    async fn deliver(&mut self, signal: Signal, entries: &[&Entry]) {
        let mut parts = vec![entries];
        while let Some(part) = parts.pop() {
            if part.is_empty() {
                continue;
            }
            if self.untaken == Some(signal) {
                self.forward.counts.refused.inc_by(part.len() as u64);
                continue;
            }
            match self.backend.export(signal, part).await {
                Ok(partial) => self.taken(part.len() as u64, partial),
                Err(status) => {
                    let rest = self.after(signal, part, &status).await;
                    parts.extend(rest.into_iter().rev());
                }
            }
        }
    }

    /// What is still to be sent of a part that was not taken, once it is time.
    async fn after<'e>(&mut self, signal: Signal, part: &'e [&'e Entry], status: &Status) -> Vec<&'e [&'e Entry]> {
        let cause = format!("{}: {}", status.code(), status.message());
        let verdict = judge(status);
        let is_over = match verdict {
            Verdict::Invalid => true,
            Verdict::TooLarge => otlp::size_bytes(part[0]) > LARGE_BYTES,
            Verdict::NoService | Verdict::Again(_) => false,
        };
        if is_over && part.len() == 1 {
            self.give_up(part[0], &cause);
            return Vec::new();
        }
        match verdict {
            Verdict::Again(asked) => self.fail(&cause, asked).await,
            Verdict::TooLarge => self.fail(&cause, Duration::ZERO).await,
            Verdict::NoService => self.do_without(signal, &cause).await,
            // It is the entry that is wrong: there is nothing to wait for.
            Verdict::Invalid => {
                self.forward.counts.failed.inc();
            }
        }
        if matches!(verdict, Verdict::Invalid | Verdict::TooLarge) {
            let (first, second) = part.split_at(part.len() / 2);
            return vec![first, second];
        }
        vec![part]
    }

    fn taken(&mut self, entries: u64, partial: Partial) {
        self.backoff.reset();
        self.forward.set_cause("");
        if std::mem::take(&mut self.warned.is_failing) {
            info!(forward.endpoint = %self.forward.endpoint(), "forwarding goes on");
        }
        let refused = partial.refused.min(entries);
        self.forward.counts.sent.inc_by(entries - refused);
        self.forward.counts.refused.inc_by(refused);
        let is_told = (refused == 0 && partial.words.is_empty()) || std::mem::replace(&mut self.warned.partial, true);
        if !is_told {
            warn!(
                entries = refused,
                cause = partial.words,
                "the backend did not take all entries"
            );
        }
    }

    /// Counts a call that failed, and waits before the next one.
    async fn fail(&mut self, cause: &str, asked: Duration) {
        self.forward.counts.failed.inc();
        self.forward.set_cause(cause);
        if is_due(&mut self.warned.failed) {
            self.warned.is_failing = true;
            warn!(forward.endpoint = %self.forward.endpoint(), cause, "cannot forward entries");
        }
        sleep(asked.min(ASKED_MAX) + self.backoff.next_delay()).await;
    }

    /// A single entry that the backend never takes must not hold up the others.
    fn give_up(&mut self, entry: &Entry, cause: &str) {
        self.forward.counts.failed.inc();
        self.forward.counts.refused.inc();
        if !std::mem::replace(&mut self.warned.refused, true) {
            warn!(sequence = entry.sequence, cause, "the backend refuses an entry");
        }
    }

    /// A backend that has only the other service is for that alone; one that has neither is not set up yet.
    async fn do_without(&mut self, signal: Signal, cause: &str) {
        if self.backend.export(signal.other(), &[]).await.is_err() {
            self.fail(cause, Duration::ZERO).await;
            return;
        }
        self.forward.counts.failed.inc();
        self.untaken = Some(signal);
        warn!(
            ?signal,
            cause, "the backend does not take these: they are left out until a restart"
        );
    }

    fn miss(&mut self, entries: u64) {
        self.forward.counts.missed.inc_by(entries);
        self.warned.missed_entries += entries;
        if self.warned.missed_entries > 0 && is_due(&mut self.warned.missed) {
            let entries = std::mem::take(&mut self.warned.missed_entries);
            warn!(entries, "entries were deleted before they were forwarded");
        }
    }
}

/// Whether something may be logged again.
fn is_due(last: &mut Option<Instant>) -> bool {
    let is_due = last.is_none_or(|last| last.elapsed() >= WARNING_INTERVAL);
    if is_due {
        *last = Some(Instant::now());
    }
    is_due
}

/// How many numbers after `after` and up to `reached` are not among `sequences` since they were deleted: those below
/// `first`. Others that are not there never were.
fn missed(after: u64, sequences: impl Iterator<Item = u64>, reached: u64, first: u64) -> u64 {
    let (mut next, mut missed) = (after + 1, 0);
    for sequence in sequences.chain([reached + 1]) {
        missed += sequence.min(first).saturating_sub(next);
        next = sequence + 1;
    }
    missed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_deleted_is_missed() {
        for (after, sequences, reached, first, expected) in [
            (0, &[1, 2, 3][..], 3, 1, 0),
            (0, &[4, 5], 5, 4, 3),
            (2, &[4, 5], 5, 4, 1),
            (7, &[8], 8, 4, 0),
            // A jump of the numbers, of which nothing was ever there.
            (0, &[1, 2, 1000], 1000, 1, 0),
            // Deleted while it was read.
            (0, &[1, 2, 9, 10], 10, 9, 6),
            (0, &[], 5, 6, 5),
            (0, &[], 0, 1, 0),
        ] {
            let missed = missed(after, sequences.iter().copied(), reached, first);
            assert_eq!(
                missed, expected,
                "{sequences:?} from {after} to {reached} when {first} is the first"
            );
        }
    }
}
