//! Ready answers as a generated client sees them.

use std::time::SystemTime;

use homeroom::{proto::registry::v1::registry_client::RegistryClient, status::reason};
use tonic::Code;

use super::*;
use crate::{config::Settings, store::Store};

type Client = RegistryClient<ReadyAnswers<RegistryServer<Api>>>;

fn client() -> (Engine, Client) {
    let engine = Engine::new(Store::new(SystemTime::now()), &Settings::default());
    (engine.clone(), RegistryClient::new(server(engine, Shutdown::new())))
}

async fn register(client: &mut Client, service: &str, id: &str) {
    let instance = proto::Instance {
        service: service.to_owned(),
        id: id.to_owned(),
        address: "127.0.0.1:1".to_owned(),
        ..Default::default()
    };
    let request = RegisterRequest {
        instance: Some(instance),
        ..Default::default()
    };
    client.register(request).await.expect("accepted");
}

fn watch(for_instance: Option<proto::InstanceKey>) -> WatchServicesRequest {
    WatchServicesRequest {
        for_instance,
        include_all_health: true,
        ..Default::default()
    }
}

#[tokio::test]
async fn a_watch_is_told_by_messages_and_ends_with_its_reason() {
    let (engine, mut client) = client();
    register(&mut client, "s", "a").await;
    let mut messages = client.watch_services(watch(None)).await.expect("a watch").into_inner();
    let snapshot = messages.message().await.expect("no error").expect("a snapshot");
    assert_eq!((snapshot.reset, snapshot.updated.len()), (true, 1));
    assert!(WatchId::parse(&snapshot.watch_id).is_some());
    register(&mut client, "s", "b").await;
    let patch = messages.message().await.expect("no error").expect("a patch");
    assert_eq!((patch.reset, patch.updated[0].id.as_str()), (false, "b"));
    assert_eq!(patch.watch_id, "");
    let acknowledgement = AcknowledgeRevisionRequest {
        watch_id: snapshot.watch_id,
        revision: patch.revision,
    };
    client.acknowledge_revision(acknowledgement).await.expect("it is open");
    engine.store.feeds().close();
    let end = messages.message().await.expect_err("the end");
    assert_eq!(
        (end.code(), reason(&end).as_deref()),
        (Code::Unavailable, Some("DRAINING"))
    );
}

#[tokio::test]
async fn a_watch_for_an_instance_that_is_not_there_ends_with_its_reason_at_once_or_later() {
    let (_, mut client) = client();
    let key = proto::InstanceKey {
        service: "s".to_owned(),
        id: "a".to_owned(),
    };
    let refused = client
        .watch_services(watch(Some(key.clone())))
        .await
        .expect_err("not there");
    assert_eq!(reason(&refused).as_deref(), Some("INSTANCE_NOT_FOUND"));
    register(&mut client, "s", "a").await;
    let messages = client.watch_services(watch(Some(key))).await;
    let mut messages = messages.expect("a watch").into_inner();
    messages.message().await.expect("no error").expect("a snapshot");
    let departure = DeregisterRequest {
        service: "s".to_owned(),
        id: "a".to_owned(),
        ..Default::default()
    };
    client.deregister(departure).await.expect("it was there");
    let end = messages.message().await.expect_err("the end");
    assert_eq!(
        (end.code(), reason(&end).as_deref()),
        (Code::NotFound, Some("INSTANCE_NOT_FOUND"))
    );
}

#[tokio::test]
async fn a_list_is_answered_as_any_other_message() {
    let (_, mut client) = client();
    register(&mut client, "s", "a").await;
    let request = ListInstancesRequest {
        service: "s".to_owned(),
        include_all_health: true,
        ..Default::default()
    };
    for _ in 0..2 {
        let answer = client
            .list_instances(request.clone())
            .await
            .expect("a page")
            .into_inner();
        assert_eq!((answer.instances.len(), answer.revision), (1, 1));
    }
    let request = ListInstancesRequest {
        service: "-".to_owned(),
        ..Default::default()
    };
    let refused = client.list_instances(request).await.expect_err("no name");
    assert_eq!(reason(&refused).as_deref(), Some("INVALID_FIELD"));
}
