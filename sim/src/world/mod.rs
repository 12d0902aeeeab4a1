//! The simulated side of `rqlite::world`. Each file's header is its fault model.

pub mod chaos;
pub mod clock;
pub mod disk;
pub mod entropy;
pub mod lanes;
pub mod net;
pub mod vfs;
