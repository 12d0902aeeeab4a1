//! SQLite as a whole, set up once per process before the first connection.
//!
//! - Its process-wide random generator decides rowids once 2^63-1 is taken, and some column names of
//!   `CREATE TABLE AS`. We wrap the mutex methods: whoever takes that generator's mutex finds it forgotten, so each
//!   use is seeded again from `xRandomness` *on the thread that uses it*, which answers from the entry being applied
//!   (hazard H8, storage-findings §2.3).
//! - The allocator records failures (hazard H5).
//! - `'localtime'` is UTC, whatever the machine thinks (hazard H11).

use std::cell::Cell;
use std::ffi::{CStr, c_int, c_void};
use std::path::Path;
use std::sync::OnceLock;

use rusqlite::ffi;

use super::{fault, vfs};

/// `SQLITE_MUTEX_STATIC_PRNG`.
const PRNG_MUTEX_ID: c_int = 5;

struct Originals {
    mutex: ffi::sqlite3_mutex_methods,
    memory: ffi::sqlite3_mem_methods,
    prng_mutex: *mut ffi::sqlite3_mutex,
}

// SAFETY: function pointers and the address of a static mutex, written once.
unsafe impl Send for Originals {}
unsafe impl Sync for Originals {}

static ORIGINALS: OnceLock<Originals> = OnceLock::new();

thread_local! {
    static FORGETTING: Cell<bool> = const { Cell::new(false) };
}

/// Prepares SQLite. Temporary files of SQLite go to `temporary` (the first call's counts; it must exist before the
/// first statement). Later calls do nothing.
///
/// It stops and starts SQLite: no thread may use SQLite before the first call has returned.
pub fn initialize(temporary: &Path) {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        // SAFETY: nothing else in the process has touched SQLite yet: every connection is opened behind this call.
        // The method tables are read through pointers to structs of the right type, and what is installed stays
        // valid for ever (statics).
        unsafe {
            let mut mutex: ffi::sqlite3_mutex_methods = std::mem::zeroed();
            let mut memory: ffi::sqlite3_mem_methods = std::mem::zeroed();
            // The methods are chosen by the first start, and can be asked for only while SQLite is stopped.
            assert_eq!(ffi::sqlite3_initialize(), ffi::SQLITE_OK);
            assert_eq!(ffi::sqlite3_shutdown(), ffi::SQLITE_OK);
            assert_eq!(ffi::sqlite3_config(ffi::SQLITE_CONFIG_GETMUTEX, &raw mut mutex), ffi::SQLITE_OK);
            assert_eq!(ffi::sqlite3_config(ffi::SQLITE_CONFIG_GETMALLOC, &raw mut memory), ffi::SQLITE_OK);
            let prng_mutex = mutex.xMutexAlloc.expect("SQLite is built with threads")(PRNG_MUTEX_ID);
            let originals = ORIGINALS.get_or_init(|| Originals { mutex, memory, prng_mutex });

            let mut wrapped = originals.mutex;
            wrapped.xMutexEnter = Some(enter);
            wrapped.xMutexLeave = Some(leave);
            assert_eq!(ffi::sqlite3_config(ffi::SQLITE_CONFIG_MUTEX, &raw const wrapped), ffi::SQLITE_OK);
            let mut wrapped = originals.memory;
            wrapped.xMalloc = Some(allocate);
            wrapped.xRealloc = Some(reallocate);
            assert_eq!(ffi::sqlite3_config(ffi::SQLITE_CONFIG_MALLOC, &raw const wrapped), ffi::SQLITE_OK);
            assert_eq!(ffi::sqlite3_initialize(), ffi::SQLITE_OK);
            let utc: unsafe extern "C" fn(*const c_void, *mut c_void) -> c_int = utc;
            ffi::sqlite3_test_control(ffi::SQLITE_TESTCTRL_LOCALTIME_FAULT, 2 as c_int, utc);
        }
        vfs::register(temporary);
    });
}

/// SQLite's version, as in `3.54.1`.
pub fn sqlite_version() -> &'static str {
    rusqlite::version()
}

/// What makes two engines compute the same: SQLite's source and options, the machine's mathematics, and our own rules.
/// It is replicated state.
pub fn fingerprint() -> String {
    // SAFETY: a static string.
    let source = unsafe { CStr::from_ptr(ffi::sqlite3_sourceid()) }.to_string_lossy();
    let (options, math) = (crc32c::crc32c(compile_options().join(" ").as_bytes()), math());
    format!("{source} options {options:08x} math {math:08x} rules {}", super::connection::RULES_VERSION)
}

/// SQLite's compile-time options, sorted, without the C compiler's version: that doesn't change what is computed.
pub fn compile_options() -> Vec<String> {
    let mut options = Vec::new();
    for n in 0.. {
        // SAFETY: the answer is NULL past the end, else a static string.
        let option = unsafe { ffi::sqlite3_compileoption_get(n) };
        if option.is_null() {
            break;
        }
        // SAFETY: see above.
        let option = unsafe { CStr::from_ptr(option) }.to_string_lossy();
        if !option.starts_with("COMPILER=") {
            options.push(option.into_owned());
        }
    }
    options.sort();
    options
}

/// A sample of what SQL's mathematical functions give here: they are the C library's, and its versions differ in last
/// digits.
fn math() -> u32 {
    let functions: [fn(f64) -> f64; 12] = [
        f64::sin,
        f64::cos,
        f64::tan,
        f64::asin,
        f64::atan,
        f64::sinh,
        f64::tanh,
        f64::exp,
        f64::ln,
        f64::log2,
        f64::log10,
        f64::sqrt,
    ];
    let mut sum = 0;
    for n in 1..=200 {
        let x = n as f64 / 200.3;
        for function in functions {
            sum = crc32c::crc32c_append(sum, &function(x).to_bits().to_le_bytes());
        }
        sum = crc32c::crc32c_append(sum, &(1.0 + x).powf(10.0 * x).to_bits().to_le_bytes());
    }
    sum
}

fn originals() -> &'static Originals {
    ORIGINALS.get().expect("the hooks are installed after the originals are known")
}

unsafe extern "C" fn enter(mutex: *mut ffi::sqlite3_mutex) {
    let originals = originals();
    let is_prng = mutex == originals.prng_mutex;
    if is_prng && FORGETTING.get() {
        return;
    }
    // SAFETY: the original method with the mutex that SQLite passed.
    unsafe { originals.mutex.xMutexEnter.expect("checked by SQLite")(mutex) };
    if is_prng {
        FORGETTING.set(true);
        // SAFETY: resets the generator; it takes and leaves this same mutex, which the flag skips.
        unsafe { ffi::sqlite3_randomness(0, std::ptr::null_mut()) };
        FORGETTING.set(false);
    }
}

unsafe extern "C" fn leave(mutex: *mut ffi::sqlite3_mutex) {
    let originals = originals();
    if mutex == originals.prng_mutex && FORGETTING.get() {
        return;
    }
    // SAFETY: the original method with the mutex that SQLite passed.
    unsafe { originals.mutex.xMutexLeave.expect("checked by SQLite")(mutex) }
}

unsafe extern "C" fn allocate(bytes: c_int) -> *mut c_void {
    // SAFETY: the original method with SQLite's own argument.
    let memory = unsafe { originals().memory.xMalloc.expect("checked by SQLite")(bytes) };
    if memory.is_null() {
        fault::record(|| format!("out of memory: {bytes} bytes"));
    }
    memory
}

unsafe extern "C" fn reallocate(old: *mut c_void, bytes: c_int) -> *mut c_void {
    // SAFETY: the original method with SQLite's own arguments.
    let memory = unsafe { originals().memory.xRealloc.expect("checked by SQLite")(old, bytes) };
    if memory.is_null() {
        fault::record(|| format!("out of memory: {bytes} bytes"));
    }
    memory
}

/// Stands in for `localtime_r`.
unsafe extern "C" fn utc(time: *const c_void, broken_down: *mut c_void) -> c_int {
    // SAFETY: SQLite passes a `time_t` and a `struct tm`, as to localtime_r.
    let done = unsafe { libc::gmtime_r(time.cast(), broken_down.cast()) };
    done.is_null() as c_int
}

#[cfg(test)]
mod tests {
    use super::*;

    /// http-data.md §9.1, ours.
    #[test]
    fn sqlite_is_built_with_the_options_that_clients_can_observe() {
        let options = compile_options();
        let has = |name: &str| options.iter().any(|option| option.split('=').next() == Some(name));
        for name in [
            "ENABLE_COLUMN_METADATA",
            "ENABLE_DBSTAT_VTAB",
            "ENABLE_FTS3",
            "ENABLE_FTS3_PARENTHESIS",
            "ENABLE_FTS5",
            "ENABLE_GEOPOLY",
            "ENABLE_MATH_FUNCTIONS",
            "ENABLE_PREUPDATE_HOOK",
            "ENABLE_RTREE",
            "ENABLE_SESSION",
            "OMIT_DEPRECATED",
            "OMIT_SHARED_CACHE",
        ] {
            assert!(has(name), "{name} is missing from {options:?}");
        }
        for name in ["ENABLE_UPDATE_DELETE_LIMIT", "OMIT_JSON"] {
            assert!(!has(name), "{name} is set");
        }
    }

    #[test]
    fn the_fingerprint_is_the_same_each_time() {
        assert_eq!(fingerprint(), fingerprint());
    }
}
