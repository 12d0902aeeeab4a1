//! Files for /db/load: good ones, and all the kinds of bad ones.

use std::sync::Arc;

use crate::content;
use crate::history::OpId;
use crate::random::Random;
use crate::schema;
use crate::scratch::Scratch;

/// A good file with its content's hash.
pub struct Image {
    pub file: Arc<Vec<u8>>,
    pub hash: u64,
}

/// A good file: the clients' schema, the operation `op`, and some rows; any page size, either journal mode.
pub fn good(op: OpId, random: &mut Random, filler_bytes: u64, scratch: &mut Scratch) -> Image {
    let filler_bytes = if random.chance(1, 3) { filler_bytes } else { 0 };
    let mut build = || -> rusqlite::Result<Image> {
        let page_size = [512, 1024, 4096, 4096, 4096, 8192][random.below(6) as usize];
        let database = scratch.open(b"")?;
        let connection = &database.connection;
        connection.execute_batch(&format!("PRAGMA page_size = {page_size}"))?;
        if random.chance(1, 2) {
            connection.execute_batch("PRAGMA auto_vacuum = FULL")?;
        }
        if random.chance(1, 2) {
            connection.execute_batch("PRAGMA journal_mode = WAL")?;
        }
        crate::invariants::model::execute(connection, &schema::create(op, filler_bytes), true)?;
        let (rows, size) = match random.below(4) {
            0 => (random.below(3), 100),
            1 => (random.below(60), 3000),
            _ => (random.below(60), 200),
        };
        for row in 0..rows {
            let value = "x".repeat(random.below(size) as usize);
            connection.execute("INSERT INTO kv(k, v) VALUES (?, ?)", (format!("loaded{row}"), value))?;
        }
        let hash = content::hash(connection)?;
        Ok(Image { file: Arc::new(database.into_bytes()), hash })
    };
    build().expect("the scratch disk never fails")
}

/// How a file is bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bad {
    /// A header, and random bytes behind it.
    Garbage,
    /// Cut in the middle.
    Truncated,
    /// Compressed: as far as the first bytes tell.
    Gzip,
    /// No bytes: accepted, and nothing changes.
    Empty,
    /// One page in the middle was overwritten.
    Overwritten,
}

/// A bad file, that would be the operation `op` if it were loaded.
pub fn bad(op: OpId, random: &mut Random, scratch: &mut Scratch) -> (Bad, Vec<u8>) {
    let good = good(op, random, 0, scratch).file;
    let mut bytes = Vec::clone(&good);
    let page_size = match u16::from_be_bytes([bytes[16], bytes[17]]) {
        1 => 65536,
        size => size as usize,
    };
    match random.below(5) {
        0 => {
            random.fill(&mut bytes[100..]);
            (Bad::Garbage, bytes)
        }
        1 => {
            bytes.truncate(bytes.len() - 1 - random.below(bytes.len() as u64 / 2) as usize);
            (Bad::Truncated, bytes)
        }
        2 => {
            bytes[..3].copy_from_slice(&[0x1f, 0x8b, 0x08]);
            (Bad::Gzip, bytes)
        }
        3 => (Bad::Empty, Vec::new()),
        _ => {
            // The second page: with auto_vacuum a pointer map, else the root of `ops`. Both are checked.
            random.fill(&mut bytes[page_size..2 * page_size]);
            (Bad::Overwritten, bytes)
        }
    }
}
