//! The production VFS: a shim over SQLite's own `unix-excl`.
//!
//! It answers time and randomness from the entry being applied, keeps temporary files in the data directory, and
//! records every failed call. `unix-excl` keeps the WAL index in heap: no `-shm` file, reads 2.2x and writes 1.5x
//! faster, and other processes are locked out (storage-findings §1). SQLite compares that name, so the shim is
//! registered under it, as the default.

use std::ffi::{c_char, c_int, c_void};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock};

use rusqlite::ffi;

use super::{entry, fault};

const NAME: &std::ffi::CStr = c"unix-excl";

/// SQLite counts days from noon, November 24, 4714 BC; this is 1970 on that scale, in ms.
pub const JULIAN_EPOCH_MS: i64 = 210_866_760_000_000;

static BASE: OnceLock<Base> = OnceLock::new();

struct Base {
    vfs: ffi::sqlite3_vfs,
    temporary: Vec<u8>,
    next_temporary: AtomicU64,
    /// One wrapper for each method table that the base VFS uses.
    methods: Mutex<Vec<&'static Wrapped>>,
}

// SAFETY: the VFS struct is only read, and SQLite calls its methods from any thread.
unsafe impl Send for Base {}
unsafe impl Sync for Base {}

/// A file's method table of ours, with the one it stands before. The file's `pMethods` points at the first field.
#[repr(C)]
struct Wrapped {
    methods: ffi::sqlite3_io_methods,
    base: *const ffi::sqlite3_io_methods,
}

// SAFETY: immutable once built; `base` points at a static table of SQLite.
unsafe impl Send for Wrapped {}
unsafe impl Sync for Wrapped {}

/// Registers the shim; `temporary` is where SQLite's temporary files go.
pub(super) fn register(temporary: &Path) {
    // SAFETY: SQLite is initialised; the found VFS is static, and so is the copy that is registered.
    unsafe {
        let found = ffi::sqlite3_vfs_find(NAME.as_ptr());
        assert!(!found.is_null(), "SQLite is built with its unix VFS");
        let base = BASE.get_or_init(|| Base {
            vfs: std::ptr::read(found),
            temporary: temporary.as_os_str().as_encoded_bytes().to_vec(),
            next_temporary: AtomicU64::new(0),
            methods: Mutex::new(Vec::new()),
        });
        // `pAppData` stays: the unix VFS keeps its locking style there.
        let mut shim = Box::new(std::ptr::read(&base.vfs));
        shim.pNext = std::ptr::null_mut();
        shim.zName = NAME.as_ptr();
        shim.xOpen = Some(open);
        shim.xRandomness = Some(randomness);
        shim.xCurrentTime = Some(current_time);
        shim.xCurrentTimeInt64 = Some(current_time_int64);
        assert_eq!(ffi::sqlite3_vfs_register(Box::into_raw(shim), 1), ffi::SQLITE_OK);
    }
}

fn base() -> &'static Base {
    BASE.get().expect("the shim is registered after its base is known")
}

unsafe extern "C" fn current_time_int64(vfs: *mut ffi::sqlite3_vfs, out: *mut i64) -> c_int {
    match entry::now_ms() {
        Some(now) => {
            // SAFETY: SQLite passes a place for the answer.
            unsafe { *out = JULIAN_EPOCH_MS + now };
            ffi::SQLITE_OK
        }
        // SAFETY: the base method with SQLite's own arguments.
        None => unsafe { base().vfs.xCurrentTimeInt64.expect("unix has it")(vfs, out) },
    }
}

unsafe extern "C" fn current_time(vfs: *mut ffi::sqlite3_vfs, out: *mut f64) -> c_int {
    let mut ms = 0;
    // SAFETY: `ms` is a place for the answer; SQLite passes another.
    unsafe {
        let code = current_time_int64(vfs, &mut ms);
        *out = ms as f64 / 86_400_000.0;
        code
    }
}

unsafe extern "C" fn randomness(vfs: *mut ffi::sqlite3_vfs, length: c_int, out: *mut c_char) -> c_int {
    // SAFETY: SQLite passes a buffer of `length` bytes.
    let bytes = unsafe { std::slice::from_raw_parts_mut(out.cast::<u8>(), length as usize) };
    if entry::fill(bytes) {
        return length;
    }
    // SAFETY: the base method with SQLite's own arguments.
    unsafe { base().vfs.xRandomness.expect("unix has it")(vfs, length, out) }
}

unsafe extern "C" fn open(
    vfs: *mut ffi::sqlite3_vfs,
    name: ffi::sqlite3_filename,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    out_flags: *mut c_int,
) -> c_int {
    let base = base();
    // A temporary file: named here, so that it lies in the data directory and no randomness is drawn for its name
    // (how often a statement spills depends on the node's cache). It is unlinked as it is opened.
    let temporary = name.is_null().then(|| {
        let mut path = base.temporary.clone();
        path.extend_from_slice(format!("/sqlite-{}", base.next_temporary.fetch_add(1, Ordering::Relaxed)).as_bytes());
        // The unix VFS looks for URI parameters behind the terminator.
        path.extend_from_slice(b"\0\0");
        path
    });
    let path = temporary.as_ref().map_or(name, |path| path.as_ptr().cast());
    // SAFETY: the base method with SQLite's arguments, or with a path that outlives the call.
    let code = unsafe { base.vfs.xOpen.expect("unix has it")(vfs, path, file, flags, out_flags) };
    if code != ffi::SQLITE_OK {
        failed("open", code);
        return code;
    }
    // SAFETY: the base opened the file, so `pMethods` points at one of its static tables.
    unsafe { (*file).pMethods = &wrapper((*file).pMethods).methods };
    code
}

/// Our table for the base's table `methods`.
fn wrapper(methods: *const ffi::sqlite3_io_methods) -> &'static Wrapped {
    let mut known = base().methods.lock().expect("no panic holds this lock");
    if let Some(wrapped) = known.iter().find(|wrapped| std::ptr::eq(wrapped.base, methods)) {
        return wrapped;
    }
    // SAFETY: a static table of SQLite.
    let mut copy = unsafe { std::ptr::read(methods) };
    copy.xRead = Some(read);
    copy.xWrite = Some(write);
    copy.xTruncate = Some(truncate);
    copy.xSync = Some(sync);
    copy.xFileSize = Some(file_size);
    let wrapped: &'static Wrapped = Box::leak(Box::new(Wrapped { methods: copy, base: methods }));
    known.push(wrapped);
    wrapped
}

/// The table that the wrapper of `file` stands before.
unsafe fn base_of(file: *mut ffi::sqlite3_file) -> &'static ffi::sqlite3_io_methods {
    // SAFETY: only files opened by `open` have our methods, and their table is the first field of a `Wrapped`.
    unsafe { &*(*(*file).pMethods.cast::<Wrapped>()).base }
}

fn failed(call: &str, code: c_int) {
    if code != ffi::SQLITE_OK && code != ffi::SQLITE_IOERR_SHORT_READ {
        fault::record(|| format!("{call}: {}", rusqlite::ffi::code_to_str(code)));
    }
}

unsafe extern "C" fn read(file: *mut ffi::sqlite3_file, buffer: *mut c_void, length: c_int, offset: i64) -> c_int {
    // SAFETY: the base's own method with SQLite's arguments; likewise below.
    let code = unsafe { base_of(file).xRead.expect("unix has it")(file, buffer, length, offset) };
    failed("read", code);
    code
}

unsafe extern "C" fn write(file: *mut ffi::sqlite3_file, buffer: *const c_void, length: c_int, offset: i64) -> c_int {
    // SAFETY: as in `read`.
    let code = unsafe { base_of(file).xWrite.expect("unix has it")(file, buffer, length, offset) };
    failed("write", code);
    code
}

unsafe extern "C" fn truncate(file: *mut ffi::sqlite3_file, size: i64) -> c_int {
    // SAFETY: as in `read`.
    let code = unsafe { base_of(file).xTruncate.expect("unix has it")(file, size) };
    failed("truncate", code);
    code
}

unsafe extern "C" fn sync(file: *mut ffi::sqlite3_file, flags: c_int) -> c_int {
    // SAFETY: as in `read`.
    let code = unsafe { base_of(file).xSync.expect("unix has it")(file, flags) };
    failed("sync", code);
    code
}

unsafe extern "C" fn file_size(file: *mut ffi::sqlite3_file, out: *mut i64) -> c_int {
    // SAFETY: as in `read`.
    let code = unsafe { base_of(file).xFileSize.expect("unix has it")(file, out) };
    failed("size", code);
    code
}
