//! What openraft asks of us, and the only place that knows openraft.

pub mod types;

pub mod convert;

pub mod applied;

pub mod load;

pub mod machine;

pub mod state_machine;

pub mod log;

pub mod network;
pub mod observed;
