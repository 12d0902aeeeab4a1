//! The bytes that requests and their answers hold at once (hazard H23): many large ones together must not be the end of
//! the node.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::error::Failure;

/// Bytes of all bodies, and of the rows of logged requests, that are in memory.
pub const BYTES_MAX: usize = 512 << 20;

/// One node's bound.
pub struct Memory(Arc<Semaphore>);

/// Bytes that count until this is dropped.
pub struct Held(OwnedSemaphorePermit);

impl Memory {
    /// At most `bytes` at once.
    pub fn new(bytes: usize) -> Self {
        Self(Arc::new(Semaphore::new(bytes)))
    }

    /// A place for a request that holds nothing yet.
    pub fn enter(&self) -> Held {
        self.try_hold(0).expect("nothing is always there")
    }

    /// Adds `bytes` to what is held, or refuses: whoever waits holds what others wait for.
    pub fn add(&self, held: &mut Held, bytes: usize) -> Result<(), Failure> {
        held.0.merge(self.try_hold(bytes).ok_or(Failure::TooBusy)?.0);
        Ok(())
    }

    /// Counts what is in memory already, as far as there is room: then no more comes in until it is gone.
    pub fn owe(&self, bytes: usize) -> Held {
        self.try_hold(bytes.min(self.0.available_permits())).unwrap_or_else(|| self.enter())
    }

    fn try_hold(&self, bytes: usize) -> Option<Held> {
        self.0.clone().try_acquire_many_owned(u32::try_from(bytes).ok()?).ok().map(Held)
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
