//! What openraft asks of us, and the only place that knows openraft.

pub mod types;

pub mod convert;
pub mod rpc;

pub mod applied;

pub mod load;

pub mod machine;

pub mod state_machine;

pub mod log;

pub mod network;
pub mod observed;
pub mod service;
pub mod snapshot;
pub mod stage;

/// openraft's handle, with our state machine.
pub type Raft = openraft::Raft<types::TypeConfig, state_machine::StateMachine>;
