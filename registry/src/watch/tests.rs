//! Every watcher's view equals the catalog at the revision it was told, whatever happens in between.

mod acknowledgements;
mod feeds;

use std::{
    collections::BTreeSet,
    future::poll_fn,
    sync::atomic::{AtomicUsize, Ordering},
    task::{Context, Wake, Waker},
    time::SystemTime,
};

use bytes::Bytes;
use homeroom::{
    discovery::View,
    model::{Epoch, Health, HealthReason, HealthState, InstanceKey, Registration},
    proto::registry::v1::{Instance, WatchServicesResponse},
};
use prost::Message;

use super::*;
use crate::{
    catalog::{Command, Departure},
    store::{State, Store},
};

pub(crate) fn registration(service: &str, id: &str, zone: &str) -> Registration {
    Registration::try_from(Instance {
        service: service.to_owned(),
        id: id.to_owned(),
        address: "127.0.0.1:1".to_owned(),
        zone: zone.to_owned(),
        ..Default::default()
    })
    .expect("a valid registration")
}

pub(crate) fn register(store: &Store, registration: Registration) {
    let command = Command::Register {
        registration: Arc::new(registration),
        renews: None,
        actor: "test".into(),
        registrant: None,
    };
    store.apply(command).expect("accepted");
}

pub(crate) fn observe(store: &Store, key: &InstanceKey, state: HealthState) {
    let Some(instance) = store.read(|s| s.catalog.get(key).cloned()) else {
        return;
    };
    let health = Health {
        state,
        reason: HealthReason::Serving,
        ..Health::not_probed(SystemTime::UNIX_EPOCH)
    };
    let registration = instance.registration.clone();
    store
        .apply(Command::Observe { registration, health })
        .expect("never refused");
}

pub(crate) fn deregister(store: &Store, key: &InstanceKey) {
    let departure = Departure {
        key: key.clone(),
        incarnation: None,
        actor: "test".into(),
    };
    // It may not be there.
    let _ = store.apply(Command::Deregister(departure));
}

pub(crate) fn named(services: &[&str]) -> BTreeSet<ServiceName> {
    services
        .iter()
        .map(|name| name.parse().expect("a valid name"))
        .collect()
}

pub(crate) fn key(service: &str, id: &str) -> InstanceKey {
    InstanceKey::parse(service, id).expect("a valid key")
}

pub(crate) struct Fixture {
    pub(crate) store: Arc<Store>,
    watches: Arc<Watches>,
}

/// A watcher as its reader sees it: messages put together from pieces, then perhaps an error.
pub(crate) struct Messages {
    watcher: Option<Watcher>,
    /// The pieces that the last message was made of.
    pieces: Vec<Bytes>,
}

impl Messages {
    pub(crate) fn open(store: Arc<Store>, watches: &Arc<Watches>, request: Request) -> Self {
        let watcher = Watcher::open(store, watches, request);
        Self {
            watcher: Some(watcher.expect("there is room")),
            pieces: Vec::new(),
        }
    }

    pub(crate) async fn next(&mut self) -> Option<Result<WatchServicesResponse, Error>> {
        let watcher = self.watcher.as_mut()?;
        self.pieces.clear();
        loop {
            match poll_fn(|cx| watcher.poll_piece(cx)).await {
                Ok(piece) => self.pieces.push(piece),
                Err(error) => {
                    self.watcher = None;
                    return Some(Err(error));
                }
            }
            let frame = self.pieces.concat();
            let length = u32::from_be_bytes(frame[1..5].try_into().expect("four bytes"));
            let message = &frame[5..];
            if message.len() == length as usize {
                assert_eq!(frame[0], 0, "it is not compressed");
                return Some(Ok(WatchServicesResponse::decode(message).expect("a message")));
            }
        }
    }

    /// Whether there is nothing to be read now, and whoever waits has been woken for nothing.
    fn is_silent(&mut self, waker: &Waker) -> bool {
        let watcher = self.watcher.as_mut().expect("it has not ended");
        watcher.poll_piece(&mut Context::from_waker(waker)).is_pending()
    }
}

impl Fixture {
    pub(crate) fn new() -> Self {
        Self {
            store: Arc::new(Store::new(SystemTime::now())),
            watches: Arc::default(),
        }
    }

    pub(crate) fn watch(&self, scope: Scope, view: &View) -> Messages {
        let position = view.position();
        let request = Request {
            scope,
            position: (position.0.0 > 0).then_some(position),
            heartbeat_interval: Duration::from_secs(5),
            acknowledges: false,
        };
        Messages::open(self.store.clone(), &self.watches, request)
    }

    pub(crate) fn required_by(&self, service: &str, id: &str) -> Scope {
        let scope = |state: &State| Scope::required_by(key(service, id), true, &state.catalog);
        self.store.read(scope).expect("registered")
    }
}

/// Counts how often it is woken.
#[derive(Default)]
struct Alarm(AtomicUsize);

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

async fn next(messages: &mut Messages) -> WatchServicesResponse {
    messages.next().await.expect("a message").expect("no error")
}

/// Reads until the view is consistent and at the store's revision.
async fn catch_up(messages: &mut Messages, view: &mut View, store: &Store) {
    loop {
        view.apply(next(messages).await).expect("the hash is right");
        if view.is_consistent() && view.position().0 == store.read(|s| s.catalog.revision()) {
            return;
        }
    }
}

/// What a watcher is to hold of an instance: all but the incarnation, which may rise without a change.
fn content(instance: &Arc<homeroom::model::Instance>) -> homeroom::model::Instance {
    homeroom::model::Instance {
        incarnation: homeroom::model::Incarnation::default(),
        ..(**instance).clone()
    }
}

pub(crate) fn shown(scope: &Scope, store: &Store) -> Vec<homeroom::model::Instance> {
    store.read(|s| scope.selection().shown(&s.catalog).map(content).collect())
}

pub(crate) fn held(view: &View) -> Vec<homeroom::model::Instance> {
    view.instances().map(content).collect()
}

#[tokio::test(start_paused = true)]
async fn a_watch_of_what_nobody_has_registered_starts_empty_and_stays_alive() {
    let fixture = Fixture::new();
    let mut messages = fixture.watch(Scope::services(named(&["none"]), false), &View::default());
    let first = next(&mut messages).await;
    assert!(first.reset && first.updated.is_empty());
    let asked = tokio::time::Instant::now();
    let heartbeat = next(&mut messages).await;
    assert_eq!(asked.elapsed().as_secs(), 5, "the heartbeat comes after its interval");
    assert!(!heartbeat.reset && heartbeat.updated.is_empty() && heartbeat.removed.is_empty());
}

#[tokio::test(start_paused = true)]
async fn dependents_are_told_when_an_instance_comes_goes_and_comes_back() {
    let fixture = Fixture::new();
    let mut messages = fixture.watch(Scope::services(named(&["s"]), false), &View::default());
    next(&mut messages).await;
    register(&fixture.store, registration("s", "a", ""));
    for (state, listed) in [
        (HealthState::Serving, true),
        (HealthState::Unreachable, false),
        (HealthState::Serving, true),
        (HealthState::NotServing, false),
    ] {
        observe(&fixture.store, &key("s", "a"), state);
        let message = next(&mut messages).await;
        assert_eq!(
            (message.updated.len(), message.removed.len()),
            (usize::from(listed), usize::from(!listed))
        );
    }
}

#[tokio::test(start_paused = true)]
async fn changes_that_were_not_read_are_merged_to_the_last_state() {
    let fixture = Fixture::new();
    let mut messages = fixture.watch(Scope::services(named(&[]), true), &View::default());
    next(&mut messages).await;
    for zone in ["1", "2", "3"] {
        register(&fixture.store, registration("s", "a", zone));
    }
    register(&fixture.store, registration("s", "b", ""));
    deregister(&fixture.store, &key("s", "b"));
    let message = next(&mut messages).await;
    assert_eq!(message.revision, 5);
    assert_eq!(message.updated.len(), 1);
    assert_eq!(message.updated[0].zone, "3");
    assert!(message.removed.is_empty(), "it was never shown");
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_too_large_for_one_message_comes_in_parts() {
    let fixture = Fixture::new();
    for n in 0..2_500 {
        register(&fixture.store, registration("s", &n.to_string(), ""));
    }
    let mut messages = fixture.watch(Scope::services(named(&[]), true), &View::default());
    let mut view = View::default();
    let first = next(&mut messages).await;
    assert!(first.more && first.encoded_len() < 2 * 64 * 1024);
    view.apply(first).expect("a first part");
    catch_up(&mut messages, &mut view, &fixture.store).await;
    assert_eq!(view.instances().count(), 2_500);
}

#[tokio::test(start_paused = true)]
async fn parts_are_shared_by_those_who_read_them_at_about_the_same_time_and_kept_for_nobody_else() {
    let fixture = Fixture::new();
    for n in 0..2_500 {
        register(&fixture.store, registration("s", &n.to_string(), ""));
    }
    let open = || fixture.watch(Scope::services(named(&[]), true), &View::default());
    let (mut first, mut second, mut late) = (open(), open(), open());
    let bytes = |messages: &Messages| messages.pieces.last().expect("a piece").as_ptr();
    loop {
        let more = [next(&mut first).await, next(&mut second).await].map(|message| message.more);
        assert_eq!(bytes(&first), bytes(&second));
        if more == [false; 2] {
            break;
        }
    }
    next(&mut late).await;
    tokio::time::advance(Duration::from_secs(1)).await;
    let (mut view, mut of_late) = (View::default(), View::default());
    let mut again = open();
    view.apply(next(&mut again).await).expect("a first part");
    next(&mut late).await;
    assert_ne!(bytes(&again), bytes(&late));
    catch_up(&mut open(), &mut of_late, &fixture.store).await;
    catch_up(&mut again, &mut view, &fixture.store).await;
    assert_eq!(held(&view), held(&of_late));
}

#[tokio::test(start_paused = true)]
async fn a_watch_for_an_instance_follows_what_it_requires_until_it_leaves() {
    let fixture = Fixture::new();
    let mut app = registration("app", "1", "");
    app.required_services = named(&["a"]).into();
    register(&fixture.store, app.clone());
    register(&fixture.store, registration("a", "1", ""));
    register(&fixture.store, registration("b", "1", ""));
    let mut messages = fixture.watch(fixture.required_by("app", "1"), &View::default());
    let services = |message: &WatchServicesResponse| -> Vec<String> {
        message
            .updated
            .iter()
            .map(|instance| instance.service.clone())
            .collect()
    };
    assert_eq!(services(&next(&mut messages).await), ["a"]);
    app.required_services = named(&["a", "b"]).into();
    register(&fixture.store, app);
    let message = next(&mut messages).await;
    assert!(message.reset);
    assert_eq!(services(&message), ["a", "b"]);
    deregister(&fixture.store, &key("app", "1"));
    let end = messages.next().await.expect("a last word");
    assert_eq!(end, Err(Error::InstanceNotFound(key("app", "1"))));
    assert!(messages.next().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_watch_ends_with_draining_when_the_registry_stops() {
    let fixture = Fixture::new();
    let mut messages = fixture.watch(Scope::services(named(&[]), false), &View::default());
    next(&mut messages).await;
    fixture.store.feeds().close();
    assert_eq!(messages.next().await, Some(Err(Error::Draining)));
    let mut late = fixture.watch(Scope::services(named(&["s"]), false), &View::default());
    next(&mut late).await;
    assert_eq!(late.next().await, Some(Err(Error::Draining)));
}

const EPOCH: Epoch = Epoch(7);

fn open(watches: &Arc<Watches>, services: &[&str], acknowledges: bool) -> Guard {
    let scope = Scope::services(named(services), false);
    watches.open(&scope, acknowledges).expect("there is room")
}

#[tokio::test(start_paused = true)]
async fn resuming_a_watch_whose_instance_requires_others_by_now_starts_over() {
    let fixture = Fixture::new();
    let mut app = registration("app", "1", "");
    app.required_services = named(&["a"]).into();
    register(&fixture.store, app.clone());
    for service in ["a", "b"] {
        register(&fixture.store, registration(service, "1", ""));
    }
    let scope = || fixture.required_by("app", "1");
    let mut view = View::default();
    view.apply(next(&mut fixture.watch(scope(), &view)).await)
        .expect("the hash is right");
    app.required_services = named(&["b"]).into();
    register(&fixture.store, app);
    let message = next(&mut fixture.watch(scope(), &view)).await;
    assert!(message.reset);
    view.apply(message).expect("the hash is right");
    assert_eq!(held(&view), shown(&scope(), &fixture.store));
}

#[tokio::test(start_paused = true)]
async fn removals_too_many_for_one_message_come_in_parts() {
    let fixture = Fixture::new();
    let ids: Vec<_> = (0..2_500).map(|n| format!("{n:0100}")).collect();
    ids.iter()
        .for_each(|id| register(&fixture.store, registration("s", id, "")));
    let scope = Scope::services(named(&[]), true);
    let (mut messages, mut view) = (fixture.watch(scope, &View::default()), View::default());
    catch_up(&mut messages, &mut view, &fixture.store).await;
    ids.iter().for_each(|id| deregister(&fixture.store, &key("s", id)));
    let first = next(&mut messages).await;
    assert!(first.more && first.removed.len() < ids.len());
    view.apply(first).expect("a first part");
    catch_up(&mut messages, &mut view, &fixture.store).await;
    assert_eq!(held(&view), []);
}

#[tokio::test]
async fn watchers_are_limited() {
    let watches = Arc::new(Watches::new(3, SystemTime::now()));
    let mut guards: Vec<_> = (0..3).map(|n| open(&watches, &[], n == 0)).collect();
    let counts = WatchCounts {
        open: 3,
        acknowledging: 1,
    };
    assert_eq!(watches.counts(), counts);
    let refused = watches.open(&Scope::services(named(&[]), false), false);
    assert_eq!(refused.map(|_| ()), Err(Error::TooManyWatchers { limit: 3 }));
    guards.pop();
    open(&watches, &[], false);
}
