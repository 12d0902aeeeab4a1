//! Sizes for people, as go-humanize writes them.

/// `5 B`, `8.2 kB`, `119 kB`: steps of a thousand, one decimal below ten.
///
/// Source: go-humanize `Bytes`.
pub fn friendly(bytes: u64) -> String {
    let (mut size, mut units) = (bytes as f64, ["B", "kB", "MB", "GB", "TB", "PB", "EB"].into_iter());
    let mut unit = units.next().unwrap_or_default();
    while size >= 1000.0 {
        let Some(next) = units.next() else { break };
        (size, unit) = (size / 1000.0, next);
    }
    let size = (size * 10.0 + 0.5).floor() / 10.0;
    if bytes >= 10 && size < 10.0 { format!("{size:.1} {unit}") } else { format!("{size:.0} {unit}") }
}

#[cfg(test)]
mod tests {
    use super::friendly;

    #[test]
    fn sizes() {
        check(0, "0 B");
        check(5, "5 B");
        check(999, "999 B");
        check(1_000, "1.0 kB");
        check(8_192, "8.2 kB");
        check(32_768, "33 kB");
        check(90_967, "91 kB");
        check(67_108_864, "67 MB");

        #[track_caller]
        fn check(bytes: u64, want: &str) {
            assert_eq!(friendly(bytes), want);
        }
    }
}
