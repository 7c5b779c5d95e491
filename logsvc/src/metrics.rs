//! What Log counts besides its calls. `docs/metrics.md` says what each is for.
//!
//! What happens is told to [`LogMetrics`] as it happens; what is so is read from the status when somebody looks.

mod status;

use std::sync::Arc;

use homeroom::{
    metrics::{
        Histogram, Metrics,
        prometheus_client::{
            metrics::{counter::Counter, family::Family, gauge::Gauge, histogram},
            registry::Unit,
        },
    },
    status::reason,
};
use tonic::Status;

pub use self::status::tell_status;
use crate::{forward::Counts, store::Commit};

/// The label of what is counted by a few words.
type By = Family<[(&'static str, &'static str); 1], Counter>;

/// Why entries are refused. Each is counted from zero, so that the first one is an increase.
const REASONS: [&str; 8] = [
    "INVALID_FIELD",
    "DISK_FULL",
    "OVERLOADED",
    "STORE_FAILED",
    "DRAINING",
    "WRITER_REPLACED",
    "INTERNAL",
    OTHER,
];
/// What the transport ended, such as a message that is too large.
const OTHER: &str = "OTHER";

/// Upper bounds of how many entries are written at once: from a single one to some of the largest batches.
const ENTRIES: [f64; 11] = [
    1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1_000.0, 3_000.0, 10_000.0, 30_000.0, 100_000.0,
];

/// What is told as it happens. Clones share it.
#[derive(Debug, Clone)]
pub struct LogMetrics(Arc<Told>);

#[derive(Debug)]
struct Told {
    written_entries: By,
    written_bytes: Counter,
    commit_seconds: Histogram,
    commit_entries: histogram::Histogram,
    refused: By,
    query_seconds: Histogram,
    tails: Gauge,
    dropped: Counter,
    forward: Counts,
}

/// An open `Tail`; dropping it is its end.
#[derive(Debug)]
pub struct OpenTail(LogMetrics);

impl Default for LogMetrics {
    fn default() -> Self {
        let told = Told {
            written_entries: By::default(),
            written_bytes: Counter::default(),
            commit_seconds: Histogram::new(Histogram::FAST),
            commit_entries: histogram::Histogram::new(ENTRIES),
            refused: By::default(),
            query_seconds: Histogram::new(Histogram::FAST),
            tails: Gauge::default(),
            dropped: Counter::default(),
            forward: Counts::default(),
        };
        for reason in REASONS {
            drop(told.refused.get_or_create(&[("reason", reason)]));
        }
        for kind in ["log", "span"] {
            drop(told.written_entries.get_or_create(&[("kind", kind)]));
        }
        Self(Arc::new(told))
    }
}

impl LogMetrics {
    /// Adds these instruments to those of a service. To be called once for the same service.
    pub fn register(&self, metrics: &Metrics) {
        let told = &self.0;
        metrics.register(|registry| {
            for (name, help, family) in [
                ("written_entries", "Entries written", &told.written_entries),
                ("refused", "Requests whose entries were not written", &told.refused),
            ] {
                registry.register(format!("homeroom_log_{name}"), help, family.clone());
            }
            let forward = &told.forward;
            for (name, help, counter) in [
                ("written_bytes", "Bytes of lines written", &told.written_bytes),
                ("tail_dropped", "Entries that readers of Tail missed", &told.dropped),
                ("forward_sent", "Entries that the backend took", &forward.sent),
                (
                    "forward_refused",
                    "Entries that the backend refused for good",
                    &forward.refused,
                ),
                (
                    "forward_missed",
                    "Entries deleted before they were forwarded",
                    &forward.missed,
                ),
                ("forward_failed", "Calls to the backend that failed", &forward.failed),
            ] {
                registry.register(format!("homeroom_log_{name}"), help, counter.clone());
            }
            for (name, help, histogram) in [
                (
                    "commit",
                    "How long what was queued took to be written, and synced if asked",
                    &told.commit_seconds,
                ),
                (
                    "query",
                    "How long Query, GetTrace and ListTraces looked",
                    &told.query_seconds,
                ),
            ] {
                let name = format!("homeroom_log_{name}");
                registry.register_with_unit(name, help, Unit::Seconds, histogram.clone());
            }
            let (name, help) = ("homeroom_log_commit_entries", "Entries written at once");
            registry.register(name, help, told.commit_entries.clone());
        });
    }

    /// What was queued has been written.
    pub fn on_commit(&self, commit: &Commit) {
        let told = &self.0;
        for (kind, entries) in [("log", commit.logs), ("span", commit.spans)] {
            told.written_entries.get_or_create(&[("kind", kind)]).inc_by(entries);
        }
        told.written_bytes.inc_by(commit.size_bytes);
        told.commit_seconds.observe(commit.took);
        #[expect(
            clippy::cast_precision_loss,
            reason = "there are far fewer entries in a group than 2^52"
        )]
        told.commit_entries.observe((commit.logs + commit.spans) as f64);
    }

    /// The entries of a request have not been written.
    pub fn on_refused(&self, status: &Status) {
        let reason = reason(status);
        let known = REASONS.into_iter().find(|known| reason.as_deref() == Some(known));
        self.0
            .refused
            .get_or_create(&[("reason", known.unwrap_or(OTHER))])
            .inc();
    }

    /// How long it takes to find entries.
    pub fn query_seconds(&self) -> &Histogram {
        &self.0.query_seconds
    }

    /// A `Tail` has been opened.
    pub fn open_tail(&self) -> OpenTail {
        self.0.tails.inc();
        OpenTail(self.clone())
    }

    /// How many `Tail` streams are open.
    pub fn tails(&self) -> u32 {
        self.0.tails.get().try_into().unwrap_or(0)
    }

    /// What the forwarding counts.
    pub fn forward(&self) -> &Counts {
        &self.0.forward
    }
}

impl OpenTail {
    /// A reader has missed entries.
    pub fn on_dropped(&self, entries: u64) {
        self.0.0.dropped.inc_by(entries);
    }
}

impl Drop for OpenTail {
    fn drop(&mut self) {
        self.0.0.tails.dec();
    }
}

#[cfg(test)]
mod tests;
