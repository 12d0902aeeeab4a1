//! What a client's SQL may do, by allow list, and what a statement is: both are asked of SQLite while it prepares.
//!
//! A pragma, function or eponymous table whose answer belongs to one node, or that would outlive its request, is
//! refused: `not authorized` (hazards H3, H11). While a statement runs, SQLite itself prepares others (VACUUM attaches,
//! FTS5 reads its shadow tables). Only what a client can choose is looked at then: pragmas, which their table
//! functions prepare so; the file of a VACUUM; the table that an FTS5 table takes its content from.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};

use rusqlite::{Connection, ffi};

/// Whose statements a connection runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Applies entries.
    Writer,
    /// Serves reads.
    Reader,
    /// Ours alone, to look at a file.
    Internal,
}

/// What preparing a statement showed; bits of [`Seen`].
pub mod seen {
    pub const PRAGMA: u32 = 1;
    /// `PRAGMA optimize`, which is replaced by our own form.
    pub const OPTIMIZE: u32 = 1 << 2;
    pub const INSERT: u32 = 1 << 3;
    /// The schema may change: statements prepared before are stale.
    pub const SCHEMA: u32 = 1 << 4;
    /// Writes the planner's statistics directly.
    pub const STATISTICS: u32 = 1 << 5;
    /// INSERT, UPDATE or DELETE; DDL does that too, to the schema's table.
    pub const WRITE: u32 = 1 << 6;
    pub const ALTER: u32 = 1 << 7;
}

/// Shared by a connection and its authorizer.
pub(super) struct Authorizer {
    role: Role,
    /// Our own statements are not looked at.
    internal: AtomicBool,
    stepping: AtomicBool,
    /// The running statement is an ALTER TABLE.
    altering: AtomicBool,
    seen: AtomicU32,
    /// As `seen`, since the request began.
    seen_in_request: AtomicU32,
}

impl Authorizer {
    /// Installs the authorizer of a connection for `role`; [`Authorizer::remove`] must come before it is dropped.
    pub fn install(connection: &Connection, role: Role) -> Arc<Self> {
        let authorizer = Arc::new(Self {
            role,
            internal: AtomicBool::new(false),
            stepping: AtomicBool::new(false),
            altering: AtomicBool::new(false),
            seen: AtomicU32::new(0),
            seen_in_request: AtomicU32::new(0),
        });
        // SAFETY: the connection is open. The authorizer is kept beside it and taken off before either goes.
        unsafe {
            let context = Arc::as_ptr(&authorizer).cast_mut().cast::<c_void>();
            ffi::sqlite3_set_authorizer(connection.handle(), Some(authorize), context);
        }
        authorizer
    }

    /// Takes the authorizer off `connection`.
    pub fn remove(connection: &Connection) {
        // SAFETY: the connection is open.
        unsafe { ffi::sqlite3_set_authorizer(connection.handle(), None, std::ptr::null_mut()) };
    }

    /// Runs our own statements.
    pub fn internally<R>(&self, work: impl FnOnce() -> R) -> R {
        let before = self.internal.swap(true, Ordering::Relaxed);
        let result = work();
        self.internal.store(before, Ordering::Relaxed);
        result
    }

    /// Runs a statement that was prepared; preparing it showed `seen`.
    pub fn stepping<R>(&self, seen: u32, work: impl FnOnce() -> R) -> R {
        self.stepping.store(true, Ordering::Relaxed);
        self.altering.store(seen & seen::ALTER != 0, Ordering::Relaxed);
        let result = work();
        self.stepping.store(false, Ordering::Relaxed);
        self.altering.store(false, Ordering::Relaxed);
        result
    }

    /// What was seen since the last call: [`seen`]'s bits.
    pub fn take_seen(&self) -> u32 {
        self.seen.swap(0, Ordering::Relaxed)
    }

    /// What was seen since the last call, by whatever statement, prepared in full or not.
    pub fn take_seen_in_request(&self) -> u32 {
        self.seen_in_request.swap(0, Ordering::Relaxed)
    }

    fn see(&self, bits: u32) {
        self.seen.fetch_or(bits, Ordering::Relaxed);
        self.seen_in_request.fetch_or(bits, Ordering::Relaxed);
    }

    fn allows(&self, action: &Action<'_>) -> bool {
        if self.internal.load(Ordering::Relaxed) || self.role == Role::Internal {
            return true;
        }
        let stepping = self.stepping.load(Ordering::Relaxed);
        let Action { code, first, second, database } = *action;
        match code {
            ffi::SQLITE_PRAGMA => {
                if !stepping {
                    self.see_pragma(first);
                }
                self.allows_pragma(first, second.is_some())
            }
            ffi::SQLITE_READ => self.allows_table(first),
            // VACUUM, which shows itself in no other way, attaches a temporary file; VACUUM INTO a file of the client's
            // choice, whose fate belongs to the node.
            ffi::SQLITE_ATTACH if stepping => {
                self.see(seen::SCHEMA);
                first.is_empty()
            }
            _ if stepping => true,
            ffi::SQLITE_ATTACH | ffi::SQLITE_DETACH => false,
            ffi::SQLITE_CREATE_TEMP_INDEX
            | ffi::SQLITE_CREATE_TEMP_TABLE
            | ffi::SQLITE_CREATE_TEMP_TRIGGER
            | ffi::SQLITE_CREATE_TEMP_VIEW => false,
            ffi::SQLITE_FUNCTION => is_function_allowed(second.unwrap_or_default()),
            ffi::SQLITE_SELECT | ffi::SQLITE_RECURSIVE | ffi::SQLITE_TRANSACTION | ffi::SQLITE_SAVEPOINT => true,
            // ALTER TABLE looks through the temporary schema too; clients can't write to a schema's table.
            ffi::SQLITE_UPDATE if first.starts_with("sqlite_temp_") => true,
            // `CREATE TABLE temp.x` is no CreateTempTable.
            _ if database == Some("temp") => false,
            ffi::SQLITE_INSERT => {
                self.see(seen::INSERT | seen::WRITE | written(first));
                true
            }
            ffi::SQLITE_UPDATE | ffi::SQLITE_DELETE => {
                self.see(seen::WRITE | written(first));
                true
            }
            ffi::SQLITE_ALTER_TABLE => {
                self.see(seen::SCHEMA | seen::ALTER);
                true
            }
            ffi::SQLITE_CREATE_VTABLE => {
                self.see(seen::SCHEMA);
                self.allows_table(second.unwrap_or_default())
            }
            // Other DDL, ANALYZE, REINDEX, and whatever a later SQLite adds.
            _ => {
                self.see(seen::SCHEMA);
                true
            }
        }
    }

    fn see_pragma(&self, name: &str) {
        let more = if name.eq_ignore_ascii_case("optimize") { seen::OPTIMIZE } else { 0 };
        self.see(seen::PRAGMA | more);
    }

    fn allows_pragma(&self, name: &str, has_value: bool) -> bool {
        let rule = |list: &[(&str, Value)]| {
            list.iter()
                .find(|(known, _)| known.eq_ignore_ascii_case(name))
                .is_some_and(|(_, value)| *value == Value::Any || !has_value)
        };
        // ADD COLUMN checks the rows that are there: no statement of a client's is prepared while it runs.
        let is_sqlites_own = self.altering.load(Ordering::Relaxed) && name.eq_ignore_ascii_case("quick_check");
        rule(PRAGMAS)
            || (self.role == Role::Reader && rule(READER_PRAGMAS))
            || (self.role == Role::Writer && rule(WRITER_PRAGMAS))
            || is_sqlites_own
    }

    /// A pragma as a table function, and `dbstat`, are read under the name of a table.
    fn allows_table(&self, name: &str) -> bool {
        if self.role == Role::Writer && name.eq_ignore_ascii_case("dbstat") {
            return false;
        }
        match name.get(..7) {
            Some(prefix) if prefix.eq_ignore_ascii_case("pragma_") => {
                let pragma = &name[7..];
                // FTS5 asks for data_version by itself while it runs; as a table it would put a node's counter into
                // data. `pragma_optimize` would choose its tables by what the connection planned before.
                let is_pragma_only = ["data_version", "optimize"].iter().any(|name| name.eq_ignore_ascii_case(pragma));
                let is_sqlites_own =
                    self.seen.load(Ordering::Relaxed) & seen::ALTER != 0 && pragma.eq_ignore_ascii_case("quick_check");
                (!is_pragma_only && self.allows_pragma(pragma, false)) || is_sqlites_own || !is_pragma(pragma)
            }
            _ => true,
        }
    }
}

/// What SQLite asks about.
///
/// Source: <https://sqlite.org/c3ref/c_alter_table.html>, which says what the texts are for each code.
struct Action<'a> {
    code: c_int,
    first: &'a str,
    second: Option<&'a str>,
    database: Option<&'a str>,
}

/// The hook. rusqlite's own panics on a name that isn't UTF-8, which a loaded file may hold.
unsafe extern "C" fn authorize(
    context: *mut c_void,
    code: c_int,
    first: *const c_char,
    second: *const c_char,
    database: *const c_char,
    _trigger: *const c_char,
) -> c_int {
    // SAFETY: `install` passed an authorizer that lives as long as its connection.
    let authorizer = unsafe { &*context.cast::<Authorizer>() };
    // SAFETY: SQLite passes NULL or strings that end in NUL and outlive the call.
    let text = |text: *const c_char| (!text.is_null()).then(|| unsafe { CStr::from_ptr(text) }.to_string_lossy());
    let (first, second, database) = (text(first), text(second), text(database));
    let action = Action {
        code,
        first: first.as_deref().unwrap_or_default(),
        second: second.as_deref(),
        database: database.as_deref(),
    };
    if authorizer.allows(&action) { ffi::SQLITE_OK } else { ffi::SQLITE_DENY }
}

fn written(table: &str) -> u32 {
    if table.get(..11).is_some_and(|prefix| prefix.eq_ignore_ascii_case("sqlite_stat")) { seen::STATISTICS } else { 0 }
}

/// With a value or an argument, or only without.
#[derive(Clone, Copy, PartialEq)]
enum Value {
    Any,
    No,
}

/// On writers and readers.
const PRAGMAS: &[(&str, Value)] = &[
    ("application_id", Value::Any),
    // FTS3 and FTS5 ask for these by themselves.
    ("data_version", Value::No),
    ("foreign_key_check", Value::Any),
    ("foreign_key_list", Value::Any),
    ("foreign_keys", Value::No),
    ("index_info", Value::Any),
    ("index_list", Value::Any),
    ("index_xinfo", Value::Any),
    ("page_size", Value::No),
    ("recursive_triggers", Value::No),
    ("table_info", Value::Any),
    ("table_list", Value::Any),
    ("table_xinfo", Value::Any),
    ("user_version", Value::Any),
];

const WRITER_PRAGMAS: &[(&str, Value)] = &[
    ("defer_foreign_keys", Value::Any),
    ("foreign_keys", Value::Any),
    ("optimize", Value::Any),
    ("recursive_triggers", Value::Any),
];

const READER_PRAGMAS: &[(&str, Value)] = &[
    ("auto_vacuum", Value::No),
    ("cache_size", Value::No),
    ("collation_list", Value::No),
    ("compile_options", Value::No),
    ("database_list", Value::No),
    ("encoding", Value::No),
    ("freelist_count", Value::No),
    ("function_list", Value::No),
    ("integrity_check", Value::Any),
    ("journal_mode", Value::No),
    ("max_page_count", Value::No),
    ("module_list", Value::No),
    ("page_count", Value::No),
    ("pragma_list", Value::No),
    ("query_only", Value::No),
    ("quick_check", Value::Any),
    ("schema_version", Value::No),
    ("secure_delete", Value::No),
    ("synchronous", Value::No),
    ("wal_autocheckpoint", Value::No),
];

/// Whether this SQLite has a pragma `name`: another table may be called `pragma_...`.
fn is_pragma(name: &str) -> bool {
    pragma_names().iter().any(|known| known.eq_ignore_ascii_case(name))
}

fn pragma_names() -> &'static [String] {
    static NAMES: OnceLock<Vec<String>> = OnceLock::new();
    NAMES.get_or_init(|| {
        let list = || -> rusqlite::Result<Vec<String>> {
            let connection = Connection::open_in_memory()?;
            let mut statement = connection.prepare("PRAGMA pragma_list")?;
            statement.query_map([], |row| row.get(0))?.collect()
        };
        list().expect("SQLite lists its pragmas")
    })
}

fn is_function_allowed(name: &str) -> bool {
    FUNCTIONS.binary_search(&name.to_ascii_lowercase().as_str()).is_ok()
}

/// SQLite's functions whose answer depends on nothing but the database, the arguments and the entry. Left out:
/// `load_extension`, `sqlite_log`, and `fts3_tokenizer`, which answers an address. `sqlite_rename_table` and the like
/// are ALTER TABLE's own: SQLite refuses them to clients.
const FUNCTIONS: &[&str] = include!("functions.in");

#[cfg(test)]
mod tests {
    use super::*;

    /// A new SQLite brings new functions: each must be allowed, or left out on purpose, before it is used.
    #[test]
    fn every_function_of_this_sqlite_is_classified() {
        let connection = Connection::open_in_memory().unwrap();
        let mut statement = connection.prepare("SELECT DISTINCT name FROM pragma_function_list").unwrap();
        let names = statement.query_map([], |row| row.get::<_, String>(0)).unwrap();
        let unknown: Vec<_> = names.map(Result::unwrap).filter(|name| !is_function_allowed(name)).collect();
        let mut unknown: Vec<_> = unknown.iter().map(String::as_str).collect();
        unknown.sort();
        assert_eq!(unknown, ["fts3_tokenizer", "load_extension", "sqlite_log"]);
        assert!(FUNCTIONS.is_sorted());
    }
}
