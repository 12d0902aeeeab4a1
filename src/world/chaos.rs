//! Rare paths, taken more often in the simulation.

/// Constant `false` in production; in the simulation drawn from the seed.
pub trait Chaos: Send + Sync {
    /// Whether the rare path `name` is taken here and now. Every answer must be correct.
    fn here(&self, name: &'static str) -> bool;
}
