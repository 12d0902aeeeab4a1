//! The bytes of a backup, made piece by piece from a leased file.
//!
//! A plain copy is read straight from the lease. What SQLite has to read (a dump) or to write anew (a VACUUM) works on
//! a copy in `tmp/`, made at the disk's speed: neither a dump's read transaction nor its client ever holds up a
//! checkpoint (hazard H15).

use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::SqlError;
use super::authorizer::Role;
use super::connection::Connection;
use super::dump::Dump;
use super::lease::Lease;
use super::query::Progress;
use super::temporary::TemporaryFile;
use crate::world::{Disk, File, Open};

/// Bytes of a piece: what a backup holds in memory.
const PIECE: usize = 256 << 10;

/// Where a database's header names the journal mode it was written for; 1: rollback journal, 2: WAL.
///
/// Source: <https://sqlite.org/fileformat2.html#file_format_version_numbers>.
const FORMAT_VERSIONS: std::ops::Range<usize> = 18..20;

/// What is made of the database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Format {
    /// The file as it is.
    Binary,
    /// The file, for a program that can't read WAL mode.
    Delete,
    /// A file that VACUUM wrote anew.
    Vacuumed,
    /// SQL text; of these tables only, if there are any.
    Sql { tables: Vec<String> },
}

/// A backup under way; lives on a lane of its own.
pub struct Producer {
    source: Source,
    gzip: Option<GzEncoder<Vec<u8>>>,
}

enum Source {
    Lease {
        lease: Arc<Lease>,
        sent: u64,
        is_delete: bool,
    },
    File {
        file: Box<dyn File>,
        size: u64,
        sent: u64,
        _copy: TemporaryFile,
    },
    /// The dump's connection is closed before its file goes.
    Dump {
        dump: Box<Dump>,
        _copy: TemporaryFile,
    },
}

/// The next bytes of a backup.
pub struct Piece {
    pub bytes: Vec<u8>,
    /// Nothing follows.
    pub is_last: bool,
}

impl Producer {
    /// Starts a backup of the leased file; `copy` is where a copy of it may lie.
    pub fn start(
        lease: Arc<Lease>,
        format: &Format,
        compress: bool,
        disk: &Arc<dyn Disk>,
        copy: PathBuf,
    ) -> io::Result<Self> {
        let source = match format {
            Format::Binary => Source::Lease { lease, sent: 0, is_delete: false },
            Format::Delete => Source::Lease { lease, sent: 0, is_delete: true },
            Format::Vacuumed => {
                let copy = copied(&lease, disk, copy)?;
                let connection = Connection::open(copy.path(), disk.sqlite_vfs(), Role::Internal).map_err(sql)?;
                leave_wal_mode(&connection)?;
                connection.raw.execute_batch("VACUUM").map_err(|error| sql(error.into()))?;
                drop(connection);
                let file = disk.open(copy.path(), Open::Read)?;
                Source::File { size: file.len()?, file, sent: 0, _copy: copy }
            }
            Format::Sql { tables } => {
                let copy = copied(&lease, disk, copy)?;
                let connection = Connection::open(copy.path(), disk.sqlite_vfs(), Role::Internal).map_err(sql)?;
                Source::Dump { dump: Box::new(Dump::new(connection, tables).map_err(sql)?), _copy: copy }
            }
        };
        Ok(Self { source, gzip: compress.then(|| GzEncoder::new(Vec::new(), Compression::fast())) })
    }

    /// The next bytes. An error means that what was sent is no backup.
    pub fn next_piece(&mut self) -> io::Result<Piece> {
        loop {
            let piece = self.source.next_piece()?;
            let Some(gzip) = &mut self.gzip else {
                return Ok(piece);
            };
            gzip.write_all(&piece.bytes)?;
            if piece.is_last {
                gzip.try_finish()?;
            }
            let bytes = std::mem::take(gzip.get_mut());
            if !bytes.is_empty() || piece.is_last {
                return Ok(Piece { bytes, is_last: piece.is_last });
            }
        }
    }
}

impl Source {
    fn next_piece(&mut self) -> io::Result<Piece> {
        match self {
            Source::Lease { lease, sent, is_delete } => {
                let mut bytes = lease.read(PIECE)?;
                if *is_delete && *sent == 0 {
                    bytes[FORMAT_VERSIONS].fill(1);
                }
                *sent += bytes.len() as u64;
                Ok(Piece { bytes, is_last: *sent == lease.size })
            }
            Source::File { file, size, sent, .. } => {
                let mut bytes = vec![0; PIECE.min((*size - *sent) as usize)];
                if file.read_at(&mut bytes, *sent)? < bytes.len() {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                *sent += bytes.len() as u64;
                Ok(Piece { bytes, is_last: sent == size })
            }
            Source::Dump { dump, .. } => {
                let mut bytes = Vec::with_capacity(PIECE);
                let progress = dump.advance(&mut bytes, PIECE).map_err(sql)?;
                Ok(Piece { bytes, is_last: progress == Progress::Finished })
            }
        }
    }
}

/// Makes a file that can do without a WAL: a VACUUM would go into that, and it is no part of the backup. Where SQLite can't
/// leave WAL mode the answer says so; that the change can't be committed is an error behind the answer.
fn leave_wal_mode(connection: &Connection) -> io::Result<()> {
    let left = || -> rusqlite::Result<String> {
        let mut statement = connection.raw.prepare("PRAGMA journal_mode=delete")?;
        let modes = statement.query_map([], |row| row.get::<_, String>(0))?;
        modes.collect()
    };
    match left().map_err(|error| sql(error.into()))?.as_str() {
        "delete" => Ok(()),
        mode => Err(io::Error::other(format!("the copy stays in journal mode {mode}"))),
    }
}

/// Copies the leased file to `path`, which ends the lease's hold on the main file.
fn copied(lease: &Lease, disk: &Arc<dyn Disk>, path: PathBuf) -> io::Result<TemporaryFile> {
    let copy = TemporaryFile::new(disk.clone(), path);
    let file = disk.open(copy.path(), Open::CreateNew)?;
    let mut offset = 0;
    while offset < lease.size {
        let bytes = lease.read(PIECE)?;
        file.write_at(&bytes, offset)?;
        offset += bytes.len() as u64;
    }
    Ok(copy)
}

fn sql(error: SqlError) -> io::Error {
    io::Error::other(error.message)
}
