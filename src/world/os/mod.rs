//! The operating system: the only place where the standard library's and tokio's own edges are called.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

mod disk;
mod host;
mod lanes;
mod net;
mod strands;

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::world::{Chaos, Clock, Entropy, World};

/// The world of a production node.
pub fn world() -> World {
    World {
        clock: Arc::new(SystemClock),
        net: Arc::new(net::Tcp),
        disk: Arc::new(disk::FileSystem),
        entropy: Arc::new(SystemEntropy),
        lanes: Arc::new(lanes::Threads::new()),
        host: Arc::new(host::Machine),
        chaos: Arc::new(NoChaos),
    }
}

struct SystemClock;

impl Clock for SystemClock {
    fn unix_now(&self) -> Duration {
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
    }
}

struct SystemEntropy;

impl Entropy for SystemEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        getrandom::fill(bytes).expect("the operating system has no randomness");
    }
}

struct NoChaos;

impl Chaos for NoChaos {
    fn here(&self, _name: &'static str) -> bool {
        false
    }
}
