//! The time of an entry.

use std::time::SystemTime;

use homeroom::model::InvalidField;
use prost_types::Timestamp;
use serde::{Deserialize, Serialize, Serializer};

/// A point in time from 0001-01-01T00:00:00Z to 9999-12-31T23:59:59.999999999Z: what RFC 3339 can write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(try_from = "String")]
pub struct Time {
    // The derived order compares the seconds first: the nanoseconds count forward, before 1970 too.
    seconds: i64,
    nanos: i32,
}

impl Time {
    /// The first.
    pub const MIN: Self = Self {
        seconds: -62_135_596_800,
        nanos: 0,
    };
    /// The last.
    pub const MAX: Self = Self {
        seconds: 253_402_300_799,
        nanos: 999_999_999,
    };

    /// Reads a timestamp.
    ///
    /// # Errors
    /// One before [`Time::MIN`], after [`Time::MAX`], or with nanoseconds that are not within a second.
    pub fn parse(field: &str, message: Timestamp) -> Result<Self, InvalidField> {
        let (seconds, nanos) = (message.seconds, message.nanos);
        let valid = (Self::MIN.seconds..=Self::MAX.seconds).contains(&seconds) && (0..=999_999_999).contains(&nanos);
        let refused = || InvalidField::new(field, "must be in the years 1 to 9999, with nanos of 0 to 999999999");
        valid.then_some(Self { seconds, nanos }).ok_or_else(refused)
    }
}

impl From<SystemTime> for Time {
    /// What a clock says, within the bounds however wrong it is.
    fn from(time: SystemTime) -> Self {
        let Timestamp { seconds, nanos } = time.into();
        Self { seconds, nanos }.clamp(Self::MIN, Self::MAX)
    }
}

impl From<Time> for Timestamp {
    fn from(time: Time) -> Self {
        Self {
            seconds: time.seconds,
            nanos: time.nanos,
        }
    }
}

impl TryFrom<String> for Time {
    type Error = InvalidField;

    fn try_from(text: String) -> Result<Self, InvalidField> {
        let message = text
            .parse()
            .map_err(|_| InvalidField::new("time", "must be as in RFC 3339"))?;
        Self::parse("time", message)
    }
}

impl std::fmt::Display for Time {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        Timestamp::from(*self).fmt(f)
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
