//! The time of an entry.
//!
//! Its text is written and read by hand: each line has one, and the general way takes longer than all else in it.

use std::{
    str::FromStr,
    time::{Duration, SystemTime},
};

use homeroom::model::InvalidField;
use prost_types::Timestamp;
use serde::{Deserialize, Deserializer};

use super::text::FromText;

const DAY_SECONDS: i64 = 24 * 3600;
/// The days from 0000-03-01 to 1970-01-01: of years that begin in March a leap day is the last one.
const FIRST_DAY: i64 = 719_468;
/// `0001-01-01T00:00:00.000000000Z`.
const TEXT_BYTES_MAX: usize = 30;
/// The digits of each number below a hundred.
static PAIRS: [[u8; 2]; 100] = {
    let digits = b"0123456789";
    let mut pairs = [[0; 2]; 100];
    let mut number = 0;
    while number < pairs.len() {
        pairs[number] = [digits[number / 10], digits[number % 10]];
        number += 1;
    }
    pairs
};

/// A point in time from 0001-01-01T00:00:00Z to 9999-12-31T23:59:59.999999999Z: what RFC 3339 can write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
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

    /// How long it is after an earlier time; zero when it is not.
    pub fn since(self, earlier: Self) -> Duration {
        let seconds = u64::try_from(self.seconds - earlier.seconds).map(Duration::from_secs);
        let nanos = |time: Self| Duration::from_nanos(u64::from(time.nanos.unsigned_abs()));
        seconds.map_or(Duration::ZERO, |seconds| {
            (seconds + nanos(self)).saturating_sub(nanos(earlier))
        })
    }

    /// The time so many nanoseconds after 1970-01-01T00:00:00Z: a year before 2555.
    pub(crate) fn from_nanos(nanos: u64) -> Self {
        Self {
            seconds: (nanos / 1_000_000_000).cast_signed(),
            nanos: i32::try_from(nanos % 1_000_000_000).expect("less than a second"),
        }
    }

    /// Reads what [`Time::write`] has written; `None` for everything else.
    pub(super) fn read(text: &[u8]) -> Option<Self> {
        let (date, rest) = text.split_at_checked(19)?;
        let part = |from: usize, to: usize, separator: u8| {
            (to == 4 || date[from - 1] == separator).then_some(())?;
            digits(&date[from..to])
        };
        let (year, month, day) = (part(0, 4, 0)?, part(5, 7, b'-')?, part(8, 10, b'-')?);
        let (hour, minute, second) = (part(11, 13, b'T')?, part(14, 16, b':')?, part(17, 19, b':')?);
        let is_real = year >= 1 && (1..=12).contains(&month) && (1..=days_of(year, month)).contains(&day);
        (is_real && hour < 24 && minute < 60 && second < 60).then_some(Self {
            seconds: days(year, month, day) * DAY_SECONDS + hour * 3600 + minute * 60 + second,
            nanos: nanos(rest)?,
        })
    }

    /// Appends it as in RFC 3339, in UTC, with 0, 3, 6 or 9 digits after the second: as many as it needs.
    pub(super) fn write(self, out: &mut Vec<u8>) {
        let mut text = *b"0000-00-00T00:00:00.000000000Z";
        // In half the width, and without a sign, divisions take a fraction of the time.
        let day =
            u32::try_from(self.seconds.div_euclid(DAY_SECONDS) + FIRST_DAY).expect("a day of the years 1 to 9999");
        let second = u32::try_from(self.seconds.rem_euclid(DAY_SECONDS)).expect("a second of a day");
        let (nanos, (year, month, day)) = (self.nanos.cast_unsigned(), date(day));
        put(&mut text, 0, year / 100);
        put(&mut text, 2, year % 100);
        put(&mut text, 5, month);
        put(&mut text, 8, day);
        put(&mut text, 11, second / 3600);
        put(&mut text, 14, second / 60 % 60);
        put(&mut text, 17, second % 60);
        put(&mut text, 20, nanos / 10_000_000);
        put(&mut text, 22, nanos / 100_000 % 100);
        put(&mut text, 24, nanos / 1_000 % 100);
        put(&mut text, 26, nanos / 10 % 100);
        put(&mut text, 27, nanos % 100);
        let end = match self.nanos {
            0 => 19,
            nanos if nanos % 1_000_000 == 0 => 23,
            nanos if nanos % 1_000 == 0 => 26,
            _ => TEXT_BYTES_MAX - 1,
        };
        text[end] = b'Z';
        out.extend_from_slice(&text[..=end]);
    }
}

/// Writes a number of two digits.
#[inline]
fn put(text: &mut [u8; TEXT_BYTES_MAX], at: usize, number: u32) {
    [text[at], text[at + 1]] = PAIRS[number as usize];
}

fn digits(text: &[u8]) -> Option<i64> {
    text.iter().try_fold(0, |number, byte| {
        byte.is_ascii_digit().then(|| number * 10 + i64::from(byte - b'0'))
    })
}

/// Reads the end of a time, behind the second.
fn nanos(rest: &[u8]) -> Option<i32> {
    let unit = match rest.len() {
        1 => return (rest == b"Z").then_some(0),
        5 => 1_000_000,
        8 => 1_000,
        11 => 1,
        _ => return None,
    };
    let number = digits(rest.strip_prefix(b".")?.strip_suffix(b"Z")?)?;
    i32::try_from(number * unit).ok()
}

fn days_of(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// The days from 1970-01-01 to a date; see `days_from_civil` in <https://howardhinnant.github.io/date_algorithms.html>.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - FIRST_DAY
}

/// The date so many days after 0000-03-01: `civil_from_days` there.
fn date(days: u32) -> (u32, u32, u32) {
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (era * 400 + year + next, month, day)
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

impl FromStr for Time {
    type Err = InvalidField;

    /// Reads any time of RFC 3339.
    fn from_str(text: &str) -> Result<Self, InvalidField> {
        if let Some(time) = Self::read(text.as_bytes()) {
            return Ok(time);
        }
        let message = text
            .parse()
            .map_err(|_| InvalidField::new("time", "must be as in RFC 3339"))?;
        Self::parse("time", message)
    }
}

impl std::fmt::Display for Time {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut text = Vec::with_capacity(TEXT_BYTES_MAX);
        self.write(&mut text);
        f.write_str(std::str::from_utf8(&text).expect("digits and signs"))
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        FromText::read(deserializer)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_date_that_is_none_is_refused() {
        let none = [
            "2026-02-29T00:00:00Z",
            "2100-02-29T00:00:00Z",
            "2026-04-31T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-01-00T00:00:00Z",
            "2026-01-01T24:00:00Z",
            "0000-01-01T00:00:00Z",
            "2026-01-01T00:00:00.Z",
            "2026-01-01",
            "",
        ];
        for text in none {
            assert_eq!(Time::read(text.as_bytes()), None, "{text}");
        }
        assert!(Time::read(b"2024-02-29T00:00:00Z").is_some() && Time::read(b"2000-02-29T00:00:00Z").is_some());
    }

    #[test]
    fn the_time_between_two_is_never_negative() {
        let time = |seconds, nanos| Time { seconds, nanos };
        let rows = [
            (time(2, 1), time(0, 2), Duration::new(1, 999_999_999)),
            (time(1, 2), time(1, 1), Duration::from_nanos(1)),
            (time(1, 1), time(1, 2), Duration::ZERO),
            (time(-2, 0), time(-1, 0), Duration::ZERO),
            (Time::MAX, Time::MIN, Duration::new(315_537_897_599, 999_999_999)),
        ];
        for (time, earlier, duration) in rows {
            assert_eq!(time.since(earlier), duration);
        }
    }

    #[test]
    fn a_time_with_an_offset_is_read_too() {
        let time = "2026-01-01T01:00:00.5+01:00".parse::<Time>().expect("a time");
        assert_eq!(time.to_string(), "2026-01-01T00:00:00.500Z");
    }

    proptest! {
        #[test]
        fn the_text_of_a_time_is_that_of_protobuf_and_is_read_again(
            seconds in Time::MIN.seconds..=Time::MAX.seconds,
            nanos in prop_oneof![Just(0), (0..1_000).prop_map(|n| n * 1_000_000), 0..1_000_000_000],
        ) {
            let time = Time { seconds, nanos };
            let text = time.to_string();
            prop_assert_eq!(&text, &Timestamp { seconds, nanos }.to_string());
            prop_assert_eq!(Time::read(text.as_bytes()), Some(time));
        }

        #[test]
        fn what_is_read_by_hand_is_what_protobuf_reads(text in "[0-2][0-9]{3}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-6][0-9]:[0-6][0-9](\\.[0-9]{1,9})?Z") {
            if let Some(time) = Time::read(text.as_bytes()) {
                prop_assert_eq!(Ok(Timestamp::from(time)), text.parse::<Timestamp>());
            }
        }
    }
}
