//! Every watcher's view equals the catalog at the revision it was told, whatever happens in between.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::SystemTime,
};

use futures_util::StreamExt;
use homeroom::{
    discovery::View,
    model::{Health, HealthReason, HealthState, InstanceKey, Registration},
    proto::registry::v1::{Instance, WatchServicesResponse},
    shutdown::Shutdown,
};
use proptest::prelude::*;
use prost::Message;

use super::*;
use crate::{
    catalog::{Command, Departure},
    store::Store,
};

fn registration(service: &str, id: &str, zone: &str) -> Registration {
    Registration::try_from(Instance {
        service: service.to_owned(),
        id: id.to_owned(),
        address: "127.0.0.1:1".to_owned(),
        zone: zone.to_owned(),
        ..Default::default()
    })
    .expect("a valid registration")
}

fn register(store: &Store, registration: Registration) {
    let command = Command::Register {
        registration: Arc::new(registration),
        renews: None,
        actor: "test".into(),
        registrant: None,
    };
    store.apply(command).expect("accepted");
}

fn observe(store: &Store, key: &InstanceKey, state: HealthState) {
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

fn deregister(store: &Store, key: &InstanceKey) {
    let departure = Departure {
        key: key.clone(),
        incarnation: None,
        actor: "test".into(),
    };
    // It may not be there.
    let _ = store.apply(Command::Deregister(departure));
}

fn named(services: &[&str]) -> BTreeSet<ServiceName> {
    services
        .iter()
        .map(|name| name.parse().expect("a valid name"))
        .collect()
}

fn key(service: &str, id: &str) -> InstanceKey {
    InstanceKey::parse(service, id).expect("a valid key")
}

struct Fixture {
    store: Arc<Store>,
    watches: Arc<Watches>,
    shutdown: Shutdown,
}

type Messages = std::pin::Pin<Box<dyn futures_util::Stream<Item = Result<WatchServicesResponse, Error>> + Send>>;

impl Fixture {
    fn new() -> Self {
        Self {
            store: Arc::new(Store::new(SystemTime::now())),
            watches: Arc::default(),
            shutdown: Shutdown::new(),
        }
    }

    fn watch(&self, scope: Scope, view: &View) -> Messages {
        let position = view.position();
        let request = Request {
            scope,
            position: (position.0.0 > 0).then_some(position),
            heartbeat_interval: Duration::from_secs(5),
            acknowledges: false,
        };
        let store = self.store.clone();
        Box::pin(messages(store, &self.watches, request, self.shutdown.clone()).expect("there is room"))
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

fn shown(scope: &Scope, store: &Store) -> Vec<homeroom::model::Instance> {
    store.read(|s| scope.shown(&s.catalog).map(content).collect())
}

fn held(view: &View) -> Vec<homeroom::model::Instance> {
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
async fn a_watch_for_an_instance_follows_what_it_requires_until_it_leaves() {
    let fixture = Fixture::new();
    let mut app = registration("app", "1", "");
    app.required_services = named(&["a"]);
    register(&fixture.store, app.clone());
    register(&fixture.store, registration("a", "1", ""));
    register(&fixture.store, registration("b", "1", ""));
    let scope = fixture
        .store
        .read(|s| Scope::required_by(key("app", "1"), true, &s.catalog))
        .expect("registered");
    let mut messages = fixture.watch(scope, &View::default());
    let services = |message: &WatchServicesResponse| -> Vec<String> {
        message
            .updated
            .iter()
            .map(|instance| instance.service.clone())
            .collect()
    };
    assert_eq!(services(&next(&mut messages).await), ["a"]);
    app.required_services = named(&["a", "b"]);
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
    fixture.shutdown.cancel();
    assert_eq!(messages.next().await, Some(Err(Error::Draining)));
}

const EPOCH: Epoch = Epoch(7);

fn open(watches: &Arc<Watches>, services: &[&str], acknowledges: bool) -> Guard {
    let scope = Scope::services(named(services), false);
    watches.open(EPOCH, scope, acknowledges).expect("there is room")
}

fn acknowledge(watches: &Watches, id: WatchId, revision: u64) -> Result<(), Error> {
    watches.acknowledge(id, Revision(revision), (EPOCH, Revision(2)))
}

#[tokio::test(start_paused = true)]
async fn a_drain_waits_for_those_who_acknowledge_and_names_the_late() {
    let watches: Arc<Watches> = Arc::default();
    let (quick, slow) = (open(&watches, &["s"], true), open(&watches, &["s"], false));
    let (silent, elsewhere) = (open(&watches, &[], false), open(&watches, &["t"], true));
    let service = "s".parse().expect("a valid name");
    acknowledge(&watches, slow.id(), 1).expect("it is open");
    acknowledge(&watches, quick.id(), 2).expect("it is open");
    let drained = watches.applied(&service, Revision(2), Duration::from_secs(1)).await;
    let late = vec![slow.id().number];
    assert_eq!(drained, Drained { watchers: 2, late });
    let (drained, ()) = tokio::join!(watches.applied(&service, Revision(2), Duration::from_secs(1)), async {
        drop(slow);
    });
    assert!(drained.late.is_empty(), "who is gone is not waited for");
    drop((silent, elsewhere));
}

#[test]
fn only_what_a_watch_was_told_can_be_acknowledged() {
    let watches: Arc<Watches> = Arc::default();
    let guard = open(&watches, &[], true);
    let id = guard.id();
    assert_eq!(WatchId::parse(&id.to_string()), Some(id));
    assert!(matches!(acknowledge(&watches, id, 3), Err(Error::InvalidField(field)) if field.field == "revision"));
    let other_epoch = WatchId { epoch: Epoch(8), ..id };
    let other_number = WatchId { number: 99, ..id };
    for unknown in [other_epoch, other_number] {
        assert_eq!(
            acknowledge(&watches, unknown, 1),
            Err(Error::WatchNotFound(unknown.to_string()))
        );
    }
    assert_eq!((WatchId::parse("7"), WatchId::parse("7-x")), (None, None));
}

#[tokio::test(start_paused = true)]
async fn resuming_a_watch_whose_instance_requires_others_by_now_starts_over() {
    let fixture = Fixture::new();
    let mut app = registration("app", "1", "");
    app.required_services = named(&["a"]);
    register(&fixture.store, app.clone());
    for service in ["a", "b"] {
        register(&fixture.store, registration(service, "1", ""));
    }
    let scope = || {
        fixture
            .store
            .read(|s| Scope::required_by(key("app", "1"), true, &s.catalog))
            .expect("registered")
    };
    let mut view = View::default();
    view.apply(next(&mut fixture.watch(scope(), &view)).await)
        .expect("the hash is right");
    app.required_services = named(&["b"]);
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
    let watches = Arc::new(Watches::new(3));
    let mut guards: Vec<_> = (0..3).map(|n| open(&watches, &[], n == 0)).collect();
    let counts = WatchCounts {
        open: 3,
        acknowledging: 1,
    };
    assert_eq!(watches.counts(), counts);
    let refused = watches.open(EPOCH, Scope::services(named(&[]), false), false);
    assert_eq!(refused.map(|_| ()), Err(Error::TooManyWatchers { limit: 3 }));
    guards.pop();
    open(&watches, &[], false);
}

#[derive(Debug, Clone)]
enum Step {
    Register(u8, u8, u8),
    Observe(u8, u8, bool),
    Deregister(u8, u8),
    Read(usize),
    Reconnect(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        (0..3u8, 0..3u8, 0..3u8).prop_map(|(s, i, z)| Step::Register(s, i, z)),
        (0..3u8, 0..3u8, any::<bool>()).prop_map(|(s, i, up)| Step::Observe(s, i, up)),
        (0..3u8, 0..3u8).prop_map(|(s, i)| Step::Deregister(s, i)),
        (0..4usize).prop_map(Step::Read),
        (0..4usize).prop_map(Step::Reconnect),
    ];
    proptest::collection::vec(step, 1..60)
}

fn scopes() -> Vec<Scope> {
    vec![
        Scope::services(named(&[]), false),
        Scope::services(named(&[]), true),
        Scope::services(named(&["s0", "s1"]), false),
        Scope::services(named(&["s2"]), true),
    ]
}

async fn play(steps: Vec<Step>) {
    let fixture = Fixture::new();
    let store = &fixture.store;
    let mut watchers: BTreeMap<usize, (Messages, View)> = BTreeMap::new();
    for (n, scope) in scopes().into_iter().enumerate() {
        watchers.insert(n, (fixture.watch(scope, &View::default()), View::default()));
    }
    let names = |s: u8, i: u8| (format!("s{s}"), format!("i{i}"));
    for step in steps {
        match step {
            Step::Register(s, i, z) => {
                let (service, id) = names(s, i);
                register(store, registration(&service, &id, &z.to_string()));
            }
            Step::Observe(s, i, up) => {
                let (service, id) = names(s, i);
                let state = if up {
                    HealthState::Serving
                } else {
                    HealthState::Unreachable
                };
                observe(store, &key(&service, &id), state);
            }
            Step::Deregister(s, i) => {
                let (service, id) = names(s, i);
                deregister(store, &key(&service, &id));
            }
            Step::Read(n) => {
                let (messages, view) = watchers.get_mut(&n).expect("there are four");
                view.apply(next(messages).await).expect("the hash is right");
            }
            Step::Reconnect(n) => {
                let (messages, view) = watchers.get_mut(&n).expect("there are four");
                *messages = fixture.watch(scopes()[n].clone(), view);
            }
        }
    }
    for (n, scope) in scopes().into_iter().enumerate() {
        let (messages, view) = watchers.get_mut(&n).expect("there are four");
        catch_up(messages, view, store).await;
        assert_eq!(held(view), shown(&scope, store), "watcher {n}");
    }
}

proptest! {
    #[test]
    fn every_view_ends_as_the_catalog(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        runtime.expect("a runtime").block_on(play(steps));
    }
}
