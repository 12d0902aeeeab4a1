//! Checkpoints: how the main file moves from one applied state to the next.
//!
//! Between checkpoints the main file is immutable and every change is in the WAL, which nothing syncs: after a crash
//! it is void, and the log is replayed from the last checkpoint. The protocol ("Frames", storage-findings §3; design
//! §5; hazards H1, H2):
//!
//! ```text
//! F = frames of the WAL; sync WAL; sync db/      everything up to T is durable, in the WAL
//! db.state = checkpointing(T, F)                 from here a crash completes the checkpoint
//! wal_checkpoint(TRUNCATE), synchronous=FULL     copies frames into the main file, syncs it
//! db.state = clean(T)                            only if every frame was copied; else it is tried again later
//! ```
//!
//! With much to copy, most of it is copied beside the writer first: after the first two lines a pinned reader keeps a
//! `wal_checkpoint(PASSIVE)` on a second connection at F. What that leaves in the main file is no state at all, since
//! SQLite skips each page that was written again beyond F (hazard H1.2), so the protocol above then runs for the rest,
//! in a short pause.

use rusqlite::ffi;

use super::authorizer::Role;
use super::connection::Connection;
use super::database::{Database, Fault, io_fault, sql_fault};
use super::main_file::MainFile;
use super::state::{self, Checkpointing, State};
use super::wal;
use crate::world::{File, Open};

/// `SQLITE_CHECKPOINT_NOOP`: only reports.
const NOOP: i32 = -1;

/// How a checkpoint ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The main file is the applied state.
    Clean,
    /// Readers of an older state were in the way; nothing is lost, try again.
    Busy,
    /// A lease still reads the main file; spool it first.
    Leased,
    /// Another checkpoint is under way beside the writer.
    Running,
}

/// Frames in the WAL, and how many of them the main file has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Frames {
    pub log: u64,
    pub checkpointed: u64,
}

impl Frames {
    /// Whether the main file alone is the whole content.
    pub fn all_checkpointed(self) -> bool {
        self.log == self.checkpointed
    }
}

impl Database {
    /// Brings the main file to the applied state, whose replicated part is `applied`.
    pub fn checkpoint(&mut self, applied: &[u8]) -> Result<Outcome, Fault> {
        if self.background {
            return Ok(Outcome::Running);
        }
        if self.leases.any_reads_main_file() {
            return Ok(Outcome::Leased);
        }
        self.check_main_file()?;
        let frames = self.frames()?;
        if frames.all_checkpointed() && self.state.checkpointing.is_none() {
            return self.write_clean(applied.to_vec()).map(|()| Outcome::Clean);
        }
        self.write_checkpointing(applied.to_vec(), frames.log)?;
        let frames = checkpoint(&self.writer.connection, ffi::SQLITE_CHECKPOINT_TRUNCATE)?;
        if !frames.all_checkpointed() {
            self.prime()?;
            return Ok(Outcome::Busy);
        }
        self.write_clean(applied.to_vec())?;
        if frames.log > 0 {
            // Copied, but a reader kept SQLite from starting the WAL anew. It may be gone by now, and the WAL be
            // started anew here: not before it is void.
            self.prime()?;
        }
        Ok(Outcome::Clean)
    }

    /// The first pause of a background checkpoint; `None` if there is nothing to do, one is running, or a lease is
    /// in the way. [`Database::end_background`] must follow.
    pub fn begin_background(&mut self, applied: &[u8]) -> Result<Option<Background>, Fault> {
        let frames = self.frames()?;
        if self.background || frames.all_checkpointed() || self.leases.any_reads_main_file() {
            return Ok(None);
        }
        self.check_main_file()?;
        self.write_checkpointing(applied.to_vec(), frames.log)?;
        let open = |role| Connection::open(&self.main_path(), self.vfs(), role).map_err(|error| sql_fault(&error));
        let pin = open(Role::Reader)?;
        let pinned = pin.authorizer.internally(|| {
            pin.raw.execute_batch("BEGIN")?;
            pin.raw.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))
        });
        pinned.map_err(|error| sql_fault(&error.into()))?;
        // Now the pin is behind the WAL's end: it can't be started anew while the copy runs.
        self.prime()?;
        let copier = open(Role::Internal)?;
        let wal = self.open_wal()?;
        self.background = true;
        Ok(Some(Background { _pin: pin, copier, wal }))
    }

    /// The second pause: copies what was written since the first, and what the copy left out.
    pub fn end_background(&mut self, background: Background, applied: &[u8]) -> Result<Outcome, Fault> {
        self.abandon_background(background);
        self.checkpoint(applied)
    }

    /// Ends a background checkpoint where no other may follow. The state stays `checkpointing`.
    pub fn abandon_background(&mut self, background: Background) {
        drop(background);
        self.background = false;
    }

    /// Frames of the WAL now.
    pub fn frames(&self) -> Result<Frames, Fault> {
        checkpoint(&self.writer.connection, NOOP)
    }

    /// The WAL, to be synced beside the writer before a pause in which it must be.
    pub fn open_wal(&self) -> Result<Box<dyn File>, Fault> {
        self.disk().open(&self.wal_path(), Open::Write).map_err(|error| io_fault("checkpoint", &error))
    }

    /// Draws the salt of the next WAL now, outside of any entry, by rewriting a value as it is: SQLite takes it from
    /// its generator with the first write after a checkpoint, and inside an entry that would shift the draws that
    /// decide data.
    pub(super) fn prime(&self) -> Result<(), Fault> {
        let connection = &self.writer.connection;
        let version = connection.pragma("user_version").map_err(|error| sql_fault(&error))?;
        let version = version.first().copied().unwrap_or_default();
        connection.pragma(&format!("user_version={version}")).map_err(|error| sql_fault(&error))?;
        Ok(())
    }

    fn write_checkpointing(&mut self, applied: Vec<u8>, frames: u64) -> Result<(), Fault> {
        let fault = |error| io_fault("checkpoint", &error);
        let wal = self.open_wal()?;
        wal.sync().map_err(fault)?;
        self.disk().sync_dir(&self.directory()).map_err(fault)?;
        let position = wal::position(&*wal, frames).map_err(fault)?;
        let state = State {
            applied: applied.into(),
            checkpointing: Some(Checkpointing {
                frames,
                salt1: position.salts.0,
                salt2: position.salts.1,
                checksum1: position.checksum.0,
                checksum2: position.checksum.1,
                pages: position.pages,
            }),
            ..self.state.clone()
        };
        self.write_state(state)
    }

    pub(super) fn write_clean(&mut self, applied: Vec<u8>) -> Result<(), Fault> {
        let main_file = MainFile::of(&self.writer.connection)
            .identity(self.disk(), &self.main_path())
            .map_err(|error| io_fault("checkpoint", &error))?;
        let state =
            State { applied: applied.into(), main_file: Some(main_file), checkpointing: None, ..self.state.clone() };
        self.write_state(state)
    }

    pub(super) fn write_state(&mut self, state: State) -> Result<(), Fault> {
        state::write(self.disk(), &self.state_path(), &state).map_err(|error| io_fault("db.state", &error))?;
        self.state = state;
        Ok(())
    }

    /// Nobody else may have written to the main file.
    pub(super) fn check_main_file(&self) -> Result<(), Fault> {
        let (Some(recorded), None) = (&self.state.main_file, &self.state.checkpointing) else {
            return Ok(());
        };
        let found = MainFile::of(&self.writer.connection)
            .identity(self.disk(), &self.main_path())
            .map_err(|error| io_fault("checkpoint", &error))?;
        let field = if found.size != recorded.size {
            "size"
        } else if found.page1_crc32c != recorded.page1_crc32c {
            "first page"
        } else if found.inode != recorded.inode {
            "inode"
        } else if found.mtime_ns != recorded.mtime_ns {
            "time of change"
        } else {
            return Ok(());
        };
        let path = self.main_path();
        Err(Fault(format!(
            "{}: another program wrote to it: its {field} isn't what the last checkpoint left",
            path.display()
        )))
    }
}

/// A checkpoint whose copy runs beside the writer.
pub struct Background {
    /// No frame behind it is copied.
    _pin: Connection,
    copier: Connection,
    wal: Box<dyn File>,
}

impl Background {
    /// Copies what it can into the main file, and syncs that and what was written meanwhile, so that little is left for
    /// the second pause.
    pub fn copy(&self) -> Result<(), Fault> {
        checkpoint(&self.copier, ffi::SQLITE_CHECKPOINT_PASSIVE)?;
        let synced = MainFile::of(&self.copier).sync().and_then(|()| self.wal.sync());
        synced.map_err(|error| io_fault("checkpoint", &error))
    }
}

/// Runs a checkpoint on `connection`, with syncs unless it only reports. Busy is not an error: the counts tell.
pub(super) fn checkpoint(connection: &Connection, mode: i32) -> Result<Frames, Fault> {
    super::fault::clear();
    if mode != NOOP {
        connection.pragma("synchronous=FULL").map_err(|error| sql_fault(&error))?;
    }
    let (mut log, mut checkpointed) = (0, 0);
    // SAFETY: the connection is open; the outputs are places of ours.
    let code = unsafe {
        ffi::sqlite3_wal_checkpoint_v2(connection.handle(), c"main".as_ptr(), mode, &mut log, &mut checkpointed)
    };
    // SAFETY: the connection is open.
    let error = unsafe { super::SqlError::of(connection.handle(), code) };
    if mode != NOOP {
        connection.pragma("synchronous=OFF").map_err(|error| sql_fault(&error))?;
    }
    match error.primary() {
        ffi::SQLITE_OK | ffi::SQLITE_BUSY => {
            Ok(Frames { log: log.max(0) as u64, checkpointed: checkpointed.max(0) as u64 })
        }
        _ => Err(sql_fault(&error)),
    }
}
