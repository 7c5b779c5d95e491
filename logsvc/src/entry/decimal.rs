//! Numbers as digits, without a place of their own in memory.

/// As many digits as the largest number has, or the smallest with its sign.
const DIGITS_MAX: usize = 20;

/// The digits of a number, after a sign when it is below zero.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Decimal {
    digits: [u8; DIGITS_MAX],
    /// Where the first one is.
    start: u8,
}

impl Decimal {
    fn put(&mut self, byte: u8) {
        self.start -= 1;
        self.digits[usize::from(self.start)] = byte;
    }
}

impl From<u64> for Decimal {
    fn from(mut number: u64) -> Self {
        let mut decimal = Self {
            digits: [0; DIGITS_MAX],
            start: DIGITS_MAX as u8,
        };
        loop {
            decimal.put(b'0' + (number % 10) as u8);
            number /= 10;
            if number == 0 {
                return decimal;
            }
        }
    }
}

impl From<i64> for Decimal {
    fn from(number: i64) -> Self {
        let mut decimal = Self::from(number.unsigned_abs());
        if number < 0 {
            decimal.put(b'-');
        }
        decimal
    }
}

impl AsRef<[u8]> for Decimal {
    fn as_ref(&self) -> &[u8] {
        &self.digits[usize::from(self.start)..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_everybody_writes_them() {
        for number in [0, 1, 9, 10, 99, 100, 12_345, u64::MAX - 1, u64::MAX] {
            assert_eq!(Decimal::from(number).as_ref(), number.to_string().as_bytes());
        }
        for number in [0, 7, -1, -10, 1_234_567_890, i64::MAX, i64::MIN] {
            assert_eq!(Decimal::from(number).as_ref(), number.to_string().as_bytes());
        }
    }
}
