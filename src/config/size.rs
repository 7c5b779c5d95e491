//! Sizes, as people write them.

use std::ops::RangeInclusive;

/// From the largest, each of 1,024 and of 1,000.
const UNITS: [(&str, u64); 11] = [
    ("PiB", 1 << 50),
    ("PB", 1_000_000_000_000_000),
    ("TiB", 1 << 40),
    ("TB", 1_000_000_000_000),
    ("GiB", 1 << 30),
    ("GB", 1_000_000_000),
    ("MiB", 1 << 20),
    ("MB", 1_000_000),
    ("KiB", 1 << 10),
    ("kB", 1_000),
    ("B", 1),
];

/// Reads a size within bounds, in bytes: a whole number, such as `1048576`, or with a unit, such as `64MiB` or `10 GB`. The
/// error says what is allowed.
pub fn size<T: TryFrom<u64>>(bounds: RangeInclusive<u64>) -> impl Fn(&str) -> Result<T, String> {
    move |text| {
        let size_bytes = parse(text).filter(|size_bytes| bounds.contains(size_bytes));
        let size_bytes = size_bytes.and_then(|size_bytes| size_bytes.try_into().ok());
        let [min, max] = [*bounds.start(), *bounds.end()].map(shown);
        size_bytes.ok_or_else(|| format!("must be {min} to {max}, as bytes or with a unit, such as 64MiB"))
    }
}

fn parse(text: &str) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let bytes = match unit.trim_start() {
        "" => 1,
        unit => UNITS.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit))?.1,
    };
    number.parse::<u64>().ok()?.checked_mul(bytes)
}

/// In the largest unit that it is a multiple of.
fn shown(size_bytes: u64) -> String {
    let unit = UNITS
        .iter()
        .find(|(_, bytes)| size_bytes >= *bytes && size_bytes.is_multiple_of(*bytes));
    unit.map_or_else(
        || "0".to_owned(),
        |(name, bytes)| format!("{}{name}", size_bytes / bytes),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_bytes_or_has_a_unit() {
        let read = size::<u64>(0..=1 << 50);
        for (text, size_bytes) in [
            ("0", 0),
            ("1048576", 1 << 20),
            ("7B", 7),
            ("64MiB", 64 << 20),
            ("64mib", 64 << 20),
            ("10 GiB", 10 << 30),
            ("3kB", 3_000),
            ("2TB", 2_000_000_000_000),
            ("1PiB", 1 << 50),
        ] {
            assert_eq!(read(text), Ok(size_bytes), "{text}");
        }
    }

    #[test]
    fn what_is_no_size_or_beyond_the_bounds_is_told_what_is_allowed() {
        let read = size::<usize>(1 << 20..=1_000 << 20);
        let allowed = "must be 1MiB to 1000MiB, as bytes or with a unit, such as 64MiB";
        for text in [
            "",
            "MiB",
            "-1MiB",
            "1.5MiB",
            "64M",
            "64 MiB ",
            "64MiBs",
            "1023KiB",
            "1GiB",
            "0",
            "99999999999999999999",
            "18446744073709551615TiB",
        ] {
            assert_eq!(read(text), Err(allowed.to_owned()), "{text}");
        }
    }
}
