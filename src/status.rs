//! Errors on the wire: a code chosen by the caller's next step, and details that a program can read.
//!
//! Every status carries `google.rpc.ErrorInfo` (AIP-193) with the domain [`DOMAIN`] and a reason that, once released,
//! never changes its meaning; every dynamic part of the message is in its metadata.

use std::{collections::HashMap, fmt::Display, time::Duration};

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::model::InvalidField;

/// The domain of every reason.
pub const DOMAIN: &str = "homeroom";

/// An error on its way to a caller. Becomes a [`Status`] by `into`.
#[derive(Debug, Clone)]
pub struct Refusal {
    code: Code,
    reason: &'static str,
    message: String,
    metadata: HashMap<String, String>,
    details: ErrorDetails,
}

impl Refusal {
    /// An error with its code, its reason and a message for people: lower case, no period.
    pub fn new(code: Code, reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            code,
            reason,
            message: message.into(),
            metadata: HashMap::new(),
            details: ErrorDetails::new(),
        }
    }

    /// Something that the caller named does not exist.
    pub fn not_found(reason: &'static str, kind: &str, name: impl Display) -> Self {
        Self::new(Code::NotFound, reason, format!("there is no {kind} `{name}`")).about(kind, name)
    }

    /// A broken invariant or a fault of ours. The cause is logged here and never leaves.
    pub fn internal(cause: &dyn Display) -> Self {
        tracing::error!(%cause, "internal error");
        Self::new(Code::Internal, "INTERNAL", "internal error")
    }

    /// The service is stopping: the caller should go to another instance, or come back.
    pub fn draining() -> Self {
        Self::new(Code::Unavailable, "DRAINING", "the service is stopping").retry_after(Duration::from_secs(1))
    }

    /// A part of this contract that this version does not have yet.
    pub fn unimplemented(what: &str) -> Self {
        Self::new(
            Code::Unimplemented,
            "UNIMPLEMENTED",
            format!("{what} is not supported by this version"),
        )
        .with("what", what)
    }

    /// Adds a dynamic part of the message.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl Display) -> Self {
        self.metadata.insert(key.to_owned(), value.to_string());
        self
    }

    /// Names the resource that the error is about.
    #[must_use]
    pub fn about(mut self, kind: &str, name: impl Display) -> Self {
        self.details
            .set_resource_info(kind, name.to_string(), "", self.message.clone());
        self.with(kind, name)
    }

    /// Names the limit that was reached.
    #[must_use]
    pub fn quota(mut self, subject: &str, limit: impl Display) -> Self {
        self.details
            .add_quota_failure_violation(subject, format!("the limit is {limit}"));
        self.with("limit", limit)
    }

    /// Tells the caller when to try again.
    #[must_use]
    pub fn retry_after(mut self, delay: Duration) -> Self {
        self.details.set_retry_info(Some(delay));
        self
    }
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        let mut details = refusal.details;
        details.set_error_info(refusal.reason, DOMAIN, refusal.metadata);
        Status::with_error_details(refusal.code, refusal.message, details)
    }
}

impl From<InvalidField> for Refusal {
    fn from(error: InvalidField) -> Self {
        let message = format!("{} {}", error.field, error.allowed);
        let mut refusal = Self::new(Code::InvalidArgument, "INVALID_FIELD", message)
            .with("field", &error.field)
            .with("allowed", &error.allowed);
        refusal.details.add_bad_request_violation(error.field, error.allowed);
        refusal
    }
}

impl From<InvalidField> for Status {
    fn from(error: InvalidField) -> Self {
        Refusal::from(error).into()
    }
}

/// The reason of a status, when it comes from a Homeroom service.
pub fn reason(status: &Status) -> Option<String> {
    let info = status.get_details_error_info()?;
    (info.domain == DOMAIN).then_some(info.reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_invalid_field_names_itself_in_code_reason_and_details() {
        let status = Status::from(InvalidField::new("weight", "must be 1 to 10").within("instance"));
        assert_eq!(status.code(), Code::InvalidArgument);
        assert_eq!(status.message(), "instance.weight must be 1 to 10");
        let details = status.get_error_details();
        let info = details.error_info().expect("an error info");
        assert_eq!((info.reason.as_str(), info.domain.as_str()), ("INVALID_FIELD", DOMAIN));
        assert_eq!(info.metadata["field"], "instance.weight");
        let violation = &details.bad_request().expect("a bad request").field_violations[0];
        assert_eq!(violation.field, "instance.weight");
        assert_eq!(violation.description, "must be 1 to 10");
    }

    #[test]
    fn a_message_that_is_wrong_as_a_whole_is_named_by_its_own_path() {
        let status = Status::from(InvalidField::new("", "must be small").within("entries[3]"));
        assert_eq!(status.message(), "entries[3] must be small");
    }

    #[test]
    fn a_cause_inside_never_leaves() {
        let status = Status::from(Refusal::internal(&"the secret"));
        assert_eq!(status.message(), "internal error");
        assert!(!format!("{:?}", status.get_error_details()).contains("secret"));
    }

    #[test]
    fn a_limit_carries_quota_and_retry() {
        let refusal = Refusal::new(Code::ResourceExhausted, "TOO_MANY", "too many");
        let status = Status::from(refusal.quota("things", 3).retry_after(Duration::from_secs(2)));
        let details = status.get_error_details();
        assert_eq!(
            details.quota_failure().expect("a quota failure").violations[0].subject,
            "things"
        );
        assert_eq!(
            details.retry_info().expect("retry info").retry_delay,
            Some(Duration::from_secs(2))
        );
        assert_eq!(reason(&status).as_deref(), Some("TOO_MANY"));
    }
}
