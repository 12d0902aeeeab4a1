//! Whether a file is a database that this node can load, found out before anything is proposed.
//!
//! The file is hostile: it is looked at read-only, with `trusted_schema=OFF` and defensive mode.

use std::cell::RefCell;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::path::Path;

use rusqlite::config::DbConfig;
use rusqlite::{Connection as Raw, OpenFlags, ffi};

use super::authorizer::Role;
use super::connection::Connection;
use super::{SqlError, fault, main_file};
use crate::world::{Disk, Open};

/// What every SQLite file begins with; the reference looks at the first 13 bytes.
pub const MAGIC: &[u8; 13] = b"SQLite format";

/// Why a file was not found to be good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// It can't be loaded; one line for the client.
    Invalid(String),
    /// This node could not read it: that says nothing about the file.
    Unreadable(String),
}

/// Checks the file at `path` completely.
pub fn check(disk: &dyn Disk, path: &Path) -> Result<(), Unfit> {
    check_header(disk, path)?;
    fault::clear();
    let lacking = Lacking::default();
    let checked = open_hostile(path, disk.sqlite_vfs())
        .map_err(|error| one_line(&error.to_string()))
        .and_then(|connection| check_content(&connection, &lacking));
    // SQLite reports a page that couldn't be read as damage.
    match fault::take() {
        Some(fault) => Err(Unfit::Unreadable(fault)),
        None => checked.map_err(Unfit::Invalid),
    }
}

/// Makes a checked file ready to become a generation: in WAL mode, complete without a WAL, durable.
pub fn prepare(disk: &dyn Disk, path: &Path) -> Result<(), SqlError> {
    let connection = Connection::open(path, disk.sqlite_vfs(), Role::Writer)?;
    let schema = connection.raw.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()));
    schema.map_err(SqlError::from)?;
    super::checkpoint::checkpoint(&connection, rusqlite::ffi::SQLITE_CHECKPOINT_TRUNCATE).map_err(failed)?;
    let synced = main_file::MainFile::of(&connection).sync();
    drop(connection);
    let mut wal = path.as_os_str().to_owned();
    wal.push("-wal");
    // Empty: everything is in the file.
    let removed = synced.and_then(|()| match disk.remove(Path::new(&wal)) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    });
    removed.map_err(failed)
}

/// `PRAGMA quick_check` of a database that isn't open.
pub(super) fn quick_check(path: &Path, vfs: &str) -> Result<(), String> {
    let connection = Connection::open(path, vfs, Role::Internal).map_err(|error| error.to_string())?;
    run_check(&connection.raw, "quick_check")
}

fn failed(error: impl ToString) -> SqlError {
    SqlError { code: rusqlite::ffi::SQLITE_IOERR, message: error.to_string() }
}

/// Header and size: what SQLite would only notice late, or mend.
fn check_header(disk: &dyn Disk, path: &Path) -> Result<(), Unfit> {
    let io = |error: std::io::Error| Unfit::Unreadable(one_line(&error.to_string()));
    let invalid = |why: String| Err(Unfit::Invalid(why));
    let file = disk.open(path, Open::Read).map_err(io)?;
    let mut header = [0; 100];
    if file.read_at(&mut header, 0).map_err(io)? < header.len() {
        return invalid("file is shorter than a database header".into());
    }
    if &header[..16] != b"SQLite format 3\0" {
        return invalid("file is not a database".into());
    }
    let page_size = main_file::page_size(&header);
    if !page_size.is_power_of_two() {
        return invalid(format!("page size {page_size} is not a power of two"));
    }
    let number = |at: usize| u32::from_be_bytes(header[at..at + 4].try_into().expect("four bytes"));
    let (size, pages) = (file.len().map_err(io)?, number(28) as u64);
    // The page count is valid if the change counter was copied beside it; else the size of the file counts.
    if number(24) == number(92) && pages > 0 && size < pages * page_size as u64 {
        return invalid(format!("file has {size} bytes of {}", pages * page_size as u64));
    }
    if size % page_size as u64 != 0 {
        return invalid(format!("file of {size} bytes is not a multiple of its page size {page_size}"));
    }
    Ok(())
}

/// Collations that the schema names and this program hasn't got.
#[derive(Default)]
struct Lacking(RefCell<Vec<String>>);

/// Everything that SQLite can check. A schema that needs a module or a collation that isn't here is accepted if the file
/// is sound: nobody can use what needs them, but the data is the client's.
fn check_content(connection: &Raw, lacking: &Lacking) -> Result<(), String> {
    // SAFETY: the connection is open, and `lacking` outlives it; SQLite calls back on this thread only.
    unsafe {
        let context = std::ptr::from_ref(lacking).cast_mut().cast();
        ffi::sqlite3_collation_needed(connection.handle(), context, Some(stand_in));
    }
    let checked = run_check(connection, "integrity_check");
    let collations = lacking.0.borrow().join(", ");
    if !collations.is_empty() {
        tracing::warn!("the loaded file needs collations that aren't here: {collations}");
    }
    // Whether an index has the order of a collation that isn't here can't be known; the rest can.
    if collations.is_empty() {
        checked?
    } else {
        run_check(connection, "quick_check")?
    }
    tell_unusable_tables(connection).map_err(|error| one_line(&error.to_string()))
}

/// SQLite needs a collation to look at an index at all.
unsafe extern "C" fn stand_in(context: *mut c_void, db: *mut ffi::sqlite3, _encoding: c_int, name: *const c_char) {
    unsafe extern "C" fn compare(
        _: *mut c_void,
        a: c_int,
        left: *const c_void,
        b: c_int,
        right: *const c_void,
    ) -> c_int {
        // SAFETY: SQLite passes two texts with their lengths.
        let (left, right) = unsafe {
            let bytes = |text: *const c_void, length: c_int| match length {
                0 => &[],
                length => std::slice::from_raw_parts(text.cast::<u8>(), length as usize),
            };
            (bytes(left, a), bytes(right, b))
        };
        left.cmp(right) as c_int
    }
    // SAFETY: the context is what was given with this function; the name is a text that ends in NUL.
    unsafe {
        let lacking = &*context.cast::<Lacking>();
        lacking.0.borrow_mut().push(CStr::from_ptr(name).to_string_lossy().into_owned());
        ffi::sqlite3_create_collation_v2(db, name, ffi::SQLITE_UTF8, std::ptr::null_mut(), Some(compare), None);
    }
}

/// Says which virtual tables nobody can use: their module isn't here, most likely.
fn tell_unusable_tables(connection: &Raw) -> rusqlite::Result<()> {
    let mut statement = connection.prepare("SELECT name FROM sqlite_schema WHERE type = 'table' AND rootpage = 0")?;
    let mut names = statement.query([])?;
    while let Some(row) = names.next()? {
        let name: String = row.get(0)?;
        if let Err(error) = connection.prepare(&format!("SELECT 1 FROM \"{}\"", name.replace('"', "\"\""))) {
            tracing::warn!("table {name} of the loaded file can't be used here: {error}");
        }
    }
    Ok(())
}

fn open_hostile(path: &Path, vfs: &str) -> rusqlite::Result<Raw> {
    // A file in WAL mode needs its WAL index even to be read, so it is opened writable; nothing writes.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Raw::open_with_flags_and_vfs(path, flags, vfs)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    connection.execute_batch("PRAGMA query_only=ON")?;
    Ok(connection)
}

fn run_check(connection: &Raw, pragma: &str) -> Result<(), String> {
    // The schema first: a file whose schema can't be read fails here with SQLite's own text.
    let text = |error: rusqlite::Error| one_line(&SqlError::from(error).message);
    connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(())).map_err(text)?;
    let answer: String = connection.query_row(&format!("PRAGMA {pragma}(1)"), [], |row| row.get(0)).map_err(text)?;
    if answer == "ok" { Ok(()) } else { Err(one_line(&answer)) }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
