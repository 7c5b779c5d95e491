//! What a request may hold, by the registry's settings.

use homeroom::proto::registry::v1::Instance;

use crate::{config::Limits, error::Error};

/// Refuses an instance that is too large as it was sent, with so many bytes: every watcher would hold all of it.
pub(super) fn instance(instance: &Instance, size_bytes: usize, limits: &Limits) -> Result<(), Error> {
    let metadata = instance.metadata.iter();
    let metadata_bytes = metadata.map(|(key, value)| key.len() + value.len()).sum();
    within("instance.metadata", metadata_bytes, limits.metadata_size_bytes)?;
    within("instance", size_bytes, limits.instance_size_bytes)
}

fn within(what: &'static str, size_bytes: usize, limit: usize) -> Result<(), Error> {
    if size_bytes > limit {
        return Err(Error::InstanceTooLarge {
            what,
            size_bytes,
            limit,
        });
    }
    Ok(())
}

/// Refuses a watch of too many names.
pub(super) fn names(services: &[String], limits: &Limits) -> Result<(), Error> {
    let (names, limit) = (services.len(), limits.watch_services);
    if names > limit {
        return Err(Error::TooManyNames { names, limit });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use homeroom::status;
    use prost::Message;
    use tonic::{Code, Status};
    use tonic_types::StatusExt;

    use super::*;

    /// The limit that a refusal names, and whether it asks to come back.
    fn quota(refused: Result<(), Error>, reason: &str) -> (String, String, bool) {
        let status = Status::from(refused.expect_err("it is beyond the limit"));
        assert_eq!(status.code(), Code::ResourceExhausted);
        assert_eq!(status::reason(&status).as_deref(), Some(reason));
        let details = status.get_error_details();
        let violation = &details.quota_failure().expect("a quota failure").violations[0];
        let comes_back = details.retry_info().is_some();
        (violation.subject.clone(), violation.description.clone(), comes_back)
    }

    fn sent(message: Instance, limits: &Limits) -> Result<(), Error> {
        instance(&message, message.encoded_len(), limits)
    }

    fn with_metadata(size_bytes: usize) -> Instance {
        Instance {
            metadata: [("k".to_owned(), "v".repeat(size_bytes - 1))].into(),
            ..Default::default()
        }
    }

    #[test]
    fn an_instance_is_as_large_as_it_may_be() {
        let limits = Limits {
            metadata_size_bytes: 100,
            ..Default::default()
        };
        sent(with_metadata(100), &limits).expect("it fits");
        let refused = quota(sent(with_metadata(101), &limits), "INSTANCE_TOO_LARGE");
        let limit = "the limit is 100".to_owned();
        assert_eq!(refused, ("instance.metadata".to_owned(), limit.clone(), false));

        let whole = |version: usize| Instance {
            version: "v".repeat(version),
            ..Default::default()
        };
        let limits = Limits {
            instance_size_bytes: 100,
            ..Default::default()
        };
        sent(whole(98), &limits).expect("a tag, a length and 98 bytes fit");
        let refused = quota(sent(whole(99), &limits), "INSTANCE_TOO_LARGE");
        assert_eq!(refused, ("instance".to_owned(), limit, false));
    }

    #[test]
    fn a_watch_names_as_many_services_as_it_may() {
        let limits = Limits {
            watch_services: 2,
            ..Default::default()
        };
        names(&["a".to_owned(), "b".to_owned()], &limits).expect("two fit");
        let refused = quota(names(&["a", "b", "c"].map(str::to_owned), &limits), "TOO_MANY_NAMES");
        assert_eq!(refused, ("services".to_owned(), "the limit is 2".to_owned(), false));
    }

    #[test]
    fn what_waiting_helps_against_says_when_to_come_back() {
        for (error, reason, subject) in [
            (Error::TooManyInstances { limit: 7 }, "TOO_MANY_INSTANCES", "instances"),
            (Error::TooManyWatchers { limit: 7 }, "TOO_MANY_WATCHERS", "watchers"),
        ] {
            let refused = quota(Err(error), reason);
            assert_eq!(refused, (subject.to_owned(), "the limit is 7".to_owned(), true));
        }
    }
}
