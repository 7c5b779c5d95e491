//! A disk in memory that forgets what is not synced when its power is cut, and fails when it is told to.

use std::{
    collections::BTreeMap,
    io,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use super::{DiskState, Files, Journal, Writer, recover, writing::Pace};
use crate::{catalog::Catalog, history::History};

/// The disk. Clones are the same one.
#[derive(Debug, Clone, Default)]
pub(crate) struct Simulated(Arc<Mutex<Contents>>);

#[derive(Debug, Clone, Default)]
struct Contents {
    files: Vec<Stored>,
    names: BTreeMap<String, usize>,
    synced_names: BTreeMap<String, usize>,
    /// What was done to the names since.
    name_changes: Vec<NameChange>,
    operations: u64,
    /// From which operation on it fails, and how.
    failing: Option<(u64, io::ErrorKind)>,
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
            Self::Put(name, file) => names.insert(name.clone(), *file),
            Self::Remove(name) => names.remove(name),
        };
    }
}

impl Contents {
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
            Some((from, kind)) if self.operations > from => Err(kind.into()),
            _ => Ok(()),
        }
    }
}

impl Simulated {
    fn lock(&self) -> MutexGuard<'_, Contents> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Fails like this, after so many operations more, until it is mended.
    pub(crate) fn fail(&self, after: u64, kind: io::ErrorKind) {
        let mut contents = self.lock();
        contents.failing = Some((contents.operations + after, kind));
    }

    /// Works from now on.
    pub(crate) fn mend(&self) {
        self.lock().failing = None;
    }

    /// The disk as another process finds it once this one is killed.
    pub(crate) fn after_kill(&self) -> Self {
        let mut contents = self.lock().clone();
        contents.failing = None;
        Self(Arc::new(Mutex::new(contents)))
    }

    /// The disk after the power was cut: of what was not synced, anything may be there.
    pub(crate) fn after_power_cut(&self, seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut contents = self.lock().clone();
        contents.failing = None;
        // Names are journaled: they are lost in the order in which they were made.
        let kept = random.usize(0..=contents.name_changes.len());
        contents.names = contents.synced_names.clone();
        for change in contents.name_changes.drain(..).take(kept) {
            change.apply(&mut contents.names);
        }
        contents.synced_names = contents.names.clone();
        for file in &mut contents.files {
            let share = random.u32(0..=4);
            for change in std::mem::take(&mut file.changes) {
                if random.u32(0..4) < share {
                    change.apply(&mut file.synced);
                }
            }
            file.bytes.clone_from(&file.synced);
        }
        Self(Arc::new(Mutex::new(contents)))
    }

    /// The bytes of a file, to be damaged.
    pub(crate) fn damage(&self, name: &str, damage: impl FnOnce(&mut Vec<u8>)) {
        let mut contents = self.lock();
        let file = contents.find(name).expect("the file is there");
        damage(&mut contents.files[file].bytes);
        let bytes = contents.files[file].bytes.clone();
        contents.files[file].synced = bytes;
        contents.files[file].changes.clear();
    }

    /// The segments, oldest first.
    pub(crate) fn segments(&self) -> Vec<String> {
        let contents = self.lock();
        contents
            .names
            .keys()
            .filter(|name| name.ends_with(".journal"))
            .cloned()
            .collect()
    }

    /// Opens the journal on it, in a boot of this name. It begins a segment after so many bytes of changes, and tries
    /// again at once what has failed.
    pub(crate) fn open(
        &self,
        boot: &str,
        changes_bytes: u64,
        history: History,
    ) -> Result<(Journal, Catalog, History), super::OpenError> {
        let opened = recover::open(Arc::new(self.clone()), boot, history)?;
        opened.0.lock().pace = Pace {
            changes_bytes,
            retry: Duration::from_millis(1),
            retry_asked: Duration::ZERO,
        };
        opened.0.lock().retry_at = Instant::now();
        Ok(opened)
    }
}

impl Journal {
    /// Waits until it is in a state.
    pub(crate) fn wait_until(&self, wanted: impl Fn(&DiskState) -> bool) {
        let until = Instant::now() + Duration::from_secs(20);
        while !wanted(&self.disk_state()) {
            assert!(Instant::now() < until, "{:?}", self.disk_state());
            std::thread::yield_now();
        }
    }
}

impl Files for Simulated {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.lock().names.keys().cloned().collect())
    }

    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        let contents = self.lock();
        Ok(contents.files[contents.find(name)?].bytes.clone())
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn Writer>> {
        let mut contents = self.lock();
        contents.try_it()?;
        contents.files.push(Stored::default());
        let file = contents.files.len() - 1;
        contents.change_name(NameChange::Put(name.to_owned(), file));
        Ok(Arc::new(Handle(self.clone(), file)))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn Writer>> {
        let known = self.lock().find(name);
        match known {
            Ok(file) => Ok(Arc::new(Handle(self.clone(), file))),
            Err(_) => self.create(name),
        }
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut contents = self.lock();
        contents.try_it()?;
        let file = contents.find(from)?;
        contents.change_name(NameChange::Put(to.to_owned(), file));
        contents.change_name(NameChange::Remove(from.to_owned()));
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut contents = self.lock();
        contents.try_it()?;
        contents.find(name)?;
        contents.change_name(NameChange::Remove(name.to_owned()));
        Ok(())
    }

    fn sync_names(&self) -> io::Result<()> {
        let mut contents = self.lock();
        contents.try_it()?;
        contents.name_changes.clear();
        contents.synced_names = contents.names.clone();
        Ok(())
    }

    fn path(&self, name: &str) -> PathBuf {
        PathBuf::from("simulated").join(name)
    }
}

#[derive(Debug)]
struct Handle(Simulated, usize);

impl Writer for Handle {
    fn write(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let offset = usize::try_from(offset).expect("it is small");
        let mut contents = self.0.lock();
        let result = contents.try_it();
        // What fails may be half done.
        let done = if result.is_ok() {
            bytes
        } else {
            &bytes[..bytes.len() / 2]
        };
        contents.files[self.1].change(ByteChange::Write(offset, done.to_vec()));
        result
    }

    fn sync(&self) -> io::Result<()> {
        let mut contents = self.0.lock();
        let result = contents.try_it();
        let file = &mut contents.files[self.1];
        // After a failure the system takes for written what is not, and will never be.
        file.changes.clear();
        if result.is_ok() {
            file.synced.clone_from(&file.bytes);
        }
        result
    }

    fn truncate(&self, size_bytes: u64) -> io::Result<()> {
        let length = usize::try_from(size_bytes).expect("it is small");
        let mut contents = self.0.lock();
        contents.try_it()?;
        contents.files[self.1].change(ByteChange::Truncate(length));
        Ok(())
    }
}

impl Stored {
    fn change(&mut self, change: ByteChange) {
        change.apply(&mut self.bytes);
        self.changes.push(change);
    }
}
