//! What requests answer, by rqlite's rules (http-data.md §4.4, §6, §9.2-9.4).

use rqlite::command::Statement;
use rqlite::db::authorizer::Role;
use rqlite::db::connection::Connection;
use rqlite::db::execute::Executed;
use rqlite::db::query::{Cursor, Progress, QueryOptions};
use rqlite::db::value::{Columns, RowSink, ValueRef};

use crate::node::{Node, from_statements, integer, named, request, show, statement, transaction};

#[derive(Default)]
struct Sink(Vec<String>);

impl RowSink for Sink {
    fn begin(&mut self, columns: &Columns) {
        self.0.push(format!("{}:", columns.names.join(",")));
    }

    fn row(&mut self, row: &[ValueRef<'_>]) -> Result<(), String> {
        let row: Vec<_> = row.iter().map(|value| format!("{value:?}")).collect();
        self.0.last_mut().unwrap().push_str(&row.join(","));
        Ok(())
    }

    fn end(&mut self, _: std::time::Duration) {}

    fn error(&mut self, text: &str) {
        self.0.push(text.into());
    }

    fn buffered(&self) -> usize {
        0
    }
}

fn read_statements(reader: Connection, statements: Vec<Statement>) -> String {
    let mut sink = Sink::default();
    let mut cursor = Cursor::new(reader, statements, QueryOptions::default());
    assert_eq!(cursor.advance(&mut sink, 1), Progress::Finished);
    sink.0.join("; ")
}

pub fn read(reader: Connection, sqls: &[&str]) -> String {
    read_statements(reader, sqls.iter().map(|sql| statement(sql, vec![])).collect())
}

fn node() -> Node {
    let mut node = Node::new();
    node.run("CREATE TABLE t(id INTEGER PRIMARY KEY, v UNIQUE)");
    node
}

#[test]
fn write_counters_are_the_last_ones() {
    let mut node = node();
    #[track_caller]
    fn check(node: &mut Node, sql: &str, want: &str) {
        assert_eq!(node.run(sql), want, "{sql}");
    }
    check(&mut node, "SELECT 1", "0/0");
    check(&mut node, "INSERT INTO t(v) VALUES (1), (2)", "2/2");
    check(&mut node, "CREATE TABLE w(k PRIMARY KEY) WITHOUT ROWID", "2/2");
    check(&mut node, "SELECT v FROM t", "2/2");
    check(&mut node, "PRAGMA user_version", "2/2");
    check(&mut node, "EXPLAIN DELETE FROM t", "2/2");
    check(&mut node, "INSERT INTO w VALUES ('a')", "2/1");
    check(&mut node, "UPDATE t SET v = v + 10", "2/2");
    check(&mut node, "UPDATE t SET v = 0 WHERE 0", "2/0");
    check(&mut node, "CREATE TABLE x(v)", "2/0");
    check(&mut node, "INSERT INTO t VALUES (-5, 7)", "-5/1");
    check(&mut node, "INSERT INTO t VALUES (0, 8)", "0/1");
    check(&mut node, "DROP TABLE x", "0/1");
    check(&mut node, "DELETE FROM t", "0/4");
    assert_eq!(
        show(&node.apply(request(&["INSERT INTO t VALUES (3, 3)", "SELECT 1", "UPDATE t SET v = 4"]))),
        "3/1; 3/1; 3/1"
    );
    node.restart();
    node.checkpoint();
    node.restart();
    check(&mut node, "SELECT 1", "0/0");
}

#[test]
fn texts_of_several_statements() {
    #[track_caller]
    fn check(sqls: &[&str], want: &str, rows: &str) {
        let mut node = node();
        assert_eq!(show(&node.apply(request(sqls))), want, "{sqls:?}");
        assert_eq!(node.value("SELECT count(*) FROM t"), rows, "{sqls:?}");
    }
    check(&["INSERT INTO t(v) VALUES (1); INSERT INTO t(v) VALUES (2)"], "2/1", "2");
    check(&["INSERT INTO t(v) VALUES (1);  \n"], "1/1", "1");
    check(&["INSERT INTO t(v) VALUES (1); -- done"], "0/0", "1");
    check(
        &["INSERT INTO t(v) VALUES (1); nonsense; INSERT INTO t(v) VALUES (2)"],
        "near \"nonsense\": syntax error",
        "1",
    );
    check(
        &["INSERT INTO t(v) VALUES (1); INSERT INTO t(v) VALUES (1); INSERT INTO t(v) VALUES (2)"],
        "UNIQUE constraint failed: t.v",
        "1",
    );
    check(&["", " ", "-- c", ";"], "0/0; 0/0; 0/0", "0");
    check(&["INSERT INTO t(v) VALUES (1) RETURNING id, v"], "[1,1]", "1");
    // One step: the SELECT ends at its first row, before the row that would fail.
    check(&["SELECT 1 UNION ALL SELECT abs(-9223372036854775808)"], "0/0", "0");
    check(&["SELECT abs(-9223372036854775808)"], "integer overflow", "0");
    check(&["nonsense", "INSERT INTO t(v) VALUES (1)"], "near \"nonsense\": syntax error; 1/1", "1");
}

#[test]
fn transactions() {
    #[track_caller]
    fn check(sqls: &[&str], want: &str, rows: &str) {
        let mut node = node();
        assert_eq!(show(&node.apply(transaction(sqls))), want, "{sqls:?}");
        assert_eq!(node.value("SELECT count(*) FROM t"), rows, "{sqls:?}");
    }
    let insert = "INSERT INTO t(v) VALUES (1)";
    check(&[insert, "", "INSERT INTO t(v) VALUES (2)"], "1/1; 2/1", "2");
    check(&[insert, insert, "INSERT INTO t(v) VALUES (2)"], "1/1; UNIQUE constraint failed: t.v", "0");
    check(&[insert, "COMMIT"], "!cannot commit - no transaction is active", "1");
    check(&[insert, "ROLLBACK"], "!cannot commit - no transaction is active", "0");
    check(&[insert, "BEGIN"], "1/1; cannot start a transaction within a transaction", "0");
    check(&[], "", "0");
}

#[test]
fn parameters() {
    #[track_caller]
    fn check(sql: &str, parameters: Vec<rqlite::command::Parameter>, want: &str) {
        let mut node = node();
        assert_eq!(show(&node.apply(from_statements(vec![statement(sql, parameters)], false))), want, "{sql}");
    }
    let insert = "INSERT INTO t(id, v) VALUES (?, ?) RETURNING *";
    check(insert, vec![integer(4), integer(5)], "[4,5]");
    check(insert, vec![integer(4), integer(5), integer(6)], "[4,5]");
    check(insert, vec![integer(4)], "not enough args to execute query: want 2 got 1");
    check(insert, vec![], "[1,NULL]");
    check("INSERT INTO t VALUES (:a, $b + @a) RETURNING *", vec![named("b", 3), named("a", 2), integer(9)], "[2,12]");
    check("INSERT INTO t VALUES (:a, :a) RETURNING *", vec![named("a", 2)], "[2,2]");
    check("INSERT INTO t VALUES (:a, :c) RETURNING *", vec![named("a", 2), named("b", 3)], "[2,NULL]");
    check("SELECT ?", vec![named(":n", 2)], "name \":n\" does not begin with a letter");
    check("INSERT INTO t(v) VALUES (?); INSERT INTO t(v) VALUES (?) RETURNING v", vec![integer(4), integer(5)], "[5]");
    // The count is of all arguments.
    check("INSERT INTO t(v) VALUES (?); SELECT ?", vec![integer(4)], "not enough args to execute query: want 1 got 1");
}

#[test]
fn reads() {
    let mut node = node();
    node.run("INSERT INTO t(v) VALUES (7)");
    let path = node.main_path();
    let check = |sqls: &[&str], want: &str| {
        let reader = Connection::open(&path, "unix-excl", Role::Reader).unwrap();
        assert_eq!(read(reader, sqls), want, "{sqls:?}");
    };
    check(&["SELECT 1; SELECT v FROM t"], "v:Integer(7)");
    check(&["INSERT INTO t(v) VALUES (8); SELECT count(*) n FROM t"], "n:Integer(1)");
    check(&["SELECT 1; -- c"], ":");
    check(&["", ";"], ":");
    check(&["nonsense", "SELECT v FROM t"], "near \"nonsense\": syntax error; v:Integer(7)");
    check(&["DELETE FROM t"], "attempt to change database via query operation");
    check(&["PRAGMA user_version=3"], "attempt to change database via query operation");
    let reader = Connection::open(&path, "unix-excl", Role::Reader).unwrap();
    let few = vec![statement("SELECT ?; SELECT ?", vec![integer(1)])];
    assert_eq!(read_statements(reader, few), "not enough args to execute query: want 1 got 0");
    assert_eq!(node.apply(request(&[])), Executed::default());
}
