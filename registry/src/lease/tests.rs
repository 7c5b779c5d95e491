use std::{collections::BTreeMap, time::Duration};

use homeroom::proto::registry::v1 as proto;
use proptest::prelude::*;

use super::*;

fn leased(id: &str, ttl_seconds: i64) -> Arc<Registration> {
    let message = proto::Instance {
        service: "s".to_owned(),
        id: id.to_owned(),
        address: "10.0.0.1:1".to_owned(),
        health_check: Some(proto::HealthCheck {
            mode: proto::HealthCheckMode::Lease.into(),
            ttl: Some(prost_types::Duration {
                seconds: ttl_seconds,
                nanos: 0,
            }),
            ..Default::default()
        }),
        ..Default::default()
    };
    Arc::new(Registration::try_from(message).expect("a valid registration"))
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn a_lease_is_due_once_when_its_time_is_up() {
    let (start, a) = (Instant::now(), leased("a", 10));
    let mut leases = Leases::new(start);
    leases.renew(&a, start);
    assert!(leases.pop_due(start + seconds(9)).is_none());
    assert!(Arc::ptr_eq(
        &leases.pop_due(start + seconds(10)).expect("its time is up"),
        &a
    ));
    assert!(leases.pop_due(start + seconds(99)).is_none());
}

#[test]
fn a_renewal_gives_the_full_time_again_and_takes_no_room() {
    let (start, a) = (Instant::now(), leased("a", 10));
    let mut leases = Leases::new(start);
    for n in 0..1_000 {
        leases.renew(&a, start + Duration::from_millis(n));
    }
    assert_eq!(leases.queue.len(), 1);
    assert!(leases.pop_due(start + seconds(10)).is_none());
    assert!(leases.pop_due(start + seconds(11)).is_some());
}

#[test]
fn a_shorter_lease_ends_sooner() {
    let start = Instant::now();
    let mut leases = Leases::new(start);
    leases.renew(&leased("a", 100), start);
    leases.renew(&leased("a", 1), start);
    assert!(leases.pop_due(start + seconds(1)).is_some());
    assert!(
        leases.pop_due(start + seconds(100)).is_none(),
        "the longer one is replaced"
    );
}

#[test]
fn a_lease_that_is_known_is_not_prolonged_by_the_news_of_it() {
    let (start, a) = (Instant::now(), leased("a", 10));
    let mut leases = Leases::new(start);
    leases.track(&a, start);
    leases.track(&a, start + seconds(5));
    assert!(leases.pop_due(start + seconds(10)).is_some());
    leases.track(&a, start + seconds(10));
    assert!(leases.pop_due(start + seconds(99)).is_none());
}

#[derive(Debug, Clone)]
enum Step {
    Renew(u8),
    Remove(u8),
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..6_u8).prop_map(Step::Renew),
        (0..6_u8).prop_map(Step::Remove),
        (0..12_u64).prop_map(Step::Pass),
    ]
}

proptest! {
    #[test]
    fn leases_end_as_a_list_of_deadlines_says(steps in proptest::collection::vec(step(), 0..200)) {
        let all: Vec<_> = (0..6).map(|n| leased(&n.to_string(), 1 + n)).collect();
        let mut now = Instant::now();
        let (mut leases, mut naive) = (Leases::new(now), BTreeMap::new());
        for step in steps {
            match step {
                Step::Renew(n) => {
                    let lease = &all[usize::from(n)];
                    leases.renew(lease, now);
                    naive.insert(n, now + lease.health_check.ttl);
                }
                Step::Remove(n) => {
                    leases.remove(&all[usize::from(n)].key);
                    naive.remove(&n);
                }
                Step::Pass(passed) => now += seconds(passed),
            }
            let mut due = Vec::new();
            while let Some(lease) = leases.pop_due(now) {
                due.push(lease.key.id.as_str().parse::<u8>().expect("a number"));
            }
            due.sort_unstable();
            let expected: Vec<u8> = naive.iter().filter(|(_, due)| **due <= now).map(|(n, _)| *n).collect();
            naive.retain(|_, due| *due > now);
            prop_assert_eq!(due, expected);
            prop_assert!(naive.values().all(|due| leases.next_due().is_some_and(|next| next <= *due)));
        }
    }
}
