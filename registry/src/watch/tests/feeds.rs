//! What watchers of one view share.

use super::*;

#[tokio::test(start_paused = true)]
async fn watchers_of_one_view_are_told_the_same_bytes() {
    let fixture = Fixture::new();
    register(&fixture.store, registration("s", "a", "1"));
    let mut app = registration("app", "1", "");
    app.required_services = named(&["s"]).into();
    register(&fixture.store, app);
    let mut watchers = [
        fixture.watch(Scope::services(named(&["s"]), true), &View::default()),
        fixture.watch(Scope::services(named(&["s"]), true), &View::default()),
        fixture.watch(fixture.required_by("app", "1"), &View::default()),
    ];
    let mut watch_ids = Vec::new();
    for zone in ["2", "3"] {
        let mut shared = BTreeSet::new();
        for watcher in &mut watchers {
            watch_ids.push(next(watcher).await.watch_id);
            let bytes = watcher.pieces.last().expect("a piece");
            shared.insert((bytes.as_ptr().addr(), bytes.len()));
        }
        assert_eq!(shared.len(), 1, "one allocation for all");
        register(&fixture.store, registration("s", "a", zone));
    }
    assert_eq!(
        watch_ids.iter().collect::<BTreeSet<_>>().len(),
        4,
        "three ids, each told once: {watch_ids:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_change_wakes_only_those_whom_it_concerns() {
    let fixture = Fixture::new();
    let scopes = [named(&["s"]), named(&["t"]), named(&[])].map(|services| Scope::services(services, true));
    let mut watchers = scopes.map(|scope| fixture.watch(scope, &View::default()));
    let alarms: [Arc<Alarm>; 3] = Default::default();
    for (watcher, alarm) in watchers.iter_mut().zip(&alarms) {
        next(watcher).await;
        assert!(watcher.is_silent(&alarm.clone().into()));
    }
    register(&fixture.store, registration("s", "a", ""));
    assert_eq!(
        alarms.each_ref().map(|alarm| alarm.0.load(Ordering::Relaxed)),
        [1, 0, 1]
    );
}

#[tokio::test(start_paused = true)]
async fn a_watcher_too_far_behind_for_its_feed_is_told_from_the_history() {
    let fixture = Fixture::new();
    register(&fixture.store, registration("s", "a", ""));
    register(&fixture.store, registration("s", "b", ""));
    let scope = Scope::services(named(&["s"]), true);
    let (mut messages, mut view) = (fixture.watch(scope.clone(), &View::default()), View::default());
    catch_up(&mut messages, &mut view, &fixture.store).await;
    for n in 0..3_000 {
        register(&fixture.store, registration("s", "a", &n.to_string()));
    }
    let message = next(&mut messages).await;
    assert_eq!(
        (message.reset, message.updated.len()),
        (false, 1),
        "only what it missed, merged"
    );
    view.apply(message).expect("the hash is right");
    assert_eq!(held(&view), shown(&scope, &fixture.store));
}

#[tokio::test(start_paused = true)]
async fn a_new_epoch_gives_every_watcher_a_snapshot() {
    let fixture = Fixture::new();
    register(&fixture.store, registration("s", "a", ""));
    let scope = Scope::services(named(&["s"]), true);
    let (mut messages, mut view) = (fixture.watch(scope, &View::default()), View::default());
    catch_up(&mut messages, &mut view, &fixture.store).await;
    fixture.store.begin_epoch(EPOCH);
    let message = next(&mut messages).await;
    assert!(message.reset);
    view.apply(message).expect("the hash is right");
    assert_eq!(view.position(), (Revision(1), EPOCH));
}

#[tokio::test(start_paused = true)]
async fn feeds_go_with_their_last_watcher() {
    let fixture = Fixture::new();
    let scope = || Scope::services(named(&["s", "t"]), true);
    let first = fixture.watch(scope(), &View::default());
    let second = fixture.watch(scope(), &View::default());
    assert_eq!(fixture.store.feeds().len(), 1);
    drop(first);
    assert_eq!(fixture.store.feeds().len(), 1);
    drop(second);
    assert_eq!(fixture.store.feeds().len(), 0);
}
