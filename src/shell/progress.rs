//! How far a transfer is: one line on the terminal, drawn over and over, gone at the end.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How often the line changes.
const PERIOD: Duration = Duration::from_millis(200);

/// A transfer that is over sooner shows nothing.
const PATIENCE: Duration = Duration::from_millis(500);

pub struct Progress {
    is_shown: bool,
    /// Bytes, as far as they are known; may be a guess.
    total: Option<u64>,
    started: Instant,
    drawn: Option<Instant>,
}

impl Progress {
    pub fn new(is_shown: bool, total: Option<u64>) -> Progress {
        Progress { is_shown, total, started: Instant::now(), drawn: None }
    }

    /// Draws, if it is time to.
    pub fn at(&mut self, done: u64) {
        let elapsed = self.started.elapsed();
        let is_early = elapsed < PATIENCE || self.drawn.is_some_and(|drawn| drawn.elapsed() < PERIOD);
        if self.is_shown && !is_early {
            self.drawn = Some(Instant::now());
            eprint!("\r{}\x1b[K", line(done, self.total, elapsed));
        }
    }

    /// Draws how far `done` is until `work` is.
    pub async fn during<T>(mut self, done: &AtomicU64, work: impl Future<Output = T>) -> T {
        let mut work = std::pin::pin!(work);
        loop {
            // Unbiased would do as well: a tick more or less is nobody's loss.
            tokio::select! {
                biased;
                result = &mut work => return result,
                () = tokio::time::sleep(PERIOD) => self.at(done.load(Ordering::Relaxed)),
            }
        }
    }
}

/// However the transfer ends, the terminal is clean for what comes next.
impl Drop for Progress {
    fn drop(&mut self) {
        if self.drawn.is_some() {
            eprint!("\r\x1b[K");
        }
    }
}

fn line(done: u64, total: Option<u64>, elapsed: Duration) -> String {
    let rate = done as f64 / elapsed.as_secs_f64();
    let speed = format!("{}/s", size(rate as u64));
    match total {
        Some(total) if done == total => format!("{}, {speed}, waiting for the node", size(done)),
        Some(total) if done < total && done > 0 => {
            let left = Duration::from_secs(((total - done) as f64 / rate).ceil() as u64);
            format!("{} of {}, {speed}, {} left", size(done), size(total), clock(left))
        }
        _ => format!("{}, {speed}", size(done)),
    }
}

/// Decimal units, as disks are sold.
fn size(bytes: u64) -> String {
    let units = ["kB", "MB", "GB", "TB", "PB", "EB"];
    if bytes < 1000 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1000.0;
    let mut unit = 0;
    while value >= 999.95 && unit + 1 < units.len() {
        value /= 1000.0;
        unit += 1;
    }
    format!("{value:.1} {}", units[unit])
}

fn clock(time: Duration) -> String {
    let seconds = time.as_secs();
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, seconds) => format!("{seconds}s"),
        (0, minutes, seconds) => format!("{minutes}m{seconds:02}s"),
        (hours, minutes, _) => format!("{hours}h{minutes:02}m"),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::line;

    #[test]
    fn lines() {
        check(0, Some(100), 1, "0 B, 0 B/s");
        check(10_000_000, Some(50_000_000), 2, "10.0 MB of 50.0 MB, 5.0 MB/s, 8s left");
        check(999_999, None, 1, "1.0 MB, 1.0 MB/s");
        check(1_000, Some(3_601_000), 1, "1.0 kB of 3.6 MB, 1.0 kB/s, 1h00m left");
        check(1_000, Some(66_000), 1, "1.0 kB of 66.0 kB, 1.0 kB/s, 1m05s left");
        check(50, Some(50), 2, "50 B, 25 B/s, waiting for the node");
        check(60, Some(50), 2, "60 B, 30 B/s");
        check(5 << 60, None, 1, "5.8 EB, 5.8 EB/s");

        #[track_caller]
        fn check(done: u64, total: Option<u64>, seconds: u64, want: &str) {
            assert_eq!(line(done, total, Duration::from_secs(seconds)), want);
        }
    }
}
