//! SQLite's way to the simulated disk.
//!
//! It behaves as production's shim over `unix-excl`: time and randomness come from the entry being applied, else from
//! the node; every failed call is recorded (`rqlite::db::fault`); the WAL index lies in heap; a new WAL or journal syncs
//! its directory with its first sync, and a failure of that is ignored; temporary files lie in the data directory.
//!
//! Fault model: the disk's. Locks and WAL indexes belong to a process and die with it.

mod locks;

use std::cell::Cell;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::io;
use std::path::{Path, PathBuf};
use std::slice;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rqlite::db::vfs::JULIAN_EPOCH_MS;
use rqlite::db::{entry, fault};
use rqlite::world::disk::{Disk, File as _, Open};
use rqlite::world::{Clock, Entropy};
use rusqlite::ffi;

use super::disk::{SimDisk, SimFile};
use locks::{Holder, Locks, Regions};

/// A registered VFS; it is unregistered when this is dropped. No connection may be left then.
pub struct Registered(*mut ffi::sqlite3_vfs);

// SAFETY: the pointer is only given back to SQLite, whose list of VFSs has a mutex.
unsafe impl Send for Registered {}
unsafe impl Sync for Registered {}

/// What the VFS's methods find behind `pAppData`.
struct Machine {
    disk: SimDisk,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    temporary: PathBuf,
    next_temporary: AtomicU64,
    locks: Arc<Locks>,
    /// Owns the text that `zName` points at.
    name: CString,
}

/// What SQLite allocates for an open file: its method table, and our part.
#[repr(C)]
struct Handle {
    base: ffi::sqlite3_file,
    open: *mut OpenFile,
}

struct OpenFile {
    file: SimFile,
    path: PathBuf,
    disk: SimDisk,
    holder: Holder,
    /// The first sync of a new journal or WAL makes its name durable.
    sync_directory: Cell<bool>,
    persist_wal: Cell<bool>,
}

/// Registers the VFS over `disk` under the name that `disk.sqlite_vfs()` tells. Temporary files go to `temporary`.
pub fn register(disk: &SimDisk, clock: Arc<dyn Clock>, entropy: Arc<dyn Entropy>, temporary: &Path) -> Registered {
    // Once a process, before the first connection.
    rqlite::db::engine::initialize(temporary);
    let machine = Box::new(Machine {
        disk: disk.clone(),
        clock,
        entropy,
        temporary: temporary.into(),
        next_temporary: AtomicU64::new(0),
        locks: Arc::new(Locks::default()),
        name: CString::new(disk.sqlite_vfs()).expect("names of machines have no NUL"),
    });
    let vfs = Box::new(ffi::sqlite3_vfs {
        iVersion: 2,
        szOsFile: size_of::<Handle>() as c_int,
        mxPathname: 512,
        pNext: std::ptr::null_mut(),
        zName: machine.name.as_ptr(),
        pAppData: Box::into_raw(machine).cast(),
        xOpen: Some(open),
        xDelete: Some(delete),
        xAccess: Some(access),
        xFullPathname: Some(full_pathname),
        xDlOpen: None,
        xDlError: None,
        xDlSym: None,
        xDlClose: None,
        xRandomness: Some(randomness),
        xSleep: Some(sleep),
        xCurrentTime: Some(current_time),
        xGetLastError: Some(last_error),
        xCurrentTimeInt64: Some(current_time_int64),
        xSetSystemCall: None,
        xGetSystemCall: None,
        xNextSystemCall: None,
    });
    let vfs = Box::into_raw(vfs);
    // SAFETY: the struct is valid and stays where it is until `Registered` is dropped.
    let code = unsafe { ffi::sqlite3_vfs_register(vfs, 0) };
    assert_eq!(code, ffi::SQLITE_OK, "SQLite refused the VFS");
    Registered(vfs)
}

impl Registered {
    /// Makes it the VFS that SQLite asks for randomness when no entry is applied. For a process with one simulation.
    pub fn make_default(&self) {
        // SAFETY: registered before; SQLite moves it to the front.
        let code = unsafe { ffi::sqlite3_vfs_register(self.0, 1) };
        assert_eq!(code, ffi::SQLITE_OK, "SQLite refused the VFS");
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        // SAFETY: both boxes were leaked by `register`; SQLite forgets the VFS first, and whoever drops this promises
        // that no connection uses it.
        unsafe {
            ffi::sqlite3_vfs_unregister(self.0);
            let vfs = Box::from_raw(self.0);
            drop(Box::from_raw(vfs.pAppData.cast::<Machine>()));
        }
    }
}

/// The machine that a VFS belongs to.
///
/// # Safety
/// `vfs` was registered by [`register`].
unsafe fn machine<'a>(vfs: *mut ffi::sqlite3_vfs) -> &'a Machine {
    // SAFETY: `pAppData` points at the box that `register` leaked; it is only ever read.
    unsafe { &*(*vfs).pAppData.cast::<Machine>() }
}

/// Our part of an open file.
///
/// # Safety
/// `file` was opened by [`open`] and not closed yet.
unsafe fn opened<'a>(file: *mut ffi::sqlite3_file) -> &'a mut OpenFile {
    // SAFETY: `open` put a leaked box there. SQLite uses a file from one thread at a time, and no method keeps the
    // reference beyond its call.
    unsafe { &mut *(*file.cast::<Handle>()).open }
}

/// A path that SQLite passes.
///
/// # Safety
/// `path` is a string that ends in NUL and outlives the answer.
unsafe fn path<'a>(path: *const c_char) -> &'a Path {
    // SAFETY: the caller's promise.
    Path::new(unsafe { CStr::from_ptr(path) }.to_str().expect("the simulation's paths are UTF-8"))
}

/// The code for what a call of the disk answered. A failure is recorded, as production's shim does.
fn code<T>(call: &str, result: io::Result<T>, failed: c_int) -> Result<T, c_int> {
    result.map_err(|error| {
        fault::record(|| format!("{call}: {error}"));
        if error.kind() == io::ErrorKind::StorageFull { ffi::SQLITE_FULL } else { failed }
    })
}

fn rc(result: Result<(), c_int>) -> c_int {
    result.err().unwrap_or(ffi::SQLITE_OK)
}

unsafe extern "C" fn open(
    vfs: *mut ffi::sqlite3_vfs,
    name: ffi::sqlite3_filename,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    out_flags: *mut c_int,
) -> c_int {
    // SAFETY: SQLite passes this VFS, a path or NULL, and room for `szOsFile` bytes.
    let (machine, name) = unsafe {
        (*file).pMethods = std::ptr::null();
        (machine(vfs), if name.is_null() { None } else { Some(path(name)) })
    };
    let path = name.map_or_else(
        || machine.temporary.join(format!("sqlite-{}", machine.next_temporary.fetch_add(1, Ordering::Relaxed))),
        Path::to_path_buf,
    );
    let create = flags & ffi::SQLITE_OPEN_CREATE != 0;
    let mode = match () {
        () if flags & ffi::SQLITE_OPEN_READONLY != 0 => Open::Read,
        () if create && flags & ffi::SQLITE_OPEN_EXCLUSIVE != 0 => Open::CreateNew,
        () if create => Open::Create,
        () => Open::Write,
    };
    let opened = match code("open", machine.disk.open_file(&path, mode), ffi::SQLITE_CANTOPEN) {
        Ok(opened) => opened,
        // As the unix VFS: a full disk is no reason of its own here.
        Err(_) => return ffi::SQLITE_CANTOPEN,
    };
    if flags & ffi::SQLITE_OPEN_DELETEONCLOSE != 0 {
        // As the unix VFS: it has no name while it is open. A leftover is removed when the node starts.
        let _ = machine.disk.remove(&path);
    }
    let is_journal =
        flags & (ffi::SQLITE_OPEN_MAIN_JOURNAL | ffi::SQLITE_OPEN_SUPER_JOURNAL | ffi::SQLITE_OPEN_WAL) != 0;
    let open = OpenFile {
        holder: machine.locks.holder(opened.identity()),
        file: opened,
        path,
        disk: machine.disk.clone(),
        sync_directory: Cell::new(create && is_journal),
        persist_wal: Cell::new(false),
    };
    // SAFETY: `file` has room for a `Handle`, and `out_flags` is NULL or a place for the answer.
    unsafe {
        (*file.cast::<Handle>()).open = Box::into_raw(Box::new(open));
        (*file).pMethods = &METHODS;
        if !out_flags.is_null() {
            *out_flags = flags;
        }
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn delete(vfs: *mut ffi::sqlite3_vfs, name: *const c_char, sync_directory: c_int) -> c_int {
    // SAFETY: SQLite passes this VFS and a path.
    let (disk, path) = unsafe { (&machine(vfs).disk, path(name)) };
    match disk.remove(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return ffi::SQLITE_IOERR_DELETE_NOENT,
        result => {
            if let Err(code) = code("delete", result, ffi::SQLITE_IOERR_DELETE) {
                return code;
            }
        }
    }
    if sync_directory == 0 {
        return ffi::SQLITE_OK;
    }
    rc(code("sync directory", disk.sync_dir(directory(path)), ffi::SQLITE_IOERR_DIR_FSYNC))
}

fn directory(path: &Path) -> &Path {
    path.parent().expect("paths are absolute")
}

unsafe extern "C" fn access(vfs: *mut ffi::sqlite3_vfs, name: *const c_char, flags: c_int, out: *mut c_int) -> c_int {
    // SAFETY: SQLite passes this VFS, a path and a place for the answer.
    let (disk, path, out) = unsafe { (&machine(vfs).disk, path(name), &mut *out) };
    let found = match disk.stat(path) {
        // As the unix VFS: an empty file doesn't "exist", but it can be read and written.
        Ok(stat) => Ok(flags != ffi::SQLITE_ACCESS_EXISTS || stat.is_dir || stat.size > 0),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    };
    rc(code("access", found, ffi::SQLITE_IOERR_ACCESS).map(|found| *out = c_int::from(found)))
}

unsafe extern "C" fn full_pathname(
    _vfs: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    length: c_int,
    out: *mut c_char,
) -> c_int {
    // SAFETY: SQLite passes a path and a buffer of `length` bytes that doesn't overlap it.
    unsafe {
        let bytes = CStr::from_ptr(name).to_bytes_with_nul();
        if bytes.len() > length as usize {
            return ffi::SQLITE_CANTOPEN;
        }
        std::ptr::copy_nonoverlapping(bytes.as_ptr().cast(), out, bytes.len());
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn randomness(vfs: *mut ffi::sqlite3_vfs, length: c_int, out: *mut c_char) -> c_int {
    // SAFETY: SQLite passes this VFS and a buffer of `length` bytes.
    let (machine, bytes) = unsafe { (machine(vfs), slice::from_raw_parts_mut(out.cast::<u8>(), length as usize)) };
    if !entry::fill(bytes) {
        machine.entropy.fill(bytes);
    }
    length
}

unsafe extern "C" fn sleep(_vfs: *mut ffi::sqlite3_vfs, microseconds: c_int) -> c_int {
    // Nothing may block a simulation: who waits here would wait for a task of the same thread.
    microseconds
}

unsafe extern "C" fn current_time_int64(vfs: *mut ffi::sqlite3_vfs, out: *mut i64) -> c_int {
    // SAFETY: SQLite passes this VFS and a place for the answer.
    let (machine, out) = unsafe { (machine(vfs), &mut *out) };
    *out = JULIAN_EPOCH_MS + entry::now_ms().unwrap_or_else(|| machine.clock.unix_now().as_millis() as i64);
    ffi::SQLITE_OK
}

unsafe extern "C" fn current_time(vfs: *mut ffi::sqlite3_vfs, out: *mut f64) -> c_int {
    let mut ms = 0;
    // SAFETY: `ms` is a place for the answer; SQLite passes another.
    unsafe {
        current_time_int64(vfs, &mut ms);
        *out = ms as f64 / 86_400_000.0;
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn last_error(_vfs: *mut ffi::sqlite3_vfs, _length: c_int, _out: *mut c_char) -> c_int {
    0
}

static METHODS: ffi::sqlite3_io_methods = ffi::sqlite3_io_methods {
    iVersion: 2,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xFileSize: Some(file_size),
    xLock: Some(lock),
    xUnlock: Some(unlock),
    xCheckReservedLock: Some(check_reserved_lock),
    xFileControl: Some(file_control),
    xSectorSize: Some(sector_size),
    xDeviceCharacteristics: Some(device_characteristics),
    xShmMap: Some(shm_map),
    xShmLock: Some(shm_lock),
    xShmBarrier: Some(shm_barrier),
    xShmUnmap: Some(shm_unmap),
    xFetch: None,
    xUnfetch: None,
};

unsafe extern "C" fn close(file: *mut ffi::sqlite3_file) -> c_int {
    // SAFETY: `open` leaked the box, and SQLite closes a file once.
    drop(unsafe { Box::from_raw((*file.cast::<Handle>()).open) });
    ffi::SQLITE_OK
}

unsafe extern "C" fn read(file: *mut ffi::sqlite3_file, out: *mut c_void, length: c_int, offset: i64) -> c_int {
    // SAFETY: SQLite passes an open file and a buffer of `length` bytes.
    let (open, buffer) = unsafe { (opened(file), slice::from_raw_parts_mut(out.cast::<u8>(), length as usize)) };
    match code("read", open.file.read_at(buffer, offset as u64), ffi::SQLITE_IOERR_READ) {
        Ok(count) if count == buffer.len() => ffi::SQLITE_OK,
        Ok(count) => {
            buffer[count..].fill(0);
            ffi::SQLITE_IOERR_SHORT_READ
        }
        Err(_) => ffi::SQLITE_IOERR_READ,
    }
}

unsafe extern "C" fn write(file: *mut ffi::sqlite3_file, bytes: *const c_void, length: c_int, offset: i64) -> c_int {
    // SAFETY: SQLite passes an open file and `length` bytes.
    let (open, bytes) = unsafe { (opened(file), slice::from_raw_parts(bytes.cast::<u8>(), length as usize)) };
    rc(code("write", open.file.write_at(bytes, offset as u64), ffi::SQLITE_IOERR_WRITE))
}

unsafe extern "C" fn truncate(file: *mut ffi::sqlite3_file, size: i64) -> c_int {
    // SAFETY: SQLite passes an open file.
    let open = unsafe { opened(file) };
    rc(code("truncate", open.file.set_len(size as u64), ffi::SQLITE_IOERR_TRUNCATE))
}

unsafe extern "C" fn sync(file: *mut ffi::sqlite3_file, _flags: c_int) -> c_int {
    // SAFETY: SQLite passes an open file.
    let open = unsafe { opened(file) };
    let result = code("sync", open.file.sync(), ffi::SQLITE_IOERR_FSYNC);
    if result.is_ok() && open.sync_directory.replace(false) {
        // The unix VFS ignores a failure here, so production does.
        let _ = open.disk.sync_dir(directory(&open.path));
    }
    rc(result)
}

unsafe extern "C" fn file_size(file: *mut ffi::sqlite3_file, out: *mut i64) -> c_int {
    // SAFETY: SQLite passes an open file and a place for the answer.
    let (open, out) = unsafe { (opened(file), &mut *out) };
    rc(code("size", open.file.len(), ffi::SQLITE_IOERR_FSTAT).map(|length| *out = length as i64))
}

unsafe extern "C" fn lock(file: *mut ffi::sqlite3_file, level: c_int) -> c_int {
    // SAFETY: SQLite passes an open file.
    busy_unless(unsafe { opened(file) }.holder.lock(level))
}

unsafe extern "C" fn unlock(file: *mut ffi::sqlite3_file, level: c_int) -> c_int {
    // SAFETY: SQLite passes an open file.
    unsafe { opened(file) }.holder.unlock(level);
    ffi::SQLITE_OK
}

unsafe extern "C" fn check_reserved_lock(file: *mut ffi::sqlite3_file, out: *mut c_int) -> c_int {
    // SAFETY: SQLite passes an open file and a place for the answer.
    unsafe { *out = c_int::from(opened(file).holder.is_reserved()) };
    ffi::SQLITE_OK
}

fn busy_unless(got: bool) -> c_int {
    if got { ffi::SQLITE_OK } else { ffi::SQLITE_BUSY }
}

unsafe extern "C" fn file_control(file: *mut ffi::sqlite3_file, operation: c_int, argument: *mut c_void) -> c_int {
    if operation != ffi::SQLITE_FCNTL_PERSIST_WAL {
        return ffi::SQLITE_NOTFOUND;
    }
    // SAFETY: SQLite passes an open file, and an int for this operation: negative asks, others set.
    let (open, value) = unsafe { (opened(file), &mut *argument.cast::<c_int>()) };
    match *value {
        ..0 => *value = c_int::from(open.persist_wal.get()),
        _ => open.persist_wal.set(*value != 0),
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn sector_size(_file: *mut ffi::sqlite3_file) -> c_int {
    4096
}

unsafe extern "C" fn device_characteristics(_file: *mut ffi::sqlite3_file) -> c_int {
    // What the unix VFS claims: a write doesn't harm its neighbours. Here it doesn't, not even when torn.
    ffi::SQLITE_IOCAP_POWERSAFE_OVERWRITE
}

unsafe extern "C" fn shm_map(
    file: *mut ffi::sqlite3_file,
    region: c_int,
    size: c_int,
    extend: c_int,
    out: *mut *mut c_void,
) -> c_int {
    // SAFETY: SQLite passes an open file and a place for the answer.
    let (open, out) = unsafe { (opened(file), &mut *out) };
    *out = open.holder.region(region as usize, size as usize, extend != 0).cast();
    ffi::SQLITE_OK
}

unsafe extern "C" fn shm_lock(file: *mut ffi::sqlite3_file, offset: c_int, count: c_int, flags: c_int) -> c_int {
    // SAFETY: SQLite passes an open file.
    let holder = &mut unsafe { opened(file) }.holder;
    let slots = offset as usize..(offset + count) as usize;
    match () {
        () if flags & ffi::SQLITE_SHM_UNLOCK != 0 => {
            holder.unlock_slots(slots);
            ffi::SQLITE_OK
        }
        () if flags & ffi::SQLITE_SHM_SHARED != 0 => busy_unless(holder.share_slots(slots)),
        () => busy_unless(holder.seize_slots(slots)),
    }
}

unsafe extern "C" fn shm_barrier(_file: *mut ffi::sqlite3_file) {
    std::sync::atomic::fence(Ordering::SeqCst);
}

unsafe extern "C" fn shm_unmap(file: *mut ffi::sqlite3_file, _delete: c_int) -> c_int {
    // SAFETY: SQLite passes an open file.
    unsafe { opened(file) }.holder.unmap();
    ffi::SQLITE_OK
}

const _: () = assert!(Regions::SLOTS == ffi::SQLITE_SHM_NLOCK as usize);
