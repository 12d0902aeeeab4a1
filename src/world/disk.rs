//! The disk: files and directories, with the durability of a POSIX file system and no more.
//!
//! A write is durable after [`File::sync`]; a name (created, renamed, removed) after [`Disk::sync_dir`] of its
//! directory. Until then a power failure may keep any part of it. SQLite reaches the same disk through the VFS
//! that [`Disk::sqlite_vfs`] names.

use std::any::Any;
use std::io;
use std::path::{Path, PathBuf};

/// With less free than this, nothing is written that can be refused: two segments of the log, and as much again for what
/// is on its way.
pub const FREE_MIN: u64 = 32 << 20;

/// How [`Disk::open`] opens a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Open {
    /// It must exist; writes fail.
    Read,
    /// It must exist.
    Write,
    /// It is created, empty, if it does not exist.
    Create,
    /// It must not exist.
    CreateNew,
}

/// What is known of a file without opening it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// In bytes.
    pub size: u64,
    pub inode: u64,
    /// Last change of the content, nanoseconds since 1970.
    pub mtime_ns: i64,
    pub is_dir: bool,
}

/// An open file. Closed on drop, which never syncs.
pub trait File: Send + Sync {
    /// Reads at `offset` until `buffer` is full or the file ends; returns the bytes read.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Writes all of `bytes` at `offset`.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Makes content and size durable. After an error nothing about unsynced writes is known, and a second call
    /// proves nothing: the node must stop.
    fn sync(&self) -> io::Result<()>;
    /// Cuts or extends (with zeros) to `length` bytes.
    fn set_len(&self, length: u64) -> io::Result<()>;
    /// Reserves space for `length` bytes from the start, extending the file with zeros if it is shorter.
    fn allocate(&self, length: u64) -> io::Result<()>;
    /// Length in bytes.
    fn len(&self) -> io::Result<u64>;
    /// Whether the file has no bytes.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
}

/// A file system. Paths are absolute.
pub trait Disk: Send + Sync {
    /// Opens a file.
    fn open(&self, path: &Path, mode: Open) -> io::Result<Box<dyn File>>;
    /// Creates a directory and its parents; one that exists is left as it is.
    fn create_dir(&self, path: &Path) -> io::Result<()>;
    /// Takes the lock file at `path` until the answer is dropped; `WouldBlock` if another process holds it.
    fn lock(&self, path: &Path) -> io::Result<Box<dyn Any + Send + Sync>>;
    /// Looks at a path without opening it; `NotFound` if there is nothing.
    fn stat(&self, path: &Path) -> io::Result<Stat>;
    /// Renames a file over `to`.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Makes the names in `directory` durable.
    fn sync_dir(&self, directory: &Path) -> io::Result<()>;
    /// The names in `directory`, sorted.
    fn list(&self, directory: &Path) -> io::Result<Vec<String>>;
    /// Bytes that can still be written on the file system of `path`.
    fn free_space(&self, path: &Path) -> io::Result<u64>;
    /// The SQLite VFS over this disk.
    fn sqlite_vfs(&self) -> &str;

    /// Whether something is at `path`.
    fn exists(&self, path: &Path) -> io::Result<bool> {
        match self.stat(path) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// Reads a whole small file; `None` if it does not exist.
pub fn read_small(disk: &dyn Disk, path: &Path) -> io::Result<Option<Vec<u8>>> {
    let file = match disk.open(path, Open::Read) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut bytes = vec![0; file.len()? as usize];
    let read = file.read_at(&mut bytes, 0)?;
    bytes.truncate(read);
    Ok(Some(bytes))
}

/// Replaces a small file in one step: temporary name, sync, rename, directory sync. Afterwards the new content is
/// durable; a crash on the way leaves the old one.
pub fn replace_small(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let directory = path.parent().expect("a file has a directory");
    let mut name = path.file_name().expect("a file has a name").to_owned();
    name.push(".tmp");
    let temporary: PathBuf = directory.join(name);
    let file = disk.open(&temporary, Open::Create)?;
    file.set_len(0)?;
    file.write_at(bytes, 0)?;
    file.sync()?;
    drop(file);
    disk.rename(&temporary, path)?;
    disk.sync_dir(directory)
}
