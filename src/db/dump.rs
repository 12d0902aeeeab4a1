//! The SQL dump: text that makes the database again.
//!
//! Byte-compatible with the reference wherever its dump is correct, and restorable where it isn't: counters of
//! AUTOINCREMENT, virtual tables with their shadow tables, odd names, comments at the end of a schema, NUL in text.
//! Rows are written as they are read, on one connection to a file that doesn't change.
//!
//! Source: backup-restore.md §2; rqlite `db/db.go` `Dump`; v10, df4edc42. Virtual tables: sqlite3's `.dump`.

use std::collections::VecDeque;
use std::ffi::{CStr, CString};

use rusqlite::ffi;

use super::SqlError;
use super::connection::Connection;
use super::query::Progress;
use super::statement::Statement;
use super::value::ValueRef;

/// A dump under way.
pub struct Dump {
    /// Dropped before the connection.
    rows: Option<Rows>,
    steps: VecDeque<Step>,
    connection: Connection,
}

/// What is written next.
enum Step {
    Text(String),
    /// The rows of a table.
    Rows(String),
}

struct Rows {
    statement: Statement,
    /// `INSERT INTO "t" VALUES(`
    insert: Vec<u8>,
}

/// A row of the schema.
struct Table {
    name: String,
    sql: String,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Plain,
    Virtual,
    Shadow,
    Sequence,
    Statistics,
    /// `sqlite_%`: made by SQLite itself.
    Internal,
}

impl Dump {
    /// Plans the dump of what `connection` sees; `tables`: only these, with what belongs to them; empty: all.
    pub fn new(connection: Connection, tables: &[String]) -> Result<Self, SqlError> {
        let mut steps = VecDeque::from([Step::Text("PRAGMA foreign_keys=OFF;\nBEGIN TRANSACTION;\n".into())]);
        connection.authorizer.internally(|| plan(&connection, tables, &mut steps))?;
        steps.push_back(Step::Text("COMMIT;\n".into()));
        Ok(Self { rows: None, steps, connection })
    }

    /// Writes on until `out` holds `enough` bytes or all is written.
    pub fn advance(&mut self, out: &mut Vec<u8>, enough: usize) -> Result<Progress, SqlError> {
        while out.len() < enough {
            if let Some(rows) = &mut self.rows {
                if !rows.write(out)? {
                    self.rows = None;
                }
                continue;
            }
            match self.steps.pop_front() {
                None => return Ok(Progress::Finished),
                Some(Step::Text(text)) => out.extend_from_slice(text.as_bytes()),
                Some(Step::Rows(table)) => self.rows = Some(Rows::of(&self.connection, &table)?),
            }
        }
        Ok(Progress::Paused)
    }
}

fn plan(connection: &Connection, wanted: &[String], steps: &mut VecDeque<Step>) -> Result<(), SqlError> {
    let is_wanted = |name: &str| wanted.is_empty() || wanted.iter().any(|wanted| wanted == name);
    let tables: Vec<_> = tables(connection)?.into_iter().filter(|table| is_wanted(&table.name)).collect();
    let counted = tables.iter().position(|table| is_autoincrement(connection, table));
    let sequence = tables.iter().position(|table| table.kind == Kind::Sequence);
    let has_virtual = tables.iter().any(|table| table.kind == Kind::Virtual);

    if has_virtual {
        steps.push_back(Step::Text("PRAGMA writable_schema=ON;\n".into()));
    }
    for table in &tables {
        let name = &table.name;
        match table.kind {
            Kind::Plain => {
                steps.push_back(Step::Text(ended(&table.sql)));
                steps.push_back(Step::Rows(name.clone()));
            }
            Kind::Virtual => {
                let (name, sql) = (literal(name), literal(&table.sql));
                steps.push_back(Step::Text(format!(
                    "INSERT INTO sqlite_schema(type,name,tbl_name,rootpage,sql)VALUES('table',{name},{name},0,{sql});\n"
                )));
            }
            Kind::Shadow => {
                // The virtual table may have made it by itself.
                let sql = table.sql.replacen("CREATE TABLE ", "CREATE TABLE IF NOT EXISTS ", 1);
                steps.push_back(Step::Text(ended(&sql)));
                steps.push_back(Step::Rows(name.clone()));
            }
            // In its alphabetical place, as the reference, if a table that makes it stands before; else at the end.
            Kind::Sequence if counted < sequence && counted.is_some() => push_sequence(steps),
            Kind::Statistics => {
                steps.push_back(Step::Text("ANALYZE \"sqlite_master\";;\n".into()));
                steps.push_back(Step::Rows(name.clone()));
            }
            Kind::Sequence | Kind::Internal => {}
        }
    }
    if sequence.is_some() && counted > sequence {
        push_sequence(steps);
    }
    push_objects(connection, wanted, steps)?;
    if has_virtual {
        steps.push_back(Step::Text("PRAGMA writable_schema=OFF;\n".into()));
    }
    Ok(())
}

/// Quirk: two semicolons, as the reference.
fn push_sequence(steps: &mut VecDeque<Step>) {
    steps.push_back(Step::Text("DELETE FROM \"sqlite_sequence\";;\n".into()));
    steps.push_back(Step::Rows("sqlite_sequence".into()));
}

fn tables(connection: &Connection) -> Result<Vec<Table>, SqlError> {
    let mut statement = connection.raw.prepare(
        "SELECT m.name, m.sql, coalesce(l.type, '') FROM sqlite_schema m \
         LEFT JOIN pragma_table_list l ON l.schema = 'main' AND l.name = m.name \
         WHERE m.type = 'table' AND m.sql NOT NULL ORDER BY m.name",
    )?;
    let rows = statement.query_map([], |row| {
        let (name, sql, kind): (String, String, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let kind = match (name.as_str(), kind.as_str()) {
            ("sqlite_sequence", _) => Kind::Sequence,
            ("sqlite_stat1", _) => Kind::Statistics,
            (name, _) if name.starts_with("sqlite_") => Kind::Internal,
            (_, "virtual") => Kind::Virtual,
            (_, "shadow") => Kind::Shadow,
            // A virtual table whose module isn't there has no other mark.
            _ if is_virtual(&sql) => Kind::Virtual,
            _ => Kind::Plain,
        };
        Ok(Table { name, sql, kind })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn is_virtual(sql: &str) -> bool {
    sql.get(..20).is_some_and(|start| start.eq_ignore_ascii_case("CREATE VIRTUAL TABLE"))
}

fn push_objects(connection: &Connection, wanted: &[String], steps: &mut VecDeque<Step>) -> Result<(), SqlError> {
    let mut statement = connection.raw.prepare(
        "SELECT tbl_name, sql FROM sqlite_schema WHERE sql NOT NULL AND type IN ('index', 'trigger', 'view') \
         ORDER BY rowid",
    )?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let (table, sql): (String, String) = (row.get(0)?, row.get(1)?);
        if wanted.is_empty() || wanted.contains(&table) {
            steps.push_back(Step::Text(ended(&sql)));
        }
    }
    Ok(())
}

impl Rows {
    fn of(connection: &Connection, table: &str) -> Result<Self, SqlError> {
        let columns = connection.authorizer.internally(|| {
            // Without generated and hidden columns: they can't be inserted.
            let mut statement = connection.raw.prepare("SELECT name FROM pragma_table_info(?1)")?;
            let names = statement.query_map([table], |row| row.get::<_, String>(0))?;
            names.collect::<rusqlite::Result<Vec<_>>>()
        })?;
        let list: Vec<_> = columns.iter().map(|name| identifier(name)).collect();
        let sql = format!("SELECT {} FROM {}", list.join(","), identifier(table));
        let (prepared, _) = connection.authorizer.internally(|| connection.prepare(&sql, 0))?;
        let statement = prepared.statement.expect("a SELECT is a statement");
        Ok(Self { statement, insert: format!("INSERT INTO {} VALUES(", identifier(table)).into_bytes() })
    }

    /// Writes the next row; false at the end.
    fn write(&mut self, out: &mut Vec<u8>) -> Result<bool, SqlError> {
        if !self.statement.step()? {
            return Ok(false);
        }
        out.extend_from_slice(&self.insert);
        for n in 0..self.statement.column_count() {
            if n > 0 {
                out.push(b',');
            }
            write_value(self.statement.value(n), out);
        }
        out.extend_from_slice(b");\n");
        Ok(true)
    }
}

/// SQLite's `quote()`, but for text with NUL, which that cuts, and with CR LF, of which the sqlite3 shell drops the CR as it
/// reads lines.
fn write_value(value: ValueRef<'_>, out: &mut Vec<u8>) {
    match value {
        ValueRef::Null => out.extend_from_slice(b"NULL"),
        ValueRef::Integer(integer) => out.extend_from_slice(itoa::Buffer::new().format(integer).as_bytes()),
        ValueRef::Real(real) => write_real(real, out),
        ValueRef::Text(text) if memchr::memchr(0, text).is_some() || memchr::memmem::find(text, b"\r\n").is_some() => {
            out.extend_from_slice(b"CAST(");
            write_blob(text, out);
            out.extend_from_slice(b" AS TEXT)");
        }
        ValueRef::Text(text) => {
            out.push(b'\'');
            for part in text.split_inclusive(|&byte| byte == b'\'') {
                out.extend_from_slice(part);
                if part.ends_with(b"'") {
                    out.push(b'\'');
                }
            }
            out.push(b'\'');
        }
        ValueRef::Blob(blob) => write_blob(blob, out),
    }
}

fn write_blob(blob: &[u8], out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    out.extend_from_slice(b"X'");
    for byte in blob {
        out.extend([DIGITS[(byte >> 4) as usize], DIGITS[(byte & 15) as usize]]);
    }
    out.push(b'\'');
}

/// As SQLite's `quote()`: enough digits for the way back, infinity as a number that overflows. Minus zero is written as
/// zero, as the reference does.
fn write_real(real: f64, out: &mut Vec<u8>) {
    let real = if real == 0.0 { 0.0 } else { real };
    out.extend_from_slice(printf(c"%!0.17g", real).as_bytes());
}

fn printf(format: &CStr, real: f64) -> String {
    // SAFETY: the format takes one double; SQLite returns NULL or a string that is ours to free, once.
    unsafe {
        let text = ffi::sqlite3_mprintf(format.as_ptr(), real);
        assert!(!text.is_null(), "out of memory");
        let copy = CStr::from_ptr(text).to_string_lossy().into_owned();
        ffi::sqlite3_free(text.cast());
        copy
    }
}

fn is_autoincrement(connection: &Connection, table: &Table) -> bool {
    if table.kind != Kind::Plain {
        return false;
    }
    let Ok(name) = CString::new(table.name.as_str()) else {
        return false;
    };
    let columns =
        connection.raw.prepare("SELECT name FROM pragma_table_info(?1) WHERE pk = 1").and_then(|mut found| {
            let names = found.query_map([&table.name], |row| row.get::<_, String>(0))?;
            names.collect::<rusqlite::Result<Vec<_>>>()
        });
    columns.unwrap_or_default().into_iter().any(|column| {
        let Ok(column) = CString::new(column) else {
            return false;
        };
        let mut autoincrement = 0;
        let null = std::ptr::null_mut::<std::ffi::c_void>;
        // SAFETY: the connection is open, the names end in NUL, and what isn't wanted may be NULL.
        let code = unsafe {
            ffi::sqlite3_table_column_metadata(
                connection.handle(),
                c"main".as_ptr(),
                name.as_ptr(),
                column.as_ptr(),
                null().cast(),
                null().cast(),
                null().cast(),
                null().cast(),
                &mut autoincrement,
            )
        };
        code == ffi::SQLITE_OK && autoincrement != 0
    })
}

/// A schema's text with its semicolon, which a comment at its end must not swallow.
fn ended(sql: &str) -> String {
    let closed = format!("{sql};");
    let is_complete = match CString::new(closed.as_str()) {
        // SAFETY: a string that ends in NUL.
        Ok(text) => unsafe { ffi::sqlite3_complete(text.as_ptr()) != 0 },
        Err(_) => false,
    };
    if is_complete { closed + "\n" } else { format!("{sql}\n;\n") }
}

/// A name in double quotes.
fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A text in single quotes.
fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::db::authorizer::Role;
    use crate::db::engine;

    /// Where the reference's dump restores to the same content (backup-restore.md §2.1): ours is the same, to the byte.
    const SAME: &[u32] = &[1, 3, 4, 5, 6, 8, 9, 10, 11, 14, 15, 18, 19, 20, 23, 24, 25, 26, 27];

    fn cases() -> Vec<(u32, String, String)> {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/dumps");
        let mut cases = Vec::new();
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            if let Some(stem) = name.strip_suffix(".sql").filter(|stem| !stem.ends_with("-dump")) {
                let reference = path.with_file_name(format!("{stem}.rqlite-dump.sql"));
                let text = |path| String::from_utf8_lossy(&std::fs::read(path).unwrap()).into_owned();
                cases.push((name[..2].parse().unwrap(), text(path), text(reference)));
            }
        }
        cases.sort();
        assert_eq!(cases.len(), 28);
        cases
    }

    fn made_by(path: &Path, sql: &str) {
        let connection = rusqlite::Connection::open(path).unwrap();
        connection.execute_batch(sql).unwrap_or_else(|error| panic!("{error}\n{sql}"));
    }

    fn dump(path: &Path, tables: &[String]) -> String {
        let connection = Connection::open(path, "unix-excl", Role::Reader).unwrap();
        let mut dump = Dump::new(connection, tables).unwrap();
        let mut out = Vec::new();
        // In small pieces, as a slow client would take it.
        loop {
            let enough = out.len() + 1;
            if dump.advance(&mut out, enough).unwrap() == Progress::Finished {
                break;
            }
        }
        String::from_utf8_lossy(&out).into_owned()
    }

    /// Everything that a dump has to keep.
    fn content(path: &Path) -> Vec<String> {
        let connection = rusqlite::Connection::open(path).unwrap();
        let column = |sql: &str| -> Vec<String> {
            let mut statement = connection.prepare(sql).unwrap();
            let rows = statement.query_map([], |row| row.get::<_, String>(0)).unwrap();
            rows.map(Result::unwrap).collect()
        };
        let mut content = column(
            "SELECT type || ' ' || name || ' ' || replace(trim(coalesce(sql, ''), char(10)), ' IF NOT EXISTS', '') \
             FROM sqlite_schema WHERE name NOT LIKE 'sqlite_stat%' ORDER BY type, name",
        );
        for table in
            column("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_stat%' ORDER BY name")
        {
            let columns = connection.prepare(&format!("SELECT * FROM {}", identifier(&table))).unwrap();
            let names: Vec<_> = columns.column_names().map(identifier).collect();
            let row: Vec<_> = names.iter().map(|name| format!("typeof({name}), hex({name}), quote({name})")).collect();
            let sql = format!("SELECT concat_ws('|', {}) FROM {} ORDER BY 1", row.join(","), identifier(&table));
            content.extend(column(&sql).into_iter().map(|row| format!("{table}: {row}")));
        }
        content
    }

    #[test]
    fn every_case_is_as_the_reference_or_better_and_restores() {
        let directory = tempfile::tempdir().unwrap();
        engine::initialize(&std::env::temp_dir());
        for (number, sql, reference) in cases() {
            let original = directory.path().join(format!("{number}.sqlite"));
            made_by(&original, &sql);
            let ours = dump(&original, &[]);
            if SAME.contains(&number) {
                assert_eq!(ours, reference, "case {number}");
            }
            let restored = directory.path().join(format!("{number}-restored.sqlite"));
            made_by(&restored, &ours);
            let (mut before, mut after) = (content(&original), content(&restored));
            if number == 4 {
                // Minus zero is written as zero, as the reference does.
                let zero = |content: &mut Vec<String>| content.retain(|row| !row.contains("0.0"));
                zero(&mut before);
                zero(&mut after);
            }
            assert_eq!(before, after, "case {number}:\n{ours}");
        }
    }

    #[test]
    fn some_tables_come_with_what_belongs_to_them_only() {
        let directory = tempfile::tempdir().unwrap();
        engine::initialize(&std::env::temp_dir());
        let path = directory.path().join("a.sqlite");
        made_by(
            &path,
            "CREATE TABLE a(x); CREATE TABLE b(y); INSERT INTO a VALUES(1); INSERT INTO b VALUES(2); \
             CREATE INDEX ia ON a(x); CREATE INDEX ib ON b(y); CREATE VIEW v AS SELECT 1; \
             CREATE TRIGGER tb AFTER INSERT ON b BEGIN DELETE FROM a; END",
        );
        insta::assert_snapshot!(dump(&path, &["a".into(), "unknown".into()]), @r#"
        PRAGMA foreign_keys=OFF;
        BEGIN TRANSACTION;
        CREATE TABLE a(x);
        INSERT INTO "a" VALUES(1);
        CREATE INDEX ia ON a(x);
        COMMIT;
        "#);
    }
}
