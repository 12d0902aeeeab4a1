//! Wall time. For time-outs and intervals use tokio's timers: they are monotonic, this is not.

use std::time::Duration;

/// The node's wall clock: it may be wrong, jump and run backwards.
pub trait Clock: Send + Sync {
    /// Time since 1970-01-01T00:00:00Z.
    fn unix_now(&self) -> Duration;
}
