//! Each change is given exactly once and in order, whatever the reader has missed.

use std::{pin::Pin, time::SystemTime};

use futures_util::{FutureExt, StreamExt};
use homeroom::{
    model::Registration,
    proto::registry::v1::{Change, ChangeCause, Instance},
};
use proptest::prelude::*;
use prost::Message;

use super::*;
use crate::{
    Settings,
    catalog::{Command, Departure},
    config::Limits,
    probe,
};

type Messages = Pin<Box<dyn Stream<Item = Result<WatchChangesResponse, Error>> + Send>>;

struct Fixture {
    engine: Engine,
    shutdown: Shutdown,
}

impl Fixture {
    fn new(history: usize) -> Self {
        let limits = Limits {
            history,
            watchers: 3,
            ..Default::default()
        };
        let store = Store::ephemeral(SystemTime::now(), &limits);
        let settings = Settings {
            limits,
            ..Default::default()
        };
        Self {
            engine: Engine::new(
                store,
                &settings,
                probe::Options::new(&settings, std::net::Ipv4Addr::LOCALHOST.into()),
            ),
            shutdown: Shutdown::new(),
        }
    }

    fn register(&self, service: &str, id: &str, metadata: &str) {
        let registration = Registration::try_from(Instance {
            service: service.to_owned(),
            id: id.to_owned(),
            address: "127.0.0.1:1".to_owned(),
            metadata: [("k".to_owned(), metadata.to_owned())].into(),
            ..Default::default()
        });
        let command = Command::Register {
            registration: Arc::new(registration.expect("a valid registration")),
            renews: None,
            actor: "test".into(),
            registrant: None,
        };
        self.engine.store.apply(command).expect("accepted");
    }

    fn deregister(&self, service: &str, id: &str) {
        let departure = Departure {
            key: InstanceKey::parse(service, id).expect("a valid key"),
            incarnation: None,
            actor: "test".into(),
        };
        // It may not be there.
        let _ = self.engine.store.apply(Command::Deregister(departure));
    }

    fn epoch(&self) -> u64 {
        self.engine.store.read(|state| state.catalog.epoch().0)
    }

    fn request(&self, service: &str, id: &str, revision: Option<u64>) -> WatchChangesRequest {
        WatchChangesRequest {
            service: service.to_owned(),
            id: id.to_owned(),
            revision: revision.unwrap_or_default(),
            epoch: revision.map(|_| self.epoch()).unwrap_or_default(),
        }
    }

    fn open(&self, request: &WatchChangesRequest) -> Messages {
        Box::pin(messages(&self.engine, request, self.shutdown.clone()).expect("it opens"))
    }
}

fn changes(message: &WatchChangesResponse) -> Vec<Change> {
    let changes = message.changes.iter();
    changes
        .map(|change| Change::decode(&**change).expect("a change"))
        .collect()
}

/// The revisions of what is there to read now, and whether there was a gap before each message.
fn read(messages: &mut Messages) -> Vec<(bool, Vec<u64>)> {
    let mut read = Vec::new();
    while let Some(message) = messages.next().now_or_never() {
        let message = message.expect("it goes on").expect("no error");
        let revisions = changes(&message).iter().map(|change| change.revision).collect();
        read.push((message.gap, revisions));
    }
    read
}

#[tokio::test]
async fn a_stream_begins_with_the_next_change() {
    let fixture = Fixture::new(100);
    fixture.register("a", "1", "");
    let mut messages = fixture.open(&fixture.request("", "", None));
    fixture.register("a", "2", "");
    fixture.deregister("a", "1");
    let message = messages.next().await.expect("a message").expect("no error");
    assert_eq!((message.epoch, message.gap), (fixture.epoch(), false));
    let changes = changes(&message);
    let told: Vec<_> = changes.iter().map(|c| (c.revision, c.cause(), c.id.as_str())).collect();
    assert_eq!(
        told,
        [(2, ChangeCause::Registered, "2"), (3, ChangeCause::Deregistered, "1")]
    );
    assert!(changes[0].instance.is_some() && changes[1].instance.is_none());
    assert_eq!(read(&mut messages), []);
}

#[tokio::test]
async fn a_stream_resumes_after_the_revision_that_its_reader_holds() {
    let fixture = Fixture::new(100);
    (0..4).for_each(|n| fixture.register("a", &n.to_string(), ""));
    let mut resumed = fixture.open(&fixture.request("", "", Some(2)));
    assert_eq!(read(&mut resumed), [(false, vec![3, 4])]);
    let mut current = fixture.open(&fixture.request("", "", Some(4)));
    assert_eq!(read(&mut current), []);
}

#[tokio::test]
async fn what_is_not_held_any_more_is_told_as_a_gap() {
    let fixture = Fixture::new(2);
    let mut slow = fixture.open(&fixture.request("", "", None));
    (0..4).for_each(|n| fixture.register("a", &n.to_string(), ""));
    let all_held = [(true, vec![3, 4])];
    assert_eq!(read(&mut fixture.open(&fixture.request("", "", Some(1)))), all_held);
    assert_eq!(read(&mut slow), all_held, "a slow reader is told, too");
    let foreign = WatchChangesRequest {
        revision: 4,
        epoch: fixture.epoch() + 1,
        ..Default::default()
    };
    let mut other_epoch = fixture.open(&foreign);
    assert_eq!(read(&mut other_epoch), all_held);
    fixture.register("a", "5", "");
    assert_eq!(read(&mut other_epoch), [(false, vec![5])], "it is told once");
}

#[tokio::test]
async fn a_gap_is_told_at_once_though_nothing_is_held() {
    let fixture = Fixture::new(2);
    let request = fixture.request("", "", Some(7));
    assert_eq!(read(&mut fixture.open(&request)), [(true, vec![])]);
}

#[tokio::test]
async fn a_filter_lets_through_its_service_or_instance() {
    let fixture = Fixture::new(5_000);
    let mut of_a = fixture.open(&fixture.request("a", "", None));
    let mut of_b1 = fixture.open(&fixture.request("b", "1", None));
    for (service, id) in [("a", "1"), ("b", "1"), ("b", "2"), ("a", "2")] {
        fixture.register(service, id, "");
    }
    assert_eq!(read(&mut of_a), [(false, vec![1, 4])]);
    assert_eq!(read(&mut of_b1), [(false, vec![2])]);
    // More than are looked at in one go.
    (0..SCANNED_MAX + 5).for_each(|n| fixture.register("c", &n.to_string(), ""));
    fixture.deregister("b", "1");
    let last = fixture.engine.store.read(|state| state.catalog.revision().0);
    assert_eq!(read(&mut of_b1), [(false, vec![last])]);
    let refused = messages(
        &fixture.engine,
        &fixture.request("", "1", None),
        fixture.shutdown.clone(),
    );
    assert!(matches!(refused.map(|_| ()), Err(Error::InvalidField(field)) if field.field == "id"));
}

#[tokio::test]
async fn messages_end_at_their_size() {
    let fixture = Fixture::new(100);
    let metadata = "x".repeat(15_000);
    (0..7).for_each(|n| fixture.register("a", &n.to_string(), &metadata));
    let told = read(&mut fixture.open(&fixture.request("", "", Some(0))));
    assert_eq!(told, [(false, vec![1, 2, 3]), (false, vec![4, 5, 6]), (false, vec![7])]);
}

#[tokio::test]
async fn a_stream_is_a_watch_and_ends_with_the_registry() {
    let fixture = Fixture::new(100);
    let request = fixture.request("", "", None);
    let mut open: Vec<_> = (0..3).map(|_| fixture.open(&request)).collect();
    let beyond = messages(&fixture.engine, &request, fixture.shutdown.clone());
    assert_eq!(beyond.map(|_| ()), Err(Error::TooManyWatchers { limit: 3 }));
    drop(open.pop());
    open.push(fixture.open(&request));
    assert_eq!(read(&mut open[0]), []);
    fixture.shutdown.cancel();
    for messages in &mut open {
        assert_eq!(messages.next().await, Some(Err(Error::Draining)));
        assert_eq!(messages.next().await, None);
    }
}

proptest! {
    /// A naive model keeps every change: a reader is given those since it last read, or the last of them and a gap.
    #[test]
    fn every_change_is_given_once_and_in_order_or_missed_with_a_gap(
        steps in prop::collection::vec((0..5u8, 0..2usize, 0..3u8), 1..120),
        held in 1..20usize,
        filter in prop::sample::select(vec!["", "a", "b"]),
    ) {
        let fixture = Fixture::new(held);
        let mut messages = fixture.open(&fixture.request(filter, "", None));
        let (mut made, mut unread): (u64, Vec<(u64, &str)>) = (0, Vec::new());
        for (what, service, id) in steps.iter().copied().chain([(4, 0, 0)]) {
            let (service, id) = (["a", "b"][service], id.to_string());
            match what {
                0..2 => fixture.register(service, &id, &made.to_string()),
                2..4 => fixture.deregister(service, &id),
                _ => {
                    let messages = read(&mut messages);
                    let gap = messages.iter().any(|(gap, _)| *gap);
                    prop_assert_eq!(gap, unread.len() > held);
                    let told: Vec<_> = messages.into_iter().flat_map(|(_, revisions)| revisions).collect();
                    let lost = unread.len().saturating_sub(held);
                    let wanted = unread.drain(..).skip(lost).filter(|(_, service)| filter.is_empty() || filter == *service);
                    prop_assert_eq!(told, wanted.map(|(revision, _)| revision).collect::<Vec<_>>());
                }
            }
            let revision = fixture.engine.store.read(|state| state.catalog.revision().0);
            unread.extend((made..revision).map(|before| (before + 1, service)));
            made = revision;
        }
    }
}
