//! A registry that is killed at any moment, over and over: what it has acknowledged stands, and its watchers are exact.
//!
//! `HOMEROOM_CRASH_ROUNDS` asks for more kills than the usual 20, `HOMEROOM_CRASH_SEED` for those of an earlier run.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use crate::harness::{PATIENCE, Process, closed_port};
use fastrand::Rng;
use homeroom::{
    balance::Channel,
    discovery::View,
    model,
    proto::registry::v1::{
        DeregisterRequest, HealthCheck, Instance, ListInstancesRequest, ListInstancesResponse, RegisterRequest,
        WatchServicesRequest, WatchServicesResponse, registry_client::RegistryClient,
    },
};
use rustix::process::Signal;
use tokio::{sync::watch, task::JoinHandle, time::timeout};
use tonic::{Code, Status, Streaming};

const WORKERS: u32 = 8;
/// How many instances each worker registers and deregisters; nobody else does.
const IDS: u32 = 25;
const WATCHERS: usize = 3;

/// A registration as its caller knows it: its weight and its incarnation, which is not known before it is answered.
type Standing = Option<(u32, Option<u64>)>;

/// What one caller knows of its instances: what each may be.
#[derive(Debug, Default, Clone)]
struct Known(BTreeMap<u32, Vec<Standing>>);

impl Known {
    fn of(&self, id: u32) -> Vec<Standing> {
        self.0.get(&id).cloned().unwrap_or_else(|| vec![None])
    }

    /// Holds what was found against what may be, and what was found is known from here on.
    fn check(&mut self, found: &BTreeMap<u32, (u32, u64)>) {
        for (id, possible) in &mut self.0 {
            let found = found.get(id);
            let fits = |standing: &Standing| match (standing, found) {
                (None, None) => true,
                (Some((weight, incarnation)), Some((found_weight, found_incarnation))) => {
                    weight == found_weight && incarnation.is_none_or(|incarnation| incarnation == *found_incarnation)
                }
                _ => false,
            };
            assert!(
                possible.iter().any(fits),
                "instance {id} may be {possible:?}, and is {found:?}"
            );
            *possible = vec![found.map(|(weight, incarnation)| (*weight, Some(*incarnation)))];
        }
    }
}

/// Registers and deregisters until the registry is gone.
async fn work(
    mut client: RegistryClient<Channel>,
    mut known: Known,
    (first, mut random): (u32, Rng),
    address: SocketAddr,
    acknowledged: watch::Sender<u32>,
    killed: Arc<AtomicBool>,
) -> Known {
    loop {
        let id = first + random.u32(0..IDS);
        let before = known.of(id);
        let weight = random.u32(1..100);
        let (answer, wanted) = if random.u32(0..3) == 0 && before != [None] {
            let request = DeregisterRequest {
                service: "crash".to_owned(),
                id: id.to_string(),
                ..Default::default()
            };
            (client.deregister(request).await.map(|_| None), None)
        } else {
            let answer = client.register(registration(id, weight, address)).await;
            let answer = answer.map(|answer| {
                let instance = answer.into_inner().instance.expect("an instance");
                Some((weight, Some(instance.incarnation)))
            });
            (answer, Some((weight, None)))
        };
        match answer {
            Ok(standing) => {
                known.0.insert(id, vec![standing]);
                acknowledged.send_modify(|count| *count += 1);
            }
            Err(status) => {
                assert!(
                    killed.load(Ordering::SeqCst) && status.code() == Code::Unavailable,
                    "refused: {status:?}"
                );
                // It was done or not.
                known.0.insert(id, before.into_iter().chain([wanted]).collect());
                return known;
            }
        }
    }
}

fn registration(id: u32, weight: u32, address: SocketAddr) -> RegisterRequest {
    let minute = Some(prost_types::Duration { seconds: 60, nanos: 0 });
    RegisterRequest {
        instance: Some(Instance {
            service: "crash".to_owned(),
            id: id.to_string(),
            address: address.to_string(),
            weight: Some(weight),
            health_check: Some(HealthCheck {
                interval: minute,
                ..Default::default()
            }),
            ..Default::default()
        }),
        ..Default::default()
    }
}

async fn list(registry: &Process) -> ListInstancesResponse {
    let request = ListInstancesRequest {
        include_all_health: true,
        page_size: 1000,
        ..Default::default()
    };
    let listed = registry.client().list_instances(request).await;
    let listed = listed.expect("it answers").into_inner();
    assert_eq!(listed.next_page_token, "", "one page has them all");
    listed
}

/// Resumes a watch where a view is. The first message tells whether the view starts over.
async fn resume(registry: &Process, view: &View) -> Streaming<WatchServicesResponse> {
    let (revision, epoch) = view.position();
    let request = WatchServicesRequest {
        include_all_health: true,
        revision: revision.0,
        epoch: epoch.0,
        ..Default::default()
    };
    let opened = registry.client().watch_services(request).await;
    opened.expect("the watch opens").into_inner()
}

/// Follows a stream until the registry is gone. A view that is left between the parts of a message is of no use.
async fn follow(mut stream: Streaming<WatchServicesResponse>, mut view: View) -> View {
    while let Ok(Some(message)) = stream.message().await {
        view.apply(message).expect("the view is exact");
    }
    if view.is_consistent() { view } else { View::default() }
}

/// Follows a stream until its view shows what a list shows. Whatever it shows on the way has the registry's hash.
async fn catch_up(registry: &Process, stream: &mut Streaming<WatchServicesResponse>, view: &mut View) {
    let mut listed = list(registry).await;
    loop {
        let (revision, epoch) = view.position();
        assert!(revision.0 <= listed.revision || epoch.0 != listed.epoch || view.is_consistent());
        if view.is_consistent() && (revision.0, epoch.0) == (listed.revision, listed.epoch) {
            break;
        }
        if view.is_consistent() && revision.0 > listed.revision {
            listed = list(registry).await;
            continue;
        }
        let message = stream.message().await.expect("no error").expect("the stream goes on");
        view.apply(message).expect("the view is exact");
    }
    let content = |instance: &model::Instance| model::Instance {
        // A registration of the same content is no change, and told to nobody.
        incarnation: model::Incarnation::default(),
        ..instance.clone()
    };
    let listed = listed.instances.into_iter().map(|instance| {
        let instance = model::Instance::try_from(instance).expect("a valid instance");
        content(&instance)
    });
    let held: Vec<_> = view.instances().map(|instance| content(instance)).collect();
    assert_eq!(held, listed.collect::<Vec<_>>());
}

struct Crashes {
    random: Rng,
    known: Vec<Known>,
    views: Vec<View>,
    /// Where everything is registered, and nobody listens.
    address: SocketAddr,
}

impl Crashes {
    /// Lets everybody work, and kills the registry in the midst of it.
    async fn round(&mut self, registry: Process) {
        let wanted = self.random.u32(1..250);
        let (acknowledged, mut count) = watch::channel(0);
        let killed = Arc::new(AtomicBool::new(false));
        let mut watchers = Vec::new();
        for view in self.views.drain(..) {
            watchers.push(tokio::spawn(follow(resume(&registry, &view).await, view)));
        }
        let workers: Vec<JoinHandle<Known>> = (0..WORKERS)
            .zip(self.known.drain(..))
            .map(|(n, known)| {
                let random = (n * IDS, self.random.fork());
                let (acknowledged, killed) = (acknowledged.clone(), killed.clone());
                tokio::spawn(work(
                    registry.client(),
                    known,
                    random,
                    self.address,
                    acknowledged,
                    killed,
                ))
            })
            .collect();
        let enough = count.wait_for(|count| *count >= wanted);
        timeout(PATIENCE, enough)
            .await
            .expect("it answers in time")
            .expect("all work");
        killed.store(true, Ordering::SeqCst);
        registry.kill().await;
        for worker in workers {
            self.known.push(worker.await.expect("nothing was refused"));
        }
        for watcher in watchers {
            self.views.push(watcher.await.expect("its view was exact"));
        }
    }

    /// Holds a restarted registry against what everybody knows.
    async fn check(&mut self, registry: &Process) {
        let listed = list(registry).await;
        let found: BTreeMap<u32, (u32, u64)> = listed
            .instances
            .iter()
            .map(|instance| {
                let id = instance.id.parse().expect("a number");
                (id, (instance.weight.unwrap_or_default(), instance.incarnation))
            })
            .collect();
        self.known.iter_mut().for_each(|known| known.check(&found));
        for view in &mut self.views {
            let (revision, epoch) = view.position();
            let begun = *view != View::default();
            let mut stream = resume(registry, view).await;
            let first = stream.message().await.expect("no error").expect("a first message");
            if begun {
                assert!(!first.reset && first.epoch == epoch.0, "the same history goes on");
                assert!(first.revision >= revision.0, "revisions do not go back");
            }
            view.apply(first).expect("the view is exact");
            let caught_up = timeout(PATIENCE, catch_up(registry, &mut stream, view));
            caught_up.await.expect("it catches up in time");
        }
    }
}

pub(crate) fn setting(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().expect("a number"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_registry_that_is_killed_at_any_moment_keeps_what_it_has_acknowledged() {
    let rounds = setting("HOMEROOM_CRASH_ROUNDS").unwrap_or(20);
    let seed = setting("HOMEROOM_CRASH_SEED").unwrap_or_else(|| fastrand::u64(..));
    eprintln!("HOMEROOM_CRASH_SEED={seed}");
    let data = tempfile::tempdir().expect("a folder");
    let (_held, address) = closed_port();
    let mut crashes = Crashes {
        random: Rng::with_seed(seed),
        known: vec![Known::default(); WORKERS as usize],
        views: vec![View::default(); WATCHERS],
        address,
    };
    for _ in 0..rounds {
        let registry = Process::registry_in(data.path(), "127.0.0.1:0").await;
        crashes.check(&registry).await;
        crashes.round(registry).await;
    }
    let registry = Process::registry_in(data.path(), "127.0.0.1:0").await;
    crashes.check(&registry).await;
    registry.signal(Signal::TERM);
    assert_eq!(registry.ended().await.0, Some(0));
    let registry = Process::registry_in(data.path(), "127.0.0.1:0").await;
    crashes.check(&registry).await;
}

#[tokio::test]
async fn what_is_registered_is_listed_at_once_after_a_restart_and_not_verified() {
    let data = tempfile::tempdir().expect("a folder");
    let registry = Process::registry_in(data.path(), "127.0.0.1:0").await;
    let app = Process::bare("app", &registry).await;
    let serving = |listed: &ListInstancesResponse| -> Result<(bool, u64), Status> {
        let instance = listed.instances.iter().find(|instance| instance.service == "app");
        let instance = instance.ok_or_else(|| Status::not_found("app"))?;
        let health = instance.health.as_ref().expect("health");
        Ok((health.verified, instance.incarnation))
    };
    let mut watch = crate::harness::Watch::open(&registry, &["app"]).await;
    watch.comes("app").await;
    let (verified, incarnation) = serving(&list(&registry).await).expect("it is listed");
    assert!(verified);
    // So that nothing is probed or renewed before it is listed.
    app.signal(Signal::STOP);
    registry.kill().await;
    let registry = Process::registry_in(data.path(), "127.0.0.1:0").await;
    assert_eq!(
        serving(&list(&registry).await).expect("it is listed"),
        (false, incarnation)
    );
    app.signal(Signal::CONT);
}
