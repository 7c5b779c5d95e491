//! Who is alive: processes that die, stop, stall and come back, and the watchers that are told.

use std::{collections::BTreeMap, time::Duration};

use crate::harness::{PATIENCE, Process, Watch, closed_port, silent_port};
use homeroom::proto::registry::v1::{
    GetInstanceRequest, Health, HealthCheck, HealthCheckMode, HealthReason, HealthState, Instance, RegisterRequest,
    RenewLeaseRequest,
};
use rustix::process::Signal;
use tokio::time::{Instant, timeout};

async fn a_kill_is_told_in_under_a_second(registry: &Process) {
    let mut watch = Watch::open(registry, &["app"]).await;
    let app = Process::bare("app", registry).await;
    watch.comes("app").await;
    let killed = Instant::now();
    app.kill().await;
    watch.goes("app").await;
    let took = killed.elapsed();
    assert!(took < Duration::from_secs(1), "it took {took:?}");
}

#[tokio::test]
async fn watchers_are_told_of_a_killed_instance_in_under_a_second() {
    let registry = Process::registry().await;
    a_kill_is_told_in_under_a_second(&registry).await;
}

#[tokio::test]
async fn many_silent_hosts_do_not_hold_up_the_news_of_a_death() {
    let registry = Process::registry().await;
    let (_listener, _waiting, silent) = silent_port().await;
    // More than the registry dials at once.
    for n in 0..600 {
        let instance = Instance {
            service: "silent".to_owned(),
            id: n.to_string(),
            address: silent.to_string(),
            ..Default::default()
        };
        let request = RegisterRequest {
            instance: Some(instance),
            ..Default::default()
        };
        registry.client().register(request).await.expect("it is accepted");
    }
    a_kill_is_told_in_under_a_second(&registry).await;
}

#[tokio::test]
async fn an_instance_that_is_asked_to_stop_says_goodbye_and_exits_with_zero() {
    let registry = Process::registry().await;
    let mut watch = Watch::open(&registry, &["app"]).await;
    for signal in [Signal::TERM, Signal::INT] {
        let app = Process::bare("app", &registry).await;
        let instance = watch.comes("app").await;
        app.signal(signal);
        watch.goes("app").await;
        let (code, said) = app.ended().await;
        assert_eq!(code, Some(0), "{said:?}");
        let request = GetInstanceRequest {
            service: instance.service,
            id: instance.id,
        };
        let gone = registry
            .client()
            .get_instance(request)
            .await
            .expect_err("it is not registered any more");
        assert_eq!(gone.code(), tonic::Code::NotFound);
    }
}

#[tokio::test]
async fn a_second_signal_ends_the_process_at_once() {
    let registry = Process::registry().await;
    let mut watch = Watch::open(&registry, &["app"]).await;
    let app = Process::bare("app", &registry).await;
    watch.comes("app").await;
    // A watcher that has acknowledged once, and does not again: the drain waits for it.
    watch.acknowledge(&registry).await;
    app.signal(Signal::TERM);
    watch.goes("app").await;
    app.signal(Signal::INT);
    let (code, _) = app.ended().await;
    assert_eq!(code, Some(130));
}

#[tokio::test]
async fn everybody_is_back_after_a_registry_that_keeps_nothing_restarts() {
    let registry = Process::registry().await;
    let mut watch = Watch::open(&registry, &[]).await;
    let mut apps = Vec::new();
    for name in ["a", "b", "c"] {
        apps.push(Process::bare(name, &registry).await);
        watch.comes(name).await;
    }
    let address = registry.address.clone();
    registry.kill().await;
    let registry = Process::registry_on(address.as_str()).await;
    let mut watch = Watch::open(&registry, &[]).await;
    let mut missing: Vec<_> = apps.iter().map(|app| app.address.to_string()).collect();
    while !missing.is_empty() {
        let message = watch.next().await;
        missing.retain(|address| message.updated.iter().all(|instance| instance.address != *address));
    }
}

/// Registers the address of a running process again, under another name and with quick probes.
async fn register_with_quick_probes(registry: &Process, app: &Process) -> Instance {
    let millis = |millis: i32| {
        Some(prost_types::Duration {
            seconds: 0,
            nanos: millis * 1_000_000,
        })
    };
    let instance = Instance {
        service: "quick".to_owned(),
        address: app.address.to_string(),
        health_check: Some(HealthCheck {
            interval: millis(200),
            timeout: millis(200),
            attempts: 3,
            ..Default::default()
        }),
        ..Default::default()
    };
    let request = RegisterRequest {
        instance: Some(instance),
        verify: true,
        ..Default::default()
    };
    let answer = registry
        .client()
        .register(request)
        .await
        .expect("it is accepted")
        .into_inner();
    answer.instance.expect("an instance")
}

#[tokio::test]
async fn a_process_that_stalls_is_suspected_then_hidden_and_shown_again_when_it_goes_on() {
    let registry = Process::registry().await;
    let mut readiness = Watch::open(&registry, &["app"]).await;
    let app = Process::bare("app", &registry).await;
    readiness.comes("app").await;
    let registered = register_with_quick_probes(&registry, &app).await;
    assert_eq!(registered.health.expect("health").state(), HealthState::Serving);

    let mut all = Watch::open_all_health(&registry, &["quick"]).await;
    let mut next = async || all.comes("quick").await.health.expect("health");
    assert_eq!(next().await.state(), HealthState::Serving);
    app.signal(Signal::STOP);
    let suspect = next().await;
    assert_eq!((suspect.state(), suspect.suspect), (HealthState::Serving, true));
    let hidden = next().await;
    assert_eq!(
        (hidden.state(), hidden.reason()),
        (HealthState::Unreachable, HealthReason::Timeout)
    );
    app.signal(Signal::CONT);
    assert_eq!(next().await.state(), HealthState::Serving);
}

#[tokio::test]
async fn verification_answers_with_the_verdict_of_the_first_probe() {
    let registry = Process::registry().await;
    let (_held, closed) = closed_port();
    let request = RegisterRequest {
        instance: Some(Instance {
            service: "nobody".to_owned(),
            address: closed.to_string(),
            ..Default::default()
        }),
        verify: true,
        ..Default::default()
    };
    let answer = registry
        .client()
        .register(request)
        .await
        .expect("it is accepted")
        .into_inner();
    let health = answer.instance.and_then(|instance| instance.health).expect("health");
    assert_eq!(
        (health.state(), health.reason()),
        (HealthState::Unreachable, HealthReason::Refused)
    );
}

#[tokio::test]
async fn an_instance_that_stays_dead_is_evicted() {
    let registry = Process::registry().await;
    let (_held, closed) = closed_port();
    let second = Some(prost_types::Duration { seconds: 1, nanos: 0 });
    let instance = Instance {
        service: "dead".to_owned(),
        address: closed.to_string(),
        health_check: Some(HealthCheck {
            interval: Some(prost_types::Duration {
                seconds: 0,
                nanos: 100_000_000,
            }),
            deregister_after: second,
            ..Default::default()
        }),
        ..Default::default()
    };
    let mut all = Watch::open_all_health(&registry, &["dead"]).await;
    let request = RegisterRequest {
        instance: Some(instance),
        verify: true,
        ..Default::default()
    };
    registry.client().register(request).await.expect("it is accepted");
    all.goes("dead").await;
}

/// Reads until every one of these addresses has come in such a health; none may be hidden meanwhile.
async fn all_become(all: &mut Watch, apps: &[Process], wanted: impl Fn(&Health) -> bool) {
    let mut missing: BTreeMap<_, _> = apps.iter().map(|app| (app.address.to_string(), None)).collect();
    let become_so = async {
        while !missing.is_empty() {
            for instance in all.next().await.updated {
                let health = instance.health.expect("health");
                assert_ne!(health.state(), HealthState::Unreachable, "{}", health.detail);
                if wanted(&health) {
                    missing.remove(&instance.address);
                } else if let Some(last) = missing.get_mut(&instance.address) {
                    *last = Some(health);
                }
            }
        }
    };
    let in_time = timeout(PATIENCE, become_so).await.is_ok();
    assert!(in_time, "what was last heard of them: {missing:?}");
}

#[tokio::test]
async fn a_registry_that_hears_nobody_any_more_keeps_everybody_listed() {
    let registry = Process::registry().await;
    let mut all = Watch::open_all_health(&registry, &["quick"]).await;
    let mut apps = Vec::new();
    for n in 0..12 {
        let app = Process::bare(&format!("app{n}"), &registry).await;
        register_with_quick_probes(&registry, &app).await;
        apps.push(app);
    }
    let is_well = |health: &Health| health.state() == HealthState::Serving && !health.suspect;
    all_become(&mut all, &apps, is_well).await;
    apps.iter().for_each(|app| app.signal(Signal::STOP));
    // The reason to hide it is there, and yet it is listed.
    let is_kept = |health: &Health| {
        (health.state(), health.reason(), health.suspect) == (HealthState::Serving, HealthReason::Timeout, true)
    };
    all_become(&mut all, &apps, is_kept).await;
    apps.iter().for_each(|app| app.signal(Signal::CONT));
    all_become(&mut all, &apps, is_well).await;
}

#[tokio::test]
async fn a_lease_serves_while_it_is_renewed_is_hidden_when_it_is_not_and_evicted_in_the_end() {
    let registry = Process::registry().await;
    let second = Some(prost_types::Duration { seconds: 1, nanos: 0 });
    let mut all = Watch::open_all_health(&registry, &["leased"]).await;
    let instance = Instance {
        service: "leased".to_owned(),
        id: "a".to_owned(),
        // Kept for documentation: nobody can dial it.
        address: "198.51.100.7:1".to_owned(),
        health_check: Some(HealthCheck {
            mode: HealthCheckMode::Lease.into(),
            ttl: second,
            deregister_after: second,
            ..Default::default()
        }),
        ..Default::default()
    };
    let request = RegisterRequest {
        instance: Some(instance),
        ..Default::default()
    };
    registry.client().register(request).await.expect("it is accepted");
    let mut next = async || all.comes("leased").await.health.expect("health").reason();
    assert_eq!(next().await, HealthReason::LeaseHeld);
    assert_eq!(next().await, HealthReason::LeaseExpired);
    let renewal = RenewLeaseRequest {
        service: "leased".to_owned(),
        id: "a".to_owned(),
        incarnation: 0,
    };
    let renewed = registry.client().renew_lease(renewal).await.expect("it is registered");
    assert_eq!(renewed.into_inner().ttl, second);
    assert_eq!(next().await, HealthReason::LeaseHeld);
    assert_eq!(next().await, HealthReason::LeaseExpired);
    all.goes("leased").await;
}
