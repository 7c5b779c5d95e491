//! What a service counts, for Prometheus: [`Service`](crate::Service) answers it under `/metrics`, on its own port.
//!
//! Instruments are [`prometheus_client`]'s, or [`Histogram`], which takes no lock. `docs/metrics.md` lists the ones that
//! every service has.

mod calls;
mod histogram;
mod process;
mod telemetry;
mod text;

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

pub use prometheus_client;
use prometheus_client::{
    encoding::{EncodeGaugeValue, EncodeMetric, MetricEncoder},
    metrics::{MetricType, info::Info},
    registry::Registry,
};

pub(crate) use self::calls::{Call, CallMetrics};
pub use self::{histogram::Histogram, text::Format};

/// The instruments of one service. Clones share them.
#[derive(Debug, Clone)]
pub struct Metrics {
    /// Guards the list of instruments, not their values; held while they are read for an answer, never while something is
    /// awaited. Locks that instruments take to be read are taken under it.
    registry: Arc<Mutex<Registry>>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// The instruments that every process has: what it takes of its machine, which version of Homeroom it runs, and what
    /// becomes of its log entries and spans.
    pub fn new() -> Self {
        let mut registry = Registry::default();
        registry.register(
            "homeroom_build",
            "The version of Homeroom that runs",
            Info::new([("version", env!("CARGO_PKG_VERSION"))]),
        );
        registry.register_collector(Box::new(process::Process));
        registry.register_collector(Box::new(telemetry::Telemetry));
        Self {
            registry: Arc::new(Mutex::new(registry)),
        }
    }

    /// Adds instruments. A name must be added once only, and every label must have a bounded number of values: a series is
    /// kept for each.
    pub fn register(&self, add: impl FnOnce(&mut Registry)) {
        add(&mut self.lock());
    }

    /// Adds a gauge that is asked for its value whenever somebody looks.
    pub fn register_gauge<V: EncodeGaugeValue + 'static>(
        &self,
        name: &str,
        help: &str,
        value: impl Fn() -> V + Send + Sync + 'static,
    ) {
        self.register(|registry| registry.register(name, help, ReadGauge(value)));
    }

    /// All values as they are now.
    pub fn text(&self, format: Format) -> String {
        text::encode(&self.lock(), format)
    }

    /// A panic while instruments are added leaves the ones before.
    fn lock(&self) -> MutexGuard<'_, Registry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A gauge whose value is a function.
struct ReadGauge<F>(F);

impl<F> fmt::Debug for ReadGauge<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadGauge").finish_non_exhaustive()
    }
}

impl<V: EncodeGaugeValue, F: Fn() -> V> EncodeMetric for ReadGauge<F> {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        encoder.encode_gauge(&(self.0)())
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Gauge
    }
}

#[cfg(test)]
mod tests;
