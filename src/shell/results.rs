//! Results of statements, as JSON from the server to events for a [`Sink`].
//!
//! The body is taken in whole before anything is shown: a broken transfer shows no half results, and a table needs two
//! passes, one for the widths of its columns. Beyond [`MEMORY_MAX`] it waits in an unnamed temporary file, so that a
//! result of any size takes constant memory.
//!
//! ```text
//!   socket ─► Spool (memory, then file) ─► parse ─► Sink: columns, row*, ..
//!                                        └► again, for the second pass
//! ```

use std::fmt;
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use tempfile::SpooledTempFile;

use super::client::Answer;
use super::error::Error;

/// Bytes of a body that are held in memory.
const MEMORY_MAX: usize = 4 << 20;

/// A body that can be read more than once.
pub struct Spool(SpooledTempFile);

impl Spool {
    pub async fn take(mut answer: Answer) -> Result<Spool, Error> {
        let mut file = tempfile::spooled_tempfile(MEMORY_MAX);
        while let Some(chunk) = answer.chunk().await? {
            file.write_all(&chunk)?;
        }
        Ok(Spool(file))
    }

    /// Reads the body as results of statements.
    ///
    /// Errors: [`Error::Sql`] if the request or a statement of it failed; what `sink` answers.
    pub fn parse(&mut self, sink: &mut dyn Sink) -> Result<(), Error> {
        self.0.seek(SeekFrom::Start(0))?;
        parse(BufReader::with_capacity(64 << 10, &mut self.0), sink)
    }
}

/// A value as the server wrote it: JSON text, with numbers in all their digits.
pub struct Value(Box<RawValue>);

impl Value {
    pub fn json(&self) -> &str {
        self.0.get()
    }

    pub fn is_null(&self) -> bool {
        self.json() == "null"
    }

    /// The text of a string, the elements of an array as Go prints them (`[0 255]`), the JSON of anything else.
    pub fn text(&self) -> String {
        let json = self.json();
        match json.as_bytes().first() {
            Some(b'"') => serde_json::from_str(json).unwrap_or_else(|_| json.to_string()),
            Some(b'[') => match serde_json::from_str::<Vec<Box<RawValue>>>(json) {
                Ok(elements) => {
                    let elements: Vec<String> = elements.into_iter().map(|element| Value(element).text()).collect();
                    format!("[{}]", elements.join(" "))
                }
                Err(_) => json.to_string(),
            },
            _ => json.to_string(),
        }
    }
}

/// A statement that wrote, or that there is nothing to tell of.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Written {
    pub last_insert_id: i64,
    pub rows_affected: i64,
    pub seconds: Option<f64>,
}

/// What results are told to, in the order in which they come.
pub trait Sink {
    fn columns(&mut self, columns: &[Value]) -> io::Result<()>;
    fn row(&mut self, row: &[Value]) -> io::Result<()>;
    /// Behind the last row.
    fn end(&mut self, seconds: Option<f64>) -> io::Result<()>;
    fn written(&mut self, written: Written) -> io::Result<()>;
}

fn parse(reader: impl Read, sink: &mut dyn Sink) -> Result<(), Error> {
    let mut stop = None;
    let mut deserializer = serde_json::Deserializer::from_reader(reader);
    let envelope = deserializer.deserialize_map(Envelope { sink, stop: &mut stop });
    if let Some(error) = stop {
        return Err(error);
    }
    let parsed = envelope.and_then(|envelope| deserializer.end().map(|()| envelope));
    match parsed {
        Err(error) => Err(Error::Unexpected(error.to_string())),
        Ok(End { error: Some(text), .. }) => Err(Error::Sql(text)),
        Ok(End { results: 0, .. }) => Err(Error::Unexpected("no results".into())),
        Ok(_) => Ok(()),
    }
}

/// The object around the results. `stop` tells why parsing was given up, if not for the JSON.
struct Envelope<'a> {
    sink: &'a mut dyn Sink,
    stop: &'a mut Option<Error>,
}

#[derive(Default)]
struct End {
    results: usize,
    error: Option<String>,
}

impl<'de> Visitor<'de> for Envelope<'_> {
    type Value = End;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("an object with results")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<End, A::Error> {
        let mut end = End::default();
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "results" => end.results = map.next_value_seed(Results { sink: self.sink, stop: self.stop })?,
                "error" => end.error = Some(map.next_value()?),
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(end)
    }
}

/// The array of results; its value is their number.
struct Results<'a> {
    sink: &'a mut dyn Sink,
    stop: &'a mut Option<Error>,
}

impl<'de> DeserializeSeed<'de> for Results<'_> {
    type Value = usize;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<usize, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Results<'_> {
    type Value = usize;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("an array of results")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut results: A) -> Result<usize, A::Error> {
        let mut count = 0;
        while results.next_element_seed(OneResult { sink: self.sink, stop: self.stop })?.is_some() {
            count += 1;
        }
        Ok(count)
    }
}

struct OneResult<'a> {
    sink: &'a mut dyn Sink,
    stop: &'a mut Option<Error>,
}

impl<'de> DeserializeSeed<'de> for OneResult<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for OneResult<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a result")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut written = Written::default();
        let mut has_columns = false;
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "columns" => {
                    let columns = map.next_value::<Vec<Raw>>()?;
                    has_columns = true;
                    let told = self.sink.columns(&values(columns));
                    give_up(self.stop, told.map_err(Error::Output))?;
                }
                "values" => map.next_value_seed(Rows { sink: self.sink, stop: self.stop })?,
                "error" => give_up(self.stop, Err(Error::Sql(map.next_value()?)))?,
                "last_insert_id" => written.last_insert_id = map.next_value()?,
                "rows_affected" => written.rows_affected = map.next_value()?,
                "time" => written.seconds = Some(map.next_value()?),
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        let told = if has_columns { self.sink.end(written.seconds) } else { self.sink.written(written) };
        give_up(self.stop, told.map_err(Error::Output))
    }
}

struct Rows<'a> {
    sink: &'a mut dyn Sink,
    stop: &'a mut Option<Error>,
}

impl<'de> DeserializeSeed<'de> for Rows<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Rows<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("an array of rows")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut rows: A) -> Result<(), A::Error> {
        while let Some(row) = rows.next_element::<Vec<Raw>>()? {
            let told = self.sink.row(&values(row));
            give_up(self.stop, told.map_err(Error::Output))?;
        }
        Ok(())
    }
}

#[derive(Deserialize)]
struct Raw(Box<RawValue>);

fn values(raw: Vec<Raw>) -> Vec<Value> {
    raw.into_iter().map(|Raw(json)| Value(json)).collect()
}

/// Keeps an error of ours where serde's can't carry it.
fn give_up<E: serde::de::Error>(stop: &mut Option<Error>, told: Result<(), Error>) -> Result<(), E> {
    told.map_err(|error| {
        let text = error.to_string();
        *stop = Some(error);
        E::custom(text)
    })
}

#[cfg(test)]
pub fn parse_text(json: &str, sink: &mut dyn Sink) -> Result<(), Error> {
    parse(json.as_bytes(), sink)
}
