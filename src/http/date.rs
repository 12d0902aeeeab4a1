//! Values of date columns, as RFC 3339.
//!
//! A column declared exactly `date`, `datetime` or `timestamp` shows its texts and integers as points in time. Quirk:
//! a text that isn't one shows as the year 1, its own words lost; kept from the reference.

use std::fmt::{self, Write};

use chrono::{DateTime, Datelike, NaiveDate, NaiveDateTime, NaiveTime, Timelike};

/// Go's zero time.
const NEVER: &str = "0001-01-01T00:00:00Z";

/// The text of a date column.
///
/// Errors: a text for the client, for a zone that RFC 3339 can't show.
/// Source: go-sqlite3 `SQLiteTimestampFormats`, Go `time.Parse`.
pub fn of_text(text: &[u8]) -> Result<String, String> {
    let text = text.strip_suffix(b"Z").unwrap_or(text);
    match std::str::from_utf8(text).ok().and_then(parse) {
        Some((time, zone)) => format(time, zone),
        None => Ok(NEVER.to_string()),
    }
}

/// The integer of a date column: seconds since 1970, or milliseconds if it is too large for that.
///
/// Errors: a text for the client, for a year that RFC 3339 can't show.
pub fn of_integer(unix: i64) -> Result<String, String> {
    const SECONDS_MAX: i64 = 1_000_000_000_000;
    let time = if (-SECONDS_MAX..=SECONDS_MAX).contains(&unix) {
        DateTime::from_timestamp_secs(unix)
    } else {
        DateTime::from_timestamp_millis(unix)
    };
    time.map_or_else(year_out_of_range, |time| format(time.naive_utc(), Zone::default()))
}

/// Offset from UTC as written.
#[derive(Clone, Copy, Default, PartialEq)]
struct Zone {
    negative: bool,
    hours: u32,
    minutes: u32,
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.hours == 0 && self.minutes == 0 {
            return f.write_str("Z");
        }
        write!(f, "{}{:02}:{:02}", if self.negative { '-' } else { '+' }, self.hours, self.minutes)
    }
}

/// `YYYY-MM-DD`, then maybe a time behind a blank or `T`, then maybe a zone; a zone needs seconds.
fn parse(text: &str) -> Option<(NaiveDateTime, Zone)> {
    let mut rest = text;
    let year = number(&mut rest, 4)?;
    skip(&mut rest, "-")?;
    let month = number(&mut rest, 2)?;
    skip(&mut rest, "-")?;
    let day = number(&mut rest, 2)?;
    let date = NaiveDate::from_ymd_opt(year as i32, month, day)?;
    if rest.is_empty() {
        return Some((date.into(), Zone::default()));
    }

    skip(&mut rest, " ").or_else(|| skip(&mut rest, "T"))?;
    // Go takes an hour of one digit, but no other number of one.
    let hour = number(&mut rest, 2).or_else(|| number(&mut rest, 1))?;
    skip(&mut rest, ":")?;
    let minute = number(&mut rest, 2)?;
    let time = NaiveTime::from_hms_opt(hour, minute, 0)?;
    if rest.is_empty() {
        return Some((date.and_time(time), Zone::default()));
    }

    skip(&mut rest, ":")?;
    let second = number(&mut rest, 2)?;
    let (nanosecond, digits) = fraction(&mut rest)?;
    let time = NaiveTime::from_hms_nano_opt(hour, minute, second, nanosecond).filter(|_| second < 60)?;
    if rest.is_empty() {
        return Some((date.and_time(time), Zone::default()));
    }

    let negative = skip(&mut rest, "-").is_some();
    if !negative {
        skip(&mut rest, "+")?;
    }
    let hours = number(&mut rest, 2)?;
    skip(&mut rest, ":")?;
    let minutes = number(&mut rest, 2)?;
    let is_zone = rest.is_empty() && hours <= 24 && minutes <= 60 && digits <= 9;
    is_zone.then_some((date.and_time(time), Zone { negative, hours, minutes }))
}

/// A number of exactly so many digits.
fn number(rest: &mut &str, digits: usize) -> Option<u32> {
    let (number, after) = rest.split_at_checked(digits).filter(|(number, _)| is_digits(number))?;
    *rest = after;
    number.parse().ok()
}

fn skip(rest: &mut &str, text: &str) -> Option<()> {
    *rest = rest.strip_prefix(text)?;
    Some(())
}

/// Nanoseconds, and with how many digits they were written. What comes after the ninth is cut off.
fn fraction(rest: &mut &str) -> Option<(u32, usize)> {
    let Some(after) = rest.strip_prefix(['.', ',']) else { return Some((0, 0)) };
    let digits = after.bytes().take_while(u8::is_ascii_digit).count();
    if digits == 0 {
        return None;
    }
    let nanosecond = format!("{:0<9.9}", &after[..digits]).parse().ok()?;
    *rest = &after[digits..];
    Some((nanosecond, digits))
}

fn is_digits(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

/// RFC 3339 with as many fraction digits as it takes.
fn format(time: NaiveDateTime, zone: Zone) -> Result<String, String> {
    if !(0..=9999).contains(&time.year()) {
        return year_out_of_range();
    }
    // Minutes of 60 carry over, so 23:60 is 24 hours as well.
    let zone = Zone { hours: zone.hours + zone.minutes / 60, minutes: zone.minutes % 60, ..zone };
    if zone.hours > 23 {
        return Err("Time.MarshalText: timezone hour outside of range [0,23]".to_string());
    }

    let mut text = time.format("%Y-%m-%dT%H:%M:%S").to_string();
    if time.nanosecond() > 0 {
        let digits = format!(".{:09}", time.nanosecond());
        text.push_str(digits.trim_end_matches('0'));
    }
    // Writing to a String can't fail.
    let _ = write!(text, "{zone}");
    Ok(text)
}

fn year_out_of_range() -> Result<String, String> {
    Err("Time.MarshalText: year outside of range [0,9999]".to_string())
}

#[cfg(test)]
mod tests {
    use super::{of_integer, of_text};

    #[test]
    fn texts() {
        check("2024-02-03", "2024-02-03T00:00:00Z");
        check("2021-06-07 08:09:10", "2021-06-07T08:09:10Z");
        check("2021-06-07T08:09:10", "2021-06-07T08:09:10Z");
        check("2021-06-07T08:09:10Z", "2021-06-07T08:09:10Z");
        check("2021-06-07 08:09:10.123456", "2021-06-07T08:09:10.123456Z");
        check("2024-01-01 00:00:00.120", "2024-01-01T00:00:00.12Z");
        check("2024-01-01 00:00:00.000", "2024-01-01T00:00:00Z");
        check("2024-01-01 00:00:00,5", "2024-01-01T00:00:00.5Z");
        check("2024-01-01 00:00:00.1234567899", "2024-01-01T00:00:00.123456789Z");
        check("2021-06-07 08:09:10+05:30", "2021-06-07T08:09:10+05:30");
        check("2021-06-07T08:09:10.5-02:00", "2021-06-07T08:09:10.5-02:00");
        check("2021-06-07 08:09:10+00:00", "2021-06-07T08:09:10Z");
        check("2021-06-07 08:09:10-00:00", "2021-06-07T08:09:10Z");
        check("2021-06-07 08:09", "2021-06-07T08:09:00Z");
        check("2021-06-07T8:09", "2021-06-07T08:09:00Z");
        check("0000-01-01", "0000-01-01T00:00:00Z");
        check("9999-12-31T23:59:59.999999999", "9999-12-31T23:59:59.999999999Z");
        check("2021-06-07 08:09:10+24:00", "Time.MarshalText: timezone hour outside of range [0,23]");
    }

    #[test]
    fn texts_that_are_no_time_are_lost() {
        for text in [
            "",
            "Z",
            "words",
            "08:09:10",
            "2021-13-01",
            "2021-02-29",
            "2021-6-7",
            "21-06-07",
            "2021-06-07 ",
            "2021-06-07 24:00",
            "2021-06-07 08:60",
            "2021-06-07 08:09:60",
            "2021-06-07 08:09:10.",
            "2021-06-07 08:09+01:00",
            "2021-06-07 08:09:10 +01:00",
            "2021-06-07 08:09:10+0100",
            "2021-06-07 08:09:10.1234567890+01:00",
            "2021-06-07x08:09",
            "2021-06-07ZZ",
            "2021-06-0é",
        ] {
            check(text, "0001-01-01T00:00:00Z");
        }
        assert_eq!(of_text(b"2021-06-07\xff").unwrap(), "0001-01-01T00:00:00Z");
    }

    #[test]
    fn integers() {
        check(0, "1970-01-01T00:00:00Z");
        check(-1, "1969-12-31T23:59:59Z");
        check(1_700_000_000, "2023-11-14T22:13:20Z");
        check(1_700_000_000_123, "2023-11-14T22:13:20.123Z");
        check(-1_000_000_000_001, "1938-04-24T22:13:19.999Z");
        check(1_000_000_000_000, "Time.MarshalText: year outside of range [0,9999]");
        check(-62_167_219_201, "Time.MarshalText: year outside of range [0,9999]");
        check(i64::MAX, "Time.MarshalText: year outside of range [0,9999]");
        check(i64::MIN, "Time.MarshalText: year outside of range [0,9999]");

        #[track_caller]
        fn check(unix: i64, want: &str) {
            assert_eq!(of_integer(unix).unwrap_or_else(|error| error), want);
        }
    }

    #[track_caller]
    fn check(text: &str, want: &str) {
        assert_eq!(of_text(text.as_bytes()).unwrap_or_else(|error| error), want, "{text}");
    }
}
