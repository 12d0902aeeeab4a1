//! What is on the medium, and which operation fails next.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::time::Duration;

use super::content::Content;
use super::directory::Directory;
use super::{CAPACITY, Counted, Error, Failure};
use crate::random::Random;

/// The inode of `/`.
pub const ROOT: u64 = 1;

pub struct State {
    pub inodes: BTreeMap<u64, Inode>,
    pub next_inode: u64,
    /// Number of the running process: handles of an earlier one are dead.
    pub process: u64,
    pub powered: bool,
    pub changes: u64,
    pub armed: Vec<Failure>,
    pub capacity: u64,
    pub slowness: Duration,
    pub random: Random,
    /// See [`super::SimDisk::temporaries`].
    pub temporaries: BTreeMap<String, u64>,
    /// See [`super::SimDisk::undisturbed`].
    pub is_looked_at: bool,
    /// See [`super::SimDisk::was_full`].
    pub was_full: bool,
    /// See [`super::SimDisk::keep`].
    pub kept: Option<(BTreeMap<u64, Inode>, u64)>,
}

#[derive(Clone)]
pub struct Inode {
    pub kind: Kind,
    pub open: u32,
    pub locked: bool,
    pub mtime_ns: i64,
    pub mtime_durable_ns: i64,
}

#[derive(Clone)]
pub enum Kind {
    File(Content),
    Directory(Directory),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Neither counted nor failed, but for lack of power.
    Look,
    Read,
    Write,
    Sync,
    /// Any other change: names, lengths.
    Name,
}

impl Counted {
    pub fn counts(self, operation: Operation) -> bool {
        match self {
            Self::Changes => matches!(operation, Operation::Write | Operation::Sync | Operation::Name),
            Self::Writes => operation == Operation::Write,
            Self::Syncs => operation == Operation::Sync,
            Self::Reads => operation == Operation::Read,
        }
    }
}

impl Inode {
    pub fn new(kind: Kind, now_ns: i64) -> Self {
        Self { kind, open: 0, locked: false, mtime_ns: now_ns, mtime_durable_ns: now_ns }
    }
}

impl State {
    /// Counts an operation; an error if it is chosen to fail.
    pub fn admit(&mut self, operation: Operation, path: &str) -> io::Result<()> {
        if self.is_looked_at {
            return Ok(());
        }
        if !self.powered {
            return Err(no_power());
        }
        let mut fired = None;
        self.armed.retain_mut(|failure| {
            if !failure.counted.counts(operation) || !path.contains(&failure.path) {
                return true;
            }
            if failure.after > 0 || fired.is_some() {
                failure.after = failure.after.saturating_sub(1);
                return true;
            }
            fired = Some(failure.error);
            false
        });
        if fired != Some(Error::PowerCut) && Counted::Changes.counts(operation) {
            self.changes += 1;
        }
        match fired {
            None => Ok(()),
            Some(Error::Io) => Err(io::Error::from_raw_os_error(::libc::EIO)),
            Some(Error::NoSpace) => {
                self.was_full = true;
                Err(io::Error::from_raw_os_error(libc::ENOSPC))
            }
            Some(Error::PowerCut) => {
                self.powered = false;
                Err(no_power())
            }
        }
    }

    pub fn begin_process(&mut self) {
        self.process += 1;
        self.powered = true;
        self.was_full = false;
        for inode in self.inodes.values_mut() {
            inode.open = 0;
            inode.locked = false;
        }
    }

    pub fn find(&self, path: &Path) -> Option<u64> {
        let path = path.to_str()?.strip_prefix('/').expect("paths are absolute");
        path.split('/').filter(|name| !name.is_empty()).try_fold(ROOT, |inode, name| match &self.inodes[&inode].kind {
            Kind::Directory(directory) => directory.now.get(name).copied(),
            Kind::File(_) => None,
        })
    }

    /// The directory that holds, or would hold, `path`, and the name in it.
    pub fn parent<'a>(&self, path: &'a Path) -> io::Result<(u64, &'a str)> {
        let name = path.file_name().and_then(|name| name.to_str()).ok_or(io::ErrorKind::InvalidInput)?;
        let directory = path.parent().and_then(|parent| self.find(parent)).ok_or(io::ErrorKind::NotFound)?;
        Ok((directory, name))
    }

    pub fn inode(&mut self, inode: u64) -> &mut Inode {
        self.inodes.get_mut(&inode).expect("an inode with a name or a handle exists")
    }

    pub fn file(&mut self, inode: u64) -> io::Result<&mut Content> {
        match &mut self.inode(inode).kind {
            Kind::File(content) => Ok(content),
            Kind::Directory(_) => Err(io::ErrorKind::IsADirectory.into()),
        }
    }

    pub fn directory(&mut self, inode: u64) -> io::Result<&mut Directory> {
        match &mut self.inode(inode).kind {
            Kind::Directory(directory) => Ok(directory),
            Kind::File(_) => Err(io::ErrorKind::NotADirectory.into()),
        }
    }

    pub fn add(&mut self, kind: Kind, now_ns: i64) -> u64 {
        let inode = self.next_inode;
        self.next_inode += 1;
        self.inodes.insert(inode, Inode::new(kind, now_ns));
        inode
    }

    /// Space taken by what has a name or is open. (What only a power failure would bring back takes none.)
    pub fn used(&self) -> u64 {
        let named = self.reached(|directory, reached| reached.extend(directory.now.values()));
        let files = self.inodes.iter().filter_map(|(number, inode)| match &inode.kind {
            Kind::File(content) if inode.open > 0 || named.binary_search(number).is_ok() => Some(content.now.used()),
            _ => None,
        });
        files.sum()
    }

    /// ENOSPC, if a file can't grow to `length` bytes.
    pub fn full(&mut self, inode: u64, length: u64) -> Option<io::Error> {
        if self.capacity == CAPACITY {
            return None;
        }
        let (free, content) = (self.capacity.saturating_sub(self.used()), self.file(inode).ok()?);
        let growth = length.saturating_sub(content.now.used());
        let is_full = growth > free && length > content.now.len();
        self.was_full |= is_full;
        is_full.then(|| io::Error::from_raw_os_error(libc::ENOSPC))
    }

    /// Forgets inodes that nothing refers to.
    pub fn collect(&mut self) {
        let reached = self.reached(|directory, reached| reached.extend(directory.inodes()));
        self.inodes.retain(|number, inode| inode.open > 0 || reached.binary_search(number).is_ok());
    }

    /// The inodes that can be reached from the root, sorted.
    fn reached(&self, names: impl Fn(&Directory, &mut Vec<u64>)) -> Vec<u64> {
        let mut reached = vec![ROOT];
        let mut next = 0;
        while next < reached.len() {
            let is_new = !reached[..next].contains(&reached[next]);
            if let (true, Kind::Directory(directory)) = (is_new, &self.inodes[&reached[next]].kind) {
                names(directory, &mut reached);
            }
            next += 1;
        }
        reached.sort_unstable();
        reached
    }
}

fn no_power() -> io::Error {
    io::Error::other("the power is off")
}
