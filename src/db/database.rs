//! The database of one node: the writer, the file behind it, and how both come back after a crash.
//!
//! Lives on the writer's lane. A restore or an installed snapshot is a new file, the next generation: the swap is one
//! replacement of `db.state`, and a database is never renamed over a live one.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::authorizer::Role;
use super::check::quick_check;
use super::checkpoint::checkpoint;
use super::connection::Connection;
pub use super::execute::Fault;
use super::execute::Writer;
use super::lease::{Lease, Leases};
use super::main_file::{self, MainFile};
use super::state::{self, State};
use super::wal::{self, Position};
use super::{SqlError, fault};
use crate::world::{Disk, Open, World};

/// Why the database can't be opened. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("{}: {error}", path.display())]
    Io { path: PathBuf, error: io::Error },
    #[error("{}: {error}", path.display())]
    State { path: PathBuf, error: state::Error },
    #[error("{}: {error}", path.display())]
    Sql { path: PathBuf, error: SqlError },
    #[error("{}: another program wrote to it: its {field} isn't what the last checkpoint left", path.display())]
    Foreign { path: PathBuf, field: &'static str },
    #[error("{}: damaged: {why}", path.display())]
    Damaged { path: PathBuf, why: String },
    /// This node's disk failed on the way: nothing is known of the content.
    #[error("{}: {}", path.display(), fault.0)]
    Fault { path: PathBuf, fault: Fault },
}

/// Where a node's database lies.
#[derive(Clone, Debug)]
pub struct Paths {
    data: PathBuf,
}

impl Paths {
    /// Of the data directory `data`.
    pub fn new(data: &Path) -> Self {
        Self { data: data.to_path_buf() }
    }

    /// `db.state`
    pub fn state(&self) -> PathBuf {
        self.data.join("db.state")
    }

    /// `db/`
    pub fn directory(&self) -> PathBuf {
        self.data.join("db")
    }

    /// `tmp/`: staging, spools and SQLite's temporary files; emptied at start.
    pub fn temporary(&self) -> PathBuf {
        self.data.join("tmp")
    }

    /// `db/N.sqlite`
    pub fn main(&self, generation: u64) -> PathBuf {
        self.directory().join(format!("{generation}.sqlite"))
    }

    /// `db/N.sqlite-wal`
    pub fn wal(&self, generation: u64) -> PathBuf {
        self.directory().join(format!("{generation}.sqlite-wal"))
    }
}

/// See the module.
pub struct Database {
    pub(super) world: World,
    pub(super) paths: Paths,
    pub(super) writer: Writer,
    /// As on the disk.
    pub(super) state: State,
    pub(super) leases: Leases,
    /// A checkpoint is running beside the writer: no other may begin.
    pub(super) background: bool,
}

impl Database {
    /// Opens the database at its last checkpoint, or creates an empty one. [`Database::applied`] tells the state
    /// that it stands for; the log is to be replayed from there.
    pub fn open(world: &World, paths: &Paths) -> Result<Self, OpenError> {
        let disk = &*world.disk;
        let state_path = paths.state();
        let found = state::read(disk, &state_path).map_err(|error| OpenError::State { path: state_path, error })?;
        // A process that was killed while it replaced the state may have left the new one visible but not durable:
        // what happens from here on is only right if the power can't bring the old one back.
        let sync = |error| OpenError::Io { path: paths.data.clone(), error };
        disk.sync_dir(&paths.data).map_err(sync)?;
        let state = match found {
            Some(state) => state,
            None => State { generation: 1, ..State::default() },
        };
        let is_new = state.main_file.is_none();
        let main = paths.main(state.generation);
        if !is_new {
            make_recoverable(disk, paths, &state)?;
            if state.checkpointing.is_some() {
                world.chaos.reached("checkpoint resumed");
            }
        }
        // Only now: until here nothing was touched.
        remove_others(disk, paths, (!is_new).then_some(state.generation))
            .map_err(|error| OpenError::Io { path: paths.directory(), error })?;

        let sql = |error| OpenError::Sql { path: main.clone(), error };
        let connection = Connection::open(&main, disk.sqlite_vfs(), Role::Writer).map_err(sql)?;
        let writer = Writer::new(connection);
        let mut database = Self {
            world: world.clone(),
            paths: paths.clone(),
            writer,
            state,
            leases: Leases::default(),
            background: false,
        };
        database.complete(is_new).map_err(|fault| OpenError::Fault { path: main, fault })?;
        Ok(database)
    }

    /// The replicated state that belongs to the last checkpoint, as its owner encoded it; empty for a new database.
    pub fn applied(&self) -> &[u8] {
        &self.state.applied
    }

    /// Replaces [`Database::applied`]; the database is still that of the last checkpoint.
    pub fn restate(&mut self, applied: &[u8]) -> Result<(), Fault> {
        self.write_clean(applied.to_vec())
    }

    /// The number of the current file.
    pub fn generation(&self) -> u64 {
        self.state.generation
    }

    /// The writer.
    pub fn writer(&mut self) -> &mut Writer {
        &mut self.writer
    }

    /// The leases on the main file.
    pub fn leases(&self) -> &Leases {
        &self.leases
    }

    /// Whether the main file alone is the state of the last checkpoint.
    pub fn is_clean(&self) -> bool {
        self.state.checkpointing.is_none()
    }

    /// Leases the main file; it is the state of the last checkpoint.
    pub fn lease(&self) -> Result<Arc<Lease>, Fault> {
        assert!(self.state.checkpointing.is_none(), "a lease is taken only on a clean file");
        self.check_main_file()?;
        self.leases.take(&self.main_path(), self.vfs()).map_err(|error| sql_fault(&error))
    }

    /// Makes the file at `staged` the database; it was prepared by [`super::check::prepare`]. Its replicated state
    /// is `applied`. Until `db.state` is replaced a crash leaves the old database, afterwards the new one.
    pub fn adopt(&mut self, staged: &Path, applied: &[u8]) -> Result<(), Fault> {
        let fault = |error| io_fault("swapping databases", &error);
        let generation = self.generation() + 1;
        let (main, disk) = (self.paths.main(generation), self.world.disk.clone());
        disk.rename(staged, &main).map_err(fault)?;
        disk.sync_dir(&self.directory()).map_err(fault)?;
        let connection = Connection::open(&main, self.vfs(), Role::Writer).map_err(|error| sql_fault(&error))?;
        checkpoint(&connection, rusqlite::ffi::SQLITE_CHECKPOINT_TRUNCATE)?;
        disk.sync_dir(&self.directory()).map_err(fault)?;
        let identity = MainFile::of(&connection).identity(&*disk, &main).map_err(fault)?;
        self.write_state(State {
            generation,
            applied: applied.to_vec().into(),
            main_file: Some(identity),
            checkpointing: None,
        })?;
        self.writer = Writer::new(connection);
        self.leases = self.leases.of_next_generation();
        Ok(())
    }

    /// Removes the files of earlier generations, once readers are sent to this one. Those that are under way keep what
    /// they have open.
    pub fn remove_replaced(&self) -> Result<(), Fault> {
        remove_others(self.disk(), &self.paths, Some(self.generation()))
            .map_err(|error| io_fault("removing the old database", &error))
    }

    pub(super) fn disk(&self) -> &dyn Disk {
        &*self.world.disk
    }

    pub(super) fn vfs(&self) -> &str {
        self.world.disk.sqlite_vfs()
    }

    pub(super) fn directory(&self) -> PathBuf {
        self.paths.directory()
    }

    pub(super) fn state_path(&self) -> PathBuf {
        self.paths.state()
    }

    pub(super) fn main_path(&self) -> PathBuf {
        self.paths.main(self.generation())
    }

    pub(super) fn wal_path(&self) -> PathBuf {
        self.paths.wal(self.generation())
    }

    /// Ends what a crash left of a checkpoint. The same steps start the WAL of a new or clean database: its salt is
    /// drawn here, outside of any entry (see [`Database::prime`]).
    fn complete(&mut self, is_new: bool) -> Result<(), Fault> {
        let frames = checkpoint(&self.writer.connection, rusqlite::ffi::SQLITE_CHECKPOINT_TRUNCATE)?;
        if frames.log != 0 {
            return Err(Fault("the checkpoint at start did not reach the end of the WAL".into()));
        }
        let was_checkpointing = self.state.checkpointing.is_some();
        if is_new || was_checkpointing {
            let fault = |error| io_fault("sync", &error);
            MainFile::of(&self.writer.connection).sync().map_err(fault)?;
            self.disk().sync_dir(&self.directory()).map_err(fault)?;
            let applied = self.state.applied.to_vec();
            return self.write_clean(applied);
        }
        let found = MainFile::of(&self.writer.connection)
            .identity(self.disk(), &self.main_path())
            .map_err(|error| io_fault("stat", &error))?;
        if Some(&found) != self.state.main_file.as_ref() {
            tracing::warn!(path = %self.main_path().display(), "the database file was copied or touched; recorded anew");
            let state = State { main_file: Some(found), ..self.state.clone() };
            return self.write_state(state);
        }
        Ok(())
    }
}

/// Before SQLite opens the database: in `clean`, voids the WAL; in `checkpointing`, cuts it after frame F.
fn make_recoverable(disk: &dyn Disk, paths: &Paths, state: &State) -> Result<(), OpenError> {
    let (main, wal_path) = (paths.main(state.generation), paths.wal(state.generation));
    let io = |path: &Path| {
        let path = path.to_path_buf();
        move |error| OpenError::Io { path, error }
    };
    let wal = match disk.open(&wal_path, Open::Write) {
        Ok(wal) => Some(wal),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(io(&wal_path)(error)),
    };
    let wal_length = wal.as_ref().map_or(Ok(0), |wal| wal.len()).map_err(io(&wal_path))?;

    let Some(checkpointing) = &state.checkpointing else {
        let recorded = state.main_file.as_ref().expect("only a new database has none");
        let found = main_file::identity_of_closed(disk, &main).map_err(io(&main))?;
        if found.size != recorded.size {
            return Err(OpenError::Foreign { path: main, field: "size" });
        }
        if found.page1_crc32c != recorded.page1_crc32c {
            return Err(OpenError::Foreign { path: main, field: "first page" });
        }
        return cut(wal.as_deref(), wal_length, 0).map_err(io(&wal_path));
    };

    let damaged = |path: &Path, why: String| Err(OpenError::Damaged { path: path.to_path_buf(), why });
    if wal_length == 0 {
        // The checkpoint reached its end; only the state is missing.
        let found = main_file::identity_of_closed(disk, &main).map_err(io(&main))?;
        let mut start = [0; 100];
        disk.open(&main, Open::Read).and_then(|file| file.read_at(&mut start, 0)).map_err(io(&main))?;
        let pages = found.size / main_file::page_size(&start) as u64;
        if pages < checkpointing.pages as u64 {
            return damaged(&main, format!("it has {pages} pages of {}", checkpointing.pages));
        }
        fault::clear();
        return match (quick_check(&main, disk.sqlite_vfs()), fault::take()) {
            (Ok(()), _) => Ok(()),
            (Err(why), Some(recorded)) => {
                Err(OpenError::Fault { path: main, fault: Fault(format!("{recorded} ({why})")) })
            }
            (Err(why), None) => damaged(&main, why),
        };
    }
    let wal = wal.expect("it has a length");
    let expected = Position {
        frames: checkpointing.frames,
        salts: (checkpointing.salt1, checkpointing.salt2),
        checksum: (checkpointing.checksum1, checkpointing.checksum2),
        pages: checkpointing.pages,
    };
    match wal::verify(&*wal, &expected).map_err(io(&wal_path))? {
        Ok(length) => cut(Some(&*wal), wal_length, length).map_err(io(&wal_path)),
        Err(damage) => damaged(&wal_path, damage.0),
    }
}

/// Cuts the WAL, durably. It is never unlinked: an unlinked one could come back (hazard H2).
fn cut(wal: Option<&dyn crate::world::File>, from: u64, to: u64) -> io::Result<()> {
    match wal {
        Some(wal) if from > to => {
            wal.set_len(to)?;
            wal.sync()
        }
        _ => Ok(()),
    }
}

/// Removes the files of all generations but `keep`.
fn remove_others(disk: &dyn Disk, paths: &Paths, keep: Option<u64>) -> io::Result<()> {
    let directory = paths.directory();
    let keep = keep.map(|generation| format!("{generation}.sqlite"));
    let mut removed = false;
    for name in disk.list(&directory)? {
        let is_kept = keep.as_ref().is_some_and(|keep| name == *keep || name == format!("{keep}-wal"));
        if !is_kept {
            disk.remove(&directory.join(name))?;
            removed = true;
        }
    }
    if removed { disk.sync_dir(&directory) } else { Ok(()) }
}

pub(super) fn io_fault(what: &str, error: &io::Error) -> Fault {
    Fault(format!("{what}: {error}"))
}

pub(super) fn sql_fault(error: &SqlError) -> Fault {
    match fault::take() {
        Some(recorded) => Fault(format!("{recorded} ({error})")),
        None => Fault(error.to_string()),
    }
}
