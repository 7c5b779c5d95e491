//! The thread that syncs: once for all that wait.

use std::{
    io,
    sync::{Arc, PoisonError},
    time::Instant,
};

use tokio::sync::oneshot;

use super::{
    Fault, Journal,
    files::Writer,
    gathering::Gathering,
    record::{Closed, Kind},
    recover,
    writing::{Older, Writing},
};

/// What is to be synced.
struct Group {
    waiters: Vec<oneshot::Sender<Result<(), Fault>>>,
    number: u64,
    writer: Arc<dyn Writer>,
    end: u64,
    /// Whether it is the next segment, which takes its place now.
    installs: bool,
}

impl Journal {
    /// Syncs until the journal is closed and all that wait are told.
    pub fn commit_until_closed(&self) {
        let mut gathering = Gathering::new(Instant::now());
        while let Some(group) = self.next_group(gathering) {
            let (answered, started) = (group.waiters.len(), Instant::now());
            self.commit(group);
            let callers = answered + self.lock().waiters.len();
            gathering = Gathering::after(callers, started.elapsed(), Instant::now());
        }
        self.say_goodbye();
    }

    fn next_group(&self, gathering: Gathering) -> Option<Group> {
        let mut writing = self.lock();
        loop {
            let (enough, patience) = gathering.enough(Instant::now());
            let target = writing.next.as_ref().or(writing.current.as_ref());
            match target {
                Some(segment) if writing.waiters.len() >= enough || writing.next.is_some() => {
                    return Some(Group {
                        number: segment.number,
                        writer: segment.writer.clone(),
                        end: segment.end,
                        installs: writing.next.is_some(),
                        waiters: writing.take_waiters(),
                    });
                }
                // They waited for a segment that was lost.
                None if !writing.waiters.is_empty() => {
                    let fault = writing.fault();
                    writing.is_unkept = true;
                    answer(std::mem::take(&mut writing.waiters), Err(fault));
                }
                _ if writing.closing && writing.waiters.is_empty() => return None,
                _ => {
                    writing.committer_waits_for = Some(enough);
                    writing = match patience {
                        None => self.committing.wait(writing).unwrap_or_else(PoisonError::into_inner),
                        Some(patience) => {
                            let woken = self.committing.wait_timeout(writing, patience);
                            woken.unwrap_or_else(PoisonError::into_inner).0
                        }
                    };
                    writing.committer_waits_for = None;
                }
            }
        }
    }

    fn commit(&self, group: Group) {
        let started = Instant::now();
        let synced = group.writer.sync();
        if let Some(on_sync) = self.on_sync.get() {
            on_sync(started.elapsed());
        }
        let named = match (&synced, group.installs) {
            (Ok(()), true) => self.name(group.number),
            _ => Ok(()),
        };
        let mut writing = self.lock();
        writing.syncing = false;
        let result = match (synced, named) {
            (Ok(()), Ok(())) => {
                writing.synced(group.number, group.end);
                Ok(())
            }
            (Err(error), _) if group.installs && writing.current.is_some() => {
                tracing::warn!(%error, "cannot begin another segment of the journal");
                writing.abandon_next();
                // The current one has it all: they wait for that instead.
                let mut waiters = group.waiters;
                waiters.append(&mut writing.waiters);
                writing.waiters = waiters;
                return;
            }
            // What a failed sync leaves is not known: trying it again would prove nothing.
            (Err(error), _) | (_, Err(error)) => {
                let fault = writing.note(&error);
                writing.is_unkept |= !group.waiters.is_empty();
                writing.fall_behind();
                self.keeping.notify_one();
                Err(fault)
            }
        };
        drop(writing);
        if result.is_ok() {
            // It can only tell less than is true, so that it need not succeed.
            let _ = recover::put_watermark(&*self.watermark, group.number, group.end);
        }
        answer(group.waiters, result);
    }

    /// Gives a whole segment the name that a restart finds.
    fn name(&self, number: u64) -> io::Result<()> {
        self.files.rename(&recover::new_name(number), &recover::name(number))?;
        self.files.sync_names()
    }

    /// Says that nothing is missing. What cannot be said is taken for a kill.
    fn say_goodbye(&self) {
        let mut writing = self.lock();
        let Some(current) = &mut writing.current else {
            return;
        };
        if current.append(&[Kind::Closed(Closed {}).payload()], None).is_ok() {
            let (writer, number, end) = (current.writer.clone(), current.number, current.end);
            drop(writing);
            if writer.sync().is_ok() {
                let _ = recover::put_watermark(&*self.watermark, number, end);
            }
        }
    }
}

impl Writing {
    fn take_waiters(&mut self) -> Vec<oneshot::Sender<Result<(), Fault>>> {
        if let Some(next) = &mut self.next {
            next.installing = true;
        }
        self.syncing = !self.waiters.is_empty();
        std::mem::take(&mut self.waiters)
    }

    /// A segment is synced up to `end`; if it is the next one, it takes its place.
    fn synced(&mut self, number: u64, end: u64) {
        if let Some(next) = self.next.take_if(|next| next.number == number) {
            let before = self.current.replace(next);
            self.older.extend(before.map(|before| Older {
                number: before.number,
                revision: before.revision,
            }));
            self.is_unkept = false;
            self.note_success();
        }
        if let Some(current) = self.current.as_mut().filter(|current| current.number == number) {
            current.installing = false;
            current.synced = end;
        }
    }
}

/// Who does not wait any more is not told.
fn answer(waiters: Vec<oneshot::Sender<Result<(), Fault>>>, result: Result<(), Fault>) {
    for waiter in waiters {
        let _ = waiter.send(result);
    }
}
