//! The status as metrics, read when somebody looks.

use std::fmt;

use homeroom::{
    metrics::{
        Metrics,
        prometheus_client::{
            collector::Collector,
            encoding::{DescriptorEncoder, NoLabelSet},
            metrics::MetricType,
        },
    },
    proto::log::v1::{GetStatusResponse, StoreState},
};

const STORE_STATES: [(StoreState, &str); 3] = [
    (StoreState::Ok, "ok"),
    (StoreState::Full, "full"),
    (StoreState::Failed, "failed"),
];

/// What is read when somebody looks.
struct StatusMetrics<F>(F);

/// Tells the status as metrics from now on. To be called once for the same service.
pub fn tell_status(metrics: &Metrics, status: impl Fn() -> GetStatusResponse + Send + Sync + 'static) {
    metrics.register(|registry| registry.register_collector(Box::new(StatusMetrics(status))));
}

impl<F> fmt::Debug for StatusMetrics<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StatusMetrics").finish_non_exhaustive()
    }
}

impl<F: Fn() -> GetStatusResponse + Send + Sync + 'static> Collector for StatusMetrics<F> {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let status = (self.0)();
        let lag = lag(&status);
        let store = status.store.unwrap_or_default();
        let name = "homeroom_log_store_state";
        let help = "1 for the state that the store is in.";
        let mut states = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (state, name) in STORE_STATES {
            let value = u32::from(state == store.state());
            states.encode_family(&[("state", name)])?.encode_gauge(&value)?;
        }
        for (name, help, value) in [
            ("first_sequence", "The first entry that is kept.", status.first_sequence),
            ("last_sequence", "The last entry.", status.last_sequence),
            ("segments", "Segments.", store.segments.into()),
            ("size_bytes", "What all files take.", store.size_bytes),
            ("free_bytes", "How much room the disk has.", store.free_bytes),
            ("tails", "Open streams of Tail.", status.tails.into()),
            ("forward_lag", "Entries that the backend does not have yet.", lag),
        ] {
            let name = format!("homeroom_log_{name}");
            let mut gauge = encoder.encode_descriptor(&name, help, None, MetricType::Gauge)?;
            gauge.encode_gauge(&value)?;
        }
        let retention = status.retention.unwrap_or_default();
        for (name, help, value) in [
            ("deleted_segments", "Segments deleted.", retention.deleted_segments),
            ("deleted_entries", "Entries deleted.", retention.deleted_entries),
        ] {
            let name = format!("homeroom_log_{name}");
            let mut counter = encoder.encode_descriptor(&name, help, None, MetricType::Counter)?;
            counter.encode_counter::<NoLabelSet, _, u64>(&value, None)?;
        }
        Ok(())
    }
}

/// How many numbers of entries that are kept the backend does not have yet.
pub(super) fn lag(status: &GetStatusResponse) -> u64 {
    status.forward.as_ref().map_or(0, |forward| {
        let behind = forward.sequence.max(status.first_sequence.saturating_sub(1));
        status.last_sequence.saturating_sub(behind)
    })
}
