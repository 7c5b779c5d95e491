//! What is encoded is what prost would have written, and is read as what it was.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::Arc,
    time::{Duration, SystemTime},
};

use prop::sample::select;
use proptest::prelude::*;
use prost::Message;

use super::*;
use crate::model::{Cause, HealthCheckMode, HealthReason, HealthState, Incarnation, InstanceKey, Revision};

/// A time before 1970, too: some clocks are there.
fn time() -> impl Strategy<Value = SystemTime> {
    let span = (0..4_000_000_000_u64, 0..1_000_000_000_u32).prop_map(|(secs, nanos)| Duration::new(secs, nanos));
    (any::<bool>(), span).prop_map(|(before, span)| match before {
        true => SystemTime::UNIX_EPOCH - span,
        false => SystemTime::UNIX_EPOCH + span,
    })
}

/// Within the bounds of a field.
fn duration(bounds: std::ops::RangeInclusive<Duration>) -> impl Strategy<Value = Duration> {
    let nanos = bounds.start().as_nanos()..=bounds.end().as_nanos();
    nanos.prop_map(|nanos| Duration::new((nanos / 1_000_000_000) as u64, (nanos % 1_000_000_000) as u32))
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![Just(String::new()), "[ -~ä]{1,20}", "x{120,140}"]
}

prop_compose! {
    fn health_check()(
        mode in select(vec![HealthCheckMode::Probe, HealthCheckMode::Lease]),
        service in text(),
        interval in duration(HealthCheck::INTERVAL),
        timeout in duration(HealthCheck::TIMEOUT),
        attempts in HealthCheck::ATTEMPTS,
        deregister_after in duration(HealthCheck::DEREGISTER_AFTER),
        ttl in duration(HealthCheck::TTL),
    ) -> HealthCheck {
        HealthCheck { mode, service, interval, timeout, attempts, deregister_after, ttl }
    }
}

prop_compose! {
    fn health()(
        state in select(vec![HealthState::Unknown, HealthState::Serving, HealthState::Draining]),
        since in time(),
        reason in select(vec![HealthReason::NotProbed, HealthReason::LeaseHeld, HealthReason::ProbeNotAllowed]),
        detail in text(),
        suspect in any::<bool>(),
        verified in any::<bool>(),
    ) -> Health {
        Health { state, since, reason, detail: detail.into(), suspect, verified }
    }
}

prop_compose! {
    fn registration()(
        service in select(vec!["s", "billing.invoices"]),
        id in "[a-z]{1,128}",
        address in select(vec!["127.0.0.1:1", "[::1]:65535", "host:80"]),
        tls in any::<bool>(),
        version in text(),
        zone in text(),
        weight in 1..=Registration::WEIGHT_MAX,
        metadata in prop::collection::btree_map(text(), text(), 0..4),
        required_services in prop::collection::btree_set(select(vec!["a", "b.c", "d"]), 0..3),
        health_check in health_check(),
    ) -> Registration {
        let required = required_services.into_iter().map(|name| name.parse().expect("a name"));
        Registration {
            key: InstanceKey::parse(service, &id).expect("a key"),
            address: address.parse().expect("an address"),
            tls,
            version: version.into(),
            zone: zone.into(),
            weight,
            metadata: BTreeMap::into(metadata),
            required_services: Arc::new(required.collect()),
            health_check: Arc::new(health_check),
        }
    }
}

prop_compose! {
    fn instance()(
        registration in registration(),
        incarnation in any::<u64>(),
        revision in any::<u64>(),
        health in health(),
        registrant in any::<Option<IpAddr>>(),
    ) -> Instance {
        Instance {
            registration: Arc::new(registration),
            incarnation: Incarnation(incarnation),
            revision: Revision(revision),
            health,
            registrant,
        }
    }
}

proptest! {
    #[test]
    fn an_instance_is_encoded_as_prost_does_and_read_as_it_was(instance in instance()) {
        let bytes = instance.encode_to_vec();
        let message = proto::Instance::decode(&*bytes).expect("a message");
        prop_assert_eq!(&message.encode_to_vec(), &bytes);
        prop_assert_eq!(Instance::try_from(message).expect("a valid instance"), instance);
    }

    #[test]
    fn a_change_is_encoded_as_prost_does_with_the_instance_after_it(
        (instance, is_removal) in (instance(), any::<bool>()),
        (time, actor) in (time(), text()),
    ) {
        let instance = Some(Arc::new(instance));
        let (cause, before, after) = match is_removal {
            true => (Cause::Evicted, instance, None),
            false => (Cause::Recovered, None, instance),
        };
        let revision = Revision(7);
        let change = Change { revision, time, cause, actor: actor.into(), before, after };
        let bytes = change.encode_to_vec();
        let message = proto::Change::decode(&*bytes).expect("a message");
        prop_assert_eq!(&message.encode_to_vec(), &bytes);
        prop_assert_eq!((message.revision, message.cause()), (7, cause.into()));
        prop_assert_eq!((&*message.service, &*message.id), (change.key().service.as_str(), change.key().id.as_str()));
        prop_assert_eq!((&*message.detail, &*message.actor), (&*change.detail(), &*change.actor));
        prop_assert_eq!(message.time.map(SystemTime::try_from), Some(Ok(change.time)));
        let after = message.instance.map(Instance::try_from).transpose().expect("a valid instance");
        prop_assert_eq!(after.as_ref(), change.after.as_deref());
    }
}
