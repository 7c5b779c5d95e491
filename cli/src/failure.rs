//! How a command fails: what it says, and its exit code.

use std::{io, process::ExitCode};

use homeroom::status;
use tonic::{Code, Status};

/// Why a command did not succeed.
#[derive(Debug)]
pub enum Failure {
    /// The answer is no: what was asked for is not there.
    Negative(String),
    /// The answer is no, and was written already.
    Answered,
    /// What was asked makes no sense.
    Usage(String),
    /// Nobody could be asked.
    Connect(String),
    /// Whoever was asked failed, or what runs here did.
    Server(String),
    /// Nobody reads the answer any more: no failure at all.
    OutputClosed,
}

impl Failure {
    /// What to say, if anything, in one line or several, and the exit code.
    pub fn report(self) -> (Option<String>, ExitCode) {
        match self {
            Self::Answered => (None, ExitCode::from(1)),
            Self::Negative(text) => (Some(text), ExitCode::from(1)),
            Self::Usage(text) => (Some(text), ExitCode::from(2)),
            Self::Connect(text) => (Some(text), ExitCode::from(3)),
            Self::Server(text) => (Some(text), ExitCode::from(4)),
            Self::OutputClosed => (None, ExitCode::SUCCESS),
        }
    }
}

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        let text = status.message().to_owned();
        match (status.code(), status::reason(&status).as_deref()) {
            (Code::NotFound | Code::AlreadyExists | Code::FailedPrecondition, _) => Self::Negative(text),
            (Code::InvalidArgument, _) => Self::Usage(text),
            (Code::Unavailable, Some("CONNECT_FAILED" | "NO_ENDPOINT")) => Self::Connect(text),
            (Code::DeadlineExceeded, _) => Self::Connect(format!("nobody answered in time: {text}")),
            (code, _) => Self::Server(format!("{text} ({code:?})")),
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::OutputClosed,
            _ => Self::Server(format!("cannot write: {error}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use homeroom::status::Refusal;

    use super::*;

    #[test]
    fn exit_codes_tell_a_no_from_a_fault() {
        let code = |code, reason| Failure::from(Status::from(Refusal::new(code, reason, "x"))).report().1;
        assert_eq!(code(Code::NotFound, "STUDENT_NOT_FOUND"), ExitCode::from(1));
        assert_eq!(code(Code::InvalidArgument, "INVALID_FIELD"), ExitCode::from(2));
        assert_eq!(code(Code::Unavailable, "CONNECT_FAILED"), ExitCode::from(3));
        assert_eq!(code(Code::DeadlineExceeded, "DEADLINE_EXCEEDED"), ExitCode::from(3));
        assert_eq!(code(Code::Unavailable, "DRAINING"), ExitCode::from(4));
        assert_eq!(code(Code::Internal, "INTERNAL"), ExitCode::from(4));
    }
}
