//! A place outside every node where the harness opens databases with plain SQLite: backups, files to load, the model.

use std::path::Path;
use std::sync::Arc;

use rqlite::world::disk::{Disk, Open, read_small};
use rusqlite::{Connection, OpenFlags};

use crate::random::Random;
use crate::world::clock::SimClock;
use crate::world::disk::SimDisk;
use crate::world::entropy::SimEntropy;
use crate::world::vfs::{self, Registered};

/// A disk that never fails, with SQLite on it.
pub struct Scratch {
    disk: SimDisk,
    next: u64,
    _vfs: Registered,
}

/// A database on the scratch disk. It is removed when this is dropped.
pub struct Database {
    pub connection: Connection,
    disk: SimDisk,
    path: String,
}

impl Scratch {
    /// An empty disk.
    pub fn new() -> Self {
        let disk = SimDisk::new(0);
        let entropy = Arc::new(SimEntropy::new(Random::new(0)));
        let vfs = vfs::register(&disk, Arc::new(SimClock::new(0, 0)), entropy, Path::new("/"));
        Self { disk, next: 0, _vfs: vfs }
    }

    /// A new database, or the one that `bytes` are.
    pub fn open(&mut self, bytes: &[u8]) -> rusqlite::Result<Database> {
        self.next += 1;
        let path = format!("/{}.sqlite", self.next);
        let file = self.disk.open(Path::new(&path), Open::CreateNew).expect("the scratch disk never fails");
        file.write_at(bytes, 0).expect("the scratch disk never fails");
        let connection =
            Connection::open_with_flags_and_vfs(&path, OpenFlags::SQLITE_OPEN_READ_WRITE, self.disk.sqlite_vfs())?;
        connection.execute_batch("PRAGMA synchronous = OFF; PRAGMA foreign_keys = OFF")?;
        Ok(Database { connection, disk: self.disk.clone(), path })
    }
}

impl Default for Scratch {
    fn default() -> Self {
        Self::new()
    }
}

impl Database {
    /// The file, after everything was brought into it.
    pub fn into_bytes(self) -> Vec<u8> {
        let _: rusqlite::Result<()> = self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
        read_small(&self.disk, Path::new(&self.path)).expect("the scratch disk never fails").expect("it exists")
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        for name in [self.path.clone(), format!("{}-wal", self.path), format!("{}-journal", self.path)] {
            // Most of them don't exist.
            let _ = self.disk.remove(Path::new(&name));
        }
    }
}
