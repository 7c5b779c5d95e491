//! What the registry counts besides its calls. `docs/metrics.md` says what each is for.
//!
//! What happens is told to [`RegistryMetrics`] as it happens; what is so, is read when somebody looks.

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
    model::HealthState,
    proto::registry::v1::StoreState,
};

use crate::{engine::Engine, store::State};

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

/// What is told as it happens. All of it may be told under any lock but those that reading the sources takes.
#[derive(Debug)]
pub struct RegistryMetrics {
    probes: ByResult,
    probe_seconds: Histogram,
    propagation_seconds: Histogram,
    commit_seconds: Histogram,
}

impl RegistryMetrics {
    /// Adds these instruments to those of a service. To be called once for the same service.
    pub fn new(metrics: &Metrics) -> Arc<Self> {
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

/// What the brake does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Brake {
    /// Whether it is engaged for the whole catalog.
    pub engaged: bool,
    /// How many services it is engaged for.
    pub services: usize,
    /// How many instances it keeps.
    pub kept: usize,
}

/// What is read when somebody looks.
pub struct Sources {
    /// The catalog and its watchers.
    pub engine: Engine,
    /// What the brake does.
    pub brake: Box<dyn Fn() -> Brake + Send + Sync>,
    /// Whether registrations can be kept.
    pub store: Box<dyn Fn() -> StoreState + Send + Sync>,
}

impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sources")
            .field("engine", &self.engine)
            .finish_non_exhaustive()
    }
}

impl Sources {
    /// Reads them for a service from now on. To be called once for the same service.
    pub fn register(self, metrics: &Metrics) {
        metrics.register(|registry| registry.register_collector(Box::new(self)));
    }
}

/// The catalog in numbers.
#[derive(Debug, Default, PartialEq, Eq)]
struct Counts {
    instances: [usize; STATES.len()],
    suspect: usize,
    unverified: usize,
    services: usize,
    revision: u64,
}

impl Counts {
    fn of(state: &State) -> Self {
        let mut counts = Self {
            services: state.catalog.services().len(),
            revision: state.catalog.revision().0,
            ..Self::default()
        };
        for instance in state.catalog.instances() {
            let health = &instance.health;
            let is_its = |(state, _): &(HealthState, _)| *state == health.state;
            let state = STATES.iter().position(is_its).expect("every state is there");
            counts.instances[state] += 1;
            counts.suspect += usize::from(health.suspect);
            counts.unverified += usize::from(!health.verified);
        }
        counts
    }
}

impl Collector for Sources {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let counts = self.engine.store.read(Counts::of);
        let (watchers, acknowledging) = self.engine.watches.count();
        let brake = (self.brake)();
        let store = (self.store)();
        let instances = counts.instances.iter().zip(STATES);
        let instances = instances.map(|(count, (_, name))| (name, *count));
        labelled(
            &mut encoder,
            "instances",
            "Instances, by their health.",
            "health",
            instances,
        )?;
        let states = STORE_STATES.iter();
        let states = states.map(|(state, name)| (*name, usize::from(*state == store)));
        labelled(
            &mut encoder,
            "store_state",
            "1 for the state that the store is in.",
            "state",
            states,
        )?;
        let mut gauge = |name, help, value: usize| gauge(&mut encoder, name, help, &value);
        gauge(
            "suspect_instances",
            "Listed though their last probe was silent.",
            counts.suspect,
        )?;
        gauge("unverified_instances", "Not probed since the start.", counts.unverified)?;
        gauge("services", "Services that have instances.", counts.services)?;
        gauge("watchers", "Open watches.", watchers)?;
        gauge(
            "acknowledging_watchers",
            "Open watches that acknowledge.",
            acknowledging,
        )?;
        gauge(
            "brake_engaged",
            "1 while the brake holds the catalog.",
            usize::from(brake.engaged),
        )?;
        gauge("brake_services", "Services that the brake holds.", brake.services)?;
        gauge("kept_instances", "Instances that the brake keeps listed.", brake.kept)?;
        self::gauge(
            &mut encoder,
            "revision",
            "The revision of the last change.",
            &counts.revision,
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
    values: impl Iterator<Item = (&'static str, usize)>,
) -> fmt::Result {
    let name = format!("homeroom_registry_{name}");
    let mut gauge = encoder.encode_descriptor(&name, help, None, MetricType::Gauge)?;
    for (of, value) in values {
        gauge.encode_family(&[(label, of)])?.encode_gauge(&value)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
