//! The parts of the registry that every call passes, without a server: `cargo bench -p registry`.
//!
//! The question of each: what does one of it cost, and does that depend on how many instances there are?

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use divan::{Bencher, counter::ItemsCount};
use homeroom::{
    model::{Epoch, Health, HealthReason, HealthState, Registration, Revision},
    proto::registry::v1::{Instance, ready::WatchServicesResponse},
};
use prost::Message;
use registry::{
    catalog::{Catalog, Command},
    store::{State, Store},
};

/// How many instances are registered.
const SIZES: [usize; 2] = [100, 10_000];
/// Instances of one service.
const PER_SERVICE: usize = 100;

fn main() {
    divan::main();
}

/// The registration of an instance; another `build` is other content.
fn registration(number: usize, build: usize) -> Arc<Registration> {
    let instance = Instance {
        service: format!("service-{:03}", number / PER_SERVICE),
        id: format!("instance-{number:05}"),
        address: format!("127.0.0.1:{}", 1024 + number),
        version: "1.4.2".to_owned(),
        metadata: [("build".to_owned(), build.to_string())].into(),
        ..Default::default()
    };
    Arc::new(instance.try_into().expect("a valid registration"))
}

fn register(registration: Arc<Registration>) -> Command {
    Command::Register {
        registration,
        renews: None,
        actor: "127.0.0.1:9".into(),
        registrant: None,
    }
}

fn catalog(instances: usize) -> Catalog {
    let mut catalog = Catalog::new(Epoch(1));
    for number in 0..instances {
        let applied = catalog.apply(register(registration(number, 0)), SystemTime::UNIX_EPOCH);
        applied.expect("it is new");
    }
    catalog
}

/// A store after so many registrations of instances, in turn.
fn store(instances: usize, registrations: usize) -> Store {
    let store = Store::new(SystemTime::UNIX_EPOCH);
    for build in 0..registrations {
        let command = register(registration(build % instances, build));
        store.apply(command).expect("its address is the same");
    }
    store
}

#[divan::bench(args = SIZES)]
fn replace_a_registration(bencher: Bencher<'_, '_>, instances: usize) {
    let mut catalog = catalog(instances);
    let mut build = 0;
    let next = || {
        build += 1;
        register(registration(build % instances, build))
    };
    bencher
        .with_inputs(next)
        .bench_local_values(|command| catalog.apply(command, SystemTime::UNIX_EPOCH));
}

#[divan::bench(args = SIZES)]
fn observe_a_change_of_health(bencher: Bencher<'_, '_>, instances: usize) {
    let mut catalog = catalog(instances);
    let registered: Vec<_> = catalog.instances().map(|one| one.registration.clone()).collect();
    let mut round = 0;
    let next = || {
        round += 1;
        let (state, reason) = if (round / instances).is_multiple_of(2) {
            (HealthState::Serving, HealthReason::Serving)
        } else {
            (HealthState::NotServing, HealthReason::NotServing)
        };
        Command::Observe {
            registration: registered[round % instances].clone(),
            health: Health {
                state,
                reason,
                since: SystemTime::UNIX_EPOCH + Duration::from_secs(round as u64),
                detail: "".into(),
                suspect: false,
                verified: true,
            },
        }
    };
    bencher
        .with_inputs(next)
        .bench_local_values(|command| catalog.apply(command, SystemTime::UNIX_EPOCH));
}

#[divan::bench(args = SIZES)]
fn apply_and_publish_in_the_store(bencher: Bencher<'_, '_>, instances: usize) {
    let store = store(instances, instances);
    let mut build = 0;
    let next = || {
        build += 1;
        register(registration(build % instances, build))
    };
    bencher
        .with_inputs(next)
        .bench_local_values(|command| store.apply(command));
}

#[divan::bench(args = [1, 100, 10_000])]
fn read_what_was_missed(bencher: Bencher<'_, '_>, missed: u64) {
    let store = store(PER_SERVICE, 20_000);
    let revision = Revision(20_000 - missed);
    let sum = |state: &State| {
        let missed = state.history.since(revision).expect("it is held");
        missed.map(|change| change.revision.0).sum::<u64>()
    };
    bencher.counter(ItemsCount::new(missed)).bench_local(|| store.read(sum));
}

#[divan::bench(args = SIZES)]
fn encode_a_snapshot(bencher: Bencher<'_, '_>, instances: usize) {
    let catalog = catalog(instances);
    bencher.counter(ItemsCount::new(instances)).bench_local(|| {
        let message = WatchServicesResponse {
            reset: true,
            updated: catalog.instances().map(|one| one.encode_to_vec()).collect(),
            ..Default::default()
        };
        message.encode_to_vec()
    });
}

#[divan::bench(args = SIZES)]
fn hash_a_view(bencher: Bencher<'_, '_>, instances: usize) {
    let catalog = catalog(instances);
    bencher.counter(ItemsCount::new(instances)).bench_local(|| {
        let hashes = catalog.instances().map(|one| one.view_hash());
        hashes.fold(0, u64::wrapping_add)
    });
}
