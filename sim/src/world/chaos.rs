//! Rare paths, taken more often, and the look at each applied entry.
//!
//! Fault model: each named path is taken one time in four.

use std::sync::Mutex;

use rqlite::world::Chaos;
use rusqlite::Connection;

use crate::random::Random;
use crate::trace::Trace;

/// What looks at an applied entry.
pub type Observer = Box<dyn Fn(u64, &Connection) + Send + Sync>;

/// A node's chaos.
pub struct SimChaos {
    name: String,
    random: Mutex<Random>,
    trace: Trace,
    observer: Observer,
}

impl SimChaos {
    /// Chaos of the machine `name`, drawn from `random`.
    pub fn new(name: &str, random: Random, trace: Trace, observer: Observer) -> Self {
        Self { name: name.into(), random: Mutex::new(random), trace, observer }
    }
}

impl Chaos for SimChaos {
    fn here(&self, name: &'static str) -> bool {
        let mut random = self.random.lock().expect("drawing doesn't panic");
        let is_taken = random.chance(1, 4);
        if is_taken {
            self.trace.line(format_args!("{} chaos {name}", self.name));
        }
        is_taken
    }

    fn applied(&self, index: u64, connection: &Connection) {
        (self.observer)(index, connection);
    }
}
