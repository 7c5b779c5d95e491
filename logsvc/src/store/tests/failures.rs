//! A disk that fails, and what it costs.

use super::{super::disk::Contents, *};

/// What goes wrong next; until it is taken back.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Faults {
    pub(super) append: Option<io::ErrorKind>,
    pub(super) sync: bool,
    pub(super) truncate: bool,
}

#[derive(Debug, Clone)]
struct Faulty<T> {
    inner: T,
    faults: Arc<Mutex<Faults>>,
}

impl<T> Faulty<T> {
    fn faults(&self) -> Faults {
        *self.faults.lock().expect("no test panics with it")
    }

    fn file(&self, contents: Arc<dyn Contents>) -> Arc<dyn Contents> {
        Arc::new(Faulty {
            inner: contents,
            faults: self.faults.clone(),
        })
    }
}

impl Files for Faulty<Arc<Directory>> {
    fn list(&self) -> io::Result<Vec<String>> {
        self.inner.list()
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn Contents>> {
        Ok(self.file(self.inner.create(name)?))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn Contents>> {
        Ok(self.file(self.inner.open(name)?))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.inner.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.inner.remove(name)
    }

    fn sync_names(&self) -> io::Result<()> {
        self.inner.sync_names()
    }

    fn free_bytes(&self) -> io::Result<u64> {
        self.inner.free_bytes()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.inner.path(name)
    }
}

impl Contents for Faulty<Arc<dyn Contents>> {
    fn size_bytes(&self) -> io::Result<u64> {
        self.inner.size_bytes()
    }

    fn created(&self) -> io::Result<SystemTime> {
        self.inner.created()
    }

    fn read(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        self.inner.read(bytes, offset)
    }

    fn write(&self, text: &[u8], offset: u64) -> io::Result<()> {
        match self.faults().append {
            // As much as fits is written, as a disk does.
            Some(kind) => self.inner.write(&text[..text.len() / 2], offset).and(Err(kind.into())),
            None => self.inner.write(text, offset),
        }
    }

    fn sync(&self) -> io::Result<()> {
        match self.faults().sync {
            true => Err(io::Error::other("injected")),
            false => self.inner.sync(),
        }
    }

    fn truncate(&self, size_bytes: u64) -> io::Result<()> {
        match self.faults().truncate {
            true => Err(io::Error::other("injected")),
            false => self.inner.truncate(size_bytes),
        }
    }
}

pub(super) struct Broken {
    pub(super) store: Store,
    faults: Arc<Mutex<Faults>>,
}

impl Broken {
    pub(super) fn open(directory: &Path) -> Self {
        let faults = Arc::new(Mutex::new(Faults::default()));
        let files = Faulty {
            inner: Arc::new(Directory::open(directory).expect("a directory")),
            faults: faults.clone(),
        };
        let limits = (&StoreSettings::default()).into();
        let store = Store::open_in(Arc::new(files), "boot", NUMBERS_RESERVE, limits, &everything());
        Self {
            store: store.expect("an open store"),
            faults,
        }
    }

    pub(super) fn set(&self, faults: Faults) {
        *self.faults.lock().expect("no test panics with it") = faults;
    }
}

#[tokio::test]
async fn a_full_disk_keeps_nothing_of_the_batch_and_recovers() {
    let directory = directory();
    let broken = Broken::open(directory.path());
    write(&broken.store, &["a"]).await.expect("written");
    let kept = fs::read(path(&directory)).expect("readable");
    for kind in [
        io::ErrorKind::StorageFull,
        io::ErrorKind::QuotaExceeded,
        io::ErrorKind::WriteZero,
    ] {
        broken.set(Faults {
            append: Some(kind),
            ..Faults::default()
        });
        assert!(matches!(write(&broken.store, &["b", "c"]).await, Err(Error::DiskFull)));
        assert_eq!(fs::read(path(&directory)).expect("readable"), kept);
    }
    broken.set(Faults::default());
    assert_eq!(write(&broken.store, &["d"]).await.expect("written"), 2);
    let expected = numbered(&[(1, "a"), (2, "d")]);
    assert_eq!(all(&broken.store), expected);
    drop(broken);
    assert_eq!(all(&open(&directory)), expected);
}

#[tokio::test]
async fn a_failed_disk_is_read_on_and_written_as_soon_as_it_works() {
    let failures = [
        Faults {
            sync: true,
            ..Faults::default()
        },
        Faults {
            append: Some(io::ErrorKind::StorageFull),
            truncate: true,
            ..Faults::default()
        },
        Faults {
            append: Some(io::ErrorKind::Other),
            ..Faults::default()
        },
    ];
    for faults in failures {
        let directory = directory();
        let broken = Broken::open(directory.path());
        write(&broken.store, &["a"]).await.expect("written");
        broken.set(faults);
        let failed = write(&broken.store, &["b", "b"]).await;
        assert!(matches!(failed, Err(Error::StoreFailed)), "{faults:?}");
        assert!(matches!(broken.store.health(), Health::Failed(_)), "{faults:?}");
        write(&broken.store, &["b"]).await.expect_err("it still fails");
        assert_eq!(all(&broken.store), numbered(&[(1, "a")]));
        assert_eq!(*broken.store.visible().borrow(), 1);
        broken.set(Faults::default());
        let last = write(&broken.store, &["c"]).await.expect("written");
        assert!(last > 3, "{last} may be in doubt");
        assert_eq!(broken.store.health(), Health::Working);
        let expected = numbered(&[(1, "a"), (last, "c")]);
        assert_eq!(all(&broken.store), expected);
        drop(broken);
        let store = open(&directory);
        assert_eq!(all(&store), expected);
        assert_eq!(write(&store, &["d"]).await.expect("written"), last + 1);
    }
}

#[tokio::test]
async fn a_sync_is_only_done_for_who_asks() {
    let directory = directory();
    let broken = Broken::open(directory.path());
    write(&broken.store, &["first"]).await.expect("written");
    broken.set(Faults {
        sync: true,
        ..Faults::default()
    });
    let fate = Fate::default();
    assert_eq!(write_as(&broken.store, &["a"], false, &fate).await.expect("written"), 2);
    assert!(matches!(
        write_as(&broken.store, &["b"], true, &fate).await,
        Err(Error::StoreFailed)
    ));
}

#[tokio::test]
async fn after_a_failure_no_batch_of_the_same_fate_is_written() {
    let directory = directory();
    let broken = Broken::open(directory.path());
    broken.set(Faults {
        append: Some(io::ErrorKind::StorageFull),
        ..Faults::default()
    });
    let fate = Fate::default();
    assert!(write_as(&broken.store, &["a"], true, &fate).await.is_err());
    broken.set(Faults::default());
    assert!(write_as(&broken.store, &["b"], true, &fate).await.is_err());
    assert_eq!(write(&broken.store, &["c"]).await.expect("written"), 1);
    assert_eq!(all(&broken.store), numbered(&[(1, "c")]));
}
