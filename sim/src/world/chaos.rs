//! Rare paths, taken more often, and the look at each applied entry.
//!
//! Fault model: a seed takes a named path never, one time in four, or always.

use std::sync::Mutex;

use rqlite::world::Chaos;
use rusqlite::Connection;

use crate::random::Random;
use crate::trace::Trace;

/// What looks at the node.
pub trait Observer: Send + Sync {
    /// See [`Chaos::applied`].
    fn applied(&self, index: u64, connection: &Connection);
    /// See [`Chaos::appended`].
    fn appended(&self, _index: u64, _term: u64, _previous: Option<u64>, _payload: &[u8]) {}
    /// See [`Chaos::reached`].
    fn reached(&self, _what: &'static str) {}
    /// See [`Chaos::leads`].
    fn leads(&self, _term: u64) {}
}

impl<F: Fn(u64, &Connection) + Send + Sync> Observer for F {
    fn applied(&self, index: u64, connection: &Connection) {
        self(index, connection);
    }
}

/// A node's chaos.
pub struct SimChaos {
    name: String,
    /// Decides which paths are alive: the same in every process of the run.
    alive: Random,
    random: Mutex<Random>,
    trace: Trace,
    observer: Box<dyn Observer>,
}

impl SimChaos {
    /// Chaos of the machine `name`, drawn from `random`; `alive` decides how often each path is taken.
    pub fn new(name: &str, alive: Random, random: Random, trace: Trace, observer: Box<dyn Observer>) -> Self {
        Self { name: name.into(), alive, random: Mutex::new(random), trace, observer }
    }
}

impl Chaos for SimChaos {
    fn here(&self, name: &'static str) -> bool {
        let is_taken = match self.alive.fork(name).next() % 3 {
            0 => false,
            1 => self.random.lock().expect("drawing doesn't panic").chance(1, 4),
            _ => true,
        };
        if is_taken {
            self.trace.line(format_args!("{} chaos {name}", self.name));
        }
        is_taken
    }

    fn applied(&self, index: u64, connection: &Connection) {
        self.observer.applied(index, connection);
    }

    fn appended(&self, index: u64, term: u64, previous: Option<u64>, payload: &[u8]) {
        self.observer.appended(index, term, previous, payload);
    }

    fn reached(&self, what: &'static str) {
        self.observer.reached(what);
    }

    fn leads(&self, term: u64) {
        self.observer.leads(term);
    }
}
