//! Time.
//!
//! Fault model: a node's wall clock is off by an offset from the seed, drifts, and jumps forwards and backwards when
//! the nemesis says so. Timers are tokio's and always right: turmoil pauses that clock and moves it.

use std::cell::Cell;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use rqlite::world::Clock;

/// Where simulated wall time begins: 2025-06-15.
pub const EPOCH: Duration = Duration::from_secs(1_750_000_000);

thread_local! {
    static PUBLISHED: Cell<Duration> = const { Cell::new(Duration::ZERO) };
}

/// Simulated time since the start of the run: the current host's, or, outside of all hosts, that of the last step.
pub fn elapsed() -> Duration {
    turmoil::sim_elapsed().unwrap_or_else(published)
}

/// Simulated time at the last step.
pub fn published() -> Duration {
    // Not there any more while the thread's own destructors run.
    PUBLISHED.try_with(Cell::get).unwrap_or_default()
}

/// The runner tells the time after each step.
pub fn publish(elapsed: Duration) {
    PUBLISHED.set(elapsed);
}

/// The wall clock of one machine.
pub struct SimClock {
    offset_ms: AtomicI64,
    /// Milliseconds gained in a thousand seconds.
    drift: i64,
}

impl SimClock {
    /// A clock that starts `offset_ms` wrong and gains `drift` ms in 1,000 s.
    pub fn new(offset_ms: i64, drift: i64) -> Self {
        Self { offset_ms: AtomicI64::new(offset_ms), drift }
    }

    /// Moves the clock by so many ms, forwards or backwards.
    pub fn jump(&self, ms: i64) {
        self.offset_ms.fetch_add(ms, Ordering::Relaxed);
    }
}

impl Clock for SimClock {
    fn unix_now(&self) -> Duration {
        let elapsed = elapsed();
        let wrong_ms = self.offset_ms.load(Ordering::Relaxed) + elapsed.as_millis() as i64 * self.drift / 1_000_000;
        let right = EPOCH + elapsed;
        match u64::try_from(wrong_ms) {
            Ok(ahead) => right + Duration::from_millis(ahead),
            Err(_) => right.saturating_sub(Duration::from_millis(wrong_ms.unsigned_abs())),
        }
    }
}
