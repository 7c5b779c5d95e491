//! The same facts give the same answer, and the first line is it.

use homeroom::{
    model::{InstanceId, ServiceName},
    proto::registry::v1::{
        Brake, ChangeCause, Health, HealthCheck, HealthCheckMode, HealthReason, HealthState, Store, StoreState,
    },
};
use prost_types::{Duration, Timestamp};

use super::*;
use crate::args::Format;

/// The registry's clock.
const NOW: i64 = 100_000;

fn at(seconds: i64) -> Option<Timestamp> {
    Some(Timestamp { seconds, nanos: 0 })
}

fn target(text: &str) -> Target {
    let (service, id) = match text.split_once('/') {
        Some((service, id)) => (service, Some(id)),
        None => (text, None),
    };
    Target {
        service: ServiceName::parse("service", service).expect("a name"),
        id: id.map(|id| InstanceId::parse("id", id).expect("an id")),
    }
}

/// An instance that has been in this state for five minutes.
fn instance(id: &str, state: HealthState, reason: HealthReason) -> Instance {
    let seconds = |seconds| Some(Duration { seconds, nanos: 0 });
    Instance {
        service: "grades".to_owned(),
        id: id.to_owned(),
        address: "10.0.0.1:3002".to_owned(),
        weight: Some(100),
        health: Some(Health {
            state: state.into(),
            since: at(NOW - 300),
            reason: reason.into(),
            verified: true,
            ..Default::default()
        }),
        health_check: Some(HealthCheck {
            interval: seconds(3),
            attempts: 3,
            deregister_after: seconds(86_400),
            ..Default::default()
        }),
        ..Default::default()
    }
}

fn serving(id: &str) -> Instance {
    instance(id, HealthState::Serving, HealthReason::Serving)
}

fn refused(id: &str) -> Instance {
    instance(id, HealthState::Unreachable, HealthReason::Refused)
}

fn with_health(mut instance: Instance, change: impl FnOnce(&mut Health)) -> Instance {
    change(instance.health.as_mut().expect("it has one"));
    instance
}

fn change(revision: u64, id: &str, cause: ChangeCause, instance: Option<Instance>) -> Change {
    Change {
        revision,
        time: at(NOW - 300),
        service: "grades".to_owned(),
        id: id.to_owned(),
        cause: cause.into(),
        detail: "it was so".to_owned(),
        actor: "10.0.0.9:41".to_owned(),
        instance,
    }
}

fn service(name: &str, serving_instances: u32, instances: u32, requires: &[&str]) -> ServiceSummary {
    ServiceSummary {
        service: name.to_owned(),
        instances,
        serving_instances,
        required_services: requires.iter().map(|name| (*name).to_owned()).collect(),
    }
}

/// What a registry knows that has been up for a day.
fn facts(instances: Vec<Instance>) -> Facts {
    Facts {
        instances,
        status: GetStatusResponse {
            start_time: at(NOW - 86_400),
            server_time: at(NOW),
            revision: 40,
            changes: 40,
            brake: Some(Brake::default()),
            store: Some(Store {
                state: StoreState::Ephemeral.into(),
                ..Default::default()
            }),
            ..Default::default()
        },
        ..Default::default()
    }
}

fn answer(text: &str, facts: &Facts) -> String {
    explain(&target(text), facts).answer
}

/// All that is written.
fn text(text: &str, facts: &Facts) -> String {
    let lines = lines(&explain(&target(text), facts));
    lines.iter().map(|line| line.text(false)).collect()
}

#[test]
fn an_instance_that_serves_is_told_with_its_changes() {
    let mut facts = facts(vec![serving("a"), serving("b")]);
    facts.changes = vec![
        change(6, "b", ChangeCause::Registered, Some(serving("b"))),
        change(7, "a", ChangeCause::Recovered, Some(serving("a"))),
    ];
    assert!(explain(&target("grades/a"), &facts).gets_traffic);
    assert_eq!(
        text("grades/a", &facts),
        "grades/a gets traffic: it has been serving for 5m
  in this state since 1970-01-02T03:41:40Z
  the registry asks 10.0.0.1:3002 every 3s
  its last changes:
    1970-01-02T03:41:40Z  7  RECOVERED     grades/a  SERVING  it was so (by 10.0.0.9:41)
"
    );
}

#[test]
fn every_reason_has_words() {
    let say = |state, reason| answer("grades/a", &facts(vec![instance("a", state, reason)]));
    let hidden = [
        (
            HealthState::Unknown,
            HealthReason::NotProbed,
            "no probe of it has ended yet",
        ),
        (
            HealthState::NotServing,
            HealthReason::NotServing,
            "it answers NOT_SERVING",
        ),
        (
            HealthState::Unreachable,
            HealthReason::Refused,
            "10.0.0.1:3002 refuses or resets connections",
        ),
        (
            HealthState::Unreachable,
            HealthReason::Timeout,
            "nothing answers at 10.0.0.1:3002",
        ),
        (
            HealthState::Unreachable,
            HealthReason::NotHttp2,
            "does not speak HTTP/2",
        ),
        (
            HealthState::Unreachable,
            HealthReason::NoHealthService,
            "has no grpc.health.v1.Health",
        ),
        (
            HealthState::Unreachable,
            HealthReason::HealthNameUnknown,
            "does not know the name ``",
        ),
        (HealthState::Unreachable, HealthReason::Error, "answers with an error"),
        (
            HealthState::Unreachable,
            HealthReason::TlsFailed,
            "the TLS handshake with 10.0.0.1:3002 fails",
        ),
        (
            HealthState::Unreachable,
            HealthReason::LeaseExpired,
            "it did not renew its lease in time",
        ),
        (
            HealthState::Unreachable,
            HealthReason::ProbeNotAllowed,
            "may not probe 10.0.0.1:3002",
        ),
        (
            HealthState::Draining,
            HealthReason::Draining,
            "it is being drained before it leaves",
        ),
        (HealthState::Unreachable, HealthReason::Unspecified, "it is unreachable"),
    ];
    for (state, reason, words) in hidden {
        let said = say(state, reason);
        assert!(
            said.starts_with("grades/a gets no traffic: ") && said.contains(words),
            "{said}"
        );
        assert!(said.ends_with(", for 5m"), "{said}");
    }
    assert_eq!(
        say(HealthState::Serving, HealthReason::LeaseHeld),
        "grades/a gets traffic: it has been serving for 5m"
    );
}

#[test]
fn traffic_that_may_not_be_deserved_is_told_so() {
    let suspect = with_health(serving("a"), |health| health.suspect = true);
    let mut known = facts(vec![suspect.clone()]);
    let said = "grades/a gets traffic, but it is suspect: its last probe was silent, and 3 in a row hide it";
    assert_eq!(answer("grades/a", &known), said);
    known.changes = vec![change(9, "a", ChangeCause::Braked, Some(suspect))];
    assert!(answer("grades/a", &known).contains("but it is silent: only the registry's brake keeps it listed"));
    let unverified = facts(vec![with_health(serving("a"), |health| health.verified = false)]);
    assert!(answer("grades/a", &unverified).contains("nothing has confirmed it since the registry was started"));
    assert_eq!(
        answer("grades", &unverified),
        "grades gets traffic, but its only instance is in doubt"
    );
}

#[test]
fn what_an_instance_waits_for_is_named() {
    let mut starting = instance("a", HealthState::NotServing, HealthReason::NotServing);
    starting.required_services = ["log", "mail", "files"].map(str::to_owned).into();
    let mut facts = facts(vec![starting]);
    facts.services = vec![service("files", 1, 2, &[]), service("log", 0, 3, &[])];
    let notes = &explain(&target("grades/a"), &facts).instances[0].notes;
    assert_eq!(
        notes[2..],
        [
            "it requires log, which has no serving instance (0 of 3)",
            "it requires mail, which nobody has registered",
            "it requires files, which is there (1 of 2 serving)",
            "a service that is starting answers NOT_SERVING until all that it requires is there",
        ]
    );
}

#[test]
fn leases_evictions_and_small_weights_are_told() {
    let mut leased = refused("a");
    let check = leased.health_check.as_mut().expect("it has one");
    check.mode = HealthCheckMode::Lease.into();
    check.ttl = Some(Duration { seconds: 15, nanos: 0 });
    let said = text("grades/a", &facts(vec![leased]));
    assert!(
        said.contains("  it is not probed: it renews a lease of 15s itself\n"),
        "{said}"
    );
    assert!(said.contains("  it is evicted in 23h unless it comes back\n"), "{said}");
    let mut light = serving("light");
    light.weight = Some(1);
    let said = text("grades/light", &facts(vec![serving("a"), light, refused("b")]));
    assert!(
        said.contains("less than 1% of the calls: its weight is 1 of 101 in all\n"),
        "{said}"
    );
}

#[test]
fn a_service_is_answered_for_as_a_whole_and_its_trouble_comes_first() {
    let say = |instances| answer("grades", &facts(instances));
    assert_eq!(
        say(vec![serving("a")]),
        "grades gets traffic: its only instance is serving"
    );
    assert_eq!(
        say(vec![serving("a"), serving("b")]),
        "grades gets traffic: all 2 instances are serving"
    );
    let some = facts(vec![serving("a"), refused("b")]);
    let report = explain(&target("grades"), &some);
    assert_eq!(report.answer, "grades gets traffic: 1 of 2 instances are serving");
    let ids: Vec<_> = report
        .instances
        .iter()
        .map(|about| (about.id.as_str(), about.gets_traffic))
        .collect();
    assert_eq!(ids, [("b", false), ("a", true)]);
    let refuses = "10.0.0.1:3002 refuses or resets connections, so nothing listens there";
    let one = format!("grades gets no traffic: its only instance, a, is not serving: {refuses}");
    assert_eq!(say(vec![refused("a")]), one);
    let all = format!("grades gets no traffic: none of its 2 instances is serving; of a: {refuses}");
    assert_eq!(say(vec![refused("a"), refused("b")]), all);
    let draining = instance("b", HealthState::Draining, HealthReason::Draining);
    let different = "grades gets no traffic: none of its 2 instances is serving, for different reasons";
    assert_eq!(say(vec![refused("a"), draining]), different);
}

#[test]
fn many_instances_are_counted() {
    let many = (0..25).map(|n| serving(&n.to_string())).collect();
    let said = text("grades", &facts(many));
    assert_eq!(
        said.matches(" gets traffic: it has been serving").count(),
        INSTANCES_SHOWN_MAX
    );
    assert!(
        said.ends_with("\n5 more instances: homeroom why SERVICE/ID\n"),
        "{said}"
    );
}

#[test]
fn what_is_gone_is_told_with_when_and_by_whom() {
    let mut gone = facts(Vec::new());
    let registered = change(3, "a", ChangeCause::Registered, Some(serving("a")));
    gone.changes = vec![registered, change(4, "a", ChangeCause::Deregistered, None)];
    let when = "1970-01-02T03:41:40Z (5m ago)";
    let said = format!("grades/a gets no traffic: it was deregistered by 10.0.0.9:41 at {when}");
    assert_eq!(answer("grades/a", &gone), said);
    gone.changes[1].cause = ChangeCause::Evicted.into();
    let said = format!("its last instance, a, was evicted by the registry at {when}: it was so");
    assert_eq!(answer("grades", &gone), format!("grades gets no traffic: {said}"));
    assert_eq!(explain(&target("grades"), &gone).changes.len(), 2);
    assert!(!explain(&target("grades"), &gone).gets_traffic);
}

#[test]
fn what_nobody_registered_is_told_with_what_may_be_meant() {
    let mut unknown = facts(Vec::new());
    unknown.services = vec![service("log", 1, 1, &["grade"]), service("grades", 1, 1, &[])];
    assert_eq!(
        text("grade", &unknown),
        "grade gets no traffic: it is not registered
  it never was, in all 40 changes since the history began
  did you mean grades?
  it is required by log
"
    );
    unknown.status.changes = 10;
    assert!(text("grade", &unknown).contains("the last 10 changes, which are all that is held, have nothing of it"));
    let said = text("grades/host-2", &facts(vec![serving("host-1"), serving("other")]));
    assert!(
        said.starts_with("grades/host-2 gets no traffic: it is not registered\n"),
        "{said}"
    );
    assert!(said.contains("  grades has these instances: host-1, other\n"), "{said}");
    assert!(said.contains("  did you mean grades/host-1?\n"), "{said}");
}

#[test]
fn trouble_of_the_registry_itself_is_told() {
    let mut troubled = facts(Vec::new());
    troubled.status.start_time = at(NOW - 12);
    let said = answer("grades", &troubled);
    assert!(
        said.ends_with("started only 12s ago and keeps nothing, so it may be yet to come back"),
        "{said}"
    );
    troubled.status.store = Some(Store {
        state: StoreState::Full.into(),
        detail: "no space".to_owned(),
    });
    let said = text("grades", &troubled);
    assert!(said.starts_with("grades gets no traffic: it is not registered, and the registry refuses registrations"));
    assert!(
        said.contains("  the registry's disk is full, so it refuses registrations: no space\n"),
        "{said}"
    );
    let mut braked = facts(vec![serving("a")]);
    braked.status.brake = Some(Brake {
        engaged: true,
        kept_instances: 12,
        ..Default::default()
    });
    assert!(text("grades/a", &braked).contains("  the registry's brake is engaged for all services"));
}

#[test]
fn a_registry_that_does_not_tell_its_status_is_no_obstacle() {
    let instances = vec![with_health(serving("a"), |health| health.verified = false)];
    let old = Facts {
        instances,
        ..Default::default()
    };
    assert!(answer("grades/a", &old).starts_with("grades/a gets traffic: it has been serving for"));
}

#[test]
fn nothing_of_it_steers_a_terminal_and_json_has_all_of_it() {
    let hostile = with_health(refused("a"), |health| health.detail = "\x1b[2J".to_owned());
    let mut hostile = facts(vec![hostile]);
    hostile.changes = vec![change(9, "a", ChangeCause::ProbeFailed, Some(refused("a")))];
    let said = text("grades/a", &hostile);
    assert!(
        said.contains("the registry says: \\u{1b}[2J\n") && !said.contains('\x1b'),
        "{said}"
    );
    let report = explain(&target("grades/a"), &hostile);
    let value = value(&target("grades/a"), &report, &Output::new(Format::Json));
    assert_eq!(
        (value["target"].as_str(), value["getsTraffic"].as_bool()),
        (Some("grades/a"), Some(false))
    );
    assert_eq!(value["answer"], report.answer);
    assert_eq!(
        value["instances"][0]["changes"][0]["cause"],
        "CHANGE_CAUSE_PROBE_FAILED"
    );
}
