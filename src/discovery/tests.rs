use std::time::Duration;

use super::{Discovery, Freshness, HEARTBEAT_INTERVAL, SILENCE_MAX};
use crate::{
    model::Address,
    proto::registry::v1::Instance,
    testing::{Port, ScriptedRegistry, instance, patch, skip, snapshot, soon},
};
use tonic::Status;

fn address(port: u16) -> Address {
    std::net::SocketAddr::from(([127, 0, 0, 1], port)).into()
}

fn grades(port: u16, revision: u64) -> Instance {
    instance("grades", &address(port), revision)
}

fn watch(registry: &ScriptedRegistry) -> Discovery {
    Discovery::start(registry.channel(), vec!["grades".parse().expect("a service name")])
}

/// Waits until the view has exactly the instances on these ports.
async fn shows(discovery: &Discovery, ports: &[u16]) {
    let mut views = discovery.views();
    let expected: Vec<_> = ports.iter().map(|port| address(*port).to_string()).collect();
    let shown = views.wait_for(|view| {
        view.instances()
            .map(|i| i.key().id.to_string())
            .eq(expected.iter().cloned())
    });
    soon("the view", shown).await.expect("the watcher runs");
}

#[tokio::test]
async fn a_watch_asks_for_its_services_and_begins_with_a_snapshot() {
    let mut registry = ScriptedRegistry::start();
    let discovery = watch(&registry);
    let (request, stage) = registry.watch().await;
    assert_eq!(request.services, ["grades"]);
    assert_eq!((request.revision, request.epoch), (0, 0));
    assert!(!request.include_all_health, "only serving instances are wanted");
    stage.send(Ok(snapshot(1, &[grades(1, 1)]))).await;
    shows(&discovery, &[1]).await;
}

#[tokio::test]
async fn each_applied_revision_is_acknowledged_and_a_heartbeat_is_not() {
    let mut registry = ScriptedRegistry::start();
    let discovery = watch(&registry);
    let (_, stage) = registry.watch().await;
    let (a, b) = (grades(1, 1), grades(2, 2));
    stage.send(Ok(snapshot(1, std::slice::from_ref(&a)))).await;
    let acknowledged = registry.acknowledged().await;
    assert_eq!((acknowledged.watch_id.as_str(), acknowledged.revision), ("w", 1));
    let before = discovery.freshness().borrow().confirmed_at;
    stage.send(Ok(patch(1, &[], std::slice::from_ref(&a)))).await;
    becomes(&discovery, |freshness| freshness.confirmed_at > before).await;
    stage
        .send(Ok(patch(2, std::slice::from_ref(&b), &[a, b.clone()])))
        .await;
    let acknowledged = registry.acknowledged().await;
    assert_eq!((acknowledged.watch_id.as_str(), acknowledged.revision), ("w", 2));
    shows(&discovery, &[1, 2]).await;
}

#[tokio::test]
async fn a_stream_that_starts_another_history_is_followed_and_acknowledged_under_its_name() {
    let mut registry = ScriptedRegistry::start();
    let discovery = watch(&registry);
    let (_, stage) = registry.watch().await;
    stage.send(Ok(snapshot(5, &[grades(1, 5)]))).await;
    assert_eq!(registry.acknowledged().await.revision, 5);
    for epoch in [2, 3] {
        // The same revision, and yet another view.
        let mut restarted = snapshot(5, &[grades(u16::try_from(epoch).expect("small"), 5)]);
        restarted.epoch = epoch;
        stage.send(Ok(restarted)).await;
        let acknowledged = registry.acknowledged().await;
        assert_eq!((acknowledged.watch_id.as_str(), acknowledged.revision), ("w", 5));
    }
    shows(&discovery, &[3]).await;
    assert_eq!(discovery.freshness().borrow().resyncs, 0);
    drop(stage);
    let (request, _stage) = registry.watch().await;
    assert_eq!((request.revision, request.epoch), (5, 3));
}

/// Waits until the freshness is as wanted.
async fn becomes(discovery: &Discovery, wanted: impl FnMut(&Freshness) -> bool) {
    let mut freshness = discovery.freshness();
    let waiting = freshness.wait_for(wanted);
    soon("the freshness", waiting).await.expect("the watcher runs");
}

#[tokio::test]
async fn a_view_ages_until_the_registry_confirms_it() {
    let mut registry = ScriptedRegistry::start();
    let discovery = watch(&registry);
    let (_, stage) = registry.watch().await;
    assert_eq!(discovery.age(), None, "nothing was ever confirmed");
    assert!(!discovery.is_connected());

    let a = [grades(1, 1)];
    stage.send(Ok(snapshot(1, &a))).await;
    becomes(&discovery, |freshness| freshness.connected).await;
    let heartbeats = 2;
    skip(heartbeats * HEARTBEAT_INTERVAL).await;
    assert!(discovery.age() >= Some(heartbeats * HEARTBEAT_INTERVAL));

    let before = discovery.freshness().borrow().confirmed_at;
    let mut part = patch(2, &[grades(2, 2)], &[]);
    part.more = true;
    stage.send(Ok(part)).await;
    stage.send(Ok(patch(2, &[], &[grades(1, 1), grades(2, 2)]))).await;
    becomes(&discovery, |freshness| freshness.confirmed_at > before).await;
    shows(&discovery, &[1, 2]).await;
    assert!(discovery.age() < Some(heartbeats * HEARTBEAT_INTERVAL));

    registry.crash().await;
    becomes(&discovery, |freshness| !freshness.connected).await;
    skip(Duration::from_secs(60)).await;
    assert!(
        discovery.age() >= Some(Duration::from_secs(60)),
        "a view without a registry ages"
    );
    shows(&discovery, &[1, 2]).await;
}

#[tokio::test]
async fn a_stream_that_falls_silent_is_opened_again_on_another_connection() {
    let mut registry = ScriptedRegistry::start();
    let discovery = watch(&registry);
    let call = registry.watches.next().await;
    let first = call.peer;
    let (_, stage) = call.stream();
    stage.send(Ok(snapshot(1, &[grades(1, 1)]))).await;
    registry.acknowledged().await;
    skip(SILENCE_MAX).await;
    stage.cancelled().await;
    becomes(&discovery, |freshness| !freshness.connected).await;
    shows(&discovery, &[1]).await;
    let call = registry.watches.next().await;
    assert!(call.peer.is_some() && call.peer != first);
    let (request, stage) = call.stream();
    assert_eq!((request.revision, request.epoch), (1, 1));
    stage.send(Ok(patch(1, &[], &[grades(1, 1)]))).await;
    becomes(&discovery, |freshness| freshness.connected).await;
}

#[tokio::test]
async fn a_broken_stream_is_resumed_at_the_last_revision_of_the_same_epoch() {
    let mut registry = ScriptedRegistry::start();
    let discovery = watch(&registry);
    let (_, stage) = registry.watch().await;
    let a = grades(1, 7);
    stage.send(Ok(snapshot(7, std::slice::from_ref(&a)))).await;
    registry.acknowledged().await;
    stage.send(Err(Status::unavailable("stopping"))).await;
    let (request, stage) = registry.watch().await;
    assert_eq!((request.revision, request.epoch), (7, 1));
    shows(&discovery, &[1]).await;
    let b = grades(2, 8);
    stage
        .send(Ok(patch(8, std::slice::from_ref(&b), &[a, b.clone()])))
        .await;
    shows(&discovery, &[1, 2]).await;
    drop(stage);
    let (request, _stage) = registry.watch().await;
    assert_eq!((request.revision, request.epoch), (8, 1));
}

#[tokio::test]
async fn a_registry_that_comes_back_is_found_again() {
    let port = Port::take();
    let mut registry = ScriptedRegistry::start_on(port.listen());
    let discovery = watch(&registry);
    let (_, stage) = registry.watch().await;
    stage.send(Ok(snapshot(3, &[grades(1, 3)]))).await;
    registry.acknowledged().await;
    registry.crash().await;
    shows(&discovery, &[1]).await;
    let mut registry = ScriptedRegistry::start_on(port.listen());
    let (request, _stage) = registry.watch().await;
    assert_eq!((request.revision, request.epoch), (3, 1));
}

#[tokio::test]
async fn a_hash_that_does_not_match_makes_the_watcher_ask_for_a_snapshot() {
    let mut registry = ScriptedRegistry::start();
    let discovery = watch(&registry);
    let (_, stage) = registry.watch().await;
    stage.send(Ok(snapshot(1, &[grades(1, 1)]))).await;
    let mut lossy = patch(3, &[grades(3, 3)], &[]);
    lossy.view_hash = 1;
    stage.send(Ok(lossy)).await;
    let (request, stage) = registry.watch().await;
    assert_eq!((request.revision, request.epoch), (0, 0));
    shows(&discovery, &[1]).await;
    stage.send(Ok(snapshot(3, &[grades(2, 2), grades(3, 3)]))).await;
    shows(&discovery, &[2, 3]).await;
    assert_eq!(discovery.freshness().borrow().resyncs, 1);
}

#[tokio::test]
async fn a_snapshot_in_parts_is_shown_and_acknowledged_once_it_is_whole() {
    let mut registry = ScriptedRegistry::start();
    let discovery = watch(&registry);
    let (_, stage) = registry.watch().await;
    let (a, b) = (grades(1, 1), grades(2, 2));
    let mut first = snapshot(2, std::slice::from_ref(&a));
    first.more = true;
    stage.send(Ok(first)).await;
    stage
        .send(Ok(patch(2, std::slice::from_ref(&b), &[a, b.clone()])))
        .await;
    shows(&discovery, &[1, 2]).await;
    assert_eq!(registry.acknowledged().await.revision, 2);
}

#[tokio::test]
async fn a_stream_that_breaks_between_the_parts_of_a_message_is_begun_anew() {
    let mut registry = ScriptedRegistry::start();
    let discovery = watch(&registry);
    let (_, stage) = registry.watch().await;
    let a = grades(1, 1);
    stage.send(Ok(snapshot(1, std::slice::from_ref(&a)))).await;
    let mut half = patch(5, &[grades(2, 5)], &[]);
    half.more = true;
    stage.send(Ok(half)).await;
    drop(stage);
    let (request, _stage) = registry.watch().await;
    assert_eq!((request.revision, request.epoch), (0, 0));
    shows(&discovery, &[1]).await;
}

#[tokio::test]
async fn a_registry_that_does_not_open_the_stream_is_asked_again() {
    let mut registry = ScriptedRegistry::start();
    let _discovery = watch(&registry);
    let silent = registry.watches.next().await;
    skip(SILENCE_MAX).await;
    silent.cancelled().await;
    registry.watch().await;
}

#[tokio::test]
async fn a_watch_ends_with_the_last_clone_of_its_discovery() {
    let mut registry = ScriptedRegistry::start();
    let discovery = watch(&registry);
    let (_, stage) = registry.watch().await;
    drop(discovery.clone());
    stage.send(Ok(snapshot(1, &[]))).await;
    registry.acknowledged().await;
    drop(discovery);
    stage.cancelled().await;
}
