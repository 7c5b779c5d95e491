use std::time::Duration;

use super::{Address, InstanceId, Registration, ServiceName};
use crate::proto::registry::v1 as proto;

fn message() -> proto::Instance {
    proto::Instance {
        service: "grades".to_owned(),
        address: "127.0.0.1:3002".to_owned(),
        ..Default::default()
    }
}

fn refused(change: impl FnOnce(&mut proto::Instance)) -> String {
    let mut message = message();
    change(&mut message);
    Registration::try_from(message)
        .expect_err("the message is not valid")
        .field
}

#[test]
fn service_names_are_lower_case_dns_labels() {
    for good in ["grades", "billing.invoices", "a", "a-b.c9"] {
        assert!(ServiceName::parse("service", good).is_ok(), "{good}");
    }
    let long_label = "a".repeat(64);
    let long = vec!["a".repeat(63); 5].join(".");
    for bad in [
        "",
        "Grades",
        "a..b",
        ".a",
        "a.",
        "-a",
        "a-",
        "a b",
        "a/b",
        "ä",
        &long_label,
        &long,
    ] {
        assert!(ServiceName::parse("service", bad).is_err(), "{bad}");
    }
}

#[test]
fn addresses_need_a_host_that_can_be_dialled_and_a_port() {
    for good in ["localhost:3000", "10.0.0.7:1", "[::1]:65535", "a_b.example.org:80"] {
        assert!(Address::parse("address", good).is_ok(), "{good}");
    }
    for bad in [
        "",
        "localhost",
        ":80",
        "a:0",
        "a:65536",
        "a:x",
        "a:+1",
        "::1:80",
        "[::1]",
        "[x]:1",
        "0.0.0.0:80",
        "[::]:80",
        "1.2.3:80",
        "300.1.1.1:80",
        "http://a:80",
        "a b:80",
    ] {
        assert!(Address::parse("address", bad).is_err(), "{bad}");
    }
}

#[test]
fn instance_ids_are_short_and_plain() {
    assert!(InstanceId::parse("id", "[::1]:80@a_b-c.D").is_ok());
    for bad in ["", "a b", "a\n", "a/b", &"a".repeat(129)] {
        assert!(InstanceId::parse("id", bad).is_err(), "{bad}");
    }
}

#[test]
fn a_minimal_registration_gets_the_documented_defaults() {
    let registration = Registration::try_from(message()).expect("the message is valid");
    assert_eq!(registration.key.id.as_str(), "127.0.0.1:3002");
    assert_eq!(registration.weight, 100);
    assert_eq!(registration.health_check.interval, Duration::from_secs(3));
    assert_eq!(registration.health_check.attempts, 3);
}

#[test]
fn what_is_out_of_bounds_is_refused_by_the_path_of_its_field() {
    assert_eq!(refused(|m| m.service = "No".into()), "service");
    assert_eq!(refused(|m| m.id = "a b".into()), "id");
    assert_eq!(refused(|m| m.address = "nowhere".into()), "address");
    assert_eq!(refused(|m| m.weight = Some(0)), "weight");
    assert_eq!(refused(|m| m.weight = Some(10_001)), "weight");
    assert_eq!(refused(|m| m.zone = "z".repeat(65)), "zone");
    assert_eq!(refused(|m| m.version = "1\n".into()), "version");
    assert_eq!(
        refused(|m| m.required_services = vec!["ok".into(), "no!".into()]),
        "required_services[1]"
    );
    assert_eq!(
        refused(|m| m.required_services = vec!["a".into(); 65]),
        "required_services"
    );
    assert_eq!(
        refused(|m| m.metadata = [("k".into(), "v".repeat(Registration::METADATA_SIZE_BYTES_MAX))].into()),
        "metadata"
    );
    assert_eq!(
        refused(|m| m.metadata = [(String::new(), String::new())].into()),
        "metadata"
    );
    assert_eq!(
        refused(|m| m.metadata = (0..65).map(|n| (n.to_string(), String::new())).collect()),
        "metadata"
    );
    let check = |check: proto::HealthCheck| refused(|m| m.health_check = Some(check));
    let seconds = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
    assert_eq!(
        check(proto::HealthCheck {
            interval: seconds(-1),
            ..Default::default()
        }),
        "health_check.interval"
    );
    assert_eq!(
        check(proto::HealthCheck {
            timeout: seconds(61),
            ..Default::default()
        }),
        "health_check.timeout"
    );
    assert_eq!(
        check(proto::HealthCheck {
            attempts: 21,
            ..Default::default()
        }),
        "health_check.attempts"
    );
    assert_eq!(
        check(proto::HealthCheck {
            deregister_after: seconds(0),
            ..Default::default()
        }),
        "health_check.deregister_after"
    );
}

#[test]
fn what_a_registry_with_other_limits_says_is_taken_as_it_is() {
    let mut message = message();
    message.id = "a".to_owned();
    message.weight = Some(1_000_000);
    message.zone = "z".repeat(1_000);
    let instance = super::Instance::try_from(message.clone()).expect("its names are valid");
    assert_eq!(
        (instance.registration.weight, instance.registration.zone.len()),
        (1_000_000, 1_000)
    );
    message.address = "nowhere".to_owned();
    assert_eq!(
        super::Instance::try_from(message)
            .expect_err("nobody can dial it")
            .field,
        "address"
    );
}
