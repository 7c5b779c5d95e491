use std::time::Duration;

use homeroom::{model::HealthCheck, proto::registry::v1 as proto};

use super::*;

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000 + seconds)
}

fn registration(id: &str, port: u16) -> Registration {
    Registration::try_from(proto::Instance {
        service: "s".to_owned(),
        id: id.to_owned(),
        address: format!("127.0.0.1:{port}"),
        ..Default::default()
    })
    .expect("a valid registration")
}

fn requiring(service: &str, required: &[&str]) -> Registration {
    Registration::try_from(proto::Instance {
        service: service.to_owned(),
        address: "127.0.0.1:1".to_owned(),
        required_services: required.iter().map(ToString::to_string).collect(),
        ..Default::default()
    })
    .expect("a valid registration")
}

fn register(catalog: &mut Catalog, registration: Registration, renews: Option<Incarnation>) -> Result<Applied, Error> {
    let command = Command::Register {
        registration: Arc::new(registration),
        renews,
        actor: "peer".into(),
        registrant: None,
    };
    catalog.apply(command, at(0))
}

fn stands(applied: &Applied) -> Arc<Instance> {
    applied.instance.clone().expect("an instance stands")
}

fn observe(catalog: &mut Catalog, instance: &Instance, state: HealthState) -> Applied {
    let health = Health {
        state,
        reason: HealthReason::Serving,
        verified: true,
        ..Health::not_probed(at(1))
    };
    let command = Command::Observe {
        registration: instance.registration.clone(),
        health,
    };
    catalog.apply(command, at(1)).expect("an observation is never refused")
}

fn departure(id: &str, incarnation: Option<Incarnation>) -> Departure {
    Departure {
        key: InstanceKey::parse("s", id).expect("a valid key"),
        incarnation,
        actor: "peer".into(),
    }
}

#[test]
fn revisions_rise_by_one_a_change() {
    let mut catalog = Catalog::new(Epoch(1));
    let first = stands(&register(&mut catalog, registration("a", 1), None).expect("accepted"));
    let second = stands(&register(&mut catalog, registration("b", 2), None).expect("accepted"));
    assert_eq!((first.revision, second.revision), (Revision(1), Revision(2)));
    observe(&mut catalog, &first, HealthState::Serving);
    let removed = catalog
        .apply(Command::Deregister(departure("a", None)), at(2))
        .expect("removed");
    assert_eq!(removed.changes[0].revision, Revision(4));
    assert_eq!(catalog.revision(), Revision(4));
}

#[test]
fn the_same_content_again_is_no_change_but_fences_the_process_before() {
    let mut catalog = Catalog::new(Epoch(1));
    let first = stands(&register(&mut catalog, registration("a", 1), None).expect("accepted"));
    let again = register(&mut catalog, registration("a", 1), None).expect("accepted");
    assert!(again.changes.is_empty());
    assert_eq!(catalog.revision(), Revision(1));
    let again = stands(&again);
    assert!(again.incarnation > first.incarnation);
    let late = catalog.apply(Command::Deregister(departure("a", Some(first.incarnation))), at(2));
    assert!(matches!(late, Err(Error::Superseded { .. })));
    assert!(catalog.get(again.key()).is_some());
}

#[test]
fn a_renewal_keeps_its_incarnation_whatever_the_health() {
    let mut catalog = Catalog::new(Epoch(1));
    let first = stands(&register(&mut catalog, registration("a", 1), None).expect("accepted"));
    for state in [HealthState::Serving, HealthState::NotServing, HealthState::Unreachable] {
        observe(&mut catalog, &first, state);
        let revision = catalog.revision();
        let renewed = register(&mut catalog, registration("a", 1), Some(first.incarnation)).expect("renewed");
        assert_eq!(stands(&renewed).incarnation, first.incarnation);
        assert_eq!(catalog.revision(), revision);
    }
}

#[test]
fn a_renewal_that_was_replaced_is_told_to_stop() {
    let mut catalog = Catalog::new(Epoch(1));
    let first = stands(&register(&mut catalog, registration("a", 1), None).expect("accepted"));
    register(&mut catalog, registration("a", 1), None).expect("another process");
    let renewal = register(&mut catalog, registration("a", 1), Some(first.incarnation));
    assert!(matches!(renewal, Err(Error::Superseded { .. })));
}

#[test]
fn a_renewal_that_is_not_known_is_registered_anew() {
    let mut catalog = Catalog::new(Epoch(1));
    let renewal = register(&mut catalog, registration("a", 1), Some(Incarnation(7))).expect("accepted");
    assert_eq!(renewal.changes[0].cause, Cause::Registered);
}

#[test]
fn an_id_is_refused_at_another_address_only_while_its_holder_may_be_alive() {
    let mut catalog = Catalog::new(Epoch(1));
    let first = stands(&register(&mut catalog, registration("a", 1), None).expect("accepted"));
    let refused = |result| matches!(result, Err(Error::InstanceExists { .. }));
    assert!(
        refused(register(&mut catalog, registration("a", 2), None)),
        "not probed yet"
    );
    observe(&mut catalog, &first, HealthState::Serving);
    assert!(refused(register(&mut catalog, registration("a", 2), None)), "serving");
    observe(&mut catalog, &first, HealthState::Unreachable);
    let replaced = register(&mut catalog, registration("a", 2), None).expect("its holder is gone");
    assert_eq!(replaced.changes[0].cause, Cause::Replaced);
    assert_eq!(stands(&replaced).health.state, HealthState::Unknown);
}

#[test]
fn other_content_at_the_same_address_keeps_the_health() {
    let mut catalog = Catalog::new(Epoch(1));
    let first = stands(&register(&mut catalog, registration("a", 1), None).expect("accepted"));
    observe(&mut catalog, &first, HealthState::Serving);
    let mut heavier = registration("a", 1);
    heavier.weight = 200;
    let replaced = stands(&register(&mut catalog, heavier, None).expect("accepted"));
    assert!(replaced.is_serving());
    let mut other_probe = registration("a", 1);
    other_probe.health_check = Arc::new(HealthCheck {
        attempts: 9,
        ..HealthCheck::default()
    });
    let replaced = stands(&register(&mut catalog, other_probe, None).expect("accepted"));
    assert_eq!(replaced.health.state, HealthState::Unknown, "it is probed otherwise");
}

#[test]
fn what_was_found_of_an_old_registration_does_not_touch_a_new_one() {
    let mut catalog = Catalog::new(Epoch(1));
    let first = stands(&register(&mut catalog, registration("a", 1), None).expect("accepted"));
    observe(&mut catalog, &first, HealthState::Unreachable);
    let second = stands(&register(&mut catalog, registration("a", 2), None).expect("accepted"));
    assert!(observe(&mut catalog, &first, HealthState::Serving).changes.is_empty());
    let evicted = catalog.apply(
        Command::Evict {
            registration: first.registration.clone(),
        },
        at(3),
    );
    assert!(evicted.expect("never refused").changes.is_empty());
    assert_eq!(catalog.get(second.key()), Some(&second));
}

#[test]
fn a_draining_instance_is_hidden_until_it_leaves_or_registers_anew() {
    let mut catalog = Catalog::new(Epoch(1));
    let first = stands(&register(&mut catalog, registration("a", 1), None).expect("accepted"));
    observe(&mut catalog, &first, HealthState::Serving);
    let drained = stands(
        &catalog
            .apply(Command::Drain(departure("a", None)), at(2))
            .expect("drained"),
    );
    assert_eq!(drained.health.state, HealthState::Draining);
    assert!(observe(&mut catalog, &first, HealthState::Serving).changes.is_empty());
    let renewal = register(&mut catalog, registration("a", 1), Some(first.incarnation)).expect("accepted");
    assert_eq!(stands(&renewal).health.state, HealthState::Draining);
    let anew = stands(&register(&mut catalog, registration("a", 1), None).expect("accepted"));
    assert_eq!(anew.health.state, HealthState::Unknown);
}

#[test]
fn leaving_needs_to_be_there() {
    let mut catalog = Catalog::new(Epoch(1));
    let left = catalog.apply(Command::Deregister(departure("a", None)), at(0));
    assert!(matches!(left, Err(Error::InstanceNotFound(_))));
}

#[test]
fn a_full_catalog_refuses_newcomers_and_keeps_what_it_has() {
    let mut catalog = Catalog::new(Epoch(1)).limited(3);
    for n in 0..3 {
        register(&mut catalog, registration(&n.to_string(), 1), None).expect("there is room");
    }
    assert_eq!(
        register(&mut catalog, registration("x", 1), None).map(|_| ()),
        Err(Error::TooManyInstances { limit: 3 })
    );
    register(&mut catalog, registration("0", 1), None).expect("it is known");
    catalog
        .apply(Command::Deregister(departure("1", None)), at(1))
        .expect("removed");
    register(&mut catalog, registration("x", 1), None).expect("there is room again");
}

#[test]
fn a_service_requires_what_any_of_its_instances_does() {
    let mut catalog = Catalog::new(Epoch(1));
    let with = |id: &str, required: &[&str]| {
        let mut registration = registration(id, 1);
        registration.required_services = requiring("s", required).required_services;
        registration
    };
    let required = |catalog: &Catalog| -> Vec<String> {
        let service = "s".parse().expect("a name");
        catalog.required_by(&service).map(ToString::to_string).collect()
    };
    register(&mut catalog, with("a", &["x", "y"]), None).expect("accepted");
    let second = stands(&register(&mut catalog, with("b", &["y", "z"]), None).expect("accepted"));
    assert_eq!(required(&catalog), ["x", "y", "z"]);
    observe(&mut catalog, &second, HealthState::Serving);
    register(&mut catalog, with("a", &["y"]), None).expect("accepted");
    assert_eq!(required(&catalog), ["y", "z"]);
    for id in ["b", "a"] {
        catalog
            .apply(Command::Deregister(departure(id, None)), at(1))
            .expect("removed");
    }
    assert!(required(&catalog).is_empty());
}

#[test]
fn cycles_are_found_through_others() {
    let mut catalog = Catalog::new(Epoch(1));
    register(&mut catalog, requiring("b", &["c"]), None).expect("accepted");
    register(&mut catalog, requiring("c", &["a", "d"]), None).expect("accepted");
    let names = |required: &[&str]| -> Vec<String> {
        let cyclic = catalog.cyclic_services(&requiring("a", required));
        cyclic.iter().map(ToString::to_string).collect()
    };
    assert_eq!(names(&["b", "d"]), ["b"]);
    assert_eq!(names(&["a"]), ["a"], "itself");
    assert!(names(&["d"]).is_empty());
}

#[test]
fn what_is_decided_changes_nothing_before_it_is_committed() {
    let mut catalog = Catalog::new(Epoch(1));
    let command = |id: &str| Command::Register {
        registration: Arc::new(registration(id, 1)),
        renews: None,
        actor: "peer".into(),
        registrant: None,
    };
    let decided = catalog.decide(command("a"), at(0)).expect("accepted");
    assert_eq!((catalog.len(), catalog.revision()), (0, Revision(0)));
    catalog.commit(&decided);
    assert_eq!((catalog.len(), catalog.revision()), (1, Revision(1)));
    let reaffirmed = catalog.decide(command("a"), at(0)).expect("accepted");
    assert!(reaffirmed.changes.is_empty() && !reaffirmed.is_empty());
    let incarnation = |catalog: &Catalog| {
        catalog
            .get(stands(&reaffirmed).key())
            .map(|instance| instance.incarnation)
    };
    assert!(incarnation(&catalog) < Some(stands(&reaffirmed).incarnation));
    catalog.commit(&reaffirmed);
    assert_eq!(incarnation(&catalog), Some(stands(&reaffirmed).incarnation));
}

#[test]
fn a_restored_catalog_goes_on_where_it_was() {
    let mut before = Catalog::new(Epoch(1));
    let first = stands(&register(&mut before, registration("a", 1), None).expect("accepted"));
    observe(&mut before, &first, HealthState::Serving);
    register(&mut before, requiring("b", &["s"]), None).expect("accepted");
    let instances: Vec<_> = before.instances().cloned().collect();
    let mut catalog = Catalog::restored(Epoch(1), before.revision(), before.last_incarnation(), instances);
    assert_eq!(
        catalog.instances().collect::<Vec<_>>(),
        before.instances().collect::<Vec<_>>()
    );
    let b = "b".parse().expect("a name");
    assert_eq!(catalog.required_by(&b).count(), 1);

    let restore = Command::Restore {
        registration: first.registration.clone(),
    };
    let restored = catalog.apply(restore.clone(), at(9)).expect("never refused");
    assert_eq!(
        (restored.changes[0].cause, restored.changes[0].revision),
        (Cause::Restored, Revision(4))
    );
    let health = &stands(&restored).health;
    assert_eq!(
        (health.state, health.verified, health.since),
        (HealthState::Serving, false, at(1))
    );
    assert!(
        catalog.apply(restore, at(9)).expect("never refused").is_empty(),
        "it is unverified already"
    );
    let anew = stands(&register(&mut catalog, registration("c", 1), None).expect("accepted"));
    assert!(anew.incarnation > before.last_incarnation());
}

#[test]
fn a_drain_that_was_under_way_is_forgotten_by_a_restart() {
    let mut catalog = Catalog::new(Epoch(1));
    let first = stands(&register(&mut catalog, registration("a", 1), None).expect("accepted"));
    catalog
        .apply(Command::Drain(departure("a", None)), at(2))
        .expect("drained");
    let restore = Command::Restore {
        registration: first.registration.clone(),
    };
    let restored = stands(&catalog.apply(restore, at(3)).expect("never refused"));
    assert_eq!(restored.health, Health::not_probed(at(3)));
}

#[test]
fn what_the_instances_of_a_service_have_in_common_is_held_once() {
    let mut catalog = Catalog::new(Epoch(1));
    let in_zone = |id: &str, zone: &str| Registration {
        zone: zone.into(),
        ..registration(id, 1)
    };
    let mut add = |registration| stands(&register(&mut catalog, registration, None).expect("accepted"));
    let (a, b, other) = (
        add(in_zone("a", "z1")),
        add(in_zone("b", "z1")),
        add(in_zone("c", "z2")),
    );
    let zone = |instance: &Instance| instance.registration.zone.clone();
    assert!(Arc::ptr_eq(&zone(&a), &zone(&b)));
    assert_eq!(&*zone(&other), "z2");
    let checks = [&a, &b, &other].map(|instance| &instance.registration.health_check);
    assert!(checks.iter().all(|check| Arc::ptr_eq(check, checks[0])));
}

#[test]
fn every_change_says_in_words_what_made_it() {
    let mut catalog = Catalog::new(Epoch(1));
    let first = register(&mut catalog, registration("a", 1), None).expect("accepted");
    let mut words = vec![first.changes[0].detail().into_owned()];
    let registration = stands(&first).registration.clone();
    let departure = || Departure {
        key: registration.key.clone(),
        incarnation: None,
        actor: "peer".into(),
    };
    let silent = Health {
        detail: "nothing answered".into(),
        ..Health::not_probed(at(1))
    };
    for command in [
        Command::Observe {
            registration: registration.clone(),
            health: silent,
        },
        Command::Drain(departure()),
        Command::Restore {
            registration: registration.clone(),
        },
        Command::Evict {
            registration: registration.clone(),
        },
    ] {
        let applied = catalog.apply(command, at(2)).expect("never refused");
        words.push(applied.changes[0].detail().into_owned());
    }
    register(&mut catalog, (*registration).clone(), None).expect("accepted");
    let left = catalog.apply(Command::Deregister(departure()), at(3));
    words.push(left.expect("it was there").changes[0].detail().into_owned());
    assert_eq!(
        words,
        [
            "registered at 127.0.0.1:1",
            "nothing answered",
            "drained before it leaves",
            "restored as it was last seen, and not verified yet",
            "unreachable for 86400s",
            "deregistered",
        ]
    );
}
