use std::time::Duration;

use tonic::{Code, Status};

use super::{RENEW_INTERVAL, Registered, Registrar, Standing};
use crate::{
    balance::Channel,
    model::{Incarnation, Registration},
    proto::registry::v1::{DeregisterResponse, Instance, RegisterResponse},
    status::Refusal,
    testing::{Port, ScriptedRegistry, registered, skip, soon},
};

fn registration() -> Registration {
    let message = Instance {
        service: "grades".to_owned(),
        address: "127.0.0.1:1".to_owned(),
        ..Default::default()
    };
    Registration::try_from(message).expect("a valid registration")
}

fn start(registry: &Channel) -> Registrar {
    Registrar::start(registry.clone(), registration())
}

async fn standing(registrar: &Registrar, wanted: impl Fn(&Standing) -> bool) -> Standing {
    let mut standing = registrar.standing();
    let changed = soon("the standing", standing.wait_for(|standing| wanted(standing))).await;
    changed.expect("the keeper runs").clone()
}

async fn stands_as(registrar: &Registrar, number: u64) -> Registered {
    let wanted = |standing: &Standing| matches!(standing, Standing::Registered(r) if r.incarnation.0 == number);
    match standing(registrar, wanted).await {
        Standing::Registered(registered) => registered,
        other => panic!("registered is {other:?}"),
    }
}

/// Starts a registrar and registers it under this number.
async fn start_registered(registry: &mut ScriptedRegistry, number: u64) -> Registrar {
    let registrar = start(&registry.channel());
    let call = registry.registers.next().await;
    let answer = registered(&call.request, number);
    call.answer(Ok(answer));
    stands_as(&registrar, number).await;
    registrar
}

fn superseded() -> Status {
    Refusal::new(Code::FailedPrecondition, "SUPERSEDED", "a newer one stands").into()
}

#[tokio::test]
async fn the_first_registration_asks_for_a_probe_and_a_new_number() {
    let mut registry = ScriptedRegistry::start();
    let registrar = start(&registry.channel());
    let call = registry.registers.next().await;
    assert!(call.request.verify);
    assert_eq!(call.request.incarnation, 0);
    let instance = call.request.instance.as_ref().expect("an instance");
    assert_eq!(
        (instance.service.as_str(), instance.id.as_str()),
        ("grades", "127.0.0.1:1")
    );
    let answer = RegisterResponse {
        cyclic_services: vec!["log".to_owned()],
        ..registered(&call.request, 7)
    };
    call.answer(Ok(answer));
    let standing = stands_as(&registrar, 7).await;
    assert_eq!(standing.cyclic_services, ["log".parse().expect("a name")].into());
}

#[tokio::test]
async fn a_registration_is_renewed_in_time_with_the_incarnation_it_holds() {
    let mut registry = ScriptedRegistry::start();
    let registrar = start_registered(&mut registry, 7).await;
    let mut standing = registrar.standing();
    for (held, next) in [(7, 7), (7, 9), (9, 9)] {
        standing.mark_unchanged();
        skip(RENEW_INTERVAL.mul_f64(1.2)).await;
        let call = registry.registers.next().await;
        assert!(!call.request.verify);
        assert_eq!(call.request.incarnation, held);
        let answer = registered(&call.request, next);
        call.answer(Ok(answer));
        soon("the renewal", standing.changed()).await.expect("the keeper runs");
        stands_as(&registrar, next).await;
    }
}

#[tokio::test]
async fn the_end_of_the_registrys_connection_is_answered_by_registering_at_once() {
    let port = Port::take();
    let mut registry = ScriptedRegistry::start_on(port.listen());
    let registrar = start_registered(&mut registry, 7).await;
    let begun = tokio::time::Instant::now();
    registry.crash().await;
    let mut registry = ScriptedRegistry::start_on(port.listen());
    let call = registry.registers.next().await;
    assert!(begun.elapsed() < RENEW_INTERVAL.mul_f64(0.8), "no renewal was due yet");
    assert_eq!(call.request.incarnation, 7);
    let answer = registered(&call.request, 8);
    call.answer(Ok(answer));
    stands_as(&registrar, 8).await;
}

#[tokio::test]
async fn a_registration_stands_while_the_registry_is_away() {
    let mut registry = ScriptedRegistry::start();
    let registrar = start_registered(&mut registry, 7).await;
    skip(RENEW_INTERVAL.mul_f64(1.2)).await;
    let call = registry.registers.next().await;
    call.answer(Err(Status::unavailable("stopping")));
    let again = registry.registers.next().await;
    assert_eq!(again.request.incarnation, 7);
    stands_as(&registrar, 7).await;
}

#[tokio::test]
async fn a_registration_that_was_superseded_is_made_anew() {
    let mut registry = ScriptedRegistry::start();
    let registrar = start_registered(&mut registry, 7).await;
    skip(RENEW_INTERVAL.mul_f64(1.2)).await;
    registry.registers.next().await.answer(Err(superseded()));
    let call = registry.registers.next().await;
    assert_eq!(call.request.incarnation, 0);
    let answer = registered(&call.request, 8);
    call.answer(Ok(answer));
    stands_as(&registrar, 8).await;
}

#[tokio::test]
async fn an_id_that_another_instance_holds_is_reported_as_refused_and_tried_again() {
    let mut registry = ScriptedRegistry::start();
    let registrar = start(&registry.channel());
    let exists = Refusal::new(Code::AlreadyExists, "INSTANCE_EXISTS", "another one has it");
    registry.registers.next().await.answer(Err(exists.into()));
    let refused = standing(&registrar, |standing| matches!(standing, Standing::Refused(_))).await;
    assert!(matches!(refused, Standing::Refused(status) if status.message() == "another one has it"));
    let call = registry.registers.next().await;
    assert_eq!(call.request.incarnation, 0);
    let answer = registered(&call.request, 7);
    call.answer(Ok(answer));
    stands_as(&registrar, 7).await;
}

#[tokio::test]
async fn a_registry_that_nobody_listens_for_is_reported_as_unreachable() {
    let nobody = Port::take();
    let registrar = start(&Channel::fixed(nobody.address().into()));
    let unreachable = standing(&registrar, |standing| matches!(standing, Standing::Unreachable(_))).await;
    let Standing::Unreachable(cause) = unreachable else {
        unreachable!("it was waited for");
    };
    assert!(cause.contains("connection refused"), "{cause}");
    registrar
        .deregister(Duration::ZERO)
        .await
        .expect("there is nothing to end");
}

#[tokio::test]
async fn a_registry_that_does_not_answer_is_asked_again() {
    let mut registry = ScriptedRegistry::start();
    let registrar = start(&registry.channel());
    let silent = registry.registers.next().await;
    skip(super::REGISTER_TIMEOUT).await;
    standing(&registrar, |standing| matches!(standing, Standing::Unreachable(_))).await;
    silent.cancelled().await;
    registry.registers.next().await;
}

#[tokio::test]
async fn deregistering_names_the_incarnation_and_asks_for_a_drain() {
    let mut registry = ScriptedRegistry::start();
    let registrar = start_registered(&mut registry, 7).await;
    let leaving = tokio::spawn(registrar.deregister(Duration::from_millis(1500)));
    let call = registry.deregisters.next().await;
    assert_eq!(
        (call.request.service.as_str(), call.request.id.as_str()),
        ("grades", "127.0.0.1:1")
    );
    assert_eq!(Incarnation(call.request.incarnation), Incarnation(7));
    let drain = call.request.drain.as_ref().and_then(|drain| drain.timeout);
    assert_eq!(
        drain,
        Some(prost_types::Duration {
            seconds: 1,
            nanos: 500_000_000
        })
    );
    call.answer(Ok(DeregisterResponse::default()));
    leaving.await.expect("no panic").expect("it is deregistered");
}

#[tokio::test]
async fn deregistering_what_is_gone_already_is_fine_and_other_failures_are_told() {
    let mut registry = ScriptedRegistry::start();
    for (answer, code) in [
        (Status::not_found("gone"), Code::Ok),
        (superseded(), Code::FailedPrecondition),
    ] {
        let registrar = start_registered(&mut registry, 7).await;
        let leaving = tokio::spawn(registrar.deregister(Duration::ZERO));
        registry.deregisters.next().await.answer(Err(answer));
        let left = leaving.await.expect("no panic");
        assert_eq!(left.map_or_else(|status| status.code(), |()| Code::Ok), code);
    }
}
