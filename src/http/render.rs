//! Results as the client sees them: straight from SQLite's values to bytes, while rows are still being read.
//!
//! ```text
//!   {"results":[ {..} , {..} , ..  ],"error":..,"time":..,"sequence_number":..,"raft_index":..}
//!   new()        begin row* end      finish(Trailer)
//!                └── taken at any time: take() ──► socket
//! ```
//!
//! A statement that fails after some of its rows were read shows its error alone, as in the reference: what was written
//! of it is withdrawn. That works until its bytes are taken; from then on the answer can only be broken off, see
//! [`Render::broken`].

use std::time::Duration;

use bytes::Bytes;

use super::{
    date,
    json::{Json, Mark},
};
use crate::db::value::{Columns, RowSink, StatementResult, ValueRef};

/// How the client wants its results.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    pub pretty: bool,
    pub timings: bool,
    /// Rows as maps.
    pub associative: bool,
    /// BLOBs as arrays of numbers rather than base64.
    pub blob_array: bool,
    /// Names of the columns of reads as `table.column`.
    pub qualify_columns: bool,
}

/// What stands behind the results; what is empty or zero is left out.
#[derive(Clone, Copy, Debug, Default)]
pub struct Trailer<'a> {
    /// The request failed as a whole: results that are there are withdrawn.
    pub error: Option<&'a str>,
    /// Shown if the client asked for timings.
    pub elapsed: Duration,
    pub sequence_number: i64,
    pub raft_index: u64,
}

/// Why the answer can't be completed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Broken {
    /// Nothing was taken yet: answer a plain 500 with this text.
    Unsent(String),
    /// Some of it was taken: break the connection, so that the client doesn't mistake it for a whole answer.
    Sent,
}

/// Writes one response body.
///
/// Reads come through [`RowSink`], writes through [`Render::result`], in any order.
pub struct Render {
    options: Options,
    json: Json,
    /// Before the first result.
    start: Mark,
    statement: Option<Statement>,
    broken: Option<Broken>,
}

/// A result in progress.
struct Statement {
    /// Before it.
    start: Mark,
    columns: Vec<Column>,
    /// Which columns a map shows, in the order of their names.
    sorted: Vec<usize>,
    rows: u64,
    is_read: bool,
}

struct Column {
    name: String,
    /// What the client is told: the declared type, or if there is none, the first row's.
    kind: String,
    conversion: Conversion,
}

/// What the declared type makes of a value.
#[derive(Clone, Copy)]
enum Conversion {
    None,
    Date,
    Boolean,
}

impl Render {
    pub fn new(options: Options) -> Render {
        let mut json = Json::new(options.pretty);
        json.open(b'{');
        json.key("results");
        json.open(b'[');
        let start = json.mark();
        Render { options, json, start, statement: None, broken: None }
    }

    /// The result of a statement on the write path.
    pub fn result(&mut self, result: &StatementResult) {
        match result {
            StatementResult::Write { last_insert_id, rows_affected, elapsed } => {
                self.write_counts(*last_insert_id, *rows_affected, *elapsed);
            }
            StatementResult::Rows { columns, rows, elapsed, is_read } => {
                self.open(columns, *is_read);
                let failed = rows.iter().find_map(|row| self.add_row(row.iter().map(|value| value.borrow())).err());
                match failed {
                    Some(text) => self.fail(&text, *is_read),
                    None => self.close(*elapsed),
                }
            }
            StatementResult::Error(text) => self.fail(text, false),
            StatementResult::ReadError(text) => self.fail(text, true),
        }
    }

    /// Hands over what is written so far; nothing once the answer is broken. The sooner it is called, the less can be
    /// withdrawn.
    pub fn take(&mut self) -> Bytes {
        if self.broken.is_some() { Bytes::new() } else { self.json.take() }
    }

    /// Once it is there, everything further is ignored.
    pub fn broken(&self) -> Option<&Broken> {
        self.broken.as_ref()
    }

    /// The rest of the body.
    pub fn finish(mut self, trailer: Trailer) -> Result<Bytes, Broken> {
        if let Some(broken) = self.broken {
            return Err(broken);
        }
        assert!(self.statement.is_none(), "a result was begun and not ended");

        let error = trailer.error.unwrap_or("");
        if !error.is_empty() && !self.json.rewind(self.start) {
            return Err(Broken::Sent);
        }
        self.json.close(b']');
        if !error.is_empty() {
            self.json.key("error");
            self.json.string(error.as_bytes());
        }
        self.write_time(trailer.elapsed);
        if trailer.sequence_number != 0 {
            self.json.key("sequence_number");
            self.json.integer(trailer.sequence_number);
        }
        if trailer.raft_index != 0 {
            self.json.key("raft_index");
            self.json.unsigned(trailer.raft_index);
        }
        self.json.close(b'}');
        Ok(self.json.take())
    }

    fn write_counts(&mut self, last_insert_id: i64, rows_affected: i64, elapsed: Duration) {
        self.json.item();
        self.json.open(b'{');
        for (key, count) in [("last_insert_id", last_insert_id), ("rows_affected", rows_affected)] {
            if count != 0 {
                self.json.key(key);
                self.json.integer(count);
            }
        }
        self.write_time(elapsed);
        if self.options.associative {
            self.json.key("rows");
            self.json.literal("null");
        }
        self.json.close(b'}');
    }

    /// Begins the rows of a read, or of a RETURNING clause, whose columns are never qualified. They end as those of
    /// [`RowSink`].
    pub fn open(&mut self, columns: &Columns, is_read: bool) {
        assert!(self.statement.is_none(), "a result begins after the one before has ended");
        if self.broken.is_some() {
            return;
        }
        let qualify = is_read && self.options.qualify_columns;
        let start = self.json.mark();
        self.json.item();
        self.json.open(b'{');

        let columns: Vec<Column> = (0..columns.names.len()).map(|at| Column::new(columns, at, qualify)).collect();
        let mut sorted: Vec<usize> = (0..columns.len()).collect();
        if self.options.associative {
            // Of equal names the last one counts.
            sorted.sort_by_key(|at| (&columns[*at].name, std::cmp::Reverse(*at)));
            sorted.dedup_by_key(|at| &columns[*at].name);
        }
        self.statement = Some(Statement { start, columns, sorted, rows: 0, is_read });
    }

    /// One row. An error is a text for the client.
    fn add_row<'a>(&mut self, row: impl ExactSizeIterator<Item = ValueRef<'a>>) -> Result<(), String> {
        if self.broken.is_some() {
            return Err("the response is broken".to_string());
        }
        let mut statement = self.statement.take().expect("a row belongs to a result");
        assert_eq!(row.len(), statement.columns.len(), "a row has one value per column");
        let row: Vec<ValueRef> = row.collect();

        statement.rows += 1;
        if statement.rows == 1 {
            for (column, value) in statement.columns.iter_mut().zip(&row) {
                column.learn(*value);
            }
            self.write_head(&statement);
        }

        self.json.item();
        let written = self.write_row(&statement, &row);
        self.statement = Some(statement);
        written
    }

    fn write_row(&mut self, statement: &Statement, row: &[ValueRef]) -> Result<(), String> {
        let associative = self.options.associative;
        self.json.open(if associative { b'{' } else { b'[' });
        for at in &statement.sorted {
            let column = &statement.columns[*at];
            if associative {
                self.json.key(&column.name);
            } else {
                self.json.item();
            }
            self.write_value(column, row[*at])?;
        }
        self.json.close(if associative { b'}' } else { b']' });
        Ok(())
    }

    fn write_value(&mut self, column: &Column, value: ValueRef) -> Result<(), String> {
        match (value, column.conversion) {
            (ValueRef::Null, _) => self.json.literal("null"),
            (ValueRef::Integer(integer), Conversion::Date) => self.json.string(date::of_integer(integer)?.as_bytes()),
            (ValueRef::Integer(integer), Conversion::Boolean) => {
                self.json.literal(if integer > 0 { "true" } else { "false" });
            }
            (ValueRef::Integer(integer), Conversion::None) => self.json.integer(integer),
            (ValueRef::Real(real), _) if real.is_infinite() => return Err(self.refuse_infinity(real)),
            (ValueRef::Real(real), _) => self.json.real(real),
            (ValueRef::Text(text), Conversion::Date) => self.json.string(date::of_text(text)?.as_bytes()),
            (ValueRef::Text(text), _) => self.json.string(text),
            (ValueRef::Blob(blob), _) if column.is_textual() => self.json.string(blob),
            (ValueRef::Blob(blob), _) if self.options.blob_array => self.json.byte_array(blob),
            (ValueRef::Blob(blob), _) => self.json.base64(blob),
        }
        Ok(())
    }

    /// Quirk: an infinity fails the whole request, not the statement; kept from the reference.
    fn refuse_infinity(&mut self, real: f64) -> String {
        let sign = if real > 0.0 { '+' } else { '-' };
        let text =
            format!("json: error calling MarshalJSON for type *http.DBResults: json: unsupported value: {sign}Inf");
        let broken = if self.json.is_taken() { Broken::Sent } else { Broken::Unsent(text.clone()) };
        self.broken = Some(broken);
        text
    }

    /// What stands before the rows. Written with the first of them, since only then all types are known.
    fn write_head(&mut self, statement: &Statement) {
        if self.options.associative {
            if !statement.columns.is_empty() {
                self.json.key("types");
                self.json.open(b'{');
                for at in &statement.sorted {
                    let column = &statement.columns[*at];
                    self.json.key(&column.name);
                    self.json.string(column.kind.as_bytes());
                }
                self.json.close(b'}');
            }
            self.json.key("rows");
            self.json.open(b'[');
            return;
        }

        if !statement.columns.is_empty() {
            self.write_strings("columns", statement.columns.iter().map(|column| column.name.as_str()));
            self.write_strings("types", statement.columns.iter().map(|column| column.kind.as_str()));
        }
        if statement.rows > 0 {
            self.json.key("values");
            self.json.open(b'[');
        }
    }

    fn write_strings<'a>(&mut self, key: &str, strings: impl Iterator<Item = &'a str>) {
        self.json.key(key);
        self.json.open(b'[');
        for string in strings {
            self.json.item();
            self.json.string(string.as_bytes());
        }
        self.json.close(b']');
    }

    fn close(&mut self, elapsed: Duration) {
        if self.broken.is_some() {
            self.statement = None;
            return;
        }
        let statement = self.statement.take().expect("what ends was begun");
        if statement.rows == 0 {
            self.write_head(&statement);
        }
        if statement.rows > 0 || self.options.associative {
            self.json.close(b']');
        }
        self.write_time(elapsed);
        self.json.close(b'}');
    }

    /// The statement in progress, or a new one, failed. Quirk: `rows` is empty on the read path, absent on the other.
    fn fail(&mut self, text: &str, is_read: bool) {
        let begun = self.statement.take();
        if self.broken.is_some() {
            return;
        }
        let is_read = begun.as_ref().map_or(is_read, |statement| statement.is_read);
        if let Some(statement) = begun
            && !self.json.rewind(statement.start)
        {
            self.broken = Some(Broken::Sent);
            return;
        }

        self.json.item();
        self.json.open(b'{');
        if is_read && self.options.associative {
            self.json.key("rows");
            self.json.open(b'[');
            self.json.close(b']');
        }
        self.json.key("error");
        self.json.string(text.as_bytes());
        self.json.close(b'}');
    }

    fn write_time(&mut self, elapsed: Duration) {
        if self.options.timings && !elapsed.is_zero() {
            self.json.key("time");
            self.json.real(elapsed.as_secs_f64());
        }
    }
}

/// Results of the read path.
impl RowSink for Render {
    fn begin(&mut self, columns: &Columns) {
        self.open(columns, true);
    }

    /// An error leaves the statement to be ended by [`RowSink::error`] with that text.
    fn row(&mut self, row: &[ValueRef<'_>]) -> Result<(), String> {
        self.add_row(row.iter().copied())
    }

    fn end(&mut self, elapsed: Duration) {
        self.close(elapsed);
    }

    fn error(&mut self, text: &str) {
        self.fail(text, true);
    }

    fn buffered(&self) -> usize {
        self.json.buffered()
    }
}

impl Column {
    fn new(columns: &Columns, at: usize, qualify: bool) -> Column {
        let name = match &columns.tables[at] {
            Some(table) if qualify => format!("{table}.{}", columns.names[at]),
            _ => columns.names[at].clone(),
        };
        let kind = columns.decltypes[at].to_lowercase();
        let conversion = match kind.as_str() {
            "date" | "datetime" | "timestamp" => Conversion::Date,
            "boolean" => Conversion::Boolean,
            _ => Conversion::None,
        };
        Column { name, kind, conversion }
    }

    /// The first row tells the type of a column that declares none; a NULL leaves it empty for good.
    fn learn(&mut self, value: ValueRef) {
        if self.kind.is_empty() {
            self.kind.push_str(match value {
                ValueRef::Null => "",
                ValueRef::Integer(_) => "integer",
                ValueRef::Real(_) => "real",
                ValueRef::Text(_) | ValueRef::Blob(_) => "text",
            });
        }
    }

    /// Whether a BLOB in this column shows as text.
    fn is_textual(&self) -> bool {
        const PREFIXES: [&str; 6] = ["varchar", "varying character", "nchar", "native character", "nvarchar", "clob"];
        matches!(self.kind.as_str(), "" | "text" | "json")
            || PREFIXES.iter().any(|prefix| self.kind.starts_with(prefix))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Broken, Options, Render, Trailer};
    use crate::db::value::{Columns, RowSink, StatementResult, Value};

    const TIME: Duration = Duration::from_micros(1500);

    #[test]
    fn writes() {
        check(plain(), |_| {}, r#"{"results":[]}"#);
        check(plain(), |render| render.result(&write(0, 0)), r#"{"results":[{}]}"#);
        check(
            plain(),
            |render| {
                render.result(&write(1, 2));
                render.result(&write(-5, 0));
                render.result(&StatementResult::Error("near \"SELEKT\": syntax error".into()));
            },
            r#"{"results":[{"last_insert_id":1,"rows_affected":2},{"last_insert_id":-5},{"error":"near \"SELEKT\": syntax error"}]}"#,
        );
        check(
            Options { associative: true, timings: true, ..plain() },
            |render| {
                render.result(&write(1, 1));
                render.result(&StatementResult::Error("no".into()));
            },
            r#"{"results":[{"last_insert_id":1,"rows_affected":1,"time":0.0015,"rows":null},{"error":"no"}]}"#,
        );
    }

    #[test]
    fn reads() {
        let crew = columns(&[("id", "INTEGER"), ("nick", "Varchar(20)")]);
        let rows = [[Value::Integer(1), text("ada")], [Value::Integer(2), Value::Null]];
        let read = |render: &mut Render| query(render, &crew, rows.iter().map(|row| &row[..]));

        check(
            plain(),
            read,
            r#"{"results":[{"columns":["id","nick"],"types":["integer","varchar(20)"],"values":[[1,"ada"],[2,null]]}]}"#,
        );
        check(
            Options { timings: true, ..plain() },
            read,
            r#"{"results":[{"columns":["id","nick"],"types":["integer","varchar(20)"],"values":[[1,"ada"],[2,null]],"time":0.0015}]}"#,
        );
        check(
            Options { associative: true, timings: true, qualify_columns: true, ..plain() },
            read,
            r#"{"results":[{"types":{"crew.id":"integer","crew.nick":"varchar(20)"},"rows":[{"crew.id":1,"crew.nick":"ada"},{"crew.id":2,"crew.nick":null}],"time":0.0015}]}"#,
        );

        let none = |render: &mut Render| query(render, &crew, []);
        check(plain(), none, r#"{"results":[{"columns":["id","nick"],"types":["integer","varchar(20)"]}]}"#);
        check(
            Options { associative: true, ..plain() },
            none,
            r#"{"results":[{"types":{"id":"integer","nick":"varchar(20)"},"rows":[]}]}"#,
        );

        let empty = |render: &mut Render| query(render, &Columns::default(), []);
        check(plain(), empty, r#"{"results":[{}]}"#);
        check(Options { associative: true, ..plain() }, empty, r#"{"results":[{"rows":[]}]}"#);
    }

    #[test]
    fn maps_are_sorted_and_the_last_of_equal_names_counts() {
        let named = columns(&[("z", ""), ("a", ""), ("M", ""), ("a", "")]);
        let row = [1, 2, 3, 4].map(Value::Integer);
        check(
            Options { associative: true, ..plain() },
            |render| query(render, &named, [&row[..]]),
            r#"{"results":[{"types":{"M":"integer","a":"integer","z":"integer"},"rows":[{"M":3,"a":4,"z":1}]}]}"#,
        );
    }

    #[test]
    fn returning_is_neither_qualified_nor_counted() {
        let result = StatementResult::Rows {
            columns: columns(&[("id", "integer")]),
            rows: vec![vec![Value::Integer(3)]],
            elapsed: TIME,
            is_read: false,
        };
        check(
            Options { associative: true, qualify_columns: true, ..plain() },
            |render| render.result(&result),
            r#"{"results":[{"types":{"id":"integer"},"rows":[{"id":3}]}]}"#,
        );
    }

    #[test]
    fn values_follow_the_declared_type() {
        let int = Value::Integer;
        value("", int(i64::MIN), r#"integer -9223372036854775808"#);
        value("", Value::Real(2.0), "real 2");
        value("", text("a<b"), r#"text "a\u003cb""#);
        value("", Value::Blob(b"abc".into()), r#"text "abc""#);
        value("", Value::Null, " null");
        value("boolean", int(1), "boolean true");
        value("BOOLEAN", int(-1), "boolean false");
        value("boolean", text("true"), r#"boolean "true""#);
        value("boolean", Value::Real(0.5), "boolean 0.5");
        value("bool", int(1), "bool 1");
        value("date", int(0), r#"date "1970-01-01T00:00:00Z""#);
        value("DateTime", text("2021-06-07 08:09"), r#"datetime "2021-06-07T08:09:00Z""#);
        value("timestamp", text("x"), r#"timestamp "0001-01-01T00:00:00Z""#);
        value("timestamp", Value::Real(1.5), "timestamp 1.5");
        value("timestamp", Value::Blob(b"x".into()), r#"timestamp "eA==""#);
        value("datetime(6)", text("2021-06-07"), r#"datetime(6) "2021-06-07""#);
        value("blob", text("abc"), r#"blob "abc""#);
        value("blob", Value::Blob(vec![]), r#"blob """#);
        value("json", Value::Blob(b"{}\xff".into()), r#"json "{}\ufffd""#);
        value("clob(1)", Value::Blob(b"x".into()), r#"clob(1) "x""#);
        value("character(5)", Value::Blob(b"abc".into()), r#"character(5) "YWJj""#);

        #[track_caller]
        fn value(decltype: &str, value: Value, want: &str) {
            let mut render = Render::new(plain());
            query(&mut render, &columns(&[("c", decltype)]), [&[value][..]]);
            let body = finished(render, Trailer::default());
            let result = &serde_json::from_str::<serde_json::Value>(&body).unwrap()["results"][0];
            let shown = body.split_once(r#""values":[["#).unwrap().1.strip_suffix("]]}]}").unwrap();
            assert_eq!(format!("{} {shown}", result["types"][0].as_str().unwrap()), want);
        }
    }

    #[test]
    fn later_rows_follow_the_type_of_the_first() {
        let rows = [[Value::Integer(1)], [text("a")], [Value::Blob(b"abc".into())], [Value::Real(2.5)]];
        let read = |render: &mut Render| query(render, &columns(&[("c", "")]), rows.iter().map(|row| &row[..]));
        check(
            plain(),
            read,
            r#"{"results":[{"columns":["c"],"types":["integer"],"values":[[1],["a"],["YWJj"],[2.5]]}]}"#,
        );
        check(
            Options { blob_array: true, ..plain() },
            read,
            r#"{"results":[{"columns":["c"],"types":["integer"],"values":[[1],["a"],[[97,98,99]],[2.5]]}]}"#,
        );
    }

    #[test]
    fn a_failed_statement_shows_nothing_but_its_error() {
        let fails = |render: &mut Render| {
            query(render, &columns(&[("a", "")]), [&[Value::Integer(1)][..]]);
            render.begin(&columns(&[("b", "")]));
            render.row(&[Value::Integer(2).borrow()]).unwrap();
            render.error("integer overflow");
            query(render, &columns(&[("dt", "datetime")]), [&[Value::Integer(1_000_000_000_000)][..]]);
            render.error("no such table: ghost");
            render.result(&StatementResult::Rows {
                columns: columns(&[("dt", "datetime")]),
                rows: vec![vec![Value::Integer(1_000_000_000_000)]],
                elapsed: TIME,
                is_read: false,
            });
        };
        check(
            plain(),
            fails,
            r#"{"results":[{"columns":["a"],"types":["integer"],"values":[[1]]},{"error":"integer overflow"},{"error":"Time.MarshalText: year outside of range [0,9999]"},{"error":"no such table: ghost"},{"error":"Time.MarshalText: year outside of range [0,9999]"}]}"#,
        );
        check(
            Options { associative: true, ..plain() },
            fails,
            r#"{"results":[{"types":{"a":"integer"},"rows":[{"a":1}]},{"rows":[],"error":"integer overflow"},{"rows":[],"error":"Time.MarshalText: year outside of range [0,9999]"},{"rows":[],"error":"no such table: ghost"},{"error":"Time.MarshalText: year outside of range [0,9999]"}]}"#,
        );
    }

    #[test]
    fn a_statement_that_fails_after_its_rows_were_taken_breaks_the_answer() {
        let mut render = Render::new(plain());
        render.begin(&columns(&[("a", "")]));
        render.row(&[Value::Integer(1).borrow()]).unwrap();
        assert_eq!(&render.take()[..], br#"{"results":[{"columns":["a"],"types":["integer"],"values":[[1]"#);
        render.row(&[Value::Integer(2).borrow()]).unwrap();
        render.error("integer overflow");

        assert_eq!(render.broken(), Some(&Broken::Sent));
        assert!(render.take().is_empty());
        assert_eq!(render.finish(Trailer::default()), Err(Broken::Sent));
    }

    #[test]
    fn a_statement_that_fails_after_others_were_taken_is_withdrawn() {
        let mut render = Render::new(plain());
        render.result(&write(0, 0));
        assert_eq!(&render.take()[..], br#"{"results":[{}"#);
        render.begin(&columns(&[("a", "")]));
        render.row(&[Value::Integer(1).borrow()]).unwrap();
        render.error("integer overflow");
        assert_eq!(finished(render, Trailer::default()), r#",{"error":"integer overflow"}]}"#);
    }

    #[test]
    fn an_infinity_fails_the_request() {
        let infinity = [Value::Real(f64::INFINITY)];
        let mut render = Render::new(plain());
        query(&mut render, &columns(&[("a", "")]), [&infinity[..]]);
        query(&mut render, &columns(&[("a", "")]), [&[Value::Null][..]]);
        render.result(&write(1, 1));
        let text = "json: error calling MarshalJSON for type *http.DBResults: json: unsupported value: +Inf";
        assert_eq!(render.finish(Trailer::default()), Err(Broken::Unsent(text.into())));

        let mut render = Render::new(plain());
        render.take();
        query(&mut render, &columns(&[("a", "")]), [&infinity[..]]);
        assert_eq!(render.finish(Trailer::default()), Err(Broken::Sent));
    }

    #[test]
    fn a_failed_request_has_no_results() {
        let mut render = Render::new(Options { timings: true, ..plain() });
        render.result(&write(1, 1));
        let trailer = Trailer {
            error: Some("stale read"),
            elapsed: Duration::from_millis(20),
            sequence_number: 7,
            raft_index: 9,
        };
        assert_eq!(
            finished(render, trailer),
            r#"{"results":[],"error":"stale read","time":0.02,"sequence_number":7,"raft_index":9}"#,
        );
    }

    #[test]
    fn pretty() {
        let mut render = Render::new(Options { pretty: true, blob_array: true, ..plain() });
        query(&mut render, &columns(&[("b", "blob")]), [&[Value::Blob(vec![1, 2])][..], &[Value::Blob(vec![])][..]]);
        render.result(&write(0, 0));
        insta::assert_snapshot!(finished(render, Trailer { raft_index: 3, ..Trailer::default() }), @r#"
        {
            "results": [
                {
                    "columns": [
                        "b"
                    ],
                    "types": [
                        "blob"
                    ],
                    "values": [
                        [
                            [
                                1,
                                2
                            ]
                        ],
                        [
                            []
                        ]
                    ]
                },
                {}
            ],
            "raft_index": 3
        }
        "#);

        let mut render = Render::new(Options { pretty: true, associative: true, ..plain() });
        query(&mut render, &columns(&[("id", "integer")]), []);
        render.error("no such table: ghost");
        insta::assert_snapshot!(finished(render, Trailer::default()), @r#"
        {
            "results": [
                {
                    "types": {
                        "id": "integer"
                    },
                    "rows": []
                },
                {
                    "rows": [],
                    "error": "no such table: ghost"
                }
            ]
        }
        "#);
        insta::assert_snapshot!(finished(Render::new(Options { pretty: true, ..plain() }), Trailer::default()), @r#"
        {
            "results": []
        }
        "#);
    }

    #[track_caller]
    fn check(options: Options, fill: impl FnOnce(&mut Render), want: &str) {
        let mut render = Render::new(options);
        fill(&mut render);
        assert_eq!(finished(render, Trailer::default()), want);
    }

    fn finished(render: Render, trailer: Trailer) -> String {
        String::from_utf8(render.finish(trailer).expect("not broken").to_vec()).unwrap()
    }

    fn query<'a>(render: &mut Render, columns: &Columns, rows: impl IntoIterator<Item = &'a [Value]>) {
        render.begin(columns);
        for row in rows {
            let row: Vec<_> = row.iter().map(Value::borrow).collect();
            if let Err(text) = render.row(&row) {
                return render.error(&text);
            }
        }
        render.end(TIME);
    }

    fn columns(columns: &[(&str, &str)]) -> Columns {
        Columns {
            names: columns.iter().map(|(name, _)| name.to_string()).collect(),
            decltypes: columns.iter().map(|(_, decltype)| decltype.to_string()).collect(),
            tables: vec![Some("crew".to_string()); columns.len()],
        }
    }

    fn write(last_insert_id: i64, rows_affected: i64) -> StatementResult {
        StatementResult::Write { last_insert_id, rows_affected, elapsed: TIME }
    }

    fn text(text: &str) -> Value {
        Value::Text(text.into())
    }

    fn plain() -> Options {
        Options::default()
    }
}
