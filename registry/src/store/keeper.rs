//! The threads of a store that is kept: one syncs, one begins segments and forgets old ones.

use std::{sync::Arc, thread::JoinHandle, time::Duration};

use super::Shared;
use crate::journal::{Journal, Work};

/// How often it is looked whether the history has forgotten changes.
const FORGET_INTERVAL: Duration = Duration::from_secs(5);

/// Starts the threads that the journal of a store needs.
///
/// # Panics
/// When the system lets no thread start.
pub(super) fn start(shared: &Arc<Shared>) -> Vec<JoinHandle<()>> {
    let Some(journal) = &shared.journal else {
        return Vec::new();
    };
    let (committing, keeping) = (journal.clone(), journal.clone());
    let shared = shared.clone();
    vec![
        spawn("registry-commit", move || committing.commit_until_closed()),
        spawn("registry-keep", move || keep(&shared, &keeping)),
    ]
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> JoinHandle<()> {
    let thread = std::thread::Builder::new().name(name.to_owned());
    thread.spawn(work).expect("a thread can be started")
}

fn keep(shared: &Shared, journal: &Journal) {
    loop {
        match journal.wait_for_work(FORGET_INTERVAL) {
            Work::Segment => journal.begin(start_of_segment(shared, journal)),
            Work::Forget => {}
            Work::Close => return,
        }
        let oldest = {
            let mut state = shared.lock();
            state.history.expire(std::time::SystemTime::now());
            state.history.oldest()
        };
        journal.forget(oldest);
    }
}

fn start_of_segment(shared: &Shared, journal: &Journal) -> crate::journal::Start {
    let mut state = shared.lock();
    shared.renew_epoch(&mut state, journal);
    journal.start(&state.catalog)
}
