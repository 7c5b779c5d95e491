use std::net::Ipv4Addr;

use homeroom::{
    health::health,
    model::{Cause, Health, HealthReason, Incarnation},
    proto::{health::v1::HealthCheckResponse, registry::v1 as proto},
    shutdown::Shutdown,
    status,
    testing::{Port, Server, scripted_health, soon},
};
use tokio::io::AsyncWriteExt;
use tonic::{Code, Status, service::Routes};

use super::*;
use crate::{catalog::Departure, engine::Engine};

mod signs;

/// An engine that works until this is dropped.
struct Running {
    engine: Engine,
    _prober: AbortOnDropHandle<()>,
}

fn start() -> Running {
    start_on(Ipv4Addr::LOCALHOST.into())
}

/// A registry that listens on this host.
fn start_on(listens: IpAddr) -> Running {
    let store = Store::new(SystemTime::now());
    let engine = Engine::new(store, &Settings::default(), Options::new(&Settings::default(), listens));
    let prober = engine.prober.clone();
    Running {
        engine,
        _prober: AbortOnDropHandle::new(tokio::spawn(async move { prober.run().await })),
    }
}

fn seconds(seconds: i64) -> Option<prost_types::Duration> {
    Some(prost_types::Duration { seconds, nanos: 0 })
}

fn at(address: &str) -> proto::Instance {
    proto::Instance {
        service: "s".to_owned(),
        id: "a".to_owned(),
        address: address.to_owned(),
        ..Default::default()
    }
}

fn leased(id: &str) -> proto::Instance {
    proto::Instance {
        id: id.to_owned(),
        health_check: Some(proto::HealthCheck {
            mode: proto::HealthCheckMode::Lease.into(),
            ttl: seconds(10),
            ..Default::default()
        }),
        ..at("198.51.100.7:1")
    }
}

impl Running {
    async fn register(&self, instance: proto::Instance, verify: bool) -> Result<Arc<Instance>, Error> {
        let registration = Registration::try_from(instance).expect("a valid registration");
        let patience = verify.then_some(Duration::from_secs(10));
        let registered = self.engine.register(registration, None, "test".into(), None, patience);
        soon("the answer", registered).await.map(|(instance, _)| instance)
    }

    /// Waits until the health of an instance is so.
    async fn health(&self, instance: &Instance, wanted: impl Fn(&Health) -> bool) -> Health {
        let mut revisions = self.engine.store.revisions();
        let mut so = async || loop {
            revisions.mark_unchanged();
            let current = self
                .engine
                .store
                .read(|state| state.catalog.get(instance.key()).cloned());
            let health = current.expect("it is registered").health.clone();
            if wanted(&health) {
                return health;
            }
            revisions.changed().await.expect("the store lives");
        };
        // Longer than any lease: time that is paused runs as far as the next timer.
        tokio::time::timeout(Duration::from_secs(3_600), so())
            .await
            .expect("it comes to that")
    }

    fn causes(&self) -> Vec<Cause> {
        let causes = |state: &crate::store::State| state.history.newest_first().map(|change| change.cause).collect();
        self.engine.store.read(causes)
    }
}

#[tokio::test(start_paused = true)]
async fn a_lease_serves_from_the_start_until_it_expires_and_again_once_it_is_renewed() {
    let registry = start();
    let instance = registry.register(leased("a"), false).await.expect("it is accepted");
    assert!(instance.is_serving() && instance.health.verified);
    assert_eq!(instance.health.reason, HealthReason::LeaseHeld);
    let registered = Instant::now();
    let expired = registry
        .health(&instance, |health| health.state == HealthState::Unreachable)
        .await;
    assert_eq!(expired.reason, HealthReason::LeaseExpired);
    let held = registered.elapsed();
    assert!(
        held >= Duration::from_secs(10) && held < Duration::from_secs(11),
        "{held:?}"
    );
    let ttl = registry.engine.renew_lease(instance.key().clone(), None);
    assert_eq!(ttl, Ok(Duration::from_secs(10)));
    registry
        .health(&instance, |health| health.reason == HealthReason::LeaseHeld)
        .await;
    assert_eq!(
        registry.causes(),
        [Cause::Recovered, Cause::LeaseExpired, Cause::Registered]
    );
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_is_renewed_in_time_stands_without_a_change() {
    let registry = start();
    let instance = registry.register(leased("a"), false).await.expect("it is accepted");
    for _ in 0..10 {
        tokio::time::advance(Duration::from_secs(9)).await;
        registry
            .engine
            .renew_lease(instance.key().clone(), Some(instance.incarnation))
            .expect("it stands");
    }
    assert_eq!(registry.causes(), [Cause::Registered]);
}

#[tokio::test(start_paused = true)]
async fn registering_again_renews_a_lease_and_revives_an_expired_one() {
    let registry = start();
    let instance = registry.register(leased("a"), false).await.expect("it is accepted");
    tokio::time::advance(Duration::from_secs(9)).await;
    registry.register(leased("a"), false).await.expect("it is accepted");
    tokio::time::advance(Duration::from_secs(9)).await;
    assert_eq!(registry.causes(), [Cause::Registered]);
    registry
        .health(&instance, |health| health.state == HealthState::Unreachable)
        .await;
    let again = registry.register(leased("a"), false).await.expect("it is accepted");
    assert!(again.is_serving());
    assert_eq!(registry.causes()[0], Cause::Recovered);
}

#[tokio::test(start_paused = true)]
async fn one_that_has_left_takes_its_lease_along() {
    let registry = start();
    let instance = registry.register(leased("a"), false).await.expect("it is accepted");
    let departure = Departure {
        key: instance.key().clone(),
        incarnation: None,
        actor: "test".into(),
    };
    registry.engine.deregister(departure, None).await.expect("it is there");
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(registry.causes(), [Cause::Deregistered, Cause::Registered]);
}

#[tokio::test]
async fn only_the_lease_that_stands_can_be_renewed() {
    let registry = start();
    let instance = registry.register(leased("a"), false).await.expect("it is accepted");
    let probed = proto::Instance {
        id: "b".to_owned(),
        ..at("127.0.0.1:1")
    };
    let probed = registry.register(probed, false).await.expect("it is accepted");
    let unknown = InstanceKey::parse("s", "c").expect("a key");
    for (key, incarnation, code, reason) in [
        (&unknown, None, Code::NotFound, "INSTANCE_NOT_FOUND"),
        (
            instance.key(),
            Some(Incarnation(1)),
            Code::FailedPrecondition,
            "SUPERSEDED",
        ),
        (probed.key(), None, Code::FailedPrecondition, "NOT_LEASED"),
    ] {
        let refused = registry
            .engine
            .renew_lease(key.clone(), incarnation)
            .expect_err("it is refused");
        let status = Status::from(refused);
        assert_eq!(
            (status.code(), status::reason(&status).as_deref()),
            (code, Some(reason))
        );
    }
}

#[tokio::test]
async fn an_address_that_its_registrant_may_not_have_probed_is_refused_but_for_a_lease() {
    let registry = start_on(Ipv4Addr::new(192, 0, 2, 1).into());
    let refused = registry.register(at("198.51.100.7:1"), false).await;
    let status = Status::from(refused.expect_err("it is nobody's own"));
    assert_eq!(status.code(), Code::PermissionDenied);
    assert_eq!(status::reason(&status).as_deref(), Some("PROBE_NOT_ALLOWED"));
    assert!(status.message().contains("--probe-allow 198.51.100.7"), "{status}");
    registry.register(leased("a"), false).await.expect("it is not probed");
}

#[tokio::test]
async fn a_name_that_is_not_found_is_accepted_and_silent() {
    let registry = start_on(Ipv4Addr::new(192, 0, 2, 1).into());
    let instance = registry
        .register(at("nowhere.invalid:1"), true)
        .await
        .expect("it may come to be");
    assert_eq!(
        (instance.health.state, instance.health.reason),
        (HealthState::Unknown, HealthReason::Timeout)
    );
}

/// What the first probe of an address says.
async fn verdict(registry: &Running, address: &str, name: &str) -> (HealthState, HealthReason) {
    let instance = proto::Instance {
        health_check: Some(proto::HealthCheck {
            service: name.to_owned(),
            ..Default::default()
        }),
        ..at(address)
    };
    let instance = registry.register(instance, true).await.expect("it is accepted");
    assert!(!instance.health.detail.is_empty());
    (instance.health.state, instance.health.reason)
}

#[tokio::test]
async fn the_first_probe_tells_what_is_wrong() {
    let nobody = Port::take();
    let verdict = async |address: &str| verdict(&start(), address, "").await;
    assert_eq!(
        verdict(&nobody.address().to_string()).await,
        (HealthState::Unreachable, HealthReason::Refused)
    );
    let bare = Server::start(Routes::default());
    assert_eq!(
        verdict(bare.address().as_str()).await,
        (HealthState::NotServing, HealthReason::NoHealthService)
    );
    for (said, reason) in [
        (&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], HealthReason::NotHttp2),
        (b"\x15\x03\x03\x00\x02\x02\x0a", HealthReason::TlsFailed),
    ] {
        let port = Port::take();
        let listener = port.listen();
        let _says = AbortOnDropHandle::new(tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                // Whether it is read to the end is the peer's affair.
                let _ = stream.write_all(said).await;
            }
        }));
        assert_eq!(
            verdict(&port.address().to_string()).await,
            (HealthState::Unreachable, reason)
        );
    }
}

#[tokio::test]
async fn what_the_health_service_says_is_the_verdict() {
    let shutdown = Shutdown::new();
    let (reporter, service) = health(&["known"], shutdown.clone());
    let server = Server::start(Routes::new(service));
    let verdict = async |name: &str| verdict(&start(), server.address().as_str(), name).await;
    assert_eq!(verdict("").await, (HealthState::NotServing, HealthReason::NotServing));
    reporter.set_serving(true);
    assert_eq!(verdict("known").await, (HealthState::Serving, HealthReason::Serving));
    assert_eq!(
        verdict("other").await,
        (HealthState::NotServing, HealthReason::HealthNameUnknown)
    );
    shutdown.cancel();
}

#[tokio::test]
async fn check_is_asked_where_watch_is_not_implemented() {
    let (health, calls) = scripted_health();
    let _answers = calls.answer_all(HealthCheckResponse { status: 1 });
    let server = Server::start(Routes::new(health));
    let found = verdict(&start(), server.address().as_str(), "").await;
    assert_eq!(found, (HealthState::Serving, HealthReason::Serving));
}

/// A way to a server that counts who goes there.
struct Way {
    address: String,
    connections: watch::Receiver<usize>,
    _passes: AbortOnDropHandle<()>,
}

fn way_to(server: &Server) -> Way {
    let (port, to) = (Port::take(), server.address().to_string());
    let (address, listener) = (port.address().to_string(), port.listen());
    let (count, connections) = watch::channel(0);
    let passes = async move {
        let mut open = tokio::task::JoinSet::new();
        while let Ok((mut from, _)) = listener.accept().await {
            count.send_modify(|count| *count += 1);
            let to = to.clone();
            open.spawn(async move {
                let mut to = tokio::net::TcpStream::connect(to).await.expect("the server listens");
                // It ends with either side.
                let _ = tokio::io::copy_bidirectional(&mut from, &mut to).await;
            });
        }
    };
    Way {
        address,
        connections,
        _passes: AbortOnDropHandle::new(tokio::spawn(passes)),
    }
}

#[tokio::test]
async fn instances_that_share_an_address_share_a_connection_and_are_asked_by_their_own_names() {
    let (reporter, service) = health(&["a", "b"], Shutdown::new());
    reporter.set_serving(true);
    let server = Server::start(Routes::new(service));
    let mut way = way_to(&server);
    let registry = start();
    let mut instances = Vec::new();
    for (id, name, state) in [
        ("1", "a", HealthState::Serving),
        ("2", "b", HealthState::Serving),
        ("3", "a", HealthState::Serving),
        ("4", "unknown", HealthState::NotServing),
    ] {
        let instance = proto::Instance {
            id: id.to_owned(),
            health_check: Some(proto::HealthCheck {
                service: name.to_owned(),
                ..Default::default()
            }),
            ..at(&way.address)
        };
        let instance = registry.register(instance, true).await.expect("it is accepted");
        assert_eq!(instance.health.state, state, "{id}");
        instances.push(instance);
    }
    assert_eq!(*way.connections.borrow(), 1);
    reporter.set_serving(false);
    for instance in &instances {
        registry
            .health(instance, |health| health.state == HealthState::NotServing)
            .await;
    }
    // A name that is not asked for any more takes a new connection, and makes no difference to the others.
    let departure = Departure {
        key: instances[1].key().clone(),
        incarnation: None,
        actor: "test".into(),
    };
    registry.engine.deregister(departure, None).await.expect("it is there");
    let again = soon("another connection", way.connections.wait_for(|count| *count == 2)).await;
    again.expect("the way is open");
    reporter.set_serving(true);
    for instance in [&instances[0], &instances[2]] {
        registry
            .health(instance, |health| health.state == HealthState::Serving)
            .await;
    }
    assert!(!registry.causes().contains(&Cause::Evicted));
    server.crash().await;
    for instance in [&instances[0], &instances[2], &instances[3]] {
        registry
            .health(instance, |health| health.state == HealthState::Unreachable)
            .await;
    }
}

#[tokio::test]
async fn an_instance_that_moves_is_probed_where_it_is() {
    let (reporter, service) = health(&[], Shutdown::new());
    reporter.set_serving(true);
    let (first, second) = (
        Server::start(Routes::new(service.clone())),
        Server::start(Routes::new(service)),
    );
    let registry = start();
    let instance = registry
        .register(at(first.address().as_str()), true)
        .await
        .expect("it is accepted");
    first.crash().await;
    registry
        .health(&instance, |health| health.state == HealthState::Unreachable)
        .await;
    let moved = registry
        .register(at(second.address().as_str()), true)
        .await
        .expect("it is accepted");
    assert!(moved.is_serving());
    assert_eq!(registry.engine.prober.lock().places.len(), 1);
}
