//! Ready answers as a generated client sees them.

use std::time::SystemTime;

use homeroom::{
    proto::registry::v1::{self as proto, RegisterRequest, ready, registry_client::RegistryClient},
    status::reason,
};
use tonic::Code;

use super::*;
use crate::{config::Settings, probe, store::Store};

type Client = RegistryClient<ReadyAnswers<RegistryServer<Api>>>;

fn client() -> (Engine, Client) {
    let settings = Settings::default();
    let probes = probe::Options::new(&settings, std::net::Ipv4Addr::LOCALHOST.into());
    let engine = Engine::new(Store::new(SystemTime::now()), &settings, probes);
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

#[tokio::test]
async fn answers_of_ready_bytes_are_read_as_generated_messages() {
    let (engine, mut client) = client();
    let mut changes = client
        .watch_changes(WatchChangesRequest::default())
        .await
        .expect("a watch")
        .into_inner();
    let leased = |service: &str, required: &str| RegisterRequest {
        instance: Some(proto::Instance {
            service: service.to_owned(),
            address: "127.0.0.1:1".to_owned(),
            required_services: vec![required.to_owned()],
            health_check: Some(proto::HealthCheck {
                mode: proto::HealthCheckMode::Lease.into(),
                ..Default::default()
            }),
            ..Default::default()
        }),
        ..Default::default()
    };
    client.register(leased("s", "t")).await.expect("accepted");
    let answer = client.register(leased("t", "s")).await.expect("accepted").into_inner();
    let (revision, epoch) = engine
        .store
        .read(|state| (state.catalog.revision().0, state.catalog.epoch().0));
    assert_eq!((answer.revision, answer.epoch), (revision, epoch));
    assert_eq!(answer.cyclic_services, ["s"]);
    assert_eq!(answer.required_instances[0].service, "s");
    let instance = answer.instance.expect("it stands");
    let get = GetInstanceRequest {
        service: "t".to_owned(),
        id: instance.id.clone(),
    };
    let got = client.get_instance(get).await.expect("it stands").into_inner();
    assert_eq!(got.instance.as_ref(), Some(&instance));
    let listed = client.list_changes(ListChangesRequest {
        page_size: 1,
        ..Default::default()
    });
    let listed = listed.await.expect("a page").into_inner();
    assert_eq!((listed.changes[0].revision, listed.epoch), (revision, epoch));
    assert_eq!(listed.changes[0].instance.as_ref(), Some(&instance));
    assert!(!listed.next_page_token.is_empty());
    let told = changes.message().await.expect("no error").expect("two changes");
    assert_eq!(
        (&told.changes[1], told.epoch, told.gap),
        (&listed.changes[0], epoch, false)
    );
    let mut views = client.watch_services(watch(None)).await.expect("a watch").into_inner();
    let view = views.message().await.expect("no error").expect("a snapshot");
    assert_eq!(
        (view.updated.last(), view.revision, view.epoch),
        (Some(&instance), revision, epoch)
    );
    assert!(view.server_time.is_some() && view.view_hash != 0 && !view.more);
}

#[tokio::test]
async fn an_instance_that_cannot_be_read_is_refused_as_a_message_that_cannot() {
    let (engine, _) = client();
    let api = Api {
        engine,
        shutdown: Shutdown::new(),
        pages: Arc::default(),
    };
    let request = ready::RegisterRequest {
        instance: Some(vec![0xff]),
        ..Default::default()
    };
    let refused = api.register(Request::new(request)).await.expect_err("it is cut off");
    let whole = RegisterRequest::decode(&[0xff][..]).expect_err("it is cut off");
    assert_eq!(
        (refused.code(), refused.message()),
        (Code::Internal, &*whole.to_string())
    );
}
