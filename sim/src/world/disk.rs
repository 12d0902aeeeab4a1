//! A disk in memory that fails as disks do.
//!
//! Fault model:
//! - **Power failure** ([`SimDisk::power_fail`]): of the changes to a file that no sync covered, nothing, an in-order
//!   prefix with a torn last write, a random half of the 512-byte sectors, nearly all or all are left, drawn per file;
//!   of the changes to a directory's names that no directory sync covered, a prefix, drawn per directory. A rename
//!   between two directories is a link in one and an unlink in the other. A directory's own name is a name in its
//!   parent. Modification times since the last sync may be lost too.
//! - **Kill** ([`SimDisk::kill`]): the process is gone, the machine runs on, unsynced data survives.
//! - After either, files and locks of the old process are dead: their operations fail.
//! - **The n-th operation fails** ([`SimDisk::arm`]) with EIO or ENOSPC, once, or the power goes there. A write that
//!   fails may have written a part. A failed sync leaves a random part of the changes durable and marks the others
//!   clean: they are readable, and no later sync writes them ("fsyncgate").
//! - **A full disk** ([`SimDisk::set_capacity`]): what needs more space fails with ENOSPC.
//! - **Bit rot** ([`SimDisk::flip_bit`]) and a **slow disk** ([`SimDisk::set_slowness`], which the lanes add to their
//!   service time).
//!
//! Unsynced bytes of a file beyond 16 MiB are written back, oldest first, as a kernel does. Not modelled: writes that
//! reach another place, links, permissions.

mod content;
mod directory;
mod file;
mod state;

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use rqlite::world::Clock;
use rqlite::world::disk::{Disk, File, Open, Stat};

use crate::random::Random;
use crate::trace::Trace;
use content::{Content, Survivors};
use directory::Directory;
use file::Lock;
pub use file::SimFile;
use state::{Inode, Kind, Operation, ROOT, State};

/// Space of a disk without [`SimDisk::set_capacity`].
const CAPACITY: u64 = 64 << 30;

/// What a power failure leaves of unsynced changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PowerFailure {
    /// None of them.
    DropAll,
    /// Any part of them.
    Random,
}

/// Which operations an armed [`Failure`] counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counted {
    /// All that change something: create, write, set_len, allocate, sync, rename, remove, create_dir, sync_dir.
    Changes,
    Writes,
    /// Of files and directories.
    Syncs,
    Reads,
}

/// How the counted operation fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// EIO, once.
    Io,
    /// ENOSPC, once.
    NoSpace,
    /// The power goes before it: it and all later ones fail.
    PowerCut,
}

/// One operation that will fail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub counted: Counted,
    /// Only operations on paths that contain this are counted.
    pub path: String,
    /// So many pass before.
    pub after: u64,
    pub error: Error,
}

/// The disk of one machine: it outlives its processes. Cloning is cheap.
#[derive(Clone)]
pub struct SimDisk {
    shared: Arc<Shared>,
}

struct Shared {
    name: String,
    clock: Option<Arc<dyn Clock>>,
    trace: Trace,
    state: Mutex<State>,
}

impl SimDisk {
    /// A disk for a test: no trace, and a clock that counts operations.
    pub fn new(seed: u64) -> Self {
        // The name is that of its VFS too, and tests run side by side in one process.
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let name = format!("disk-{}", NEXT.fetch_add(1, Ordering::Relaxed));
        Self::build(&name, seed, None, Trace::silent())
    }

    /// The disk of a node: `name` marks its lines in the trace and names its VFS; `clock` stamps its files.
    pub fn for_node(name: &str, seed: u64, clock: Arc<dyn Clock>, trace: Trace) -> Self {
        Self::build(name, seed, Some(clock), trace)
    }

    fn build(name: &str, seed: u64, clock: Option<Arc<dyn Clock>>, trace: Trace) -> Self {
        let root = Inode::new(Kind::Directory(Directory::default()), 0);
        let state = State {
            inodes: BTreeMap::from([(ROOT, root)]),
            next_inode: ROOT + 1,
            process: 1,
            powered: true,
            changes: 0,
            temporaries: BTreeMap::new(),
            armed: Vec::new(),
            capacity: CAPACITY,
            slowness: Duration::ZERO,
            is_looked_at: false,
            was_full: false,
            kept: None,
            random: Random::new(seed).fork("disk"),
        };
        Self { shared: Arc::new(Shared { name: name.into(), clock, trace, state: Mutex::new(state) }) }
    }

    /// Operations so far that change something.
    pub fn changes(&self) -> u64 {
        self.state().changes
    }

    /// Temporary files so far, by what their names begin with.
    pub fn temporaries(&self, kind: &str) -> u64 {
        self.state().temporaries.get(kind).copied().unwrap_or_default()
    }

    /// Makes one operation fail. Several failures can be armed at once; each fires once.
    pub fn arm(&self, failure: Failure) {
        self.state().armed.push(failure);
    }

    /// Forgets the failures that have not fired; returns how many there were.
    pub fn disarm(&self) -> usize {
        std::mem::take(&mut self.state().armed).len()
    }

    /// Whether a failure is armed that has not fired.
    pub fn is_armed(&self) -> bool {
        !self.state().armed.is_empty()
    }

    /// Whether the disk is smaller than it was.
    pub fn is_limited(&self) -> bool {
        self.state().capacity != CAPACITY
    }

    /// Whether an operation of this process has failed because there was no space.
    pub fn was_full(&self) -> bool {
        self.state().was_full
    }

    /// Lets the harness look: no failure fires at what `look` does, power or not, and no line is written.
    pub fn undisturbed<T>(&self, look: impl FnOnce() -> T) -> T {
        self.state().is_looked_at = true;
        let result = look();
        self.state().is_looked_at = false;
        result
    }

    /// The disk's size in bytes; `None` for plenty.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.state().capacity = bytes.unwrap_or(CAPACITY);
    }

    /// Space taken, in bytes.
    pub fn used(&self) -> u64 {
        self.state().used()
    }

    /// Time that work on this disk takes longer, from now on.
    pub fn set_slowness(&self, slowness: Duration) {
        self.state().slowness = slowness;
    }

    /// What [`SimDisk::set_slowness`] set.
    pub fn slowness(&self) -> Duration {
        self.state().slowness
    }

    /// Cuts the power: from now on every operation fails. Call it before the process's destructors run, so that they
    /// can't write; then [`SimDisk::power_fail`] or [`SimDisk::kill`].
    pub fn cut(&self) {
        self.state().powered = false;
    }

    /// Whether an operation can succeed.
    pub fn is_powered(&self) -> bool {
        self.state().powered
    }

    /// The machine lost its power and is up again, with a new process. Armed failures are gone.
    pub fn power_fail(&self, mode: PowerFailure) {
        let mut state = self.state();
        let state = &mut *state;
        state.begin_process();
        state.armed.clear();
        for inode in state.inodes.values_mut() {
            match &mut inode.kind {
                Kind::File(content) => {
                    let survivors = match mode {
                        PowerFailure::DropAll => Survivors::Nothing,
                        PowerFailure::Random => Survivors::draw(&mut state.random),
                    };
                    content.power_fail(survivors, &mut state.random);
                }
                Kind::Directory(directory) => {
                    let kept = match mode {
                        PowerFailure::DropAll => 0,
                        PowerFailure::Random => state.random.below(directory.unsynced() as u64 + 1),
                    };
                    directory.power_fail(kept as usize);
                }
            }
            if mode == PowerFailure::DropAll || state.random.chance(1, 2) {
                inode.mtime_ns = inode.mtime_durable_ns;
            }
        }
        state.collect();
    }

    /// The process was killed; a new one begins. Nothing that was written is lost. Armed failures stay.
    pub fn kill(&self) {
        let mut state = self.state();
        state.begin_process();
        state.collect();
    }

    /// The machine gets another disk, an empty one. Nothing may run on it.
    pub fn wipe(&self) {
        let mut state = self.state();
        state.inodes = BTreeMap::from([(ROOT, Inode::new(Kind::Directory(Directory::default()), 0))]);
    }

    /// Puts a copy of the disk aside.
    pub fn keep(&self) {
        let mut state = self.state();
        state.kept = Some((state.inodes.clone(), state.next_inode));
    }

    /// The machine gets the disk that was put aside. Nothing may run on it.
    pub fn restore(&self) {
        let mut state = self.state();
        let (inodes, next_inode) = state.kept.clone().expect("one was put aside");
        (state.inodes, state.next_inode) = (inodes, next_inode);
        state.begin_process();
        state.collect();
    }

    /// Flips one bit of a file where it rests; false if there is no such bit.
    pub fn flip_bit(&self, path: &Path, bit: u64) -> bool {
        let mut state = self.state();
        let Some(inode) = state.find(path) else {
            return false;
        };
        match &mut state.inode(inode).kind {
            Kind::File(content) if bit / 8 < content.now.len() => {
                content.flip(bit);
                true
            }
            _ => false,
        }
    }

    /// The whole of a file as a reader sees it, also while the power is off; `None` if it doesn't exist.
    pub fn content(&self, path: &Path) -> Option<Vec<u8>> {
        let mut state = self.state();
        let inode = state.find(path)?;
        let content = state.file(inode).ok()?;
        let mut bytes = vec![0; content.now.len() as usize];
        content.now.read(&mut bytes, 0);
        Some(bytes)
    }

    /// The name of the machine.
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().expect("an operation on the simulated disk panicked")
    }

    fn now_ns(&self, state: &State) -> i64 {
        match &self.shared.clock {
            Some(clock) => clock.unix_now().as_nanos() as i64,
            None => state.changes as i64,
        }
    }

    /// Writes the trace line of an operation. `what` is its name, path and numbers.
    fn traced<T>(&self, what: fmt::Arguments<'_>, result: io::Result<T>) -> io::Result<T> {
        if self.state().is_looked_at {
            return result;
        }
        match &result {
            Ok(_) => self.shared.trace.line(format_args!("{} disk {what}", self.shared.name)),
            Err(error) => self.shared.trace.line(format_args!("{} disk {what} ! {error}", self.shared.name)),
        }
        result
    }

    /// Looks at a path: not traced, since nothing depends on it that the operations themselves don't show.
    fn look<T>(&self, path: &Path, look: impl FnOnce(&mut State) -> io::Result<T>) -> io::Result<T> {
        let mut state = self.state();
        state.admit(Operation::Look, &path.to_string_lossy())?;
        look(&mut state)
    }

    /// One operation on names.
    fn change<T>(
        &self,
        what: &str,
        path: &Path,
        change: impl FnOnce(&mut State, i64) -> io::Result<T>,
    ) -> io::Result<T> {
        let path = path.to_string_lossy();
        let mut state = self.state();
        let operation = if what == "sync-dir" { Operation::Sync } else { Operation::Name };
        let now = self.now_ns(&state);
        let result = state.admit(operation, &path).and_then(|()| change(&mut state, now));
        drop(state);
        self.traced(format_args!("{what} {path}"), result)
    }

    /// [`Disk::open`] for the VFS.
    pub(super) fn open_file(&self, path: &Path, mode: Open) -> io::Result<SimFile> {
        let create = |state: &mut State, now: i64| {
            let (directory, name) = state.parent(path)?;
            if state.directory(directory)?.now.contains_key(name) {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            let inode = state.add(Kind::File(Content::default()), now);
            state.directory(directory)?.link(name, inode);
            if path.parent().is_some_and(|parent| parent.ends_with("tmp"))
                && let Some((kind, _)) = name.split_once('-')
            {
                *state.temporaries.entry(kind.into()).or_default() += 1;
            }
            Ok(inode)
        };
        let existing = self.look(path, |state| Ok(state.find(path)))?;
        let inode = match (mode, existing) {
            (Open::Read | Open::Write, None) => return Err(io::ErrorKind::NotFound.into()),
            (Open::Read | Open::Write | Open::Create, Some(inode)) => inode,
            (Open::Create, None) | (Open::CreateNew, _) => self.change("create", path, create)?,
        };
        let mut state = self.state();
        state.file(inode)?;
        state.inode(inode).open += 1;
        let process = state.process;
        drop(state);
        let path = path.to_string_lossy().into();
        Ok(SimFile { disk: self.clone(), inode, process, writable: mode != Open::Read, path })
    }
}

impl Disk for SimDisk {
    fn open(&self, path: &Path, mode: Open) -> io::Result<Box<dyn File>> {
        Ok(Box::new(self.open_file(path, mode)?))
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        let mut missing = Vec::new();
        self.look(path, |state| {
            missing.extend(path.ancestors().take_while(|ancestor| state.find(ancestor).is_none()));
            Ok(())
        })?;
        for ancestor in missing.into_iter().rev() {
            self.change("create-dir", ancestor, |state, now| {
                let (directory, name) = state.parent(ancestor)?;
                let inode = state.add(Kind::Directory(Directory::default()), now);
                state.directory(directory)?.link(name, inode);
                Ok(())
            })?;
        }
        Ok(())
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Any + Send + Sync>> {
        let file = self.open_file(path, Open::Create)?;
        let mut state = self.state();
        let inode = state.inode(file.inode);
        if inode.locked {
            drop(state);
            return self.traced(format_args!("lock {}", file.path), Err(io::ErrorKind::WouldBlock.into()));
        }
        inode.locked = true;
        drop(state);
        self.traced(format_args!("lock {}", file.path), Ok(()))?;
        Ok(Box::new(Lock(file)))
    }

    fn stat(&self, path: &Path) -> io::Result<Stat> {
        self.look(path, |state| {
            let inode = state.find(path).ok_or(io::ErrorKind::NotFound)?;
            let found = state.inode(inode);
            let (size, is_dir) = match &found.kind {
                Kind::File(content) => (content.now.len(), false),
                Kind::Directory(_) => (0, true),
            };
            Ok(Stat { size, inode, mtime_ns: found.mtime_ns, is_dir })
        })
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.change(&format!("rename {}", from.to_string_lossy()), to, |state, _| {
            let (old_directory, old_name) = state.parent(from)?;
            let (new_directory, new_name) = state.parent(to)?;
            let inode = *state.directory(old_directory)?.now.get(old_name).ok_or(io::ErrorKind::NotFound)?;
            if let Some(replaced) = state.find(to) {
                // Only files are replaced.
                state.file(replaced)?;
            }
            if old_directory == new_directory {
                state.directory(old_directory)?.rename(old_name, new_name);
            } else {
                state.directory(new_directory)?.link(new_name, inode);
                state.directory(old_directory)?.unlink(old_name);
            }
            Ok(())
        })
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.change("remove", path, |state, _| {
            let (directory, name) = state.parent(path)?;
            let inode = *state.directory(directory)?.now.get(name).ok_or(io::ErrorKind::NotFound)?;
            state.file(inode)?;
            state.directory(directory)?.unlink(name);
            state.collect();
            Ok(())
        })
    }

    fn sync_dir(&self, directory: &Path) -> io::Result<()> {
        self.change("sync-dir", directory, |state, _| {
            let inode = state.find(directory).ok_or(io::ErrorKind::NotFound)?;
            state.directory(inode)?.sync();
            state.collect();
            Ok(())
        })
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        self.look(directory, |state| {
            let inode = state.find(directory).ok_or(io::ErrorKind::NotFound)?;
            Ok(state.directory(inode)?.now.keys().cloned().collect())
        })
    }

    fn free_space(&self, path: &Path) -> io::Result<u64> {
        self.look(path, |state| Ok(state.capacity.saturating_sub(state.used())))
    }

    fn sqlite_vfs(&self) -> &str {
        // [`super::vfs::register`] registers the VFS under the machine's name.
        &self.shared.name
    }
}
