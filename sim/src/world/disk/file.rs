//! Open files and locks.

use std::fmt;
use std::io;

use rqlite::world::disk::File;

use super::SimDisk;
use super::content::{self, Survivors};
use super::state::{Operation, State};

/// A handle; dead when its process is.
pub struct SimFile {
    pub(super) disk: SimDisk,
    pub(super) inode: u64,
    pub(super) process: u64,
    pub(super) writable: bool,
    pub(super) path: Box<str>,
}

/// A lock that is held until this is dropped, or its process ends.
pub struct Lock(pub(super) SimFile);

impl SimFile {
    /// What tells this file of this process from all others: number of the process, inode.
    pub fn identity(&self) -> (u64, u64) {
        (self.process, self.inode)
    }

    /// One operation on the file: `run` gets the state, and whether the operation was chosen to fail.
    fn operate<T>(
        &self,
        operation: Operation,
        what: fmt::Arguments<'_>,
        run: impl FnOnce(&mut State, Option<io::Error>) -> io::Result<T>,
    ) -> io::Result<T> {
        let mut state = self.disk.state();
        let result = if state.process != self.process {
            Err(io::Error::other("the process that opened this file is gone"))
        } else if operation != Operation::Read && operation != Operation::Look && !self.writable {
            Err(io::ErrorKind::PermissionDenied.into())
        } else {
            let failure = state.admit(operation, &self.path).err();
            match failure {
                // Without power nothing happens at all.
                Some(error) if !state.powered => Err(error),
                failure => {
                    if matches!(operation, Operation::Write | Operation::Name) {
                        let now = self.disk.now_ns(&state);
                        state.inode(self.inode).mtime_ns = now;
                    }
                    run(&mut state, failure)
                }
            }
        };
        drop(state);
        if operation == Operation::Look { result } else { self.disk.traced(what, result) }
    }
}

impl File for SimFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let (path, length) = (&self.path, buffer.len());
        self.operate(Operation::Read, format_args!("read {path} {offset} {length}"), |state, failure| {
            fail(failure)?;
            Ok(state.file(self.inode)?.now.read(buffer, offset))
        })
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let (path, length) = (&self.path, bytes.len());
        self.operate(Operation::Write, format_args!("write {path} {offset} {length}"), |state, failure| {
            let failure = failure.or_else(|| state.full(self.inode, offset + bytes.len() as u64));
            if let Some(error) = failure {
                let count = content::sectors(offset, bytes).count() as u64;
                let written = state.random.below(count) as usize;
                let length = content::sectors(offset, bytes).take(written).map(|(_, sector)| sector.len()).sum();
                // A full disk takes no new page, whole or in part.
                if length > 0 && state.full(self.inode, offset + length as u64).is_none() {
                    state.file(self.inode)?.write(&bytes[..length], offset);
                }
                return Err(error);
            }
            state.file(self.inode)?.write(bytes, offset);
            Ok(())
        })
    }

    fn sync(&self) -> io::Result<()> {
        self.operate(Operation::Sync, format_args!("sync {}", self.path), |state, failure| {
            let state = &mut *state;
            if let Some(error) = failure {
                let survivors = Survivors::draw(&mut state.random);
                let mut random = state.random.fork("failed sync");
                state.file(self.inode)?.fail_sync(survivors, &mut random);
                return Err(error);
            }
            state.file(self.inode)?.sync();
            let inode = state.inode(self.inode);
            inode.mtime_durable_ns = inode.mtime_ns;
            Ok(())
        })
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.operate(Operation::Name, format_args!("set-len {} {length}", self.path), |state, failure| {
            fail(failure)?;
            state.file(self.inode)?.set_len(length);
            Ok(())
        })
    }

    fn allocate(&self, length: u64) -> io::Result<()> {
        self.operate(Operation::Name, format_args!("allocate {} {length}", self.path), |state, failure| {
            fail(failure.or_else(|| state.full(self.inode, length)))?;
            state.file(self.inode)?.allocate(length);
            Ok(())
        })
    }

    fn len(&self) -> io::Result<u64> {
        self.operate(Operation::Look, format_args!(""), |state, failure| {
            fail(failure)?;
            Ok(state.file(self.inode)?.now.len())
        })
    }
}

impl Drop for SimFile {
    fn drop(&mut self) {
        let mut state = self.disk.state();
        if state.process == self.process {
            state.inode(self.inode).open -= 1;
            state.collect();
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        let mut state = self.0.disk.state();
        if state.process == self.0.process {
            state.inode(self.0.inode).locked = false;
        }
    }
}

fn fail(failure: Option<io::Error>) -> io::Result<()> {
    failure.map_or(Ok(()), Err)
}
