//! A registry that is killed and started again on its data: nobody is forgotten, and nobody has to come again.

use std::collections::BTreeMap;

use homeroom::{
    discovery::{Discovery, View},
    model::{Epoch, Incarnation, Revision, ServiceName},
    proto::registry::v1::{Instance, RegisterRequest, WatchServicesRequest},
};
use tokio::time::timeout;

use crate::harness::{PATIENCE, Process};

const SERVICES: usize = 10;
const INSTANCES: usize = 1_000;

fn name(service: usize) -> String {
    format!("service-{service}")
}

/// Registers many instances at the address of a process that answers for them, in the name of nobody who would come
/// again. Tells their numbers by service and id.
async fn register_all(registry: &Process, app: &Process) -> BTreeMap<String, Incarnation> {
    let mut client = registry.client();
    let mut incarnations = BTreeMap::new();
    for n in 0..INSTANCES {
        let instance = Instance {
            service: name(n % SERVICES),
            id: n.to_string(),
            address: app.address.to_string(),
            ..Default::default()
        };
        let request = RegisterRequest {
            instance: Some(instance),
            ..Default::default()
        };
        let answer = client.register(request).await.expect("it is accepted").into_inner();
        let instance = answer.instance.expect("an instance");
        let key = format!("{}/{}", instance.service, instance.id);
        incarnations.insert(key, Incarnation(instance.incarnation));
    }
    incarnations
}

fn incarnations(view: &View) -> BTreeMap<String, Incarnation> {
    let instances = view.instances();
    instances
        .map(|instance| (instance.key().to_string(), instance.incarnation))
        .collect()
}

fn watch(registry: &Process, services: impl Iterator<Item = usize>) -> Discovery {
    let services = services.map(|service| name(service).parse::<ServiceName>().expect("a name"));
    registry.mesh().watch(services.collect())
}

async fn shows(discovery: &Discovery, count: usize) {
    let complete = discovery.wait_for(|view| view.instances().count() == count);
    timeout(PATIENCE, complete).await.expect("all are serving in time");
}

/// What a watcher is told that comes back to a registry with the view of before: each message up to a whole view.
async fn resume(registry: &Process, position: (Revision, Epoch)) {
    let (Revision(revision), Epoch(epoch)) = position;
    let request = WatchServicesRequest {
        services: (0..SERVICES).map(name).collect(),
        revision,
        epoch,
        ..Default::default()
    };
    let stream = registry
        .client()
        .watch_services(request)
        .await
        .expect("the watch opens");
    let mut stream = stream.into_inner();
    loop {
        let message = timeout(PATIENCE, stream.message()).await.expect("a message in time");
        let message = message.expect("no error").expect("the stream goes on");
        assert!(!message.reset && message.epoch == epoch, "the history goes on");
        assert!(message.revision >= revision, "revisions never go back");
        assert!(message.removed.is_empty(), "nobody is removed: {:?}", message.removed);
        if !message.more {
            return;
        }
    }
}

#[tokio::test]
async fn a_registry_restart_with_1000_instances_and_watchers_removes_nobody_and_needs_no_registration() {
    let data = tempfile::tempdir().expect("a folder");
    let first = Process::registry_in(data.path(), "127.0.0.1:0").await;
    let app = Process::bare("app", &first).await;
    let registered = register_all(&first, &app).await;
    let all = watch(&first, 0..SERVICES);
    let each: Vec<_> = (0..SERVICES).map(|service| watch(&first, service..=service)).collect();
    shows(&all, INSTANCES).await;
    for discovery in &each {
        shows(discovery, INSTANCES / SERVICES).await;
    }
    let position = all.view().position();

    let address = first.address.to_string();
    first.kill().await;
    let again = Process::registry_in(data.path(), &address).await;
    resume(&again, position).await;
    for discovery in each.iter().chain([&all]) {
        let mut freshness = discovery.freshness();
        let killed = freshness.borrow_and_update().confirmed_at;
        let confirmed = freshness.wait_for(|freshness| freshness.connected && freshness.confirmed_at > killed);
        timeout(PATIENCE, confirmed)
            .await
            .expect("it is confirmed in time")
            .expect("it watches");
        assert_eq!(discovery.freshness().borrow().resyncs, 0);
    }
    assert_eq!(incarnations(&all.view()), registered);
    let shown: usize = each.iter().map(|discovery| discovery.view().instances().count()).sum();
    assert_eq!(shown, INSTANCES);
}
