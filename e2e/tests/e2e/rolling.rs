//! Instances that come and go while they are called: what a rolling restart and a crash cost.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use crate::harness::{PATIENCE, Process, Watch};
use homeroom::{
    balance::Channel,
    proto::health::v1::{HealthCheckRequest, health_client::HealthClient},
    shutdown::Shutdown,
};
use rustix::process::Signal;
use tokio::{sync::Notify, task::JoinSet, time::timeout};
use tonic::Status;

/// How many calls are under way at any time.
const CALLERS: usize = 16;
const INSTANCES: usize = 3;

/// Calls `app` without a pause.
struct Load {
    stop: Shutdown,
    tally: Arc<Tally>,
    callers: JoinSet<()>,
}

#[derive(Default)]
struct Tally {
    succeeded: AtomicUsize,
    failed: Mutex<Vec<Status>>,
    progress: Notify,
}

impl Load {
    fn start(channel: &Channel) -> Self {
        let (stop, tally) = (Shutdown::new(), Arc::new(Tally::default()));
        let mut callers = JoinSet::new();
        for _ in 0..CALLERS {
            callers.spawn(call_on(channel.clone(), stop.clone(), tally.clone()));
        }
        Self { stop, tally, callers }
    }

    /// Waits until so many more calls have succeeded.
    async fn goes_on(&self, calls: usize) {
        let enough = self.tally.succeeded.load(Ordering::Relaxed) + calls;
        let going_on = async {
            loop {
                let progress = self.tally.progress.notified();
                if self.tally.succeeded.load(Ordering::Relaxed) >= enough {
                    return;
                }
                progress.await;
            }
        };
        timeout(PATIENCE, going_on).await.expect("calls succeed");
    }

    /// Stops, and tells how many calls succeeded and which failed.
    async fn end(mut self) -> (usize, Vec<Status>) {
        self.stop.cancel();
        while let Some(ended) = self.callers.join_next().await {
            ended.expect("no panic");
        }
        let failed = std::mem::take(&mut *self.tally.failed.lock().expect("no panic"));
        (self.tally.succeeded.load(Ordering::Relaxed), failed)
    }
}

async fn call_on(channel: Channel, stop: Shutdown, tally: Arc<Tally>) {
    let mut client = HealthClient::new(channel);
    while !stop.is_cancelled() {
        match client.check(HealthCheckRequest::default()).await {
            Ok(_) => {
                tally.succeeded.fetch_add(1, Ordering::Relaxed);
                tally.progress.notify_waiters();
            }
            Err(status) => tally.failed.lock().expect("no panic").push(status),
        }
    }
}

/// Starts instances of `app` one after the other, each until it serves.
async fn start_apps(registry: &Process, watch: &mut Watch) -> Vec<Process> {
    let mut apps = Vec::new();
    for _ in 0..INSTANCES {
        apps.push(Process::bare("app", registry).await);
        watch.comes("app").await;
    }
    apps
}

fn words(failed: &[Status]) -> HashMap<String, usize> {
    let mut words = HashMap::new();
    for status in failed {
        *words
            .entry(format!("{:?}: {}", status.code(), status.message()))
            .or_default() += 1;
    }
    words
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_restart_under_load_fails_no_call() {
    let registry = Process::registry().await;
    let mut watch = Watch::open(&registry, &["app"]).await;
    let mut apps = start_apps(&registry, &mut watch).await;
    let mesh = registry.mesh();
    let load = Load::start(&mesh.channel("app").expect("a name"));
    load.goes_on(300).await;
    let mut stopped = Vec::new();
    for _ in 0..2 * INSTANCES {
        let old = apps.remove(0);
        old.signal(Signal::TERM);
        stopped.push(old);
        watch.goes("app").await;
        apps.push(Process::bare("app", &registry).await);
        watch.comes("app").await;
        load.goes_on(300).await;
    }
    for old in stopped {
        let (code, said) = old.ended().await;
        assert_eq!(code, Some(0), "{said:?}");
    }
    let (succeeded, failed) = load.end().await;
    assert!(failed.is_empty(), "of {succeeded} calls: {:?}", words(&failed));
}

/// Kills each instance twice while it is called, and tells how many calls succeeded and which failed.
async fn crash_under_load(channel: impl FnOnce(Channel) -> Channel) -> (usize, Vec<Status>) {
    let registry = Process::registry().await;
    let mut watch = Watch::open(&registry, &["app"]).await;
    let mut apps = start_apps(&registry, &mut watch).await;
    let mesh = registry.mesh();
    let load = Load::start(&channel(mesh.channel("app").expect("a name")));
    for _ in 0..2 * INSTANCES {
        load.goes_on(300).await;
        apps.remove(0).kill().await;
        watch.goes("app").await;
        apps.push(Process::bare("app", &registry).await);
        watch.comes("app").await;
    }
    load.goes_on(300).await;
    load.end().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_under_load_fails_only_the_calls_under_way() {
    let (succeeded, failed) = crash_under_load(|channel| channel).await;
    let lost = |status: &Status| homeroom::status::reason(status).as_deref() == Some("CONNECTION_LOST");
    assert!(failed.iter().all(lost), "of {succeeded} calls: {:?}", words(&failed));
    // Each caller has one call under way: none can lose more than one by a crash.
    assert!(failed.len() <= 2 * INSTANCES * CALLERS, "{:?}", words(&failed));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_under_load_fails_no_call_that_can_be_repeated() {
    let (succeeded, failed) = crash_under_load(|channel| channel.idempotent()).await;
    assert!(failed.is_empty(), "of {succeeded} calls: {:?}", words(&failed));
}
