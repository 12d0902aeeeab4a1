//! Go's `time.Duration`: how it is read and printed.

use std::fmt;

use super::quote;

/// Signed nanoseconds. Negative values are legal wherever rqlite takes a duration; what they mean is each option's matter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Duration(i64);

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("time: invalid duration {}", quote(.0))]
    Invalid(String),
    #[error("time: missing unit in duration {}", quote(.0))]
    MissingUnit(String),
    #[error("time: unknown unit {} in duration {}", quote(.unit), quote(.text))]
    UnknownUnit { unit: String, text: String },
}

const NANOSECOND: u64 = 1;
const MICROSECOND: u64 = 1_000;
const MILLISECOND: u64 = 1_000_000;
const SECOND: u64 = 1_000_000_000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;

/// The magnitude of the most negative duration.
const MAGNITUDE_MAX: u64 = 1 << 63;

impl Duration {
    pub const ZERO: Duration = Duration(0);

    pub const fn from_nanos(nanos: i64) -> Duration {
        Duration(nanos)
    }

    pub const fn from_millis(millis: i64) -> Duration {
        Duration(millis * MILLISECOND as i64)
    }

    pub const fn from_secs(secs: i64) -> Duration {
        Duration(secs * SECOND as i64)
    }

    /// The same length of time, as far as it fits.
    pub fn from_std(duration: std::time::Duration) -> Duration {
        Duration(i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX))
    }

    pub const fn as_nanos(self) -> i64 {
        self.0
    }

    /// The same length of time; a negative one is none at all.
    pub fn to_std(self) -> std::time::Duration {
        std::time::Duration::from_nanos(u64::try_from(self.0).unwrap_or(0))
    }

    /// Reads `1h15m30.918s`: a sign, then numbers with units; `0` alone needs none.
    ///
    /// Source: Go `time.ParseDuration`.
    pub fn parse(text: &str) -> Result<Duration, Error> {
        let invalid = || Error::Invalid(text.to_string());

        let (negative, mut rest) = match text.as_bytes().first() {
            Some(b'-') => (true, &text[1..]),
            Some(b'+') => (false, &text[1..]),
            _ => (false, text),
        };
        if rest == "0" {
            return Ok(Duration::ZERO);
        }
        if rest.is_empty() {
            return Err(invalid());
        }

        let mut total: u64 = 0;
        while !rest.is_empty() {
            let (digits, after) = leading_digits(rest);
            let (fraction, after) = match after.strip_prefix('.') {
                Some(after) => leading_digits(after),
                None => ("", after),
            };
            if digits.is_empty() && fraction.is_empty() {
                return Err(invalid());
            }
            let whole = if digits.is_empty() { 0 } else { digits.parse::<u64>().map_err(|_| invalid())? };

            let end = after.find(|c: char| c == '.' || c.is_ascii_digit()).unwrap_or(after.len());
            let (unit, after) = after.split_at(end);
            if unit.is_empty() {
                return Err(Error::MissingUnit(text.to_string()));
            }
            let unit =
                nanos_of(unit).ok_or_else(|| Error::UnknownUnit { unit: unit.to_string(), text: text.to_string() })?;

            let part = whole.checked_mul(unit).and_then(|nanos| nanos.checked_add(fraction_of(fraction, unit)));
            total = part
                .and_then(|part| total.checked_add(part))
                .filter(|total| *total <= MAGNITUDE_MAX)
                .ok_or_else(invalid)?;
            rest = after;
        }

        if negative {
            return Ok(Duration((total as i64).wrapping_neg()));
        }
        i64::try_from(total).map(Duration).map_err(|_| invalid())
    }
}

/// As Go prints it: `1h15m30.918s`, `2m0s`, `50ms`, `0s`.
///
/// Source: Go `time.Duration.String`.
impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = self.0.unsigned_abs();
        if self.0 < 0 {
            f.write_str("-")?;
        }
        if nanos == 0 {
            return f.write_str("0s");
        }
        if nanos < SECOND {
            let (unit, name) = match nanos {
                MILLISECOND.. => (MILLISECOND, "ms"),
                MICROSECOND..MILLISECOND => (MICROSECOND, "µs"),
                _ => (NANOSECOND, "ns"),
            };
            return write!(f, "{}{name}", decimal(nanos, unit));
        }
        if nanos >= HOUR {
            write!(f, "{}h", nanos / HOUR)?;
        }
        if nanos >= MINUTE {
            write!(f, "{}m", nanos % HOUR / MINUTE)?;
        }
        write!(f, "{}s", decimal(nanos % MINUTE, SECOND))
    }
}

fn leading_digits(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()))
}

fn nanos_of(unit: &str) -> Option<u64> {
    Some(match unit {
        "ns" => NANOSECOND,
        // U+00B5, the micro sign, and U+03BC, the Greek letter.
        "us" | "\u{b5}s" | "\u{3bc}s" => MICROSECOND,
        "ms" => MILLISECOND,
        "s" => SECOND,
        "m" => MINUTE,
        "h" => HOUR,
        _ => return None,
    })
}

/// Nanoseconds in `0.<digits>` of `unit`, cut off; digits beyond what fits are ignored. Through a float, as Go does.
fn fraction_of(digits: &str, unit: u64) -> u64 {
    let mut value: u64 = 0;
    let mut scale = 1.0;
    for digit in digits.bytes().take(18) {
        value = value * 10 + u64::from(digit - b'0');
        scale *= 10.0;
    }
    (value as f64 * (unit as f64 / scale)) as u64
}

/// `nanos` in `unit`s, with as many digits as it takes.
fn decimal(nanos: u64, unit: u64) -> String {
    let (whole, rest) = (nanos / unit, nanos % unit);
    if rest == 0 {
        return whole.to_string();
    }
    let width = unit.ilog10() as usize;
    format!("{whole}.{rest:0width$}").trim_end_matches('0').to_string()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Duration;

    #[test]
    fn texts_are_read_and_printed_as_go_does() {
        check("0", "0s");
        check("+0", "0s");
        check("-0", "0s");
        check("0h", "0s");
        check("5m", "5m0s");
        check("120s", "2m0s");
        check("24h", "24h0m0s");
        check("1.5h", "1h30m0s");
        check("1m2.5s", "1m2.5s");
        check("50ms", "50ms");
        check("1.055208526s", "1.055208526s");
        check("26711ns", "26.711µs");
        check("1us1µs1μs", "3µs");
        check("-1.5s", "-1.5s");
        check(".5s", "500ms");
        check("1.s", "1s");
        check("9223372036854775807ns", "2562047h47m16.854775807s");
        check("-9223372036854775808ns", "-2562047h47m16.854775808s");

        check("", r#"time: invalid duration """#);
        check("abc", r#"time: invalid duration "abc""#);
        check("-", r#"time: invalid duration "-""#);
        check(".s", r#"time: invalid duration ".s""#);
        check("1 s", r#"time: unknown unit " s" in duration "1 s""#);
        check("10", r#"time: missing unit in duration "10""#);
        check("5d", r#"time: unknown unit "d" in duration "5d""#);
        check("9223372036854775808ns", r#"time: invalid duration "9223372036854775808ns""#);
        check("99999999999999999999h", r#"time: invalid duration "99999999999999999999h""#);
        check("3000000h", r#"time: invalid duration "3000000h""#);

        #[track_caller]
        fn check(text: &str, want: &str) {
            let printed = Duration::parse(text).map_or_else(|error| error.to_string(), |duration| duration.to_string());
            assert_eq!(printed, want, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_printed_reads_back(nanos: i64) {
            let duration = Duration::from_nanos(nanos);
            prop_assert_eq!(Duration::parse(&duration.to_string()), Ok(duration));
        }
    }
}
