//! The forms that a backup can have, and the way back from each to a database in plain SQLite.

use std::io::Read;

use flate2::read::MultiGzDecoder;

use crate::invariants::backups;
use crate::random::Random;
use crate::scratch::{Database, Scratch};

/// What /db/backup is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Binary,
    Delete,
    Vacuum,
    Sql,
}

/// All of the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Form {
    pub format: Format,
    pub is_compressed: bool,
    /// The node's own state will do.
    pub is_noleader: bool,
}

impl Form {
    /// As without parameters.
    pub const PLAIN: Self = Self { format: Format::Binary, is_compressed: false, is_noleader: false };

    /// Any of them.
    pub fn draw(random: &mut Random) -> Self {
        let format = [Format::Binary, Format::Delete, Format::Vacuum, Format::Sql][random.below(4) as usize];
        Self { format, is_compressed: random.chance(1, 3), is_noleader: random.chance(1, 4) }
    }

    /// Of the request.
    pub fn path(self) -> String {
        let mut path = String::from("/db/backup?");
        path += match self.format {
            Format::Binary => "fmt=binary",
            Format::Delete => "fmt=delete",
            Format::Vacuum => "vacuum",
            Format::Sql => "fmt=sql",
        };
        if self.is_compressed {
            path += "&compress";
        }
        if self.is_noleader {
            path += "&noleader";
        }
        path
    }

    /// What of it is counted.
    pub fn names(self) -> Vec<&'static str> {
        let mut names = vec![match self.format {
            Format::Binary => "backups: binary",
            Format::Delete => "backups: delete",
            Format::Vacuum => "backups: vacuum",
            Format::Sql => "backups: sql",
        }];
        names.extend(self.is_compressed.then_some("backups: compressed"));
        names.extend(self.is_noleader.then_some("backups: noleader"));
        names
    }

    /// Whether the rowids are the database's, where they are no column.
    pub fn keeps_rowids(self) -> bool {
        matches!(self.format, Format::Binary | Format::Delete)
    }

    /// The database that a complete backup of this form is. An error: it is none.
    pub fn restore(self, scratch: &mut Scratch, bytes: &[u8]) -> Result<Database, String> {
        let mut plain = Vec::new();
        let bytes = match self.is_compressed {
            false => bytes,
            true => {
                let unpacked = MultiGzDecoder::new(bytes).read_to_end(&mut plain);
                unpacked.map_err(|error| format!("backups: a compressed backup can't be unpacked: {error}"))?;
                &plain
            }
        };
        let unreadable = |error: rusqlite::Error| format!("backups: a backup can't be read: {error}");
        backups::check_start(self.format, bytes)?;
        if self.format != Format::Sql {
            return scratch.open(bytes).map_err(unreadable);
        }
        let text = std::str::from_utf8(bytes).map_err(|error| format!("backups: a dump is no text: {error}"))?;
        let database = scratch.open(b"").map_err(unreadable)?;
        database.connection.execute_batch(text).map_err(|error| format!("backups: a dump can't be run: {error}"))?;
        if !database.connection.is_autocommit() {
            return Err("backups: a dump has no end".into());
        }
        Ok(database)
    }
}
