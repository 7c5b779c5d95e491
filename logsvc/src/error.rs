//! What can go wrong, and what each of it is on the wire.

use std::{io, path::PathBuf, time::Duration};

use homeroom::{model::InvalidField, status::Refusal};
use tonic::{Code, Status};

use crate::entry::TraceId;

/// Somebody has to make room first, or a retention run has to: sooner is not worth a try.
const DISK_FULL_RETRY: Duration = Duration::from_secs(10);
/// The caller has waited already: what is queued is a second's work of a slow disk.
const OVERLOADED_RETRY: Duration = Duration::from_secs(1);
/// A failed disk is replaced by people: this only keeps clients from hammering.
const STORE_FAILED_RETRY: Duration = Duration::from_secs(30);

/// An error of the Log service.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A field of the request cannot be accepted. The caller fixes the request.
    #[error(transparent)]
    Invalid(#[from] InvalidField),
    /// No entry has the trace id. The caller gives up, or asks again once the trace has been shipped.
    #[error("there is no trace `{0}`")]
    TraceNotFound(TraceId),
    /// The disk has no room; nothing of the request was kept. The caller keeps its entries and comes back.
    #[error("the disk of the log is full")]
    DiskFull,
    /// More waits to be written than may. The caller comes back, with smaller batches or from fewer places.
    #[error("more waits to be written to the log than may")]
    Overloaded,
    /// The disk failed; the entries may be kept or not, and no more are taken. The caller alerts, or writes elsewhere.
    #[error("the disk of the log failed")]
    StoreFailed,
    /// Another stream of the same writer was opened. The caller goes on with that one.
    #[error("another stream of the same writer was opened")]
    WriterReplaced,
    /// The service is stopping. The caller goes to another instance, or comes back.
    #[error("the service is stopping")]
    Draining,
    /// What is kept could not be read. The caller reports it; the operator looks at the disk.
    #[error("cannot read the log: {0}")]
    Read(#[source] io::Error),
    /// Another process has the data directory. The operator stops it, or gives this one another directory.
    #[error("the data directory {} is in use by another process", .0.display())]
    InUse(PathBuf),
    /// The data directory cannot be used. The operator repairs what the cause names.
    #[error("cannot open the data directory {}: {source}", path.display())]
    Open {
        /// The directory.
        path: PathBuf,
        /// What is wrong with it.
        source: io::Error,
    },
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        let message = error.to_string();
        match error {
            Error::Invalid(field) => field.into(),
            Error::TraceNotFound(id) => Refusal::not_found("TRACE_NOT_FOUND", "trace", id),
            Error::DiskFull => Refusal::new(Code::ResourceExhausted, "DISK_FULL", message)
                .quota("disk", "the space on the disk of the log")
                .retry_after(DISK_FULL_RETRY),
            Error::Overloaded => Refusal::new(Code::Unavailable, "OVERLOADED", message).retry_after(OVERLOADED_RETRY),
            Error::StoreFailed => {
                Refusal::new(Code::Unavailable, "STORE_FAILED", message).retry_after(STORE_FAILED_RETRY)
            }
            Error::WriterReplaced => Refusal::new(Code::Aborted, "WRITER_REPLACED", message),
            Error::Draining => Refusal::draining(),
            Error::Read(_) | Error::InUse(_) | Error::Open { .. } => Refusal::internal(&message),
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

    fn row(error: Error) -> (Code, String) {
        let status = Status::from(error);
        let reason = reason(&status).expect("every status has a reason");
        (status.code(), reason)
    }

    #[test]
    fn every_error_has_its_code_and_reason() {
        let io = || io::Error::other("the secret");
        let path = PathBuf::from("/secret");
        let id = TraceId::parse("trace_id", "a".repeat(32)).expect("a valid id");
        let rows = [
            (
                InvalidField::new("a", "must be b").into(),
                Code::InvalidArgument,
                "INVALID_FIELD",
            ),
            (Error::TraceNotFound(id), Code::NotFound, "TRACE_NOT_FOUND"),
            (Error::DiskFull, Code::ResourceExhausted, "DISK_FULL"),
            (Error::Overloaded, Code::Unavailable, "OVERLOADED"),
            (Error::StoreFailed, Code::Unavailable, "STORE_FAILED"),
            (Error::WriterReplaced, Code::Aborted, "WRITER_REPLACED"),
            (Error::Draining, Code::Unavailable, "DRAINING"),
            (Error::Read(io()), Code::Internal, "INTERNAL"),
            (Error::InUse(path.clone()), Code::Internal, "INTERNAL"),
            (Error::Open { path, source: io() }, Code::Internal, "INTERNAL"),
        ];
        for (error, code, reason) in rows {
            assert_eq!(row(error), (code, reason.to_owned()));
        }
    }

    #[test]
    fn a_full_disk_names_its_quota_and_when_to_come_back() {
        let details = Status::from(Error::DiskFull).get_error_details();
        assert_eq!(
            details.quota_failure().expect("a quota failure").violations[0].subject,
            "disk"
        );
        assert_eq!(
            details.retry_info().expect("retry info").retry_delay,
            Some(DISK_FULL_RETRY)
        );
    }

    #[test]
    fn who_is_refused_for_now_is_told_when_to_come_back() {
        for (error, retry) in [
            (Error::Overloaded, OVERLOADED_RETRY),
            (Error::StoreFailed, STORE_FAILED_RETRY),
        ] {
            let details = Status::from(error).get_error_details();
            assert_eq!(details.retry_info().expect("retry info").retry_delay, Some(retry));
        }
    }

    #[test]
    fn a_cause_inside_never_leaves() {
        let status = Status::from(Error::Read(io::Error::other("the secret")));
        assert!(!format!("{status:?}").contains("secret"));
    }
}
