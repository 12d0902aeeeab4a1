//! Results as text: one writer for each `.mode`.
//!
//! Source: shell.md §4. What looks odd there is kept, since scripts read it: see the quirks.

use std::collections::BTreeMap;
use std::io::{self, Write};

use super::results::{Sink, Value, Written};
use super::settings::Mode;

/// How a result is shown.
#[derive(Clone, Copy, Debug, Default)]
pub struct Style {
    pub mode: Mode,
    /// Show the last insert ID behind a write.
    pub changes: bool,
    pub timer: bool,
}

/// The first pass of [`Mode::Column`].
#[derive(Debug, Default)]
pub struct Measure {
    widths: Vec<usize>,
}

impl Sink for Measure {
    fn columns(&mut self, columns: &[Value]) -> io::Result<()> {
        self.widths = columns.iter().map(|column| column.text().len()).collect();
        Ok(())
    }

    fn row(&mut self, row: &[Value]) -> io::Result<()> {
        for (width, value) in self.widths.iter_mut().zip(row) {
            *width = (*width).max(cell(value, "<nil>").len());
        }
        Ok(())
    }

    fn end(&mut self, _: Option<f64>) -> io::Result<()> {
        Ok(())
    }

    fn written(&mut self, _: Written) -> io::Result<()> {
        Ok(())
    }
}

/// Writes results to `out`.
pub struct Writer<'a> {
    out: &'a mut dyn Write,
    style: Style,
    widths: Vec<usize>,
    columns: Vec<Column>,
    rows: u64,
}

struct Column {
    name: String,
    json: String,
}

impl<'a> Writer<'a> {
    /// `measured` is the first pass over the same results; only [`Mode::Column`] needs one.
    pub fn new(out: &'a mut dyn Write, style: Style, measured: Measure) -> Writer<'a> {
        Writer { out, style, widths: measured.widths, columns: Vec::new(), rows: 0 }
    }

    fn rule(&mut self) -> io::Result<()> {
        let dashes = self.widths.iter().map(|width| "-".repeat(width + 2));
        let rule: Vec<String> = dashes.collect();
        writeln!(self.out, "+{}+", rule.join("+"))
    }

    /// Quirk: a cell is as wide as its longest text in bytes, and padded by characters, so other than ASCII misaligns.
    fn table_row(&mut self, cells: &[String]) -> io::Result<()> {
        for (cell, width) in cells.iter().zip(&self.widths) {
            write!(self.out, "| {cell:width$} ")?;
        }
        writeln!(self.out, "|")
    }

    fn csv_row(&mut self, cells: &[String]) -> io::Result<()> {
        let fields: Vec<String> = cells.iter().map(|cell| csv_field(cell)).collect();
        writeln!(self.out, "{}", fields.join(","))
    }

    /// Quirk: in the order of the names; of columns with the same name the last one counts.
    fn json_row(&mut self, row: &[Value]) -> io::Result<()> {
        write!(self.out, "{}", if self.rows == 0 { "[\n  {" } else { ",\n  {" })?;
        let fields: BTreeMap<&str, (&str, &Value)> =
            self.columns.iter().zip(row).map(|(column, value)| (&*column.name, (&*column.json, value))).collect();
        for (index, (name, value)) in fields.into_values().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(self.out, "{comma}\n    {name}: {}", indented(value))?;
        }
        write!(self.out, "\n  }}")
    }

    /// Quirk: names are aligned to the longest in bytes, by characters.
    fn line_row(&mut self, row: &[Value]) -> io::Result<()> {
        if self.rows > 0 {
            writeln!(self.out)?;
        }
        let width = self.columns.iter().map(|column| column.name.len()).max().unwrap_or(0);
        for (column, value) in self.columns.iter().zip(row) {
            writeln!(self.out, "{:>width$} = {}", column.name, cell(value, "NULL"))?;
        }
        Ok(())
    }
}

impl Sink for Writer<'_> {
    fn columns(&mut self, columns: &[Value]) -> io::Result<()> {
        self.rows = 0;
        self.columns = columns.iter().map(|name| Column { name: name.text(), json: name.json().to_string() }).collect();
        let names: Vec<String> = columns.iter().map(Value::text).collect();
        match self.style.mode {
            Mode::Column => {
                self.rule()?;
                self.table_row(&names)?;
                self.rule()
            }
            Mode::Csv => self.csv_row(&names),
            Mode::Json | Mode::Line => Ok(()),
        }
    }

    fn row(&mut self, row: &[Value]) -> io::Result<()> {
        let cells = |null: &str| -> Vec<String> { row.iter().map(|value| cell(value, null)).collect() };
        match self.style.mode {
            Mode::Column => {
                self.table_row(&cells("<nil>"))?;
                self.rule()?;
            }
            Mode::Csv => self.csv_row(&cells("NULL"))?,
            Mode::Json => self.json_row(row)?,
            Mode::Line => self.line_row(row)?,
        }
        self.rows += 1;
        Ok(())
    }

    fn end(&mut self, seconds: Option<f64>) -> io::Result<()> {
        if self.style.mode == Mode::Json {
            writeln!(self.out, "{}", if self.rows == 0 { "[]" } else { "\n]" })?;
        }
        if self.style.timer {
            writeln!(self.out, "Run Time: {:.6} seconds", seconds.unwrap_or(0.0))?;
        }
        Ok(())
    }

    fn written(&mut self, written: Written) -> io::Result<()> {
        let affected = written.rows_affected;
        let rows = if affected > 1 { "rows" } else { "row" };
        write!(self.out, "{affected} {rows} affected")?;
        if self.style.timer {
            write!(self.out, " ({:.6} sec)", written.seconds.unwrap_or(0.0))?;
        }
        writeln!(self.out)?;
        if self.style.changes {
            writeln!(self.out, "last insert ID: {}", written.last_insert_id)?;
        }
        Ok(())
    }
}

fn cell(value: &Value, null: &str) -> String {
    if value.is_null() { null.to_string() } else { value.text() }
}

/// Source: Go `encoding/csv` `Writer.fieldNeedsQuotes`.
fn csv_field(text: &str) -> String {
    let is_quoted =
        text == r"\." || text.contains([',', '"', '\r', '\n']) || text.starts_with(|first: char| first.is_whitespace());
    if is_quoted { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.to_string() }
}

/// A value inside of two levels. Only bytes as an array take more than a line.
fn indented(value: &Value) -> String {
    let json = value.json();
    match json.strip_prefix('[').and_then(|json| json.strip_suffix(']')) {
        None => json.to_string(),
        Some("") => "[]".to_string(),
        Some(bytes) => {
            let bytes: Vec<String> = bytes.split(',').map(|byte| format!("\n      {}", byte.trim())).collect();
            format!("[{}\n    ]", bytes.join(","))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Measure, Style, Writer};
    use crate::shell::results::parse_text;
    use crate::shell::settings::Mode;

    const ROWS: &str = r#"{"results":[{"columns":["id","name","score","data"],"types":["integer","text","real","blob"],
        "values":[[1,"fiona",1.5,"AP9B"],[2,"it's \"q\", x",null,null],[3,"日本語",2,"AAA="],[4,"multi\nline",null,null]],
        "time":0.00003}]}"#;

    #[test]
    fn a_table_in_every_mode() {
        insta::assert_snapshot!(every_mode(ROWS));
    }

    #[test]
    fn no_rows_in_every_mode() {
        insta::assert_snapshot!(every_mode(r#"{"results":[{"columns":["id","é"],"types":["integer","text"]}]}"#));
    }

    #[test]
    fn odd_values_in_every_mode() {
        insta::assert_snapshot!(every_mode(
            r#"{"results":[{"columns":["big","r","t","e","n","h\"","bytes","a","a"],"types":["","","","","","","","",""],
            "values":[[9223372036854775807,1e+100,true,"","NULL","\u003c\u0026\u003e",[0,255,65],1,2],
                [-0,100000000000000000000,false," x","\\.","\u2028",[],"a\r","\"\""]]}]}"#
        ));
    }

    #[test]
    fn writes_and_errors() {
        check(r#"{"results":[{}]}"#, "0 row affected\n");
        check(r#"{"results":[{"last_insert_id":6,"rows_affected":1,"time":0.000065}]}"#, "1 row affected\n");
        check(r#"{"results":[{"rows_affected":2}]}"#, "2 rows affected\n");
        check(r#"{"results":[{"error":"near \"SELEC\": syntax error"}]}"#, "near \"SELEC\": syntax error");
        check(r#"{"results":[],"error":"stale read"}"#, "stale read");
        check(r#"{"results":[]}"#, "unexpected answer: no results");
        check(r#"{"results":[{"columns":["a"],"values":null}]}"#, "a\n");
        check("", "unexpected answer: EOF while parsing a value at line 1 column 0");
        check("[]", "unexpected answer: invalid type: sequence, expected an object with results at line 1 column 1");
        check(r#"{"results":[{}]} x"#, "unexpected answer: trailing characters at line 1 column 18");

        let style = Style { changes: true, timer: true, mode: Mode::Csv };
        let json = r#"{"results":[{"last_insert_id":6,"rows_affected":1,"time":0.000065}]}"#;
        assert_eq!(show(json, style), "1 row affected (0.000065 sec)\nlast insert ID: 6\n");
        let json = r#"{"results":[{"columns":["a"],"types":[""],"values":[[1]],"time":0.00003}]}"#;
        assert_eq!(show(json, style), "a\n1\nRun Time: 0.000030 seconds\n");

        #[track_caller]
        fn check(json: &str, want: &str) {
            assert_eq!(show(json, Style { mode: Mode::Csv, ..Style::default() }), want, "{json}");
        }
    }

    fn every_mode(json: &str) -> String {
        let modes = [Mode::Column, Mode::Csv, Mode::Json, Mode::Line];
        let shown = modes.map(|mode| format!("-- {mode:?}\n{}", show(json, Style { mode, ..Style::default() })));
        shown.concat()
    }

    fn show(json: &str, style: Style) -> String {
        let mut measure = Measure::default();
        if let Err(error) = parse_text(json, &mut measure) {
            return error.to_string();
        }
        let mut out = Vec::new();
        parse_text(json, &mut Writer::new(&mut out, style, measure)).unwrap();
        String::from_utf8(out).unwrap()
    }
}
