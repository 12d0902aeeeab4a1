//! The main database file, through SQLite's own descriptor.
//!
//! A second descriptor may not be opened on it: closing any descriptor drops all of the process's POSIX locks on the
//! file, and another program could then write to it (hazard H3).

use std::ffi::c_void;
use std::io;
use std::path::Path;
use std::ptr::NonNull;

use rusqlite::ffi;

use super::connection::Connection;
use super::state::proto;
use crate::world::{Disk, Open};

/// SQLite's smallest page: enough of a file to learn its page size.
const PAGE_MIN: usize = 512;

/// The file behind an open connection.
pub struct MainFile<'a> {
    file: NonNull<ffi::sqlite3_file>,
    _connection: &'a Connection,
}

impl<'a> MainFile<'a> {
    /// The main file of `connection`.
    pub fn of(connection: &'a Connection) -> Self {
        let mut file: *mut ffi::sqlite3_file = std::ptr::null_mut();
        // SAFETY: the connection is open; SQLite writes the pointer to its file, which lives as long.
        let code = unsafe {
            let out = (&raw mut file).cast::<c_void>();
            ffi::sqlite3_file_control(connection.handle(), c"main".as_ptr(), ffi::SQLITE_FCNTL_FILE_POINTER, out)
        };
        assert_eq!(code, ffi::SQLITE_OK, "every connection has a main file");
        Self { file: NonNull::new(file).expect("every connection has a main file"), _connection: connection }
    }

    fn methods(&self) -> &ffi::sqlite3_io_methods {
        // SAFETY: an open file has its methods.
        unsafe { &*(*self.file.as_ptr()).pMethods }
    }

    /// Bytes of the file.
    pub fn size(&self) -> io::Result<u64> {
        let mut size = 0;
        // SAFETY: an open file and a place for the answer.
        let code = unsafe { self.methods().xFileSize.expect("every VFS has it")(self.file.as_ptr(), &mut size) };
        check(code, "size")?;
        Ok(size as u64)
    }

    /// Fills `buffer` from `offset`; the range lies within the file.
    pub fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let length = i32::try_from(buffer.len()).map_err(io::Error::other)?;
        // SAFETY: an open file and a buffer of that length.
        let code = unsafe {
            let read = self.methods().xRead.expect("every VFS has it");
            read(self.file.as_ptr(), buffer.as_mut_ptr().cast(), length, offset as i64)
        };
        check(code, "read")
    }

    /// Makes the file durable.
    pub fn sync(&self) -> io::Result<()> {
        // SAFETY: an open file.
        let code =
            unsafe { self.methods().xSync.expect("every VFS has it")(self.file.as_ptr(), ffi::SQLITE_SYNC_NORMAL) };
        check(code, "sync")
    }

    /// What the file at `path`, which is this one, looks like now.
    pub fn identity(&self, disk: &dyn Disk, path: &Path) -> io::Result<proto::MainFile> {
        let mut start = [0; PAGE_MIN];
        self.read_at(&mut start, 0)?;
        let mut page1 = vec![0; page_size(&start)];
        self.read_at(&mut page1, 0)?;
        identity(disk, path, &page1)
    }
}

/// What a file looks like that SQLite hasn't opened.
pub fn identity_of_closed(disk: &dyn Disk, path: &Path) -> io::Result<proto::MainFile> {
    let file = disk.open(path, Open::Read)?;
    let mut start = [0; PAGE_MIN];
    file.read_at(&mut start, 0)?;
    let mut page1 = vec![0; page_size(&start)];
    file.read_at(&mut page1, 0)?;
    identity(disk, path, &page1)
}

/// The page size in a database's header; the smallest where there is none.
///
/// Source: <https://sqlite.org/fileformat2.html#the_database_header>.
pub fn page_size(start: &[u8]) -> usize {
    match u16::from_be_bytes([start[16], start[17]]) {
        1 => 65_536,
        size => (size as usize).max(PAGE_MIN),
    }
}

fn identity(disk: &dyn Disk, path: &Path, page1: &[u8]) -> io::Result<proto::MainFile> {
    let stat = disk.stat(path)?;
    Ok(proto::MainFile {
        size: stat.size,
        inode: stat.inode,
        mtime_ns: stat.mtime_ns,
        page1_crc32c: crc32c::crc32c(page1),
    })
}

fn check(code: i32, call: &str) -> io::Result<()> {
    match code {
        ffi::SQLITE_OK => Ok(()),
        code => Err(io::Error::other(format!("{call}: {}", ffi::code_to_str(code)))),
    }
}
