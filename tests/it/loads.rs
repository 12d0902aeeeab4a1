//! Loads of files and texts on the real binary, each followed by a look at what is there, in `tmp/` and `db/` too.
//!
//! The refusals are the table of backup-restore.md §3.3, row by row. Source: faults.md S17, S24, S29, S48, S50.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::Connection;
use serde_json::{Value, json};

use crate::node::Node;

/// A node with a row, and what is to be seen of it.
struct Old {
    node: Node,
    _directory: tempfile::TempDir,
}

impl Old {
    fn new() -> Old {
        let directory = tempfile::tempdir().unwrap();
        let mut node = Node::new(directory.path(), &[]);
        node.start();
        node.execute("CREATE TABLE old(a)");
        node.execute("INSERT INTO old VALUES('still here')");
        Old { node, _directory: directory }
    }

    /// The load is refused with this status and text, and nothing has changed, before and after a restart. So is the
    /// boot, if there is enough to look at.
    #[track_caller]
    fn refuses(&mut self, body: &[u8], status: u16, text: &str) {
        let answer = self.node.post("/db/load", body);
        assert_eq!((answer.status, answer.text()), (status, text.to_string()));
        self.is_unchanged();
        let answer = self.node.post("/boot", body);
        let want = if body.len() < 32 { (503, "EOF\n".to_string()) } else { (status, text.to_string()) };
        assert_eq!((answer.status, answer.text()), want);
        self.is_unchanged();
    }

    /// The same, where the reason is SQLite's to tell.
    #[track_caller]
    fn refuses_as_invalid(&mut self, body: &[u8]) {
        for path in ["/db/load", "/boot"] {
            let answer = self.node.post(path, body);
            let text = answer.text();
            assert!(answer.status == 400 && text.starts_with("invalid SQLite data: "), "{path}: {text}");
            assert_eq!(text.lines().count(), 1, "{path}: {text}");
            self.is_unchanged();
        }
    }

    #[track_caller]
    fn is_unchanged(&mut self) {
        for _ in 0..2 {
            assert_eq!(self.node.query("SELECT a FROM old"), [json!(["still here"])]);
            assert_eq!(self.node.query("SELECT count(*) FROM sqlite_schema"), [json!([1])]);
            wait_until_empty(&self.node);
            let databases = databases(&self.node);
            assert_eq!(databases, ["1.sqlite", "1.sqlite-wal"]);
            self.node.kill();
            self.node.start();
        }
    }
}

/// What a caller sees as the end of a request may come before the file is gone.
#[track_caller]
fn wait_until_empty(node: &Node) {
    let started = Instant::now();
    loop {
        let left: Vec<_> =
            fs::read_dir(node.data_dir.join("tmp")).unwrap().map(|entry| entry.unwrap().path()).collect();
        if left.is_empty() {
            return;
        }
        assert!(started.elapsed() < Duration::from_secs(60), "temporary files stay: {left:?}");
        thread::sleep(Duration::from_millis(5));
    }
}

fn databases(node: &Node) -> Vec<String> {
    let entries = fs::read_dir(node.data_dir.join("db")).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// The bytes of a database in which this was run.
fn file(sql: &str) -> Vec<u8> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("file.sqlite");
    let connection = Connection::open(&path).unwrap();
    connection.execute_batch(sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
    drop(connection);
    fs::read(path).unwrap()
}

/// Some pages of rows and an index.
const ROWS: &str = "CREATE TABLE t(id INTEGER PRIMARY KEY, b); CREATE INDEX ti ON t(b);
    INSERT INTO t(b) WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 500)
      SELECT hex(randomblob(40)) FROM n;";

fn page_size(file: &[u8]) -> usize {
    u16::from_be_bytes([file[16], file[17]]) as usize
}

mod s29_bad_loads {
    use super::*;

    const INVALID: &str = "invalid SQLite data: ";

    #[test]
    fn empty_garbage_and_gzip() {
        let mut old = Old::new();
        old.refuses(b"", 200, r#"{"results":[]}"#);
        let sql = "SQLite format is what this SQL file talks about;";
        old.refuses(sql.as_bytes(), 400, &format!("{INVALID}file is shorter than a database header\n"));
        let long = sql.repeat(100);
        old.refuses(long.as_bytes(), 400, &format!("{INVALID}file is not a database\n"));
        old.refuses(&[0x1f, 0x8b, 8, 0, 0], 400, &format!("{INVALID}gzip-compressed, decompress it first\n"));
    }

    #[test]
    fn a_good_header_and_nothing_good_behind_it() {
        let mut old = Old::new();
        let good = file(ROWS);
        let (size, length) = (page_size(&good), good.len());

        let mut garbage = good.clone();
        garbage[100..].fill(0x5a);
        old.refuses(&garbage, 400, &format!("{INVALID}database disk image is malformed\n"));

        let cut = &good[..length - size - 1];
        let text = format!("{INVALID}file has {} bytes of {length}\n", cut.len());
        old.refuses(cut, 400, &text);

        // The header tells another size of page than the file was written with.
        let mut lie = good.clone();
        lie[16..18].copy_from_slice(&1024u16.to_be_bytes());
        old.refuses_as_invalid(&lie);
        lie[16..18].copy_from_slice(&1000u16.to_be_bytes());
        old.refuses(&lie, 400, &format!("{INVALID}page size 1000 is not a power of two\n"));

        // In the middle of the table, and of the index: the reference loads these.
        for page in [4, length / size - 2] {
            let mut overwritten = good.clone();
            overwritten[page * size..][..size].fill(0xa5);
            old.refuses_as_invalid(&overwritten);
        }
    }

    /// Found only by comparing the index with its table.
    #[test]
    fn an_index_that_lacks_a_row() {
        let mut old = Old::new();
        let lacking = file(&format!(
            "{ROWS} CREATE TABLE u(b); CREATE INDEX ui ON u(b); PRAGMA writable_schema = ON;
             UPDATE sqlite_schema SET rootpage = (SELECT rootpage FROM sqlite_schema WHERE name = 'ui')
              WHERE name = 'ti';
             DELETE FROM sqlite_schema WHERE name = 'ui';"
        ));
        old.refuses_as_invalid(&lacking);
    }

    #[test]
    fn larger_than_the_free_disk() {
        announced_is_too_large("/db/load", b"");
        announced_is_too_large("/boot", &file(ROWS)[..100]);
    }

    #[track_caller]
    fn announced_is_too_large(path: &str, beginning: &[u8]) {
        let mut old = Old::new();
        let mut client = raw(&old.node);
        write!(client, "POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", 1u64 << 60).unwrap();
        client.write_all(beginning).unwrap();
        // Answered before the rest is sent.
        let mut answer = String::new();
        let mut buffer = [0; 1000];
        while !answer.contains(" free\n") {
            let read = client.read(&mut buffer).unwrap();
            assert!(read > 0, "{answer}");
            answer += std::str::from_utf8(&buffer[..read]).unwrap();
        }
        assert!(answer.starts_with("HTTP/1.1 500 "), "{answer}");
        assert!(answer.contains("\r\n\r\ninsufficient disk space: need "), "{answer}");
        old.is_unchanged();
    }

    #[test]
    fn a_client_that_is_gone() {
        let mut old = Old::new();
        let good = file(ROWS);
        for sent in [0, 1, 100, 101, good.len() / 2, good.len() / 2 + 1, good.len() - 2, good.len() - 1] {
            let mut client = raw(&old.node);
            let path = if sent % 2 == 0 { "/boot" } else { "/db/load" };
            write!(client, "POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", good.len()).unwrap();
            client.write_all(&good[..sent]).unwrap();
            drop(client);
        }
        old.is_unchanged();
    }

    fn raw(node: &Node) -> TcpStream {
        let url = node.url("");
        TcpStream::connect(url.trim_start_matches("http://")).unwrap()
    }
}

mod s48_good_loads {
    use super::*;

    /// What is loaded is what is there, and what comes out of it again, in each format.
    #[track_caller]
    fn is_loaded(sql: &str) {
        is_loaded_by("/db/load", r#"{"results":[]}"#, sql);
        is_loaded_by("/boot", "", sql);
    }

    #[track_caller]
    fn is_loaded_by(path: &str, done: &str, sql: &str) {
        let original = file(sql);
        let directory = tempfile::tempdir().unwrap();
        let mut node = Node::new(directory.path(), &[]);
        node.start();
        let answer = node.post(path, &original);
        assert_eq!((answer.status, answer.text()), (200, done.to_string()), "{path} {sql}");
        let want = content(&original);
        for path in ["/db/backup", "/db/backup?fmt=delete", "/db/backup?vacuum"] {
            let backup = node.request("GET", path, &[], Vec::new());
            assert_eq!(backup.status(), 200, "{sql} {path}");
            assert_eq!(content(backup.body()), want, "{sql} {path}");
        }
        let dump = node.request("GET", "/db/backup?fmt=sql", &[], Vec::new()).into_body();
        // A dump doesn't keep the encoding and such.
        assert_eq!(content(&file(std::str::from_utf8(&dump).unwrap())).1, want.1, "{sql}");

        // And once more, from its own backup, after a kill.
        node.kill();
        node.start();
        let backup = node.request("GET", "/db/backup", &[], Vec::new()).into_body();
        assert_eq!(node.post("/db/load", &backup).status, 200);
        assert_eq!(content(&node.request("GET", "/db/backup", &[], Vec::new()).into_body()), want);
    }

    /// Pragmas that a file keeps; schema and rows.
    fn content(file: &[u8]) -> (Vec<String>, Vec<String>) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file.sqlite");
        fs::write(&path, file).unwrap();
        let connection = Connection::open(&path).unwrap();
        let ask = |sql: &str| -> Vec<String> {
            let mut statement = connection.prepare(sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
            let columns = statement.column_count();
            let rows = statement.query_map([], |row| {
                (0..columns)
                    .map(|n| row.get::<_, rusqlite::types::Value>(n).map(|value| format!("{value:?}")))
                    .collect()
            });
            rows.unwrap().collect::<rusqlite::Result<_>>().unwrap()
        };
        assert_eq!(ask("PRAGMA integrity_check"), [r#"Text("ok")"#]);
        let pragmas = ["page_size", "encoding", "auto_vacuum", "user_version", "application_id"];
        let pragmas = pragmas.iter().flat_map(|pragma| ask(&format!("PRAGMA {pragma}"))).collect();
        let mut rows = ask("SELECT type, name, sql FROM sqlite_schema ORDER BY type, name");
        let tables = "SELECT name FROM pragma_table_list WHERE type = 'table' AND name NOT LIKE 'sqlite_schema%' \
                      AND schema = 'main' ORDER BY name";
        for table in ask(tables) {
            let table = table.trim_start_matches("Text(\"").trim_end_matches("\")");
            rows.extend(ask(&format!("SELECT * FROM \"{table}\"")));
        }
        (pragmas, rows)
    }

    #[test]
    fn any_page_size_mode_and_encoding() {
        for page_size in [512, 65_536] {
            is_loaded(&format!("PRAGMA page_size={page_size}; PRAGMA auto_vacuum=FULL; {ROWS}"));
        }
        is_loaded(&format!("PRAGMA encoding='UTF-16le'; PRAGMA user_version=7; PRAGMA application_id=9; {ROWS}"));
        // With pages on the freelist, and with nothing at all in it.
        is_loaded(&format!("{ROWS} DELETE FROM t WHERE id > 20"));
        is_loaded("CREATE TABLE t(a); DROP TABLE t");
        is_loaded("PRAGMA auto_vacuum=INCREMENTAL; CREATE TABLE t(k TEXT PRIMARY KEY, v) WITHOUT ROWID");
    }

    /// The WAL was left behind: what is in the file counts.
    #[test]
    fn a_file_in_wal_mode_without_its_wal() {
        is_loaded(&format!("{ROWS} PRAGMA journal_mode=WAL"));
    }

    #[test]
    fn triggers_views_and_virtual_tables_are_data() {
        is_loaded(&format!(
            "{ROWS} CREATE TABLE log(x);
             CREATE TRIGGER tr AFTER INSERT ON t BEGIN INSERT INTO log VALUES(load_extension('x')); END;
             CREATE VIEW v AS SELECT load_extension('/nowhere'), * FROM t;
             CREATE VIRTUAL TABLE ft USING fts5(a); INSERT INTO ft VALUES('words in it');
             CREATE VIRTUAL TABLE r USING rtree(id, x0, x1); INSERT INTO r VALUES(1, 2, 3);"
        ));
    }

    /// Nobody can use what needs them, but the data is sound.
    #[test]
    fn modules_and_collations_that_we_lack_are_told() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file.sqlite");
        let connection = Connection::open(&path).unwrap();
        connection
            .execute_batch(&format!(
                "{ROWS} CREATE TABLE c(a TEXT, b); CREATE INDEX ci ON c(a); INSERT INTO c VALUES('b', 1), ('A', 2);
                 PRAGMA writable_schema=ON;
                 UPDATE sqlite_schema SET sql = 'CREATE TABLE c(a TEXT COLLATE THEIRS, b)' WHERE name = 'c';
                 INSERT INTO sqlite_schema(type, name, tbl_name, rootpage, sql)
                   VALUES('table', 'm', 'm', 0, 'CREATE VIRTUAL TABLE m USING their_module(x)');"
            ))
            .unwrap();
        drop(connection);
        let mut node = Node::new(directory.path(), &[]);
        node.start();
        let answer = node.post("/db/load", fs::read(&path).unwrap());
        assert_eq!((answer.status, answer.text()), (200, r#"{"results":[]}"#.to_string()));
        assert_eq!(node.query("SELECT count(*) FROM t"), [json!([500])]);
        assert_eq!(node.query("SELECT sum(b) FROM c"), [json!([3])]);
        for lacking in ["their_module", "THEIRS"] {
            assert!(node.log().contains(lacking), "{lacking} isn't told:\n{}", node.log());
        }
        node.kill();
        node.start();
        assert_eq!(node.query("SELECT count(*) FROM t"), [json!([500])]);
        assert_eq!(node.request("GET", "/db/backup?fmt=sql", &[], Vec::new()).status(), 200);

        // A damaged file isn't sound because it lacks something.
        let mut damaged = fs::read(&path).unwrap();
        let size = page_size(&damaged);
        damaged[4 * size..5 * size].fill(0xa5);
        assert_eq!(node.post("/db/load", &damaged).status, 400);
        assert_eq!(node.query("SELECT count(*) FROM t"), [json!([500])]);
    }
}

mod s17_texts {
    use super::*;

    #[track_caller]
    fn loads(node: &Node, text: &str) -> Value {
        let answer = node.post("/db/load", text);
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()["results"][0].clone()
    }

    #[test]
    fn a_text_that_fails_leaves_nothing() {
        let mut old = Old::new();
        for text in [
            "CREATE TABLE new(a); INSERT INTO new VALUES(1); INSERT INTO nowhere VALUES(1);",
            "BEGIN; CREATE TABLE new(a); INSERT INTO old VALUES(2); nonsense;",
            "PRAGMA foreign_keys=ON; DELETE FROM old; ROLLBACK;",
            "BEGIN; DELETE FROM old;",
            "SAVEPOINT s; DELETE FROM old; RELEASE s; SELECT * FROM nowhere;",
        ] {
            let result = loads(&old.node, text);
            assert!(!result["error"].is_null(), "{text}: {result}");
            assert_eq!(old.node.query("PRAGMA foreign_keys"), [json!([0])], "{text}");
            old.is_unchanged();
        }
    }

    #[test]
    fn foreign_keys_are_as_before() {
        let directory = tempfile::tempdir().unwrap();
        let mut node = Node::new(directory.path(), &["-fk"]);
        node.start();
        let text = "PRAGMA foreign_keys=OFF; BEGIN; CREATE TABLE p(id INTEGER PRIMARY KEY);
                    CREATE TABLE c(p REFERENCES p); INSERT INTO c VALUES(7); INSERT INTO p VALUES(7); COMMIT;";
        assert!(loads(&node, text)["error"].is_null());
        assert_eq!(node.query("PRAGMA foreign_keys"), [json!([1])]);
        let answer = node.post("/db/execute", r#"["INSERT INTO c VALUES(8)"]"#);
        assert!(answer.text().contains("FOREIGN KEY constraint failed"), "{}", answer.text());
        node.kill();
        node.start();
        assert_eq!(node.query("PRAGMA foreign_keys"), [json!([1])]);
    }
}

/// faults.md S50: nothing of the old database stays beside the new one.
#[test]
fn s50_nothing_stays_beside_a_loaded_file() {
    let mut old = Old::new();
    for generation in 2..5 {
        old.node.execute("CREATE TABLE IF NOT EXISTS old2(a)");
        assert_eq!(old.node.post("/db/load", file(ROWS)).status, 200);
        let name = format!("{generation}.sqlite");
        assert_eq!(databases(&old.node), [name.clone(), format!("{name}-wal")]);
        wait_until_empty(&old.node);
        old.node.kill();
        old.node.start();
        assert_eq!(old.node.query("SELECT name FROM sqlite_schema ORDER BY 1"), [json!(["t"]), json!(["ti"])]);
        assert_eq!(databases(&old.node), [name.clone(), format!("{name}-wal")]);
    }
}

/// faults.md S24: a path is never part of a statement.
#[test]
fn s24_quotes_and_spaces_in_the_data_path() {
    let directory = tempfile::tempdir().unwrap();
    let odd = directory.path().join(r#"it's "a" %41?b #c"#);
    fs::create_dir(&odd).unwrap();
    let mut node = Node::new(&odd, &[]);
    node.start();
    assert_eq!(node.post("/db/load", file(ROWS)).status, 200);
    for path in ["/db/backup", "/db/backup?fmt=delete", "/db/backup?vacuum", "/db/backup?vacuum&compress"] {
        let backup = node.request("GET", path, &[], Vec::new());
        assert_eq!(backup.status(), 200, "{path}");
        if !path.ends_with("compress") {
            assert_eq!(count(&odd, backup.body()), 500, "{path}");
        }
    }
    let dump = node.request("GET", "/db/backup?fmt=sql", &[], Vec::new()).into_body();
    assert_eq!(count(&odd, &file(std::str::from_utf8(&dump).unwrap())), 500);
    node.execute("VACUUM");
    wait_until_empty(&node);
    node.kill();
    node.start();
    assert_eq!(node.query("SELECT count(*) FROM t"), [json!([500])]);
}

fn count(directory: &Path, file: &[u8]) -> i64 {
    let path = directory.join("count.sqlite");
    fs::write(&path, file).unwrap();
    let connection = Connection::open(&path).unwrap();
    connection.query_row("SELECT count(*) FROM t", [], |row| row.get(0)).unwrap()
}
