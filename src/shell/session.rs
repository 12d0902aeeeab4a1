//! What lasts from line to line: the connection, the settings, where results go, whether anything failed.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::sync::Arc;

use super::client::Client;
use super::command::{self, Line};
use super::error::Error;
use super::interrupt::Interrupts;
use super::render::{Measure, Style, Writer};
use super::results::Spool;
use super::settings::{Mode, Settings};
use super::sql;

/// Bytes that are gathered before they are written.
const BUFFER: usize = 64 << 10;

pub struct Session {
    pub client: Client,
    pub settings: Settings,
    pub target: Target,
    pub manner: Manner,
    interrupts: Arc<Interrupts>,
    has_failed: bool,
}

/// Where results go.
pub enum Target {
    Stdout,
    /// With the name that it was given.
    File(String, File),
}

/// What the shell may do with the terminal.
#[derive(Clone, Copy, Debug)]
pub struct Manner {
    pub is_red: bool,
    pub shows_progress: bool,
}

impl Session {
    pub fn new(client: Client, interrupts: Arc<Interrupts>, manner: Manner) -> Session {
        let (settings, target) = (Settings::default(), Target::Stdout);
        Session { client, settings, target, manner, interrupts, has_failed: false }
    }

    /// Runs a line; answers whether it was the last one.
    ///
    /// Errors: only if what went wrong can't be told.
    pub async fn run(&mut self, line: &str) -> Result<bool, Error> {
        let ran = match command::parse(line) {
            Line::Exit => return Ok(true),
            Line::Command(command, argument) => (command.run)(self, argument).await,
            Line::Sql(text) => sql::run(self, text).await,
        };
        if let Err(error) = ran {
            self.report(error)?;
        }
        Ok(false)
    }

    /// Whether any line failed.
    pub fn has_failed(&self) -> bool {
        self.has_failed
    }

    /// Says what went wrong: the database's errors go where results go.
    pub fn report(&mut self, error: Error) -> Result<(), Error> {
        self.has_failed = true;
        match error {
            Error::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(Error::Output(error)),
            Error::Sql(text) => self.with_target(|out| Ok(writeln!(out, "Error: {text}")?)),
            error => {
                let mark = if self.manner.is_red { "\x1b[31mERR!\x1b[0m" } else { "ERR!" };
                self.print(&format!("{mark} {error}\n"))
            }
        }
    }

    /// Text for standard output, wherever results go.
    pub fn print(&mut self, text: &str) -> Result<(), Error> {
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes())?;
        out.flush()?;
        Ok(())
    }

    /// Shows the results of a request that was answered.
    pub fn show(&mut self, spool: &mut Spool) -> Result<(), Error> {
        let style = Style { mode: self.settings.mode, changes: self.settings.changes, timer: self.settings.timer };
        let mut measure = Measure::default();
        if style.mode == Mode::Column {
            spool.parse(&mut measure)?;
        }
        self.with_target(|out| spool.parse(&mut Writer::new(out, style, measure)))
    }

    fn with_target(&mut self, write: impl FnOnce(&mut dyn Write) -> Result<(), Error>) -> Result<(), Error> {
        let interrupts = self.interrupts.clone();
        let out: Box<dyn Write> = match &mut self.target {
            Target::Stdout => Box::new(io::stdout().lock()),
            Target::File(_, file) => Box::new(file),
        };
        let mut out = BufWriter::with_capacity(BUFFER, Interruptible { out, interrupts: &interrupts });
        let written = write(&mut out);
        let flushed = out.flush();
        if interrupts.is_set() {
            return Err(Error::Interrupted);
        }
        written?;
        Ok(flushed?)
    }
}

/// Ends a long output once the user has had enough.
struct Interruptible<'a> {
    out: Box<dyn Write + 'a>,
    interrupts: &'a Interrupts,
}

impl Write for Interruptible<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.interrupts.is_set() {
            // Not `ErrorKind::Interrupted`, which means: try again.
            return Err(io::Error::other("interrupted"));
        }
        self.out.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
