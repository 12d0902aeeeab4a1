//! SQLite's locks on files, and its WAL index, for the connections of one process.

use std::collections::BTreeMap;
use std::ops::Range;
use std::os::raw::c_int;
use std::sync::{Arc, Mutex};

use rusqlite::ffi;

/// A file of a process: number of the process, inode. A new process finds no locks of an old one.
pub type Identity = (u64, u64);

/// All locks of a machine.
#[derive(Default)]
pub struct Locks(Mutex<BTreeMap<Identity, FileLocks>>);

#[derive(Default)]
struct FileLocks {
    handles: u32,
    shared: u32,
    reserved: bool,
    pending: bool,
    exclusive: bool,
    index: Regions,
}

/// The WAL index: memory that the connections share, and the eight locks on it.
#[derive(Default)]
pub struct Regions {
    /// Boxed, so that a region stays where it is when another is added.
    regions: Vec<Box<[u64]>>,
    shared: [u32; Self::SLOTS],
    exclusive: [bool; Self::SLOTS],
    users: u32,
}

impl Regions {
    pub const SLOTS: usize = 8;
}

/// One open file's part in the locks. What it holds is released when it is dropped.
pub struct Holder {
    locks: Arc<Locks>,
    identity: Identity,
    level: c_int,
    shared: [bool; Regions::SLOTS],
    exclusive: [bool; Regions::SLOTS],
    mapped: bool,
}

impl Locks {
    /// Nothing held on the file `identity`.
    pub fn holder(self: &Arc<Self>, identity: Identity) -> Holder {
        self.0.lock().expect("no lock operation panics").entry(identity).or_default().handles += 1;
        Holder {
            locks: self.clone(),
            identity,
            level: ffi::SQLITE_LOCK_NONE,
            shared: [false; Regions::SLOTS],
            exclusive: [false; Regions::SLOTS],
            mapped: false,
        }
    }
}

impl Holder {
    fn with<R>(&mut self, work: impl FnOnce(&mut Self, &mut FileLocks) -> R) -> R {
        let locks = self.locks.clone();
        let mut locks = locks.0.lock().expect("no lock operation panics");
        work(self, locks.get_mut(&self.identity).expect("a holder keeps its file's locks"))
    }

    /// Goes up to `level`; false if another is in the way. The rules are those of os_unix.c.
    pub fn lock(&mut self, level: c_int) -> bool {
        self.with(|own, file| {
            if own.level >= level {
                return true;
            }
            match level {
                ffi::SQLITE_LOCK_SHARED => {
                    if file.pending || file.exclusive {
                        return false;
                    }
                    file.shared += 1;
                }
                ffi::SQLITE_LOCK_RESERVED => {
                    if file.reserved {
                        return false;
                    }
                    file.reserved = true;
                }
                _ => {
                    if own.level < ffi::SQLITE_LOCK_RESERVED {
                        if file.reserved {
                            return false;
                        }
                        file.reserved = true;
                    }
                    // Held even if readers are in the way: no new ones come.
                    file.pending = true;
                    own.level = ffi::SQLITE_LOCK_PENDING;
                    if file.shared > 1 {
                        return false;
                    }
                    file.exclusive = true;
                }
            }
            own.level = level;
            true
        })
    }

    /// Goes down to `level`.
    pub fn unlock(&mut self, level: c_int) {
        self.with(|own, file| {
            if own.level > ffi::SQLITE_LOCK_SHARED && level <= ffi::SQLITE_LOCK_SHARED {
                file.reserved = false;
                if own.level >= ffi::SQLITE_LOCK_PENDING {
                    file.pending = false;
                    file.exclusive = false;
                }
            }
            if own.level >= ffi::SQLITE_LOCK_SHARED && level == ffi::SQLITE_LOCK_NONE {
                file.shared -= 1;
            }
            own.level = own.level.min(level);
        });
    }

    /// Whether anyone has reserved the file.
    pub fn is_reserved(&mut self) -> bool {
        self.with(|_, file| file.reserved)
    }

    /// The address of a region of the WAL index; NULL if it doesn't exist and `extend` is not set.
    pub fn region(&mut self, number: usize, size: usize, extend: bool) -> *mut u64 {
        self.with(|own, file| {
            if !std::mem::replace(&mut own.mapped, true) {
                file.index.users += 1;
            }
            let regions = &mut file.index.regions;
            if regions.len() <= number && !extend {
                return std::ptr::null_mut();
            }
            while regions.len() <= number {
                regions.push(vec![0; size.div_ceil(8)].into());
            }
            regions[number].as_mut_ptr()
        })
    }

    /// Takes slots of the WAL index together with others.
    pub fn share_slots(&mut self, slots: Range<usize>) -> bool {
        self.with(|own, file| {
            if slots.clone().any(|slot| file.index.exclusive[slot] && !own.exclusive[slot]) {
                return false;
            }
            for slot in slots {
                if !std::mem::replace(&mut own.shared[slot], true) {
                    file.index.shared[slot] += 1;
                }
            }
            true
        })
    }

    /// Takes slots of the WAL index alone.
    pub fn seize_slots(&mut self, slots: Range<usize>) -> bool {
        self.with(|own, file| {
            let index = &mut file.index;
            let is_taken = |slot: usize| {
                (index.exclusive[slot] && !own.exclusive[slot]) || index.shared[slot] > u32::from(own.shared[slot])
            };
            if slots.clone().any(is_taken) {
                return false;
            }
            for slot in slots {
                index.exclusive[slot] = true;
                own.exclusive[slot] = true;
            }
            true
        })
    }

    /// Gives slots of the WAL index back.
    pub fn unlock_slots(&mut self, slots: Range<usize>) {
        self.with(|own, file| {
            for slot in slots {
                if std::mem::take(&mut own.exclusive[slot]) {
                    file.index.exclusive[slot] = false;
                }
                if std::mem::take(&mut own.shared[slot]) {
                    file.index.shared[slot] -= 1;
                }
            }
        });
    }

    /// Leaves the WAL index; it is forgotten with its last user, as a heap is.
    pub fn unmap(&mut self) {
        self.unlock_slots(0..Regions::SLOTS);
        self.with(|own, file| {
            if std::mem::take(&mut own.mapped) {
                file.index.users -= 1;
                if file.index.users == 0 {
                    file.index = Regions::default();
                }
            }
        });
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        self.unmap();
        self.unlock(ffi::SQLITE_LOCK_NONE);
        let mut locks = self.locks.0.lock().expect("no lock operation panics");
        let file = locks.get_mut(&self.identity).expect("a holder keeps its file's locks");
        file.handles -= 1;
        if file.handles == 0 {
            locks.remove(&self.identity);
        }
    }
}
