use homeroom::{
    model::{Cause, HealthReason},
    proto::registry::v1 as proto,
};

use super::*;

struct Court {
    store: Arc<Store>,
    judge: Judge,
    registrations: Vec<Arc<Registration>>,
}

/// A judge over so many instances that have answered.
fn court(instances: usize) -> Court {
    let store = Arc::new(Store::new(SystemTime::now()));
    let judge = Judge::new(store.clone(), BrakeSettings::default(), Arc::new(|_, _| ()));
    let registrations = (0..instances).map(|n| {
        let message = proto::Instance {
            service: "s".to_owned(),
            id: n.to_string(),
            address: "10.0.0.1:1".to_owned(),
            ..Default::default()
        };
        let registration = Arc::new(Registration::try_from(message).expect("a valid registration"));
        let register = Command::Register {
            registration: registration.clone(),
            renews: None,
            actor: "test".into(),
            registrant: None,
        };
        store.apply(register).expect("there is room");
        judge.found(&registration, &Finding::Serving, 0, Duration::ZERO);
        registration
    });
    let registrations = registrations.collect();
    Court {
        store,
        judge,
        registrations,
    }
}

impl Court {
    fn found(&self, n: usize, finding: &Finding, silent: u32) -> Health {
        let instance = self
            .judge
            .found(&self.registrations[n], finding, silent, Duration::ZERO);
        instance.expect("it is registered").health.clone()
    }

    fn silent(&self, n: usize, silent: u32) -> Health {
        self.found(n, &Finding::Silent("no answer".to_owned()), silent)
    }

    /// The cause of the last change.
    fn cause(&self) -> Cause {
        self.store
            .read(|state| state.history.newest_first().next().expect("a change").cause)
    }
}

#[tokio::test]
async fn many_that_go_silent_together_stay_listed_and_each_is_told_once() {
    let court = court(20);
    for silent in 1..=3 {
        (0..12).for_each(|n| {
            court.silent(n, silent);
        });
    }
    let kept = court.silent(0, 4);
    assert_eq!(
        (kept.state, kept.reason, kept.suspect),
        (HealthState::Serving, HealthReason::Timeout, true)
    );
    assert!(
        kept.detail.contains("12 of all 20 instances are silent"),
        "{}",
        kept.detail
    );
    assert_eq!(court.cause(), Cause::Braked);
    let causes = |state: &crate::store::State| {
        let causes = state.history.newest_first().map(|change| change.cause);
        causes.filter(|cause| *cause == Cause::Braked).count()
    };
    assert_eq!(court.store.read(causes), 12);
    assert_eq!(court.judge.brake_status().kept, 12);
}

#[tokio::test]
async fn a_refusal_and_an_answer_pass_the_brake() {
    let court = court(20);
    for silent in 1..=3 {
        (0..12).for_each(|n| {
            court.silent(n, silent);
        });
    }
    let refused = court.found(0, &Finding::Refused("connection refused".to_owned()), 0);
    assert_eq!(refused.state, HealthState::Unreachable);
    assert_eq!(court.found(1, &Finding::NotServing, 0).state, HealthState::NotServing);
    let recovered = court.found(2, &Finding::Serving, 0);
    assert_eq!((recovered.state, recovered.suspect), (HealthState::Serving, false));
    assert_eq!(court.cause(), Cause::Recovered);
}

#[tokio::test]
async fn those_that_silence_hid_just_before_are_shown_again() {
    let court = court(20);
    (0..9).for_each(|n| assert_eq!(court.silent(n, 3).state, HealthState::Unreachable, "{n}"));
    assert_eq!(court.silent(9, 3).state, HealthState::Serving);
    let listed = |state: &crate::store::State| state.catalog.instances().all(|instance| instance.is_serving());
    assert!(court.store.read(listed));
    assert_eq!(court.cause(), Cause::Braked);
    let recovered = court.found(0, &Finding::Serving, 0);
    assert!(recovered.verified && !recovered.suspect);
}

#[tokio::test]
async fn expired_leases_are_silence_too() {
    let court = court(20);
    let expired = Finding::LeaseExpired(Duration::from_secs(15));
    (0..10).for_each(|n| {
        court.found(n, &expired, 3);
    });
    let kept = court.found(0, &expired, 3);
    assert_eq!(
        (kept.state, kept.reason),
        (HealthState::Serving, HealthReason::LeaseExpired)
    );
    assert!(court.found(0, &Finding::LeaseHeld, 0).verified);
}

#[tokio::test]
async fn findings_are_counted_by_what_they_are() {
    let counted = Arc::new(Mutex::new(Vec::new()));
    let counts = counted.clone();
    let on_probe: OnProbe = Arc::new(move |outcome, took| counts.lock().expect("no panic").push((outcome, took)));
    let court = Court {
        judge: Judge::new(
            Arc::new(Store::new(SystemTime::now())),
            BrakeSettings::default(),
            on_probe,
        ),
        ..court(1)
    };
    let took = Duration::from_millis(7);
    court.judge.found(&court.registrations[0], &Finding::Serving, 0, took);
    assert_eq!(*counted.lock().expect("no panic"), [("serving", took)]);
}
