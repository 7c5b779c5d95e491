//! What the registry counts besides its calls. `docs/metrics.md` says what each is for.
//!
//! What happens is told to [`RegistryMetrics`] as it happens; what is so is read from the status when somebody looks.

use std::{fmt, sync::Arc, time::Duration};

use homeroom::{
    metrics::{
        Histogram, Metrics,
        prometheus_client::{
            collector::Collector,
            encoding::{DescriptorEncoder, EncodeGaugeValue},
            metrics::{MetricType, counter::Counter, family::Family},
            registry::Unit,
        },
    },
    proto::registry::v1::{GetStatusResponse, HealthState, Store, StoreState},
};

use crate::config::Limits;

/// The label of a kind of probe result.
type ByResult = Family<[(&'static str, &'static str); 1], Counter>;

/// What probes come to. Each is counted from zero, so that the first one is an increase.
const RESULTS: [&str; 12] = [
    "serving",
    "not_serving",
    "no_health_service",
    "health_name_unknown",
    "error",
    "refused",
    "not_http2",
    "tls_failed",
    "not_allowed",
    "timeout",
    "lease_held",
    "lease_expired",
];

const STATES: [(HealthState, &str); 5] = [
    (HealthState::Unknown, "unknown"),
    (HealthState::Serving, "serving"),
    (HealthState::NotServing, "not_serving"),
    (HealthState::Unreachable, "unreachable"),
    (HealthState::Draining, "draining"),
];

const STORE_STATES: [(StoreState, &str); 4] = [
    (StoreState::Ephemeral, "ephemeral"),
    (StoreState::Synced, "synced"),
    (StoreState::Full, "full"),
    (StoreState::Failed, "failed"),
];

/// What is told as it happens. Telling takes no lock but that of the map of results.
#[derive(Debug)]
pub struct RegistryMetrics {
    probes: ByResult,
    probe_seconds: Histogram,
    propagation_seconds: Histogram,
    commit_seconds: Histogram,
}

impl RegistryMetrics {
    /// Adds these instruments to those of a service. To be called once for the same service.
    pub fn new(metrics: &Metrics, limits: &Limits) -> Arc<Self> {
        let (instances, watchers) = (limits.instances, limits.watchers);
        metrics.register_gauge(
            "homeroom_registry_instances_max",
            "How many instances may be registered",
            move || instances,
        );
        metrics.register_gauge(
            "homeroom_registry_watchers_max",
            "How many watches may be open",
            move || watchers,
        );
        let histogram = || Histogram::new(Histogram::FAST);
        let told = Self {
            probes: ByResult::default(),
            probe_seconds: histogram(),
            propagation_seconds: histogram(),
            commit_seconds: histogram(),
        };
        for result in RESULTS {
            drop(told.probes.get_or_create(&[("result", result)]));
        }
        metrics.register(|registry| {
            let probes = told.probes.clone();
            registry.register(
                "homeroom_registry_probes",
                "Probes that have ended, by what they found",
                probes,
            );
            for (name, help, histogram) in [
                ("probe", "How long probes took", &told.probe_seconds),
                (
                    "propagation",
                    "From a change to the last watcher that acknowledged it",
                    &told.propagation_seconds,
                ),
                (
                    "commit",
                    "How long changes took to be synced to disk",
                    &told.commit_seconds,
                ),
            ] {
                let name = format!("homeroom_registry_{name}");
                registry.register_with_unit(name, help, Unit::Seconds, histogram.clone());
            }
        });
        Arc::new(told)
    }

    /// A probe has ended: what it found, as one of a few words, and how long it took.
    pub fn on_probe(&self, result: &'static str, took: Duration) {
        self.probes.get_or_create(&[("result", result)]).inc();
        self.probe_seconds.observe(took);
    }

    /// The last watcher that acknowledges has acknowledged a change this long after it was made.
    pub fn on_propagated(&self, after: Duration) {
        self.propagation_seconds.observe(after);
    }

    /// Changes have been synced to disk.
    pub fn on_sync(&self, took: Duration) {
        self.commit_seconds.observe(took);
    }
}

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
        let instances_in = |state| {
            let counts = status.instances.iter().filter(move |count| count.state() == state);
            counts.map(|count| count.instances).sum()
        };
        let instances = STATES.map(|(state, name)| (name, instances_in(state)));
        let store = status.store.as_ref().map(Store::state).unwrap_or_default();
        let states = STORE_STATES.map(|(state, name)| (name, u32::from(state == store)));
        let brake = status.brake.unwrap_or_default();
        let services = u32::try_from(brake.services.len()).unwrap_or(u32::MAX);
        labelled(
            &mut encoder,
            "instances",
            "Instances, by their health.",
            "health",
            &instances,
        )?;
        labelled(
            &mut encoder,
            "store_state",
            "1 for the state that the store is in.",
            "state",
            &states,
        )?;
        for (name, help, value) in [
            (
                "suspect_instances",
                "Listed though their last probe was silent.",
                status.suspect_instances,
            ),
            (
                "unverified_instances",
                "Not probed since the start.",
                status.unverified_instances,
            ),
            ("services", "Services that have instances.", status.services),
            ("changes", "Changes that are held.", status.changes),
            ("watchers", "Open watches.", status.watchers),
            (
                "acknowledging_watchers",
                "Open watches that acknowledge.",
                status.acknowledging_watchers,
            ),
            (
                "brake_engaged",
                "1 while the brake holds the catalog.",
                u32::from(brake.engaged),
            ),
            ("brake_services", "Services that the brake holds.", services),
            (
                "kept_instances",
                "Instances that the brake keeps listed.",
                brake.kept_instances,
            ),
        ] {
            gauge(&mut encoder, name, help, &value)?;
        }
        gauge(
            &mut encoder,
            "revision",
            "The revision of the last change.",
            &status.revision,
        )
    }
}

fn gauge(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: &impl EncodeGaugeValue) -> fmt::Result {
    let name = format!("homeroom_registry_{name}");
    let mut gauge = encoder.encode_descriptor(&name, help, None, MetricType::Gauge)?;
    gauge.encode_gauge(value)
}

fn labelled(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    label: &str,
    values: &[(&str, u32)],
) -> fmt::Result {
    let name = format!("homeroom_registry_{name}");
    let mut gauge = encoder.encode_descriptor(&name, help, None, MetricType::Gauge)?;
    for (of, value) in values {
        gauge.encode_family(&[(label, *of)])?.encode_gauge(value)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
