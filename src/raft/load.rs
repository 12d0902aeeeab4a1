//! A database file on its way through the log: staged in `tmp/` until its commit.
//!
//! The state that must be equal on all nodes (how much has come, its checksum) is counted from the entries; trouble
//! with this node's disk is kept apart and never decides anything before the commit.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::types::LogId;
use crate::db::check;
use crate::world::{Disk, File, Open};

/// A file that this node received and checked: it is staged as it is.
pub struct Spool {
    /// Drawn by the node; `LoadBegin` carries it.
    pub id: u64,
    pub file: SpoolFile,
}

/// A temporary file, removed on drop unless it was renamed away.
pub struct SpoolFile {
    disk: Arc<dyn Disk>,
    path: PathBuf,
}

/// One open load.
pub struct Load {
    /// Its `LoadBegin`; the index is the load's id.
    pub begun: LogId,
    size: u64,
    received: u64,
    crc32c: u32,
    file: SpoolFile,
    staging: Staging,
}

enum Staging {
    /// Chunks are written to the file.
    Writing(Box<dyn File>),
    /// The file is complete: this node received it from the client.
    Received,
    /// It can become the database.
    Prepared,
    /// This node's disk failed it.
    Failed(String),
}

impl SpoolFile {
    /// The file at `path`, which needn't exist yet.
    pub fn new(disk: Arc<dyn Disk>, path: PathBuf) -> Self {
        Self { disk, path }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for SpoolFile {
    fn drop(&mut self) {
        // What can't be removed is removed at the next start. SQLite leaves a WAL beside a file it looked at.
        let _ = self.disk.remove(&self.path);
        let mut wal = self.path.clone().into_os_string();
        wal.push("-wal");
        let _ = self.disk.remove(Path::new(&wal));
    }
}

impl Load {
    /// Opens a load; without a file from the client the chunks are staged at `path`.
    pub fn begin(disk: &Arc<dyn Disk>, begun: LogId, size: u64, received: Option<Spool>, path: PathBuf) -> Self {
        let (file, staging) = match received {
            Some(spool) => (spool.file, Staging::Received),
            None => {
                let staging = match disk.open(&path, Open::Create).and_then(|file| file.set_len(0).map(|()| file)) {
                    Ok(file) => Staging::Writing(file),
                    Err(error) => Staging::Failed(error.to_string()),
                };
                (SpoolFile::new(disk.clone(), path), staging)
            }
        };
        Self { begun, size, received: 0, crc32c: 0, file, staging }
    }

    /// Takes the next chunk; false if it isn't the next.
    pub fn append(&mut self, offset: u64, data: &[u8]) -> bool {
        if offset != self.received || offset + data.len() as u64 > self.size {
            return false;
        }
        self.received += data.len() as u64;
        self.crc32c = crc32c::crc32c_append(self.crc32c, data);
        if let Staging::Writing(file) = &self.staging
            && let Err(error) = file.write_at(data, offset)
        {
            self.staging = Staging::Failed(error.to_string());
        }
        true
    }

    /// Whether all of the file has come, as its sender says it is.
    pub fn is_complete(&self, size: u64, crc32c: u32) -> bool {
        self.received == size && self.size == size && self.crc32c == crc32c
    }

    /// Makes the staged file ready to become the database.
    pub fn prepare(&mut self, disk: &dyn Disk) -> Result<(), String> {
        match &self.staging {
            Staging::Prepared => return Ok(()),
            Staging::Failed(why) => return Err(format!("staging the load: {why}")),
            Staging::Writing(_) | Staging::Received => {}
        }
        match check::prepare(disk, self.path()) {
            Ok(()) => {
                self.staging = Staging::Prepared;
                Ok(())
            }
            Err(error) => {
                self.staging = Staging::Failed(error.message);
                self.prepare(disk)
            }
        }
    }

    /// The staged file.
    pub fn path(&self) -> &Path {
        self.file.path()
    }
}
