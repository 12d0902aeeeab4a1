//! Go's `time.Time` as JSON shows it.

use std::time::Duration;

/// A moment since 1970 in RFC 3339 with as many fraction digits as it takes; without one, Go's zero time.
pub fn rfc3339(since_1970: Option<Duration>) -> String {
    let time = since_1970.and_then(|at| chrono::DateTime::from_timestamp(at.as_secs() as i64, at.subsec_nanos()));
    let Some(time) = time else {
        return "0001-01-01T00:00:00Z".into();
    };
    let text = time.format("%Y-%m-%dT%H:%M:%S%.9f").to_string();
    format!("{}Z", text.trim_end_matches('0').trim_end_matches('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fractions_are_as_long_as_they_must_be() {
        check(Some(Duration::new(1_795_384_222, 855_400_809)), "2026-11-22T21:50:22.855400809Z");
        check(Some(Duration::new(1_795_384_220, 500_000_000)), "2026-11-22T21:50:20.5Z");
        check(Some(Duration::from_secs(1_795_384_220)), "2026-11-22T21:50:20Z");
        check(None, "0001-01-01T00:00:00Z");

        #[track_caller]
        fn check(since_1970: Option<Duration>, want: &str) {
            assert_eq!(rfc3339(since_1970), want);
        }
    }
}
