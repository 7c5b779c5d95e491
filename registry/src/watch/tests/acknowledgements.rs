//! Who has acknowledged what, and who waits for it.

use super::*;

fn acknowledge(watches: &Watches, id: WatchId, revision: u64) -> Result<(), Error> {
    watches.acknowledge(id, Revision(revision), (Revision(2), EPOCH))
}

#[tokio::test(start_paused = true)]
async fn a_drain_waits_for_those_who_acknowledge_and_names_the_late() {
    let watches: Arc<Watches> = Arc::default();
    let (quick, slow) = (open(&watches, &["s"], true), open(&watches, &["s"], false));
    let (silent, elsewhere) = (open(&watches, &[], false), open(&watches, &["t"], true));
    let service = "s".parse().expect("a valid name");
    let applied = || watches.applied(&service, (Revision(2), EPOCH), Duration::from_secs(1));
    acknowledge(&watches, slow.id(), 1).expect("it is open");
    acknowledge(&watches, quick.id(), 2).expect("it is open");
    let drained = applied().await;
    let late = vec![slow.id()];
    assert_eq!(drained, Drained { watchers: 2, late });
    let (drained, ()) = tokio::join!(applied(), async {
        acknowledge(&watches, slow.id(), 2).expect("it is open");
    });
    assert_eq!((drained.watchers, drained.late), (2, vec![]));
    let counts = WatchCounts {
        open: 4,
        acknowledging: 3,
    };
    assert_eq!(watches.counts(), counts);
    drop((silent, elsewhere));
}

#[tokio::test(start_paused = true)]
async fn a_drain_waits_neither_for_who_is_gone_nor_for_who_watches_something_else_by_now() {
    let watches: Arc<Watches> = Arc::default();
    let (leaving, moving) = (open(&watches, &["s"], true), open(&watches, &["s"], true));
    let scope = Scope::services(named(&["t"]), false);
    let feed = Fixture::new()
        .store
        .read(|state| Feed::new(scope.selection().clone(), state));
    let elsewhere = Arc::new(feed);
    let service = "s".parse().expect("a valid name");
    let started = tokio::time::Instant::now();
    let (drained, ()) = tokio::join!(
        watches.applied(&service, (Revision(2), EPOCH), Duration::from_secs(1)),
        async {
            drop(leaving);
            moving.follow(&elsewhere);
        }
    );
    assert_eq!((drained.watchers, drained.late), (2, vec![]));
    assert!(started.elapsed().is_zero());
}

#[tokio::test(start_paused = true)]
async fn who_acknowledges_for_the_first_time_is_waited_for_from_then_on() {
    let watches: Arc<Watches> = Arc::default();
    let (known, new) = (open(&watches, &["s"], true), open(&watches, &["s"], false));
    let service = "s".parse().expect("a valid name");
    let (drained, ()) = tokio::join!(
        watches.applied(&service, (Revision(2), EPOCH), Duration::from_secs(1)),
        async {
            acknowledge(&watches, new.id(), 1).expect("it is open");
            acknowledge(&watches, known.id(), 2).expect("it is open");
        }
    );
    assert_eq!(drained.late, [new.id()]);
}

#[tokio::test(start_paused = true)]
async fn a_revision_of_another_epoch_acknowledges_nothing() {
    let watches: Arc<Watches> = Arc::default();
    let guard = open(&watches, &["s"], true);
    acknowledge(&watches, guard.id(), 2).expect("it is open");
    let service = "s".parse().expect("a valid name");
    let other = (Revision(2), Epoch(8));
    let drained = watches.applied(&service, other, Duration::from_secs(1)).await;
    assert_eq!(drained.late, [guard.id()]);
    watches
        .acknowledge(guard.id(), Revision(2), other)
        .expect("the same watch");
    assert_eq!(watches.applied(&service, other, Duration::from_secs(1)).await.late, []);
}

#[test]
fn only_what_a_watch_was_told_can_be_acknowledged() {
    let watches: Arc<Watches> = Arc::default();
    let guard = open(&watches, &[], true);
    let id = guard.id();
    assert_eq!(WatchId::parse(&id.to_string()), Some(id));
    assert!(matches!(acknowledge(&watches, id, 3), Err(Error::InvalidField(field)) if field.field == "revision"));
    let other_registry = WatchId { start: 8, ..id };
    let other_number = WatchId { number: 99, ..id };
    for unknown in [other_registry, other_number] {
        assert_eq!(
            acknowledge(&watches, unknown, 1),
            Err(Error::WatchNotFound(unknown.to_string()))
        );
    }
    assert_eq!((WatchId::parse("7"), WatchId::parse("7-x")), (None, None));
}

#[tokio::test(start_paused = true)]
async fn a_change_is_measured_to_the_last_watcher_that_acknowledges_it() {
    let fixture = Fixture::new();
    let took = Arc::new(Mutex::new(Vec::new()));
    let observer = took.clone();
    fixture
        .watches
        .observe_propagation(move |time| observer.lock().expect("no panic").push(time));
    let scope = Scope::services(named(&["s"]), true);
    let watchers: [_; 2] = std::array::from_fn(|_| fixture.watch(scope.clone(), &View::default()));
    let ids = watchers
        .each_ref()
        .map(|messages| messages.watcher.as_ref().expect("it is open").id());
    let acknowledge = |id, revision| {
        let current = fixture.store.read(|s| (s.catalog.revision(), s.catalog.epoch()));
        fixture
            .watches
            .acknowledge(id, Revision(revision), current)
            .expect("it is open");
    };
    // From now on both are waited for.
    ids.iter().for_each(|id| acknowledge(*id, 0));
    register(&fixture.store, registration("s", "a", ""));
    for id in ids {
        assert_eq!(*took.lock().expect("no panic"), []);
        tokio::time::advance(Duration::from_millis(20)).await;
        acknowledge(id, 1);
    }
    assert_eq!(*took.lock().expect("no panic"), [Duration::from_millis(40)]);
}
