//! What becomes of the log entries and spans of this process.

use std::{
    fmt,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{MetricType, counter::ConstCounter},
};

use crate::telemetry::Recorder;

/// Asks the telemetry of this process whenever somebody looks. All is zero where there is none.
#[derive(Debug)]
pub(super) struct Telemetry;

#[derive(Debug, Default)]
struct Values {
    waiting: u64,
    waiting_max: u64,
    dropped: u64,
    shipped: u64,
    unshipped: u64,
}

impl Values {
    fn read(recorder: &Recorder) -> Self {
        let counters = recorder.counters();
        let count = |counter: &AtomicU64| counter.load(Relaxed);
        Self {
            waiting: recorder.waiting() as u64,
            waiting_max: recorder.waiting_max() as u64,
            dropped: count(&counters.dropped),
            shipped: count(&counters.shipped),
            unshipped: count(&counters.unshipped),
        }
    }
}

impl Collector for Telemetry {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let values = Recorder::current(Values::read).unwrap_or_default();
        for (name, help, value) in [
            (
                "queue_entries",
                "Log entries and spans that wait to be shipped.",
                values.waiting,
            ),
            ("queue_entries_max", "How many may wait.", values.waiting_max),
        ] {
            let name = format!("homeroom_telemetry_{name}");
            let mut gauge = encoder.encode_descriptor(&name, help, None, MetricType::Gauge)?;
            gauge.encode_gauge(&value)?;
        }
        for (name, help, value) in [
            ("dropped", "Those that the queue had no room for.", values.dropped),
            ("shipped", "Those that Log has acknowledged.", values.shipped),
            (
                "unshipped",
                "Those that were given up, as Log did not take them.",
                values.unshipped,
            ),
        ] {
            let name = format!("homeroom_telemetry_{name}_entries");
            let counter = ConstCounter::new(value);
            counter.encode(encoder.encode_descriptor(&name, help, None, MetricType::Counter)?)?;
        }
        Ok(())
    }
}
