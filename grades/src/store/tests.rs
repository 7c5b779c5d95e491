use std::path::Path;

use sqlx::{ConnectOptions, Connection, query, query_scalar, sqlite::SqliteConnectOptions};
use tempfile::TempDir;

use super::*;
use crate::{
    gradebook::{Grade, GradeKind, RequestId},
    seed,
};

async fn fresh() -> (TempDir, Store) {
    let dir = tempfile::tempdir().expect("a directory");
    let store = Store::open(dir.path()).await.expect("a fresh store opens");
    (dir, store)
}

/// A connection as another process would have it.
async fn stranger(dir: &Path) -> SqliteConnection {
    let options = SqliteConnectOptions::new().filename(dir.join(open::FILE));
    let connection = options.create_if_missing(true).connect().await;
    connection.expect("the file opens for others")
}

fn id(id: u32) -> StudentId {
    StudentId::parse("id", id).expect("a valid id")
}

fn addition(student: u32, title: &str, request_id: &str) -> Addition {
    Addition {
        student: id(student),
        grade: Grade::new(title.to_owned(), GradeKind::Test, 50.5).expect("a valid grade"),
        request_id: RequestId::parse("request_id", request_id.to_owned()).expect("a valid id"),
    }
}

async fn list_all(store: &Store) -> Vec<Student> {
    let page = Page::parse("test", 0, "").expect("a valid page");
    store.list(&page).await.expect("a list").0
}

/// Gives every student `count` grades with the longest of titles, without the store.
async fn add_behind_its_back(store: &Store, count: usize) {
    let sql = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)
        INSERT INTO grades (student_id, title, kind, score) SELECT id, ?, 'TEST', 1 FROM students, n";
    let added = query(sql)
        .bind(i64::try_from(count).expect("a small number"))
        .bind("x".repeat(Grade::TITLE_CHARS_MAX))
        .execute(&store.writer)
        .await;
    added.expect("the rows are valid");
}

#[tokio::test]
async fn a_first_start_that_dies_half_way_leaves_a_fresh_file() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut connection = stranger(dir.path()).await;
    {
        let mut first_start = connection.begin().await.expect("a transaction");
        open::migrate(&mut first_start).await.expect("the tables and students");
        let students: i64 = query_scalar("SELECT count(*) FROM students")
            .fetch_one(&mut *first_start)
            .await
            .expect("the table is there");
        assert_eq!(students, 5);
    }
    connection.close().await.expect("it closes");
    let store = Store::open(dir.path()).await.expect("it opens");
    assert_eq!(list_all(&store).await, seed::students().collect::<Vec<_>>());
}

#[tokio::test]
async fn students_taken_out_by_hand_do_not_come_back() {
    let (dir, store) = fresh().await;
    for sql in ["DELETE FROM grades", "DELETE FROM students"] {
        query(sql).execute(&store.writer).await.expect("they go");
    }
    store.close().await;
    let store = Store::open(dir.path()).await.expect("it opens again");
    assert_eq!(list_all(&store).await, []);
}

#[tokio::test]
async fn what_was_answered_is_in_the_files_before_anything_is_closed() {
    let (dir, store) = fresh().await;
    store.add(&addition(1, "kept", "")).await.expect("added");
    let crashed = tempfile::tempdir().expect("a directory");
    for file in ["grades.db", "grades.db-wal"] {
        std::fs::copy(dir.path().join(file), crashed.path().join(file)).expect("the file is there");
    }
    let store = Store::open(crashed.path()).await.expect("the copy opens");
    let student = store.get(id(1)).await.expect("the student");
    assert_eq!(student.grades.last().map(Grade::title), Some("kept"));
}

#[tokio::test]
async fn every_commit_is_synced() {
    let (_dir, store) = fresh().await;
    let synchronous: i64 = query_scalar("PRAGMA synchronous")
        .fetch_one(&store.writer)
        .await
        .expect("a pragma");
    let journal: String = query_scalar("PRAGMA journal_mode")
        .fetch_one(&store.writer)
        .await
        .expect("a pragma");
    assert_eq!((synchronous, journal.as_str()), (2, "wal"), "2 is FULL");
}

#[tokio::test]
async fn a_reader_cannot_write() {
    let (_dir, store) = fresh().await;
    let written = query("DELETE FROM grades").execute(&store.readers).await;
    assert!(written.is_err());
}

#[tokio::test]
async fn a_reader_sees_one_state_while_others_write() {
    let (_dir, store) = fresh().await;
    let mut snapshot = store.readers.begin().await.expect("a snapshot");
    let before = student(&mut snapshot, id(1), rows::LAST).await.expect("the student");
    store.add(&addition(1, "later", "")).await.expect("added");
    let again = student(&mut snapshot, id(1), rows::LAST).await.expect("the student");
    assert_eq!(again, before);
}

#[tokio::test]
async fn a_full_disk_refuses_and_takes_grades_again_once_there_is_room() {
    let (_dir, store) = fresh().await;
    query("PRAGMA max_page_count = 1")
        .execute(&store.writer)
        .await
        .expect("no more pages than there are");
    let mut added = 0;
    let error = loop {
        match store.add(&addition(1, &"x".repeat(100), "")).await {
            Ok(_) => added += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(error, Error::DiskFull), "{error}");
    let grades = store.get(id(1)).await.expect("it still reads").grades.len();
    assert_eq!(grades, 3 + added, "what failed added nothing");
    // The connection that failed is replaced, and with it goes the limit.
    let after = store.add(&addition(1, "room", "")).await.expect("added");
    assert_eq!(after.student.grades.len(), 3 + added + 1);
}

#[tokio::test]
async fn a_database_held_by_another_process_is_busy_and_then_free() {
    let (dir, store) = fresh().await;
    query("PRAGMA busy_timeout = 1")
        .execute(&store.writer)
        .await
        .expect("a short wait");
    let mut other = stranger(dir.path()).await;
    let held = other.begin_with("BEGIN IMMEDIATE").await.expect("the lock is free");
    let error = store.add(&addition(1, "t", "")).await.expect_err("the lock is held");
    assert!(matches!(error, Error::Busy), "{error}");
    assert_eq!(list_all(&store).await.len(), 5, "readers do not wait");
    held.rollback().await.expect("the lock is given back");
    store.add(&addition(1, "t", "")).await.expect("added");
}

#[tokio::test]
async fn a_student_takes_no_more_grades_than_the_limit() {
    let (_dir, store) = fresh().await;
    add_behind_its_back(&store, Student::GRADES_MAX - 4).await;
    let last = store.add(&addition(1, "the last", "r")).await.expect("room for one");
    assert_eq!(last.student.grades.len(), Student::GRADES_MAX);
    let error = store.add(&addition(1, "one more", "")).await.expect_err("full");
    assert!(matches!(error, Error::GradesFull(_)), "{error}");
    assert!(
        store
            .add(&addition(1, "the last", "r"))
            .await
            .expect("a repeat")
            .repeated
    );
}

#[tokio::test]
async fn a_page_ends_when_its_students_take_too_much_room() {
    let (_dir, store) = fresh().await;
    add_behind_its_back(&store, 4000).await;
    let first = Page::parse("test", 0, "").expect("a valid page");
    let (students, next) = store.list(&first).await.expect("a page");
    assert_eq!((students.len(), next.as_deref()), (2, Some("2")), "480 kB each");
    let second = Page::parse("test", 0, &first.next_token(next)).expect("a valid page");
    let (students, _) = store.list(&second).await.expect("a page");
    assert_eq!(students[0].id, id(3));
    assert_eq!(students[1].grades.len(), 4003);
}

#[tokio::test]
async fn a_call_dropped_anywhere_adds_wholly_or_not_at_all_and_blocks_nobody() {
    let (_dir, store) = fresh().await;
    for polls in 0..20 {
        let request = addition(1, "dropped", &format!("r{polls}"));
        let mut call = Box::pin(store.add(&request));
        for _ in 0..polls {
            let step = std::future::poll_fn(|context| std::task::Poll::Ready(call.as_mut().poll(context)));
            if step.await.is_ready() {
                break;
            }
            tokio::task::yield_now().await;
        }
        drop(call);
        store.add(&request).await.expect("the repeat is answered");
    }
    assert_eq!(store.get(id(1)).await.expect("the student").grades.len(), 3 + 20);
}

#[tokio::test]
async fn a_closed_store_says_so() {
    let (_dir, store) = fresh().await;
    store.close().await;
    assert!(matches!(store.get(id(1)).await, Err(Error::Closed)));
    assert!(matches!(store.add(&addition(1, "t", "")).await, Err(Error::Closed)));
}

#[tokio::test]
async fn a_directory_that_cannot_be_made_is_named() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("file");
    std::fs::write(&file, "not a database").expect("a file");
    let error = Store::open(&file.join("data"))
        .await
        .expect_err("a file is no directory");
    assert!(matches!(error, Error::DataDir { .. }), "{error}");
    assert!(error.to_string().contains("file/data"), "{error}");
}

#[tokio::test]
async fn a_file_that_is_not_ours_is_named_and_left_alone() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join(open::FILE);
    std::fs::write(&file, "not a database, but long enough to be looked at".repeat(10)).expect("a file");
    let error = Store::open(dir.path()).await.expect_err("it is no database");
    assert!(matches!(error, Error::Open { .. }), "{error}");
    assert!(error.to_string().contains("grades.db"), "{error}");
    assert!(
        std::fs::read_to_string(&file)
            .expect("still there")
            .starts_with("not a")
    );
}

#[tokio::test]
async fn a_file_of_a_later_version_is_refused() {
    let (dir, store) = fresh().await;
    let sql = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
        VALUES (9999, 'later', TRUE, x'00', 0)";
    query(sql).execute(&store.writer).await.expect("a later migration");
    store.close().await;
    let error = Store::open(dir.path()).await.expect_err("made by a later version");
    let Error::Open { cause, .. } = error else {
        panic!("{error}");
    };
    assert!(matches!(*cause, Error::Migrate(_)), "{cause}");
}

#[tokio::test]
async fn a_directory_that_we_make_is_private() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().expect("a directory");
    let data = dir.path().join("a/b");
    Store::open(&data).await.expect("it is made");
    let mode = std::fs::metadata(&data).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
}
