use std::{future::poll_fn, time::SystemTime};

use homeroom::{model::Registration, proto::registry::v1::Instance};

use super::*;
use crate::{catalog::Command, store::Store};

fn register(store: &Store, service: &str, id: &str, zone: &str) {
    let registration = Registration::try_from(Instance {
        service: service.to_owned(),
        id: id.to_owned(),
        address: "127.0.0.1:1".to_owned(),
        zone: zone.to_owned(),
        ..Default::default()
    });
    let command = Command::Register {
        registration: Arc::new(registration.expect("a valid registration")),
        renews: None,
        actor: "test".into(),
        registrant: None,
    };
    store.apply(command).expect("accepted");
}

fn request(service: &str, include_all_health: bool) -> ListInstancesRequest {
    ListInstancesRequest {
        service: service.to_owned(),
        include_all_health,
        ..Default::default()
    }
}

/// What is answered, and the bytes if they are shared.
async fn answer(
    pages: &Pages,
    request: &ListInstancesRequest,
    store: &Store,
) -> (ListInstancesResponse, Option<Bytes>) {
    let listed = store.read(|state| pages.list(request, state)).expect("a page");
    let mut body = match listed {
        Listed::Message(message) => return (message, None),
        Listed::Ready(body) => body,
    };
    let (mut pieces, mut status) = (Vec::new(), None);
    while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        let Ok(frame) = frame;
        match frame.into_data() {
            Ok(piece) => pieces.push(piece),
            Err(frame) => status = frame.into_trailers().expect("no data").remove(Status::GRPC_STATUS),
        }
    }
    assert_eq!(status.expect("trailers"), "0");
    let message = pieces.concat();
    assert_eq!(
        message[..5],
        [&[0][..], &u32::to_be_bytes(message.len() as u32 - 5)].concat()
    );
    let message = ListInstancesResponse::decode(&message[5..]).expect("a message");
    (message, pieces.get(1).cloned())
}

#[tokio::test]
async fn a_ready_list_is_the_one_that_would_be_made() {
    let (store, pages) = (Store::new(SystemTime::now()), Pages::default());
    register(&store, "s", "a", "");
    register(&store, "s", "b", "");
    register(&store, "t", "a", "");
    for _ in 0..2 {
        for request in [
            request("s", true),
            request("s", false),
            request("", true),
            request("none", true),
        ] {
            let made = store.read(|state| list::instances(&request, state)).expect("a page");
            assert_eq!(answer(&pages, &request, &store).await.0, made);
        }
    }
}

#[tokio::test]
async fn a_list_is_encoded_again_only_when_its_service_has_changed() {
    let (store, pages) = (Store::new(SystemTime::now()), Pages::default());
    register(&store, "s", "a", "");
    let request = request("s", true);
    let (_, first) = answer(&pages, &request, &store).await;
    let first = first.expect("it is ready");
    register(&store, "t", "a", "");
    let (message, second) = answer(&pages, &request, &store).await;
    assert_eq!(second.expect("it is ready").as_ptr(), first.as_ptr());
    assert_eq!(message.revision, 2, "the revision is the catalog's");
    // The same content again is no change, but another incarnation.
    for zone in ["1", "1"] {
        register(&store, "s", "a", zone);
        let (message, _) = answer(&pages, &request, &store).await;
        let instance = store
            .read(|state| state.catalog.instances().next().cloned())
            .expect("it is there");
        let told = Instance::decode(&*message.instances[0]).expect("an instance");
        assert_eq!(told.zone, "1");
        assert_eq!(told.incarnation, instance.incarnation.0);
    }
}

#[tokio::test]
async fn a_service_that_takes_several_pages_is_not_kept() {
    let (store, pages) = (Store::new(SystemTime::now()), Pages::default());
    register(&store, "s", "a", "");
    register(&store, "s", "b", "");
    let request = ListInstancesRequest {
        page_size: 1,
        ..request("s", true)
    };
    let (message, ready) = answer(&pages, &request, &store).await;
    assert!(ready.is_none() && !message.next_page_token.is_empty());
}

#[test]
fn what_is_kept_is_bounded() {
    let mut kept = Kept::default();
    let half = Bytes::from(vec![0; SIZE_BYTES_MAX / 2]);
    for service in ["a", "b", "b", "c"] {
        let wanted = (service.parse().expect("a valid name"), true);
        kept.keep(wanted, Vec::new(), half.clone());
        assert!(kept.size_bytes <= SIZE_BYTES_MAX && kept.size_bytes == kept.pages.len() * half.len());
    }
    assert_eq!(kept.pages.len(), 1);
}
