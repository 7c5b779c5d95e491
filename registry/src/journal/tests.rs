//! What a damaged folder comes to: a clear refusal, or the loss of nothing that anybody was answered for.

use std::{fs, io::ErrorKind, os::unix::fs::PermissionsExt, time::Duration};

use homeroom::{
    model::{Epoch, Health, HealthState, InstanceKey, Registration},
    proto::registry::v1 as proto,
};
use proptest::prelude::*;

use super::{simulated::Simulated, *};
use crate::{config::Limits, error::Error, store::Store};

fn history() -> History {
    History::new(1000, usize::MAX, Duration::from_secs(3600))
}

fn registration(id: &str) -> Arc<Registration> {
    let registration = Registration::try_from(proto::Instance {
        service: "s".to_owned(),
        id: id.to_owned(),
        address: "127.0.0.1:1".to_owned(),
        metadata: [("key".to_owned(), "value".to_owned())].into(),
        ..Default::default()
    });
    Arc::new(registration.expect("a valid registration"))
}

fn register(catalog: &mut Catalog, id: &str) -> Applied {
    let command = crate::catalog::Command::Register {
        registration: registration(id),
        renews: None,
        actor: "test".into(),
        registrant: Some([127, 0, 0, 1].into()),
    };
    catalog
        .apply(command, std::time::SystemTime::now())
        .expect("it is accepted")
}

/// A journal of five registrations, the first three of them synced; and their ids.
fn five(disk: &Simulated) -> (Vec<String>, u64) {
    let (journal, mut catalog, _) = disk.open("boot", 1 << 20, history()).expect("it is sound");
    let mut synced = 0;
    for n in 0..5 {
        let applied = register(&mut catalog, &n.to_string());
        journal.append(&applied, false).expect("it is written");
        if n == 2 {
            // As the committer does it.
            let mut writing = journal.lock();
            let current = writing.current.as_mut().expect("it is written");
            current.writer.sync().expect("it works");
            current.synced = current.end;
            synced = current.end;
            recover::put_watermark(&*journal.watermark, current.number, current.end).expect("it works");
        }
    }
    (disk.segments(), synced)
}

fn ids(catalog: &Catalog) -> Vec<String> {
    catalog
        .instances()
        .map(|instance| instance.key().id.to_string())
        .collect()
}

/// The first `n` ids are there, and at least the synced ones.
fn assert_prefix(found: &[String]) {
    let expected: Vec<_> = (0..found.len()).map(|n| n.to_string()).collect();
    assert_eq!(found, expected);
    assert!(found.len() >= 3, "what was synced is there: {found:?}");
}

proptest! {
    #[test]
    fn a_flipped_bit_is_refused_or_loses_only_what_nobody_was_answered_for(bit in any::<prop::sample::Index>()) {
        let disk = Simulated::default();
        let (segments, synced) = five(&disk);
        let mut at = 0;
        disk.damage(&segments[0], |bytes| {
            let bit = bit.index(bytes.len() * 8);
            at = bit as u64 / 8;
            bytes[bit / 8] ^= 1 << (bit % 8);
        });
        match disk.open("boot", 1 << 20, history()) {
            Ok((_, catalog, _)) => {
                prop_assert!(at >= synced, "byte {} of {} synced ones", at, synced);
                assert_prefix(&ids(&catalog));
            }
            Err(error) => prop_assert!(matches!(error, OpenError::Damaged { .. }) && at < synced, "{}", error),
        }
    }

    #[test]
    fn a_cut_is_refused_or_loses_only_what_nobody_was_answered_for(cut in any::<prop::sample::Index>()) {
        let disk = Simulated::default();
        let (segments, synced) = five(&disk);
        let mut length = 0;
        disk.damage(&segments[0], |bytes| {
            length = cut.index(bytes.len());
            bytes.truncate(length);
        });
        match disk.open("boot", 1 << 20, history()) {
            Ok((_, catalog, _)) => {
                prop_assert!(length as u64 >= synced);
                assert_prefix(&ids(&catalog));
            }
            Err(error) => prop_assert!(matches!(error, OpenError::Damaged { .. }) && (length as u64) < synced, "{}", error),
        }
    }
}

#[test]
fn damage_is_known_by_later_records_when_nothing_else_tells() {
    let disk = Simulated::default();
    let (segments, synced) = five(&disk);
    disk.damage("synced", Vec::clear);
    disk.damage(&segments[0], |bytes| {
        bytes[usize::try_from(synced).expect("it is small") - 1] ^= 1
    });
    let error = disk.open("boot", 1 << 20, history()).expect_err("it was synced");
    assert!(error.to_string().contains("is damaged at byte"), "{error}");
}

#[test]
fn a_folder_whose_segments_are_gone_is_refused() {
    let disk = Simulated::default();
    let (segments, _) = five(&disk);
    disk.remove(&segments[0]).expect("it works");
    let error = disk.open("boot", 1 << 20, history()).expect_err("something is missing");
    assert!(error.to_string().contains("the file is missing"), "{error}");
}

#[test]
fn a_damaged_older_segment_costs_the_history_and_nothing_else() {
    let disk = Simulated::default();
    let (journal, catalog, history_now) = disk.open("boot", 1, history()).expect("it is sound");
    drop((journal, catalog, history_now));
    let open = || {
        let (journal, catalog, history) = disk.open("boot", 1, history()).expect("it is sound");
        (journal, catalog, history)
    };
    let (journal, mut catalog, _) = open();
    for n in 0..3 {
        let applied = register(&mut catalog, &n.to_string());
        journal.append(&applied, false).expect("it is written");
    }
    journal.begin(journal.start(&catalog));
    let applied = register(&mut catalog, "3");
    journal.append(&applied, false).expect("it is written");
    journal.close();
    journal.commit_until_closed();
    assert_eq!(disk.segments().len(), 2);
    let (_, whole, full_history) = open();
    assert_eq!(ids(&whole), ["0", "1", "2", "3"]);
    assert_eq!(full_history.oldest(), Some(Revision(1)));
    disk.damage(&disk.segments()[0], |bytes| bytes[40] ^= 1);
    let (_, whole, rest) = open();
    assert_eq!(ids(&whole), ["0", "1", "2", "3"]);
    assert_eq!(rest.oldest(), Some(Revision(4)));
}

#[test]
fn what_is_restored_is_what_was_kept_to_the_last_field() {
    let disk = Simulated::default();
    let (journal, mut catalog, mut changes) = disk.open("boot", 1 << 20, history()).expect("it is sound");
    let mut keep = |applied: Applied| {
        journal.append(&applied, false).expect("it is written");
        applied.changes.into_iter().for_each(|change| changes.push(change));
        applied.instance.expect("it stands")
    };
    let first = keep(register(&mut catalog, "0"));
    keep(register(&mut catalog, "1"));
    keep(register(&mut catalog, "1"));
    let health = Health {
        state: HealthState::Unreachable,
        suspect: true,
        verified: true,
        detail: "silent".into(),
        ..Health::not_probed(std::time::SystemTime::now())
    };
    let registration = first.registration.clone();
    let observe = crate::catalog::Command::Observe { registration, health };
    keep(
        catalog
            .apply(observe, std::time::SystemTime::now())
            .expect("never refused"),
    );
    let leave = crate::catalog::Command::Deregister(crate::catalog::Departure {
        key: InstanceKey::parse("s", "1").expect("a key"),
        incarnation: None,
        actor: "test".into(),
    });
    keep(catalog.apply(leave, std::time::SystemTime::now()).expect("it is there"));

    let (_, restored, history) = disk.open("boot", 1 << 20, history()).expect("it is sound");
    assert_eq!(
        restored.instances().collect::<Vec<_>>(),
        catalog.instances().collect::<Vec<_>>()
    );
    assert_eq!(
        (restored.epoch(), restored.revision(), restored.last_incarnation()),
        (catalog.epoch(), catalog.revision(), catalog.last_incarnation())
    );
    let (kept, held): (Vec<_>, Vec<_>) = (history.newest_first().collect(), changes.newest_first().collect());
    assert_eq!(kept, held);
}

#[test]
fn a_segment_of_a_later_version_is_refused() {
    let disk = Simulated::default();
    let (segments, _) = five(&disk);
    disk.damage(&segments[0], |bytes| bytes[8] = 2);
    let error = disk.open("boot", 1 << 20, history()).expect_err("it is not known");
    assert!(error.to_string().contains("version 2"), "{error}");
}

#[test]
fn a_first_start_on_a_full_disk_is_refused_and_leaves_nothing_in_the_way() {
    for operations in 0..6 {
        let disk = Simulated::default();
        disk.fail(operations, ErrorKind::StorageFull);
        if let Err(error) = disk.open("boot", 1 << 20, history()) {
            assert!(matches!(error, OpenError::Disk { .. }), "{error}");
        }
        disk.mend();
        let (_, catalog, _) = disk.open("boot", 1 << 20, history()).expect("it is new");
        assert!(catalog.is_empty());
    }
}

#[test]
fn a_real_folder_is_private_locked_and_found_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path().join("registry");
    let limits = Limits::default();
    let store = Store::open(&folder, &limits).expect("it is new");
    let mode = |path: &Path| fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
    assert_eq!(mode(&folder), 0o700);
    for file in fs::read_dir(&folder).expect("a folder") {
        assert_eq!(mode(&file.expect("a file").path()), 0o600);
    }
    let error = Store::open(&folder, &limits).expect_err("it is open already");
    assert!(matches!(error, OpenError::InUse(_)), "{error}");
    let command = crate::catalog::Command::Register {
        registration: registration("0"),
        renews: None,
        actor: "test".into(),
        registrant: None,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    runtime.block_on(store.commit(command)).expect("it is accepted");
    let epoch: Epoch = store.read(|state| state.catalog.epoch());
    drop(store);
    let again = Store::open(&folder, &limits).expect("it is sound");
    assert_eq!(
        again.read(|state| (state.catalog.len(), state.catalog.epoch())),
        (1, epoch)
    );
}

#[test]
fn every_fault_has_its_error() {
    assert_eq!(Error::from(Fault::Full), Error::StoreFull);
    assert_eq!(Error::from(Fault::Failed), Error::StoreFailed);
}
