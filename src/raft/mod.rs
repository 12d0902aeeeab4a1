//! What openraft asks of us, and the only place that knows openraft.

pub mod types;

pub mod convert;

pub mod log;

/// What applying an entry answers to the node that proposed it.
#[derive(Debug, Default)]
pub struct Response {}
