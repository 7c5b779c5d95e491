use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use clap::Parser;
use homeroom::{
    balance::Channel,
    metrics::{Format, Metrics},
    model::Address,
    proto::registry::v1::{
        Brake, HealthCount, Instance, RegisterRequest, WatchServicesRequest, registry_client::RegistryClient,
    },
    server,
    shutdown::Shutdown,
    testing::{Exposition, scrape, soon},
};
use tokio::task::JoinHandle;

use super::*;
use crate::Args;

const DOCS: &str = include_str!("../../../docs/metrics.md");

fn look(metrics: &Metrics) -> Exposition {
    Exposition::parse(&metrics.text(Format::Prometheus))
}

fn instance(service: &str, id: &str) -> Instance {
    Instance {
        service: service.to_owned(),
        id: id.to_owned(),
        address: "127.0.0.1:1".to_owned(),
        ..Default::default()
    }
}

#[test]
fn the_status_is_told_as_it_is_when_somebody_looks() {
    let metrics = Metrics::new();
    let revision = Arc::new(AtomicU64::new(7));
    let current = revision.clone();
    let of = |state: HealthState, instances| HealthCount {
        state: state.into(),
        instances,
    };
    tell_status(&metrics, move || GetStatusResponse {
        revision: current.load(Relaxed),
        services: 2,
        changes: 9,
        instances: vec![of(HealthState::Serving, 3), of(HealthState::Unreachable, 4)],
        suspect_instances: 5,
        unverified_instances: 6,
        watchers: 10,
        acknowledging_watchers: 8,
        brake: Some(Brake {
            engaged: true,
            services: vec!["a".to_owned(), "b".to_owned()],
            kept_instances: 11,
            ..Default::default()
        }),
        store: Some(Store {
            state: StoreState::Full.into(),
            detail: String::new(),
        }),
        ..Default::default()
    });
    let seen = look(&metrics);
    let value = |name: &str, labels: &[_]| seen.value(&format!("homeroom_registry_{name}"), labels);
    for (name, expected) in [
        ("services", 2.0),
        ("changes", 9.0),
        ("revision", 7.0),
        ("suspect_instances", 5.0),
        ("unverified_instances", 6.0),
        ("watchers", 10.0),
        ("acknowledging_watchers", 8.0),
        ("brake_engaged", 1.0),
        ("brake_services", 2.0),
        ("kept_instances", 11.0),
    ] {
        assert_eq!(value(name, &[]), expected, "{name}");
    }
    for (health, count) in [
        ("serving", 3.0),
        ("unreachable", 4.0),
        ("unknown", 0.0),
        ("not_serving", 0.0),
        ("draining", 0.0),
    ] {
        assert_eq!(value("instances", &[("health", health)]), count, "{health}");
    }
    for (state, is_so) in [("full", 1.0), ("synced", 0.0), ("ephemeral", 0.0), ("failed", 0.0)] {
        assert_eq!(value("store_state", &[("state", state)]), is_so, "{state}");
    }
    revision.store(8, Relaxed);
    assert_eq!(look(&metrics).value("homeroom_registry_revision", &[]), 8.0);
}

#[test]
fn what_happens_is_counted() {
    let metrics = Metrics::new();
    let told = RegistryMetrics::new(&metrics, &Limits::default());
    told.on_probe("serving", Duration::from_millis(2));
    told.on_probe("timeout", Duration::from_secs(3));
    told.on_probe("serving", Duration::from_millis(4));
    told.on_propagated(Duration::from_micros(700));
    told.on_sync(Duration::from_micros(200));
    let seen = look(&metrics);
    for (result, count) in [("serving", 2.0), ("timeout", 1.0), ("refused", 0.0)] {
        let counted = seen.value("homeroom_registry_probes_total", &[("result", result)]);
        assert_eq!(counted, count, "{result}");
    }
    for (name, count) in [("probe", 3.0), ("propagation", 1.0), ("commit", 1.0)] {
        assert_eq!(
            seen.value(&format!("homeroom_registry_{name}_seconds_count"), &[]),
            count
        );
    }
}

/// The registry itself, on a free port.
struct Running {
    address: Address,
    shutdown: Shutdown,
    end: JoinHandle<Result<(), crate::run::RunError>>,
}

impl Running {
    fn start() -> Self {
        let args = Args::try_parse_from(["registry", "--listen", "127.0.0.1:0", "--ephemeral"]);
        let config = args.expect("valid flags").check().expect("valid values");
        let listener = server::bind(config.storing.service.listen).expect("a free port");
        let address = listener.local_addr().expect("the socket is bound").into();
        let shutdown = Shutdown::new();
        let end = tokio::spawn(crate::run(config, listener, shutdown.clone()));
        Self { address, shutdown, end }
    }

    async fn stop(self) {
        self.shutdown.cancel();
        let end = soon("the end of the registry", self.end).await;
        end.expect("no panic").expect("it stops in good order");
    }
}

/// What the tables of `docs/metrics.md` say of each name: its type and its labels.
fn documented() -> BTreeMap<String, (String, Vec<String>)> {
    let rows = DOCS.lines().filter_map(|line| line.strip_prefix("| `"));
    let rows = rows.filter(|row| !row.starts_with("homeroom_log_"));
    let row = |row: &str| {
        let mut cells = row.split('|').map(str::trim);
        let name = cells.next().expect("a name").trim_end_matches('`').to_owned();
        let kind = cells.next().expect("a type").to_owned();
        let labels = cells
            .next()
            .expect("labels")
            .split(", ")
            .map(|label| label.trim_matches('`'));
        let labels = labels.filter(|label| !label.is_empty()).map(str::to_owned);
        (name, (kind, labels.collect()))
    };
    let mut names = BTreeMap::new();
    for (name, what) in rows.map(row) {
        assert!(names.insert(name.clone(), what).is_none(), "twice: {name}");
    }
    names
}

#[tokio::test]
async fn what_a_registry_tells_is_documented_and_what_is_documented_is_told() {
    let registry = Running::start();
    let exported = scrape(&registry.address).await.0.into_iter().map(|(name, family)| {
        let labels = family
            .samples
            .first()
            .map(|sample| sample.labels.keys().cloned().collect());
        let mut labels: Vec<String> = labels.unwrap_or_default();
        labels.retain(|label| label != "le");
        labels.sort();
        (name, (family.kind, labels))
    });
    let mut documented = documented();
    documented.values_mut().for_each(|(_, labels)| labels.sort());
    assert_eq!(exported.collect::<BTreeMap<_, _>>(), documented);
    registry.stop().await;
}

#[tokio::test]
async fn a_registry_tells_of_its_instances_its_watchers_and_its_calls() {
    let registry = Running::start();
    let mut client = RegistryClient::new(Channel::fixed(registry.address.clone()));
    let request = RegisterRequest {
        instance: Some(instance("a", "1")),
        ..Default::default()
    };
    client.register(request).await.expect("it is registered");
    let request = WatchServicesRequest {
        acknowledges: true,
        ..Default::default()
    };
    let watch = client.watch_services(request).await;
    let mut watch = watch.expect("a stream").into_inner();
    watch.message().await.expect("an open stream").expect("a snapshot");
    let seen = scrape(&registry.address).await;
    assert_eq!(seen.value("homeroom_registry_watchers", &[]), 1.0);
    assert_eq!(seen.value("homeroom_registry_acknowledging_watchers", &[]), 1.0);
    assert_eq!(seen.value("homeroom_registry_services", &[]), 1.0);
    assert!(seen.value("homeroom_registry_revision", &[]) >= 1.0);
    let instances = &seen.0["homeroom_registry_instances"].samples;
    assert_eq!(instances.iter().map(|sample| sample.value).sum::<f64>(), 1.0);
    assert_eq!(
        seen.value("homeroom_registry_store_state", &[("state", "ephemeral")]),
        1.0
    );
    let (service, register, watch_services) = (
        ("grpc_service", "homeroom.registry.v1.Registry"),
        ("grpc_method", "Register"),
        ("grpc_method", "WatchServices"),
    );
    let (unary, stream) = (("grpc_type", "unary"), ("grpc_type", "server_stream"));
    let ok = ("grpc_code", "OK");
    assert_eq!(
        seen.value("grpc_server_handled_total", &[unary, service, register, ok]),
        1.0
    );
    assert_eq!(
        seen.value("grpc_server_started_total", &[stream, service, watch_services]),
        1.0
    );
    assert_eq!(
        seen.value("grpc_server_handled_total", &[stream, service, watch_services, ok]),
        0.0
    );
    drop((watch, client));
    registry.stop().await;
}
