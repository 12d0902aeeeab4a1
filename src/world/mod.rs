//! Everything a node may touch outside its own memory.
//!
//! The server is written against these traits and nothing else: production gives it the operating system
//! ([`os`]), the simulator a turmoil network, a paused clock, a faulty disk and a seed. There is no `cfg(sim)`.
//!
//! ```text
//!   node, http, store, raft, db ──► World { clock, net, disk, entropy, lanes, host, chaos } ──► os | sim
//! ```
//!
//! Monotonic time and timers are tokio's own (the simulation pauses that clock); tasks start only through [`spawn`].

pub mod chaos;
pub mod clock;
pub mod disk;
pub mod entropy;
pub mod host;
pub mod lanes;
pub mod net;
pub mod os;
pub mod runtime;

use std::sync::Arc;

pub use chaos::Chaos;
pub use clock::Clock;
pub use disk::{Disk, File, Open, Stat};
pub use entropy::Entropy;
pub use host::Host;
pub use lanes::{Lane, Lanes};
pub use net::{Listener, Net, Stream};
pub use runtime::spawn;

/// The edges of one node. Cloning is cheap.
#[derive(Clone)]
pub struct World {
    pub clock: Arc<dyn Clock>,
    pub net: Arc<dyn Net>,
    pub disk: Arc<dyn Disk>,
    pub entropy: Arc<dyn Entropy>,
    pub lanes: Arc<dyn Lanes>,
    pub host: Arc<dyn Host>,
    pub chaos: Arc<dyn Chaos>,
}
