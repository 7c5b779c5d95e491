//! Opening the store: the directory, the file, its tables, and the first data.

use std::{
    fs::{DirBuilder, File},
    io,
    os::unix::fs::DirBuilderExt,
    path::Path,
    time::Duration,
};

use sqlx::{
    ConnectOptions, Connection, SqlSafeStr, SqliteConnection,
    migrate::{Migration, MigrationType, Migrator},
    query_scalar,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

use super::{Store, rows};
use crate::{error::Error, seed};

/// The file in the data directory.
pub(super) const FILE: &str = "grades.db";
/// Only this user may look into a data directory that we create: grades are private.
const DIR_MODE: u32 = 0o700;
/// A thread each. Reads are short and come from memory mostly, so a few keep all cores of a small machine busy.
const READERS_MAX: u32 = 4;
/// How long a call waits for its turn to write, and then for another process: most clients have given up by then.
const WAIT_MAX: Duration = Duration::from_secs(10);

impl Store {
    /// Opens the store in a directory; creates both, with the sample students, when they are missing.
    ///
    /// # Errors
    /// [`Error::DataDir`] and [`Error::Open`].
    pub(crate) async fn open(data_dir: &Path) -> Result<Self, Error> {
        create_dir(data_dir).map_err(|cause| Error::DataDir {
            path: data_dir.to_owned(),
            cause,
        })?;
        let path = data_dir.join(FILE);
        let opened = Self::open_file(&path).await;
        opened.map_err(|cause| Error::Open {
            path,
            cause: Box::new(cause),
        })
    }

    async fn open_file(path: &Path) -> Result<Self, Error> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .foreign_keys(true)
            .busy_timeout(WAIT_MAX)
            .disable_statement_logging();
        let write = options
            .clone()
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            // What is answered survives a power cut: the log is synced at every commit.
            .synchronous(SqliteSynchronous::Full);
        let writer = pool(1).connect_with(write).await?;
        prepare(&mut *writer.acquire().await?).await?;
        let readers = pool(READERS_MAX).connect_lazy_with(options.read_only(true));
        Ok(Self { writer, readers })
    }
}

/// A pool whose connections stay open: a file does not hang up.
fn pool(connections_max: u32) -> SqlitePoolOptions {
    SqlitePoolOptions::new()
        .max_connections(connections_max)
        .acquire_timeout(WAIT_MAX)
        .idle_timeout(None)
        .max_lifetime(None)
        .test_before_acquire(false)
        // SQLite itself rolls back at some errors, such as a full disk. sqlx does not notice, takes the connection to be
        // in a transaction for ever, and refuses to begin another one: such a connection is replaced.
        .before_acquire(|connection, _| Box::pin(async move { Ok(!connection.is_in_transaction()) }))
}

/// Brings the tables up to date, in one transaction.
async fn prepare(connection: &mut SqliteConnection) -> Result<(), Error> {
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    migrate(&mut transaction).await?;
    transaction.commit().await?;
    Ok(())
}

/// Brings the tables up to date; a fresh file gets the sample students as well. Within the caller's transaction, so that
/// a process killed half-way leaves a file that is still fresh.
pub(super) async fn migrate(connection: &mut SqliteConnection) -> Result<(), Error> {
    let tables: i64 = query_scalar("SELECT count(*) FROM sqlite_schema")
        .fetch_one(&mut *connection)
        .await?;
    // Not `run`: what it returns is no `Send` future as far as the compiler can tell.
    migrator().run_direct(None, connection, false).await?;
    if tables > 0 {
        return Ok(());
    }
    for student in seed::students() {
        rows::insert_student(connection, &student).await?;
        for grade in &student.grades {
            rows::insert_grade(connection, student.id, grade, None).await?;
        }
    }
    Ok(())
}

fn migrator() -> Migrator {
    let first = include_str!("../../migrations/0001_students_and_grades.sql");
    let migration = |version, name: &'static str, sql: &'static str| {
        Migration::new(version, name.into(), MigrationType::Simple, sql.into_sql_str(), false)
    };
    Migrator::with_migrations(vec![migration(1, "students and grades", first)])
}

/// Creates a directory and those above it where they are missing, so that they survive a power cut as well: a new name
/// is safe once the directory that holds it is synced.
fn create_dir(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let parent = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    create_dir(parent)?;
    match DirBuilder::new().mode(DIR_MODE).create(path) {
        // Another process was faster.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        Err(error) => Err(error),
        Ok(()) => File::open(parent)?.sync_all(),
    }
}
