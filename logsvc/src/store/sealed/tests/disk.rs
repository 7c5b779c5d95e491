//! A disk that ends with the process.

use std::{
    io,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::SystemTime,
};

use crate::store::disk::{Contents, Files};

/// Does so many changes, and none after them.
#[derive(Debug)]
pub(crate) struct Dying<T> {
    inner: T,
    left: Arc<AtomicUsize>,
}

impl Dying<Arc<dyn Files>> {
    pub(crate) fn after(changes: usize, inner: Arc<dyn Files>) -> Arc<dyn Files> {
        let left = Arc::new(AtomicUsize::new(changes));
        Arc::new(Self { inner, left })
    }

    fn file(&self, inner: Arc<dyn Contents>) -> Arc<dyn Contents> {
        let left = self.left.clone();
        Arc::new(Dying { inner, left })
    }
}

impl<T> Dying<T> {
    fn change<R>(&self, change: impl FnOnce(&T) -> io::Result<R>) -> io::Result<R> {
        let is_left = |left: usize| left.checked_sub(1);
        match self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, is_left) {
            Ok(_) => change(&self.inner),
            Err(_) => Err(io::ErrorKind::StorageFull.into()),
        }
    }
}

impl Files for Dying<Arc<dyn Files>> {
    fn list(&self) -> io::Result<Vec<String>> {
        self.inner.list()
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn Contents>> {
        self.change(|inner| inner.create(name)).map(|file| self.file(file))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn Contents>> {
        self.inner.open(name).map(|file| self.file(file))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.change(|inner| inner.rename(from, to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.change(|inner| inner.remove(name))
    }

    fn sync_names(&self) -> io::Result<()> {
        self.change(|inner| inner.sync_names())
    }

    fn free_bytes(&self) -> io::Result<u64> {
        self.inner.free_bytes()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.inner.path(name)
    }
}

impl Contents for Dying<Arc<dyn Contents>> {
    fn size_bytes(&self) -> io::Result<u64> {
        self.inner.size_bytes()
    }

    fn created(&self) -> io::Result<SystemTime> {
        self.inner.created()
    }

    fn read(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        self.inner.read(bytes, offset)
    }

    fn write(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.change(|inner| inner.write(bytes, offset))
    }

    fn sync(&self) -> io::Result<()> {
        self.change(|inner| inner.sync())
    }

    fn truncate(&self, size_bytes: u64) -> io::Result<()> {
        self.change(|inner| inner.truncate(size_bytes))
    }
}
