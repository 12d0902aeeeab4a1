//! How far the database may grow: every entry says so, and all nodes end a statement at the same page.

use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;

use super::Error;
use crate::db::database::Paths;
use crate::world::World;
use crate::world::disk::FREE_MIN;

/// How long a look at the disk is good for.
const MAX_AGE: Duration = Duration::from_secs(1);

/// The limit moves in steps of this many bytes, so that it rarely changes.
const STEP: u64 = 4 << 20;

/// The disk's free space, looked up now and then.
pub struct FreeSpace {
    world: World,
    paths: Paths,
    seen: Mutex<Option<(Instant, Option<u64>)>>,
}

impl FreeSpace {
    /// Of the data directory behind `paths`.
    pub fn new(world: &World, paths: &Paths) -> Self {
        Self { world: world.clone(), paths: paths.clone(), seen: Mutex::new(None) }
    }

    /// Bytes free now.
    pub fn bytes(&self) -> std::io::Result<u64> {
        self.world.disk.free_space(&self.paths.directory())
    }

    /// Fails if `more` bytes can't be written now without coming close to a full disk.
    pub fn admit(&self, more: u64) -> Result<(), Error> {
        // A disk that can't tell is asked by writing.
        let free = self.bytes().unwrap_or(u64::MAX);
        let need = more.saturating_add(FREE_MIN);
        if free < need { Err(Error::DiskSpace { need, free }) } else { Ok(()) }
    }

    /// Bytes of the database's files.
    pub fn used(&self) -> std::io::Result<u64> {
        let disk = &self.world.disk;
        let directory = self.paths.directory();
        let mut used = 0;
        for name in disk.list(&directory)? {
            // A file that a load has just replaced is gone.
            used += disk.stat(&directory.join(name)).map_or(0, |stat| stat.size);
        }
        Ok(used)
    }

    /// Bytes that the database may have: what is there, and half of what is free, since a page is written to the WAL
    /// before it gets to the main file. 0 (no limit) if the disk can't tell.
    ///
    /// Errors: [`Error::DiskLow`]: no write is accepted any more.
    pub fn max_bytes(&self) -> Result<u64, Error> {
        let mut seen = self.seen.lock().expect("no panic holds this lock");
        let bytes = match *seen {
            Some((at, bytes)) if at.elapsed() < MAX_AGE => bytes,
            _ => {
                let bytes = self.measure().unwrap_or(Some(0));
                *seen = Some((Instant::now(), bytes));
                bytes
            }
        };
        bytes.ok_or(Error::DiskLow)
    }

    /// `None`: too little is free.
    fn measure(&self) -> std::io::Result<Option<u64>> {
        let free = self.bytes()?;
        if free < FREE_MIN {
            return Ok(None);
        }
        let bytes = (self.used()? + free / 2) / STEP * STEP;
        Ok(Some(bytes.max(STEP)))
    }
}
