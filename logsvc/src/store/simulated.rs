//! A disk in memory that forgets what is not synced when its power is cut, and fails when it is told to.

use std::{
    collections::BTreeMap,
    io,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

use super::disk::{Contents, Files};

/// The disk. Clones are the same one.
#[derive(Debug, Clone, Default)]
pub(super) struct Simulated(Arc<Mutex<State>>);

#[derive(Debug, Clone, Default)]
struct State {
    files: Vec<Stored>,
    names: BTreeMap<String, usize>,
    synced_names: BTreeMap<String, usize>,
    /// What was done to the names since.
    name_changes: Vec<NameChange>,
    operations: u64,
    /// From which operation on so many fail, and how.
    failing: Option<(u64, u64, io::ErrorKind)>,
    /// How much room it says that it has left to fill.
    used_bytes: u64,
}

#[derive(Debug, Clone, Default)]
struct Stored {
    bytes: Vec<u8>,
    synced: Vec<u8>,
    /// What was done to the bytes since.
    changes: Vec<ByteChange>,
}

#[derive(Debug, Clone)]
enum NameChange {
    Put(String, usize),
    Remove(String),
    Rename(String, String, usize),
}

#[derive(Debug, Clone)]
enum ByteChange {
    Write(usize, Vec<u8>),
    Truncate(usize),
}

impl ByteChange {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Write(offset, written) => {
                let end = offset + written.len();
                bytes.resize(bytes.len().max(end), 0);
                bytes[*offset..end].copy_from_slice(written);
            }
            Self::Truncate(length) => bytes.truncate(*length),
        }
    }
}

impl NameChange {
    fn apply(&self, names: &mut BTreeMap<String, usize>) {
        match self {
            Self::Put(name, file) => {
                names.insert(name.clone(), *file);
            }
            Self::Remove(name) => {
                names.remove(name);
            }
            Self::Rename(from, to, file) => {
                names.remove(from);
                names.insert(to.clone(), *file);
            }
        }
    }
}

impl Stored {
    fn change(&mut self, change: ByteChange) {
        change.apply(&mut self.bytes);
        self.changes.push(change);
    }
}

impl State {
    fn change_name(&mut self, change: NameChange) {
        change.apply(&mut self.names);
        self.name_changes.push(change);
    }

    fn find(&self, name: &str) -> io::Result<usize> {
        self.names.get(name).copied().ok_or(io::ErrorKind::NotFound.into())
    }

    /// Counts an operation that may fail.
    fn try_it(&mut self) -> io::Result<()> {
        self.operations += 1;
        match self.failing {
            Some((from, to, kind)) if (from..to).contains(&self.operations) => Err(kind.into()),
            _ => Ok(()),
        }
    }
}

impl Simulated {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Fails like this at `count` operations, after `after` more.
    pub(super) fn fail(&self, after: u64, count: u64, kind: io::ErrorKind) {
        let mut state = self.lock();
        let from = state.operations + 1 + after;
        state.failing = Some((from, from + count, kind));
    }

    /// Works from now on.
    pub(super) fn mend(&self) {
        self.lock().failing = None;
    }

    /// Says from now on that it has no room at all.
    pub(super) fn fill(&self, is_full: bool) {
        self.lock().used_bytes = if is_full { u64::MAX } else { 0 };
    }

    /// The disk as another process finds it once this one is killed.
    pub(super) fn after_kill(&self) -> Self {
        let mut state = self.lock().clone();
        state.failing = None;
        Self(Arc::new(Mutex::new(state)))
    }

    /// The disk after the power was cut: of what was not synced, anything may be there.
    pub(super) fn after_power_cut(&self, seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut state = self.lock().clone();
        state.failing = None;
        // Names are journaled: they are lost in the order in which they were made.
        let kept = random.usize(0..=state.name_changes.len());
        state.names = state.synced_names.clone();
        let changes: Vec<_> = state.name_changes.drain(..).take(kept).collect();
        for change in changes {
            change.apply(&mut state.names);
        }
        state.synced_names = state.names.clone();
        for file in &mut state.files {
            let share = random.u32(0..=4);
            for change in std::mem::take(&mut file.changes) {
                if random.u32(0..4) < share {
                    change.apply(&mut file.synced);
                }
            }
            file.bytes.clone_from(&file.synced);
        }
        Self(Arc::new(Mutex::new(state)))
    }
}

impl Files for Simulated {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.lock().names.keys().cloned().collect())
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn Contents>> {
        let mut state = self.lock();
        state.try_it()?;
        state.files.push(Stored::default());
        let file = state.files.len() - 1;
        state.change_name(NameChange::Put(name.to_owned(), file));
        Ok(Arc::new(Handle(self.clone(), file)))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn Contents>> {
        let file = self.lock().find(name)?;
        Ok(Arc::new(Handle(self.clone(), file)))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.lock();
        state.try_it()?;
        let file = state.find(from)?;
        state.change_name(NameChange::Rename(from.to_owned(), to.to_owned(), file));
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.lock();
        state.try_it()?;
        state.find(name)?;
        state.change_name(NameChange::Remove(name.to_owned()));
        Ok(())
    }

    fn sync_names(&self) -> io::Result<()> {
        let mut state = self.lock();
        state.try_it()?;
        state.name_changes.clear();
        state.synced_names = state.names.clone();
        Ok(())
    }

    fn free_bytes(&self) -> io::Result<u64> {
        Ok(u64::MAX - self.lock().used_bytes)
    }

    fn path(&self, name: &str) -> PathBuf {
        PathBuf::from("simulated").join(name)
    }
}

#[derive(Debug)]
struct Handle(Simulated, usize);

impl Contents for Handle {
    fn size_bytes(&self) -> io::Result<u64> {
        Ok(self.0.lock().files[self.1].bytes.len() as u64)
    }

    fn created(&self) -> io::Result<SystemTime> {
        Ok(SystemTime::now())
    }

    fn read(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        let state = self.0.lock();
        let all = &state.files[self.1].bytes;
        let start = usize::try_from(offset).expect("it is small").min(all.len());
        let length = bytes.len().min(all.len() - start);
        bytes[..length].copy_from_slice(&all[start..start + length]);
        Ok(length)
    }

    fn write(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let offset = usize::try_from(offset).expect("it is small");
        let mut state = self.0.lock();
        let result = state.try_it();
        // What fails may be half done.
        let length = if result.is_ok() { bytes.len() } else { bytes.len() / 2 };
        // The system writes pages, in any order.
        let file = &mut state.files[self.1];
        for (n, page) in bytes[..length].chunks(PAGE_BYTES).enumerate() {
            file.change(ByteChange::Write(offset + n * PAGE_BYTES, page.to_vec()));
        }
        result
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.0.lock();
        let result = state.try_it();
        let file = &mut state.files[self.1];
        if result.is_ok() {
            file.synced.clone_from(&file.bytes);
        } else {
            // Some of it is there. The rest the system takes for written, and will never write.
            let half = file.changes.len() / 2;
            let done: Vec<_> = file.changes.drain(..half).collect();
            for change in done {
                change.apply(&mut file.synced);
            }
        }
        file.changes.clear();
        result
    }

    fn truncate(&self, size_bytes: u64) -> io::Result<()> {
        let length = usize::try_from(size_bytes).expect("it is small");
        let mut state = self.0.lock();
        state.try_it()?;
        state.files[self.1].change(ByteChange::Truncate(length));
        Ok(())
    }
}

/// Small, so that lines are torn.
const PAGE_BYTES: usize = 64;
