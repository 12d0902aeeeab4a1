//! The simulated side of `rqlite::world`. Each file's header is its fault model.

pub mod disk;
