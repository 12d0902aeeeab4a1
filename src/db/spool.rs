//! The rest of a result in `tmp/`: what a client hasn't taken yet when a checkpoint waits for the read (hazard H15).
//!
//! ```text
//! cursor ─► Recorder ─► tmp/result-N ─► Spool ─► the client's sink, at the client's pace
//! ```
//!
//! What is written is what SQLite yields, not what the client is sent: nothing here knows how results look.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::query::Progress;
use super::temporary::TemporaryFile;
use super::value::{Columns, RowSink, ValueRef};
use crate::world::disk::FREE_MIN;
use crate::world::{Disk, File, Open};

/// Bytes that are written at once.
const PIECE: usize = 1 << 20;
/// Bytes that are read at once; a record that is longer is read whole.
const READ: usize = 64 << 10;

/// How much all spools of a node may take.
pub struct Space {
    used: AtomicU64,
    most: u64,
}

impl Space {
    /// At most so many bytes.
    pub fn new(most: u64) -> Self {
        Self { used: AtomicU64::new(0), most }
    }
}

/// A spool's part of the space.
struct Claim {
    space: Arc<Space>,
    bytes: u64,
}

impl Claim {
    fn extend(&mut self, bytes: u64) -> io::Result<()> {
        self.bytes += bytes;
        if self.space.used.fetch_add(bytes, Ordering::Relaxed) + bytes > self.space.most {
            return Err(io::Error::other("the rest of the result is too long"));
        }
        Ok(())
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.space.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// The rest of a result. Its file goes with it.
pub struct Spool {
    file: Box<dyn File>,
    /// Bytes of the file, and how many of them were read.
    length: u64,
    read: u64,
    /// What was read and isn't taken yet, from `taken` on.
    buffer: Vec<u8>,
    taken: usize,
    /// The sink refused a row: the rest of that statement is passed over.
    is_refused: bool,
    _claim: Claim,
    _temporary: TemporaryFile,
}

impl Spool {
    /// Writes to `path` all that `advance` still yields, at the disk's speed.
    pub fn fill(
        disk: &Arc<dyn Disk>,
        path: PathBuf,
        space: &Arc<Space>,
        mut advance: impl FnMut(&mut dyn RowSink, usize) -> Progress,
    ) -> io::Result<Self> {
        let temporary = TemporaryFile::new(disk.clone(), path);
        let mut claim = Claim { space: space.clone(), bytes: 0 };
        let file = disk.open(temporary.path(), Open::CreateNew)?;
        let mut recorder = Recorder::default();
        loop {
            let progress = advance(&mut recorder, PIECE);
            let bytes = std::mem::take(&mut recorder.bytes);
            // A result gives way before the log has no room.
            if disk.free_space(temporary.path())? < FREE_MIN + bytes.len() as u64 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            let offset = claim.bytes;
            claim.extend(bytes.len() as u64)?;
            file.write_at(&bytes, offset)?;
            if progress == Progress::Finished {
                let length = claim.bytes;
                let (buffer, taken) = (Vec::new(), 0);
                let (read, is_refused) = (0, false);
                return Ok(Self {
                    file,
                    length,
                    read,
                    buffer,
                    taken,
                    is_refused,
                    _claim: claim,
                    _temporary: temporary,
                });
            }
        }
    }

    /// Goes on until `sink` holds `enough` bytes or all is done.
    pub fn advance(&mut self, sink: &mut dyn RowSink, enough: usize) -> io::Result<Progress> {
        while sink.buffered() < enough {
            if !self.read_record()? {
                return Ok(Progress::Finished);
            }
            let mut record = Parser(&self.buffer[self.taken..]);
            let damaged = || io::Error::from(io::ErrorKind::InvalidData);
            let length = record.number().ok_or_else(damaged)? as usize;
            let event = Parser(&record.0[..length]).event().ok_or_else(damaged)?;
            match event {
                Event::End(_) | Event::Error(_) if self.is_refused => self.is_refused = false,
                Event::Row(_) if self.is_refused => {}
                Event::Begin(columns) => sink.begin(&columns),
                Event::Row(row) => {
                    if let Err(text) = sink.row(&row) {
                        sink.error(&text);
                        self.is_refused = true;
                    }
                }
                Event::End(elapsed) => sink.end(elapsed),
                Event::Error(text) => sink.error(&text),
            }
            self.taken += 8 + length;
        }
        Ok(Progress::Paused)
    }

    /// Makes the next record lie whole in the buffer; false if there is none.
    fn read_record(&mut self) -> io::Result<bool> {
        if self.taken == self.buffer.len() && self.read == self.length {
            return Ok(false);
        }
        self.read_to(8)?;
        let length = Parser(&self.buffer[self.taken..]).number().unwrap_or(0);
        self.read_to(8 + length as usize)?;
        Ok(true)
    }

    fn read_to(&mut self, wanted: usize) -> io::Result<()> {
        let there = self.buffer.len() - self.taken;
        if there >= wanted {
            return Ok(());
        }
        self.buffer.drain(..self.taken);
        self.taken = 0;
        let most = (self.length - self.read) as usize;
        let more = (wanted - there).max(READ).min(most);
        self.buffer.resize(there + more, 0);
        let read = self.file.read_at(&mut self.buffer[there..], self.read)?;
        self.read += read as u64;
        if read < more || there + more < wanted {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(())
    }
}

/// What a sink is told.
enum Event<'a> {
    Begin(Columns),
    Row(Vec<ValueRef<'a>>),
    End(Duration),
    Error(String),
}

/// Writes down what a sink would be told: a length, the kind, the content.
#[derive(Default)]
struct Recorder {
    bytes: Vec<u8>,
}

impl Recorder {
    fn record(&mut self, kind: u8, write: impl FnOnce(&mut Vec<u8>)) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 8]);
        self.bytes.push(kind);
        write(&mut self.bytes);
        let length = (self.bytes.len() - start - 8) as u64;
        self.bytes[start..start + 8].copy_from_slice(&length.to_le_bytes());
    }
}

impl RowSink for Recorder {
    fn begin(&mut self, columns: &Columns) {
        self.record(b'B', |out| {
            put_number(out, columns.names.len() as u64);
            for ((name, decltype), table) in columns.names.iter().zip(&columns.decltypes).zip(&columns.tables) {
                put_bytes(out, name.as_bytes());
                put_bytes(out, decltype.as_bytes());
                out.push(u8::from(table.is_some()));
                put_bytes(out, table.as_deref().unwrap_or_default().as_bytes());
            }
        });
    }

    fn row(&mut self, row: &[ValueRef<'_>]) -> Result<(), String> {
        self.record(b'R', |out| row.iter().for_each(|value| put_value(out, *value)));
        Ok(())
    }

    fn end(&mut self, elapsed: Duration) {
        self.record(b'E', |out| put_number(out, elapsed.as_nanos() as u64));
    }

    fn error(&mut self, text: &str) {
        self.record(b'X', |out| put_bytes(out, text.as_bytes()));
    }

    fn buffered(&self) -> usize {
        self.bytes.len()
    }
}

fn put_number(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(&number.to_le_bytes());
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_number(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn put_value(out: &mut Vec<u8>, value: ValueRef<'_>) {
    match value {
        ValueRef::Null => out.push(b'n'),
        ValueRef::Integer(integer) => {
            out.push(b'i');
            put_number(out, integer as u64);
        }
        ValueRef::Real(real) => {
            out.push(b'r');
            put_number(out, real.to_bits());
        }
        ValueRef::Text(text) => {
            out.push(b't');
            put_bytes(out, text);
        }
        ValueRef::Blob(blob) => {
            out.push(b'b');
            put_bytes(out, blob);
        }
    }
}

/// The rest of a record. `None`: it isn't what was written.
struct Parser<'a>(&'a [u8]);

impl<'a> Parser<'a> {
    fn event(mut self) -> Option<Event<'a>> {
        match self.byte()? {
            b'B' => {
                let mut columns = Columns::default();
                for _ in 0..self.number()? {
                    columns.names.push(self.text()?);
                    columns.decltypes.push(self.text()?);
                    let has_table = self.byte()? == 1;
                    let table = self.text()?;
                    columns.tables.push(has_table.then_some(table));
                }
                Some(Event::Begin(columns))
            }
            b'R' => {
                let mut row = Vec::new();
                while !self.0.is_empty() {
                    row.push(self.value()?);
                }
                Some(Event::Row(row))
            }
            b'E' => Some(Event::End(Duration::from_nanos(self.number()?))),
            b'X' => Some(Event::Error(self.text()?)),
            _ => None,
        }
    }

    fn value(&mut self) -> Option<ValueRef<'a>> {
        Some(match self.byte()? {
            b'n' => ValueRef::Null,
            b'i' => ValueRef::Integer(self.number()? as i64),
            b'r' => ValueRef::Real(f64::from_bits(self.number()?)),
            b't' => ValueRef::Text(self.bytes()?),
            b'b' => ValueRef::Blob(self.bytes()?),
            _ => return None,
        })
    }

    fn byte(&mut self) -> Option<u8> {
        let (byte, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*byte)
    }

    fn number(&mut self) -> Option<u64> {
        let (number, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u64::from_le_bytes(*number))
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = self.number()? as usize;
        let (bytes, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(bytes)
    }

    fn text(&mut self) -> Option<String> {
        String::from_utf8(self.bytes()?.to_vec()).ok()
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)]
mod tests {
    use super::*;
    use crate::world::os;

    /// Tells what it was told.
    #[derive(Default)]
    struct Told {
        lines: Vec<String>,
        /// It takes so many rows of a statement.
        rows_max: usize,
        rows: usize,
        taken: usize,
    }

    impl RowSink for Told {
        fn begin(&mut self, columns: &Columns) {
            self.rows = 0;
            self.lines.push(format!("{columns:?}"));
        }
        fn row(&mut self, row: &[ValueRef<'_>]) -> Result<(), String> {
            self.rows += 1;
            if self.rows > self.rows_max {
                return Err("no more".into());
            }
            self.lines.push(format!("{row:?}"));
            Ok(())
        }
        fn end(&mut self, elapsed: Duration) {
            self.lines.push(format!("{elapsed:?}"));
        }
        fn error(&mut self, text: &str) {
            self.lines.push(text.into());
        }
        fn buffered(&self) -> usize {
            self.lines.len() - self.taken
        }
    }

    /// A cursor's part: an event at a time.
    fn tell(sink: &mut dyn RowSink) {
        let long = vec![b'x'; 3 * READ];
        let columns = Columns {
            names: vec!["a".into(), "ü".into()],
            decltypes: vec!["INTEGER".into(), String::new()],
            tables: vec![Some("t".into()), None],
        };
        sink.begin(&columns);
        let rows: [&[ValueRef<'_>]; 3] = [
            &[ValueRef::Null, ValueRef::Integer(i64::MIN)],
            &[ValueRef::Real(-0.5), ValueRef::Text(b"\xff\0'")],
            &[ValueRef::Blob(&long), ValueRef::Blob(b"")],
        ];
        for row in rows {
            sink.row(row).unwrap();
        }
    }

    fn spool(path: PathBuf, most: u64, events: impl FnOnce(&mut dyn RowSink)) -> io::Result<Spool> {
        let disk = os::world().disk;
        let mut events = Some(events);
        Spool::fill(&disk, path, &Arc::new(Space::new(most)), move |sink, _| match events.take() {
            Some(events) => {
                events(sink);
                Progress::Paused
            }
            None => Progress::Finished,
        })
    }

    fn all(sink: &mut dyn RowSink) {
        tell(sink);
        sink.end(Duration::from_nanos(17));
        sink.begin(&Columns::default());
        sink.end(Duration::ZERO);
        sink.error("no such table: x");
    }

    #[test]
    fn a_sink_is_told_the_same() {
        let directory = tempfile::tempdir().unwrap();
        let mut told = Told { rows_max: 9, ..Told::default() };
        all(&mut told);
        let path = directory.path().join("spool");
        let mut spool = spool(path.clone(), 1 << 20, all).unwrap();
        let mut again = Told { rows_max: 9, ..Told::default() };
        // One event at a time, as a slow client takes them.
        while spool.advance(&mut again, 1).unwrap() == Progress::Paused {
            again.taken = again.lines.len();
        }
        assert_eq!(again.lines, told.lines);
        assert_eq!(told.lines.len(), 8);
        drop(spool);
        assert!(!os::world().disk.exists(&path).unwrap(), "the file stays");
    }

    #[test]
    fn a_statement_whose_row_is_refused_ends_there() {
        let directory = tempfile::tempdir().unwrap();
        let mut spool = spool(directory.path().join("spool"), 1 << 20, all).unwrap();
        let mut told = Told { rows_max: 1, ..Told::default() };
        assert_eq!(spool.advance(&mut told, usize::MAX).unwrap(), Progress::Finished);
        let want = ["[Null, Integer(-9223372036854775808)]", "no more"];
        assert_eq!(told.lines[1..3], want);
        assert_eq!(told.lines[4..], ["0ns", "no such table: x"]);
    }

    #[test]
    fn a_spool_beyond_the_bound_fails_and_gives_its_space_back() {
        let directory = tempfile::tempdir().unwrap();
        let (disk, space) = (os::world().disk, Arc::new(Space::new(1000)));
        let path = directory.path().join("spool");
        let filled = Spool::fill(&disk, path.clone(), &space, |sink, _| {
            sink.error(&"x".repeat(600));
            Progress::Paused
        });
        assert!(filled.is_err());
        assert_eq!(space.used.load(Ordering::Relaxed), 0);
        assert!(!os::world().disk.exists(&path).unwrap(), "the file stays");
    }
}
