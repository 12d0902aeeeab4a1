//! The log entry that is being applied on this thread: its time and its randomness.
//!
//! SQLite asks its VFS for both, deep inside a statement, so they travel in a thread-local. A thread that applies
//! nothing (a reader, a checkpoint) gets the machine's.

use std::cell::RefCell;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

struct Entry {
    now_ms: i64,
    /// ChaCha8, because its stream is specified: replicas of different versions must draw the same.
    stream: ChaCha8Rng,
    /// For SQLite's own generator, apart from the SQL functions': neither can shift the other.
    hidden: ChaCha8Rng,
    /// Both as they were at the beginning.
    drawn_from: [ChaCha8Rng; 2],
}

thread_local! {
    static CURRENT: RefCell<Option<Entry>> = const { RefCell::new(None) };
}

/// Runs `work` as (a part of) applying an entry with this time (ms since 1970) and seed.
pub fn scope<R>(now_ms: u64, seed: &[u8], work: impl FnOnce() -> R) -> R {
    let mut key = [0; 32];
    let length = seed.len().min(key.len());
    key[..length].copy_from_slice(&seed[..length]);
    let stream = ChaCha8Rng::from_seed(key);
    let mut hidden = stream.clone();
    hidden.set_stream(1);
    let drawn_from = [stream.clone(), hidden.clone()];
    let entry = Entry { now_ms: now_ms as i64, stream, hidden, drawn_from };
    let outer = CURRENT.with(|current| current.borrow_mut().replace(entry));
    assert!(outer.is_none(), "an entry is applied inside another");
    let result = work();
    CURRENT.with(|current| *current.borrow_mut() = None);
    result
}

/// Draws from the beginning again: what was done for the entry so far was undone.
pub fn restart() {
    with(|entry| [entry.stream, entry.hidden] = entry.drawn_from.clone());
}

/// The entry's time in ms since 1970; `None` where no entry is applied.
pub fn now_ms() -> Option<i64> {
    CURRENT.with(|current| current.borrow().as_ref().map(|entry| entry.now_ms))
}

/// Fills `bytes` for SQLite's own generator (`xRandomness`); false where no entry is applied.
pub fn fill(bytes: &mut [u8]) -> bool {
    with(|entry| entry.hidden.fill_bytes(bytes)).is_some()
}

/// Fills `bytes` for `random()` and `randomblob()`; false where no entry is applied.
pub fn fill_sql(bytes: &mut [u8]) -> bool {
    with(|entry| entry.stream.fill_bytes(bytes)).is_some()
}

fn with<R>(work: impl FnOnce(&mut Entry) -> R) -> Option<R> {
    CURRENT.with(|current| current.borrow_mut().as_mut().map(work))
}
