//! The database that the clients use, and what they do to it.

use serde_json::{Value, json};

use crate::history::{Mark, OpId, Statement};
use crate::random::Random;

/// Every operation appends itself to `ops`; a trigger keeps a short audit; `noise` has what an entry's time and
/// randomness decide.
pub const CREATE: &[&str] = &[
    "CREATE TABLE IF NOT EXISTS ops(seq INTEGER PRIMARY KEY AUTOINCREMENT, op INTEGER NOT NULL)",
    "CREATE TABLE IF NOT EXISTS kv(k TEXT PRIMARY KEY, v, n INTEGER NOT NULL DEFAULT 0)",
    "CREATE INDEX IF NOT EXISTS kvn ON kv(n, v)",
    "CREATE TABLE IF NOT EXISTS audit(seq INTEGER PRIMARY KEY AUTOINCREMENT, k, old)",
    "CREATE TRIGGER IF NOT EXISTS kvu AFTER UPDATE ON kv BEGIN
       INSERT INTO audit(k, old) VALUES (old.k, substr(old.v, 1, 20));
       DELETE FROM audit WHERE seq <= last_insert_rowid() - 20;
     END",
    "CREATE TABLE IF NOT EXISTS noise(op, r DEFAULT (random()), b DEFAULT (randomblob(8)),
       t DEFAULT CURRENT_TIMESTAMP, u DEFAULT (unixepoch('subsec')))",
    "CREATE TABLE IF NOT EXISTS counter(id INTEGER PRIMARY KEY, n)",
    "INSERT OR IGNORE INTO counter VALUES (1, 0)",
];

/// Tells in one row which state the database is in.
pub const MARK: &str = "SELECT count(*), max(seq), (SELECT op FROM ops ORDER BY seq DESC LIMIT 1) FROM ops";

/// The same as [`MARK`], looked up anew for each of many rows: an answer that is too long for all buffers on its way,
/// of which hyper's takes 1 MiB.
pub const MANY_MARKS: &str = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 800)
    SELECT (SELECT count(*) FROM ops), (SELECT seq FROM ops WHERE i > 0 ORDER BY seq DESC LIMIT 1),
      (SELECT op FROM ops WHERE i > 0 ORDER BY seq DESC LIMIT 1), hex(zeroblob(1000)) FROM n";

/// The first statement of every operation.
pub fn append(op: OpId) -> Statement {
    Statement { sql: "INSERT INTO ops(op) VALUES (?)".into(), parameters: vec![json!(op)] }
}

/// The operation that creates the schema, with so many bytes that nobody changes: they make a backup long.
pub fn create(op: OpId, filler_bytes: u64) -> Vec<Statement> {
    let mut statements: Vec<Statement> =
        CREATE.iter().map(|sql| Statement { sql: (*sql).into(), parameters: Vec::new() }).collect();
    if filler_bytes > 0 {
        statements.push(statement("CREATE TABLE IF NOT EXISTS filler(b)", vec![]));
        statements.push(statement("INSERT INTO filler VALUES (zeroblob(?))", vec![json!(filler_bytes)]));
    }
    statements.push(append(op));
    statements
}

/// A random write. Of the answer: whether it is one transaction.
pub fn write(op: OpId, random: &mut Random, value_bytes: u64) -> (Vec<Statement>, bool) {
    let mut statements = changes(op, random, value_bytes);
    let transaction = random.chance(2, 3);
    // Fails: in a transaction all of it, else alone.
    if random.chance(1, 16) {
        let at = random.between(1, statements.len() as u64 + 1) as usize;
        statements.insert(at, statement("INSERT INTO counter VALUES (1, 0)", vec![]));
    }
    (statements, transaction)
}

/// Statements that go well.
fn changes(op: OpId, random: &mut Random, value_bytes: u64) -> Vec<Statement> {
    let mut statements = vec![append(op)];
    let count = if random.chance(1, 4) { random.between(2, 6) } else { 1 };
    for _ in 0..count {
        statements.push(change(op, random, value_bytes));
    }
    statements
}

/// A text to load.
pub struct Text {
    pub text: String,
    /// What it does, if it is good: in one transaction.
    pub statements: Option<Vec<Statement>>,
}

/// A random text that is the operation `op`; some have an end that spoils all of it.
pub fn text(op: OpId, random: &mut Random, value_bytes: u64) -> Text {
    let statements: Vec<_> = changes(op, random, value_bytes).into_iter().map(inlined).collect();
    let mut lines: Vec<String> = statements.iter().map(|statement| format!("{};\n", statement.sql)).collect();
    if random.chance(1, 3) {
        lines.insert(random.between(1, lines.len() as u64 + 1) as usize, "SAVEPOINT s; -- a part;\n".into());
        lines.push("RELEASE s;\n".into());
    }
    let is_good = random.chance(1, 2);
    if !is_good {
        let wrong = [
            "INSERT INTO counter VALUES (1, 0);\n",
            "nonsense;\n",
            "SELECT * FROM nowhere;\n",
            "ROLLBACK;\n",
            "COMMIT;\n",
            "PRAGMA journal_mode=DELETE;\n",
        ][random.below(6) as usize];
        lines.insert(random.between(1, lines.len() as u64 + 1) as usize, wrong.into());
    }
    match random.below(4) {
        0 => lines.insert(0, "PRAGMA foreign_keys=OFF;\n".into()),
        // A second COMMIT is as wrong as the first without its BEGIN.
        1 if is_good => {
            lines.insert(0, "PRAGMA foreign_keys=OFF;\nBEGIN TRANSACTION;\n".into());
            lines.push("COMMIT;\n".into());
        }
        // Never ended, unless by that COMMIT.
        1 if !lines.iter().any(|line| line == "COMMIT;\n") => lines.insert(0, "BEGIN;\n".into()),
        _ => {}
    }
    Text { text: lines.concat(), statements: is_good.then_some(statements) }
}

/// With its parameters as literals.
fn inlined(statement: Statement) -> Statement {
    let mut parts = statement.sql.split('?');
    let mut sql = parts.next().unwrap_or_default().to_string();
    for (part, parameter) in parts.zip(&statement.parameters) {
        match parameter {
            Value::String(text) => sql += &format!("'{}'", text.replace('\'', "''")),
            number => sql += &number.to_string(),
        }
        sql += part;
    }
    Statement { sql, parameters: Vec::new() }
}

fn change(op: OpId, random: &mut Random, value_bytes: u64) -> Statement {
    let key = json!(format!("k{}", random.below(40)));
    match random.below(16) {
        0..5 => {
            let sql = "INSERT INTO kv(k, v) VALUES (?, ?) ON CONFLICT (k) DO UPDATE SET v = excluded.v";
            statement(sql, vec![key, value(op, random, value_bytes)])
        }
        5..8 => {
            let sql = "UPDATE kv SET v = ?, n = n + 1 WHERE k = ?";
            statement(sql, vec![value(op, random, value_bytes), key])
        }
        8 => statement("REPLACE INTO kv(k, v, n) SELECT ? || '+', v, n FROM kv WHERE k = ?", vec![key.clone(), key]),
        9 => statement("DELETE FROM kv WHERE k = ?", vec![key]),
        10 => statement("UPDATE kv SET n = n + 1 WHERE n < ?", vec![json!(random.below(6))]),
        11 | 12 => statement("UPDATE counter SET n = n + 1", vec![]),
        13 => statement("INSERT INTO noise(op) SELECT ? FROM kv ORDER BY random() LIMIT 3", vec![json!(op)]),
        14 => statement("DELETE FROM noise WHERE op < ?", vec![json!(op.saturating_sub(20))]),
        _ => statement("INSERT INTO noise(op) VALUES (?)", vec![json!(op)]),
    }
}

fn statement(sql: &str, parameters: Vec<Value>) -> Statement {
    Statement { sql: sql.into(), parameters }
}

/// Text, mostly short.
fn value(op: OpId, random: &mut Random, value_bytes: u64) -> Value {
    let length = if random.chance(1, 8) { random.below(value_bytes) } else { random.below(40) };
    let mut text = format!("{op}:");
    while text.len() < length as usize {
        text.push_str(&format!("{:016x}", random.next()));
    }
    json!(text)
}

/// The answer to [`MARK`], if that is what `values` are.
pub fn mark(values: &Value) -> Option<Mark> {
    let count = values.get(0)?.as_i64()?;
    let last = match (values.get(1)?.as_i64(), values.get(2)?.as_u64()) {
        (Some(seq), Some(op)) => Some((seq, op)),
        _ => None,
    };
    Some(Mark { count, last })
}
