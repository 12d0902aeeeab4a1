//! The bytes that requests and their answers hold at once (hazard H23): many large ones together must not be the end of
//! the node.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::error::Failure;

/// Bytes of all bodies, and of the rows of logged requests, that are in memory.
pub const BYTES_MAX: usize = 512 << 20;

/// One node's bound: the bytes that are free.
pub struct Memory(Arc<AtomicUsize>);

/// Bytes that count until this is dropped.
pub struct Held {
    free: Arc<AtomicUsize>,
    bytes: usize,
}

impl Memory {
    /// At most `bytes` at once.
    pub fn new(bytes: usize) -> Self {
        Self(Arc::new(AtomicUsize::new(bytes)))
    }

    /// A place for a request that holds nothing yet.
    pub fn enter(&self) -> Held {
        Held { free: self.0.clone(), bytes: 0 }
    }

    /// Adds `bytes` to what is held, or refuses: whoever waits holds what others wait for.
    pub fn add(&self, held: &mut Held, bytes: usize) -> Result<(), Failure> {
        let taken = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |free| free.checked_sub(bytes));
        taken.map_err(|_| Failure::TooBusy)?;
        held.bytes += bytes;
        Ok(())
    }

    /// Counts what is in memory already, as far as there is room: then no more comes in until it is gone.
    pub fn owe(&self, bytes: usize) -> Held {
        let mut held = self.enter();
        let free = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |free| Some(free.saturating_sub(bytes)));
        held.bytes = bytes.min(free.expect("there is always a next value"));
        held
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.free.fetch_add(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_comes_back() {
        let memory = Memory::new(10);
        let mut first = memory.enter();
        memory.add(&mut first, 4).unwrap();
        memory.add(&mut first, 4).unwrap();
        let mut second = memory.enter();
        assert_eq!(memory.add(&mut second, 3), Err(Failure::TooBusy));
        let owed = memory.owe(100);
        assert_eq!(memory.add(&mut second, 1), Err(Failure::TooBusy));
        drop((first, owed));
        memory.add(&mut second, 10).unwrap();
    }
}
