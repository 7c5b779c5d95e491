//! Times and spans as people read them.

use std::time::{Duration, SystemTime};

use prost_types::Timestamp;

/// How long ago something was, in its largest unit.
pub fn age(time: Option<Timestamp>, now: SystemTime) -> String {
    let time = time.and_then(|time| SystemTime::try_from(time).ok());
    let passed = time.and_then(|time| now.duration_since(time).ok()).unwrap_or_default();
    span(Duration::from_secs(passed.as_secs()))
}

/// A span in its largest unit.
pub fn span(span: Duration) -> String {
    let seconds = span.as_secs();
    match seconds {
        0 if !span.is_zero() => format!("{}ms", span.as_millis()),
        0..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m", seconds / 60),
        3_600..86_400 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// A span to three digits: `12.3ms`.
pub fn exact(span: Duration) -> String {
    let nanos = span.as_nanos();
    let (unit, per_unit) = match nanos {
        0 => return "0s".to_owned(),
        1..1_000 => ("ns", 1),
        1_000..1_000_000 => ("µs", 1_000),
        1_000_000..1_000_000_000 => ("ms", 1_000_000),
        _ => ("s", 1_000_000_000_u128),
    };
    let (whole, thousandths) = (nanos / per_unit, nanos % per_unit * 1_000 / per_unit);
    let digits = match whole {
        0..10 => format!("{whole}.{:02}", thousandths / 10),
        10..100 => format!("{whole}.{}", thousandths / 100),
        _ => return format!("{whole}{unit}"),
    };
    format!("{}{unit}", digits.trim_end_matches('0').trim_end_matches('.'))
}

/// A time to the second, with how long ago that was: `2026-01-01T00:00:00Z (5m ago)`.
pub fn with_age(time: Option<Timestamp>, now: SystemTime) -> String {
    match time {
        Some(time) => format!("{} ({} ago)", second(time), age(Some(time), now)),
        None => "an unknown time".to_owned(),
    }
}

/// A time to the second.
pub fn second(time: Timestamp) -> String {
    Timestamp { nanos: 0, ..time }.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_told_in_their_largest_unit() {
        let told = |millis| span(Duration::from_millis(millis));
        let spans = [
            0,
            250,
            1_000,
            59_999,
            60_000,
            3_599_000,
            3_600_000,
            86_400_000,
            200_000_000,
        ];
        assert_eq!(
            spans.map(told),
            ["0s", "250ms", "1s", "59s", "1m", "59m", "1h", "1d", "2d"]
        );
    }

    #[test]
    fn exact_spans_have_three_digits() {
        let told = |nanos| exact(Duration::from_nanos(nanos));
        let spans = [
            0,
            7,
            999,
            1_000,
            1_239_999,
            12_399_999,
            123_999_999,
            2_000_000_000,
            3_723_000_000_000,
        ];
        assert_eq!(
            spans.map(told),
            ["0s", "7ns", "999ns", "1µs", "1.23ms", "12.3ms", "123ms", "2s", "3723s"]
        );
    }

    #[test]
    fn a_time_is_told_with_its_age_and_the_future_has_none() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(100);
        let at = |seconds| Some(Timestamp { seconds, nanos: 5 });
        assert_eq!(with_age(at(39), now), "1970-01-01T00:00:39Z (1m ago)");
        assert_eq!(with_age(at(200), now), "1970-01-01T00:03:20Z (0s ago)");
        assert_eq!(with_age(None, now), "an unknown time");
    }
}
