//! Leases: reading the main file as it was at one moment, while writes go on into the WAL.
//!
//! While a lease reads the main file no checkpoint may run. When one is due, the unread rest is copied to `tmp/` at
//! the disk's speed and read from there: a slow reader costs disk, never a stall (design §5).

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};

use super::SqlError;
use super::authorizer::Role;
use super::connection::Connection;
use super::main_file::MainFile;
use super::temporary::TemporaryFile;
use crate::world::disk::FREE_MIN;
use crate::world::{Disk, File, Open};

/// Bytes copied at once to a spool.
const COPY: usize = 1 << 20;

/// The leases on one generation of the database.
#[derive(Clone, Default)]
pub struct Leases {
    open: Arc<Mutex<Vec<Weak<Lease>>>>,
    /// Numbers the spools of all generations.
    spooled: Arc<AtomicU64>,
}

/// The right to read the database as it was when the lease was taken.
pub struct Lease {
    /// Bytes of the file.
    pub size: u64,
    /// Beside the lock, which a copy holds as long as it takes: the writer only looks.
    reads_main_file: AtomicBool,
    source: Mutex<Source>,
}

struct Source {
    /// Read up to here.
    offset: u64,
    from: From,
}

enum From {
    MainFile(Connection),
    /// A copy of the range from `base`; removed when the lease ends.
    Spool {
        file: Box<dyn File>,
        base: u64,
        _temporary: TemporaryFile,
    },
    /// The copy failed: the transfer is aborted, the node goes on.
    Lost(String),
}

impl Leases {
    /// Leases the file at `path`, which is complete without its WAL and stays so until the next checkpoint.
    pub(super) fn take(&self, path: &Path, vfs: &str) -> Result<Arc<Lease>, SqlError> {
        let connection = Connection::open(path, vfs, Role::Reader)?;
        let size = MainFile::of(&connection)
            .size()
            .map_err(|error| SqlError { code: rusqlite::ffi::SQLITE_IOERR, message: error.to_string() })?;
        let source = Source { offset: 0, from: From::MainFile(connection) };
        let lease = Arc::new(Lease { size, reads_main_file: AtomicBool::new(true), source: Mutex::new(source) });
        let mut open = self.open.lock().expect("no panic holds this lock");
        open.retain(|lease| lease.strong_count() > 0);
        open.push(Arc::downgrade(&lease));
        Ok(lease)
    }

    /// Whether a checkpoint would change a file under a lease.
    pub fn any_reads_main_file(&self) -> bool {
        self.live().iter().any(|lease| lease.reads_main_file.load(Ordering::Acquire))
    }

    /// Copies what the leases haven't read yet to `directory`, so that none reads the main file any more.
    pub fn spool(&self, disk: &Arc<dyn Disk>, directory: &Path) {
        for lease in self.live() {
            let name = format!("lease-{}", self.spooled.fetch_add(1, Ordering::Relaxed));
            lease.spool(disk, &directory.join(name));
        }
    }

    /// For the file that takes this one's place: the leases on this one are in nobody's way any more.
    pub(super) fn of_next_generation(&self) -> Self {
        Self { open: Arc::default(), spooled: self.spooled.clone() }
    }

    fn live(&self) -> Vec<Arc<Lease>> {
        self.open.lock().expect("no panic holds this lock").iter().filter_map(Weak::upgrade).collect()
    }
}

impl Lease {
    /// The next bytes, at most `most`; empty at the end. Run on a lane.
    pub fn read(&self, most: usize) -> io::Result<Vec<u8>> {
        let mut source = self.source();
        let length = most.min((self.size - source.offset) as usize);
        let mut buffer = vec![0; length];
        source.read(&mut buffer)?;
        if source.offset == self.size {
            self.reads_main_file.store(false, Ordering::Release);
        }
        Ok(buffer)
    }

    fn source(&self) -> std::sync::MutexGuard<'_, Source> {
        self.source.lock().expect("no panic holds this lock")
    }

    fn spool(&self, disk: &Arc<dyn Disk>, path: &Path) {
        let mut source = self.source();
        if !self.reads_main_file.load(Ordering::Acquire) {
            return;
        }
        let base = source.offset;
        let temporary = TemporaryFile::new(disk.clone(), path.to_path_buf());
        let copied = disk.open(path, Open::Create).and_then(|file| {
            let mut buffer = vec![0; COPY];
            while source.offset < self.size {
                // A backup gives way before the log has no room.
                if disk.free_space(path)? < FREE_MIN {
                    return Err(io::ErrorKind::StorageFull.into());
                }
                let length = COPY.min((self.size - source.offset) as usize);
                let at = source.offset;
                source.read(&mut buffer[..length])?;
                file.write_at(&buffer[..length], at - base)?;
            }
            Ok(file)
        });
        source.offset = base;
        source.from = match copied {
            Ok(file) => From::Spool { file, base, _temporary: temporary },
            Err(error) => From::Lost(format!("spooling the backup: {error}")),
        };
        self.reads_main_file.store(false, Ordering::Release);
    }
}

impl Source {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        match &self.from {
            From::MainFile(connection) => MainFile::of(connection).read_at(buffer, self.offset)?,
            From::Spool { file, base, .. } => {
                if file.read_at(buffer, self.offset - base)? < buffer.len() {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
            }
            From::Lost(why) => return Err(io::Error::other(why.clone())),
        }
        self.offset += buffer.len() as u64;
        Ok(())
    }
}
