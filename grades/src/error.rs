//! What can go wrong in Grades, and how it looks on the wire.

use std::{io, path::PathBuf, time::Duration};

use homeroom::{model::InvalidField, status::Refusal};
use sqlx::migrate::MigrateError;
use tonic::{Code, Status};

use crate::gradebook::{RequestId, Student, StudentId};

/// Long enough for an operator, or a cleaning job, to make room.
const DISK_FULL_RETRY: Duration = Duration::from_secs(30);
/// The caller has waited already; what held the file is likely gone by then.
const BUSY_RETRY: Duration = Duration::from_secs(1);

/// SQLite's primary result codes (sqlite.org/rescode.html), which are the low byte of the extended ones.
const SQLITE_BUSY: i32 = 5;
const SQLITE_LOCKED: i32 = 6;
const SQLITE_FULL: i32 = 13;

/// What can go wrong in Grades. A call that fails has changed nothing.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A field cannot be accepted. The caller fixes the request.
    #[error(transparent)]
    InvalidField(#[from] InvalidField),
    /// There is no such student. The caller gives up.
    #[error("there is no student `{0}`")]
    StudentNotFound(StudentId),
    /// The request id was used for another grade. The caller picks another one, if it means to add this grade as well.
    #[error("request id `{0}` was used for another grade")]
    RequestIdReused(RequestId),
    /// The student has [`Student::GRADES_MAX`] grades. The caller gives up: no grade is ever removed.
    #[error("student `{0}` cannot have more grades")]
    GradesFull(StudentId),
    /// The disk is full. The caller alerts somebody and tries again later.
    #[error("the disk is full")]
    DiskFull,
    /// Others held the database for too long. The caller tries again.
    #[error("the database is busy")]
    Busy,
    /// The store was closed: the service is stopping. The caller goes to another instance, or comes back.
    #[error("the service is stopping")]
    Closed,
    /// The data directory cannot be used. The operator makes it a directory that this user may write to.
    #[error("cannot create the data directory `{}`: {cause}", path.display())]
    DataDir {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// The database cannot be opened. The operator makes it, and its directory, writable, or moves a broken file away.
    #[error("cannot open the database `{}`: {cause}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// What SQLite said.
        cause: Box<Error>,
    },
    /// The database has tables that this version does not know. The operator runs the version that made them, or a
    /// later one.
    #[error("cannot bring the tables up to date: {0}")]
    Migrate(MigrateError),
    /// Any other fault of the database. The caller reports it.
    #[error("database: {0}")]
    Database(sqlx::Error),
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        match (&error, result_code(&error)) {
            (_, Some(SQLITE_FULL)) => Self::DiskFull,
            (_, Some(SQLITE_BUSY | SQLITE_LOCKED)) | (sqlx::Error::PoolTimedOut, _) => Self::Busy,
            (sqlx::Error::PoolClosed, _) => Self::Closed,
            _ => Self::Database(error),
        }
    }
}

impl From<MigrateError> for Error {
    fn from(error: MigrateError) -> Self {
        match error {
            MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => error.into(),
            error => Self::Migrate(error),
        }
    }
}

/// SQLite's primary result code, if the error is one of SQLite's.
fn result_code(error: &sqlx::Error) -> Option<i32> {
    let extended: i32 = error.as_database_error()?.code()?.parse().ok()?;
    Some(extended & 0xff)
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        let message = error.to_string();
        match error {
            Error::InvalidField(error) => error.into(),
            Error::StudentNotFound(id) => Self::not_found("STUDENT_NOT_FOUND", "student", id),
            Error::RequestIdReused(id) => {
                Self::new(Code::AlreadyExists, "REQUEST_ID_REUSED", message).about("request_id", id)
            }
            // Without a time to retry: no grade is ever removed, so room does not come back.
            Error::GradesFull(id) => Self::new(Code::ResourceExhausted, "GRADES_FULL", message)
                .with("student", id)
                .quota("grades", Student::GRADES_MAX),
            Error::DiskFull => {
                tracing::error!("the disk is full: grades are refused");
                Self::new(Code::ResourceExhausted, "DISK_FULL", message)
                    .quota("disk", "the free space of the data directory")
                    .retry_after(DISK_FULL_RETRY)
            }
            Error::Busy => Self::new(Code::Unavailable, "BUSY", message).retry_after(BUSY_RETRY),
            Error::Closed => Self::draining(),
            Error::DataDir { .. } | Error::Open { .. } | Error::Migrate(_) | Error::Database(_) => {
                Self::internal(&message)
            }
        }
    }
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        Refusal::from(error).into()
    }
}

#[cfg(test)]
mod tests {
    use homeroom::status::reason;
    use tonic_types::StatusExt;

    use super::*;

    #[test]
    fn a_full_disk_tells_what_is_full_and_when_to_come_back() {
        let status = Status::from(Error::DiskFull);
        assert_eq!(status.code(), Code::ResourceExhausted);
        assert_eq!(reason(&status).as_deref(), Some("DISK_FULL"));
        let details = status.get_error_details();
        assert_eq!(details.quota_failure().expect("a quota").violations[0].subject, "disk");
        let retry = details.retry_info().expect("a time to retry");
        assert_eq!(retry.retry_delay, Some(DISK_FULL_RETRY));
    }

    #[test]
    fn a_wait_that_was_too_long_is_to_be_retried() {
        let status = Status::from(Error::from(sqlx::Error::PoolTimedOut));
        assert_eq!(status.code(), Code::Unavailable);
        assert_eq!(reason(&status).as_deref(), Some("BUSY"));
        let retry = status.get_details_retry_info().expect("a time to retry");
        assert_eq!(retry.retry_delay, Some(BUSY_RETRY));
    }

    #[test]
    fn a_student_with_all_grades_tells_the_limit_and_no_time_to_come_back() {
        let id = StudentId::parse("id", 7).expect("a valid id");
        let details = Status::from(Error::GradesFull(id)).get_error_details();
        let info = details.error_info().expect("an error info");
        assert_eq!(
            (info.reason.as_str(), info.metadata["student"].as_str()),
            ("GRADES_FULL", "7")
        );
        assert_eq!(info.metadata["limit"], Student::GRADES_MAX.to_string());
        assert!(details.retry_info().is_none());
    }

    #[test]
    fn a_fault_inside_never_leaves() {
        let status = Status::from(Error::from(sqlx::Error::Protocol("the secret".to_owned())));
        assert_eq!((status.code(), status.message()), (Code::Internal, "internal error"));
        assert_eq!(reason(&status).as_deref(), Some("INTERNAL"));
    }
}
