//! `db.state`: which database file is current, and what it stands for. Replaced in one step.
//!
//! ```text
//! "rqstate\n" | version u32 | CRC32C of the rest u32 | protobuf `State`      (little-endian)
//! ```

use std::io;
use std::path::Path;

use prost::Message;

use crate::world::Disk;
use crate::world::disk::{read_small, replace_small};

/// The generated messages.
pub mod proto {
    include!(concat!(env!("OUT_DIR"), "/rqlite.db.rs"));
}

pub use proto::{Checkpointing, State};

const MAGIC: &[u8; 8] = b"rqstate\n";
const VERSION: u32 = 1;
const HEADER: usize = 16;

/// Why `db.state` can't be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("damaged: {0}")]
    Damaged(&'static str),
    #[error("format {0} is newer than this program's {VERSION}")]
    Newer(u32),
}

/// Reads the state; `None` if there is none yet.
pub fn read(disk: &dyn Disk, path: &Path) -> Result<Option<State>, Error> {
    let Some(bytes) = read_small(disk, path)? else {
        return Ok(None);
    };
    if bytes.len() < HEADER || &bytes[..8] != MAGIC {
        return Err(Error::Damaged("no header"));
    }
    let number = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
    if number(8) > VERSION {
        return Err(Error::Newer(number(8)));
    }
    if number(12) != crc32c::crc32c(&bytes[HEADER..]) {
        return Err(Error::Damaged("its checksum is wrong"));
    }
    State::decode(&bytes[HEADER..]).map(Some).map_err(|_| Error::Damaged("it doesn't decode"))
}

/// Replaces the state; it is durable when this returns.
pub fn write(disk: &dyn Disk, path: &Path, state: &State) -> io::Result<()> {
    let body = state.encode_to_vec();
    let mut bytes = MAGIC.to_vec();
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    bytes.extend_from_slice(&crc32c::crc32c(&body).to_le_bytes());
    bytes.extend_from_slice(&body);
    replace_small(disk, path, &bytes)
}
