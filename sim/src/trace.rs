//! The trace: what happened, in order, one line an event. Two runs of a seed give the same bytes.
//!
//! ```text
//! TIME NODE disk OPERATION PATH [OFFSET] [LENGTH] [! ERROR]     one operation on the node's disk, SQLite's included
//! TIME NODE net listen|connect|accept|read|write|close ...      an event on one of the node's connections
//! TIME NODE applied INDEX HASH                                  the entry was applied; logical hash of the database
//! TIME NODE start|stop|...                                      life of the process
//! TIME fault ...                                                the nemesis did something
//! TIME CLIENT call|answer ...                                   a client's request and what came of it
//! ```
//!
//! TIME is simulated, in microseconds. A run only counts and hashes its lines; with a file it also writes them.
// The trace is the harness's own file, outside the simulated world.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]
// The file is the simulator's own, on the real disk.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

use std::fmt::{self, Write as _};
use std::fs::File;
use std::io::{self, BufWriter, Write as _};
use std::path::Path;
use std::sync::{Arc, Mutex};

use crate::world::clock;

/// Where events go. Cloning is cheap.
#[derive(Clone)]
pub struct Trace(Option<Arc<Mutex<State>>>);

struct State {
    lines: u64,
    hash: u64,
    line: String,
    file: Option<BufWriter<File>>,
}

/// Number and hash of a trace's lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digest {
    pub lines: u64,
    pub hash: u64,
}

impl Trace {
    /// Drops all events.
    pub fn silent() -> Self {
        Self(None)
    }

    /// Counts and hashes; with `path` also writes.
    pub fn start(path: Option<&Path>) -> io::Result<Self> {
        let file = path.map(|path| File::create(path).map(|file| BufWriter::with_capacity(1 << 20, file)));
        let state = State { lines: 0, hash: HASH_START, line: String::new(), file: file.transpose()? };
        Ok(Self(Some(Arc::new(Mutex::new(state)))))
    }

    /// Adds an event.
    pub fn line(&self, event: fmt::Arguments<'_>) {
        let Some(state) = &self.0 else { return };
        let mut state = state.lock().expect("no trace line panics");
        let State { lines, hash, line, file } = &mut *state;
        let now_us = clock::elapsed().as_micros();
        line.clear();
        writeln!(line, "{now_us} {event}").expect("a string takes everything");
        *lines += 1;
        *hash = fold(*hash, line.as_bytes());
        if let Some(file) = file {
            file.write_all(line.as_bytes()).expect("the trace file can be written");
        }
    }

    /// What the trace was so far. Flushes the file.
    pub fn digest(&self) -> Digest {
        let Some(state) = &self.0 else {
            return Digest { lines: 0, hash: HASH_START };
        };
        let mut state = state.lock().expect("no trace line panics");
        if let Some(file) = &mut state.file {
            file.flush().expect("the trace file can be written");
        }
        Digest { lines: state.lines, hash: state.hash }
    }
}

/// Where a [`fold`] begins.
pub const HASH_START: u64 = 0x9e37_79b9_7f4a_7c15;

/// A quick 64-bit hash of a sequence of byte strings, each with its length: good against accidents, not against
/// attackers.
pub fn fold(hash: u64, bytes: &[u8]) -> u64 {
    let mut hash = mix(hash ^ bytes.len() as u64);
    let (words, rest) = bytes.as_chunks::<8>();
    for word in words {
        hash = mix(hash ^ u64::from_le_bytes(*word));
    }
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    mix(hash ^ u64::from_le_bytes(last))
}

fn mix(word: u64) -> u64 {
    let product = u128::from(word ^ 0xa076_1d64_78bd_642f) * 0xe703_7ed1_a0b4_28db;
    (product as u64) ^ (product >> 64) as u64
}
