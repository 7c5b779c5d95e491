//! Which segments have to go. Pure.

use std::time::SystemTime;

use crate::{config::StoreSettings, entry::Time};

/// A segment that may go.
#[derive(Debug, Clone, Copy)]
pub(super) struct Kept {
    /// What its files take.
    pub(super) size_bytes: u64,
    /// The time of its newest entry; `None` as long as it is not known.
    pub(super) latest: Option<Time>,
}

/// What there is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Disk {
    /// What the files take that may not go.
    pub(super) active_bytes: u64,
    /// How much room there is.
    pub(super) free_bytes: u64,
    /// Whether something could not be written, whatever the number above says.
    pub(super) is_full: bool,
}

/// How many segments, of those given oldest first, have to go: only whole ones, and none that is newer than one that
/// stays.
pub(super) fn doomed(settings: &StoreSettings, segments: &[Kept], disk: Disk, now: SystemTime) -> usize {
    let oldest = settings
        .retention_age
        .and_then(|age| now.checked_sub(age))
        .map(Time::from);
    let is_limited = settings.retention_size_bytes > 0;
    let mut size_bytes = disk.active_bytes + segments.iter().map(|segment| segment.size_bytes).sum::<u64>();
    let mut free_bytes = disk.free_bytes;
    let mut is_full = disk.is_full && settings.retention_free_bytes > 0;
    let goes = |segment: &&Kept| {
        let is_old = oldest
            .zip(segment.latest)
            .is_some_and(|(oldest, latest)| latest < oldest);
        let is_over = is_limited && size_bytes > settings.retention_size_bytes;
        let is_short = free_bytes < settings.retention_free_bytes || is_full;
        size_bytes -= segment.size_bytes;
        free_bytes = free_bytes.saturating_add(segment.size_bytes);
        is_full = false;
        is_old || is_over || is_short
    };
    segments.iter().take_while(goes).count()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const DAY: Duration = Duration::from_secs(24 * 3600);

    fn now() -> SystemTime {
        SystemTime::UNIX_EPOCH + 1000 * DAY
    }

    /// Segments of 10 bytes whose newest entries are so many days old.
    fn segments(days: &[u32]) -> Vec<Kept> {
        let kept = |days: &u32| Kept {
            size_bytes: 10,
            latest: Some(Time::from(now() - *days * DAY)),
        };
        days.iter().map(kept).collect()
    }

    fn unlimited() -> StoreSettings {
        StoreSettings {
            retention_size_bytes: 0,
            retention_age: None,
            retention_free_bytes: 0,
            ..StoreSettings::default()
        }
    }

    fn disk(free_bytes: u64) -> Disk {
        Disk {
            active_bytes: 5,
            free_bytes,
            is_full: false,
        }
    }

    #[test]
    fn without_limits_nothing_goes_even_when_the_disk_is_full() {
        let disk = Disk {
            is_full: true,
            ..disk(0)
        };
        assert_eq!(doomed(&unlimited(), &segments(&[900, 800]), disk, now()), 0);
    }

    #[test]
    fn as_many_go_as_are_over_the_size_with_the_active_one_counted() {
        for (size_max, expected) in [(35, 0), (34, 1), (25, 1), (24, 2), (5, 3), (4, 3), (1, 3)] {
            let settings = StoreSettings {
                retention_size_bytes: size_max,
                ..unlimited()
            };
            assert_eq!(
                doomed(&settings, &segments(&[3, 2, 1]), disk(0), now()),
                expected,
                "{size_max}"
            );
        }
    }

    #[test]
    fn those_go_whose_newest_entry_is_too_old_but_none_behind_one_that_stays() {
        let settings = StoreSettings {
            retention_age: Some(5 * DAY),
            ..unlimited()
        };
        for (days, expected) in [(&[7, 6, 5, 4][..], 2), (&[4, 9][..], 0), (&[9, 9][..], 2), (&[][..], 0)] {
            assert_eq!(doomed(&settings, &segments(days), disk(0), now()), expected, "{days:?}");
        }
        let unknown = Kept {
            latest: None,
            ..segments(&[9])[0]
        };
        assert_eq!(doomed(&settings, &[unknown], disk(0), now()), 0);
    }

    #[test]
    fn an_age_longer_than_time_itself_keeps_everything() {
        let settings = StoreSettings {
            retention_age: Some(Duration::MAX),
            ..unlimited()
        };
        assert_eq!(doomed(&settings, &segments(&[999]), disk(0), now()), 0);
    }

    #[test]
    fn as_many_go_as_the_reserve_needs() {
        let settings = StoreSettings {
            retention_free_bytes: 100,
            ..unlimited()
        };
        for (free, expected) in [(100, 0), (99, 1), (90, 1), (89, 2), (0, 3)] {
            assert_eq!(
                doomed(&settings, &segments(&[3, 2, 1]), disk(free), now()),
                expected,
                "{free}"
            );
        }
    }

    #[test]
    fn on_a_disk_that_is_full_all_the_same_one_goes_at_a_time() {
        let settings = StoreSettings {
            retention_free_bytes: 100,
            ..unlimited()
        };
        let disk = Disk {
            is_full: true,
            ..disk(1000)
        };
        assert_eq!(doomed(&settings, &segments(&[3, 2, 1]), disk, now()), 1);
        assert_eq!(doomed(&settings, &[], disk, now()), 0);
    }
}
