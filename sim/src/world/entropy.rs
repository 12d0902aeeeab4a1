//! Randomness: a stream for each process of each node.
//!
//! Fault model: none. What bypasses this edge is caught by [`crate::libc`].

use std::sync::Mutex;

use rqlite::world::Entropy;

use crate::random::Random;

/// A node's randomness.
pub struct SimEntropy(Mutex<Random>);

impl SimEntropy {
    /// Draws from `random`.
    pub fn new(random: Random) -> Self {
        Self(Mutex::new(random))
    }
}

impl Entropy for SimEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        self.0.lock().expect("drawing doesn't panic").fill(bytes);
    }
}

/// The system's randomness, with which a run can't be repeated: it shows that the seeded one matters.
pub struct Unseeded;

impl Entropy for Unseeded {
    fn fill(&self, bytes: &mut [u8]) {
        crate::libc::unseeded(bytes);
    }
}
