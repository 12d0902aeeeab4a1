//! Why the log cannot be opened, or has stopped.

use std::io;
use std::path::{Path, PathBuf};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("raft log: {what} {path}: {source}")]
    Io { what: &'static str, path: PathBuf, source: io::Error },
    /// Not what a power failure leaves behind: entries that this node may have acknowledged are gone.
    #[error("raft log is damaged: segment {segment}, byte {offset}: {reason}; nothing was changed")]
    Damaged { segment: PathBuf, offset: u64, reason: String },
    #[error(
        "raft vote file {path} is missing, but {segment} exists: the node could vote twice in one term; it was not started"
    )]
    VoteMissing { path: PathBuf, segment: PathBuf },
    #[error("raft vote file {path} is damaged ({reason}): the node could vote twice in one term; it was not started")]
    VoteDamaged { path: PathBuf, reason: String },
    #[error("{path} has format version {version}, this program knows up to {known}: start a newer one")]
    Newer { path: PathBuf, version: u32, known: u32 },
    #[error("raft log: entry {index} has {size} bytes, more than {max}")]
    TooLarge { index: u64, size: usize, max: usize },
    #[error("raft log stopped: {0}")]
    Stopped(String),
}

impl Error {
    /// The failed call's kind, so that openraft and its caller see, say, a full disk as one.
    pub fn kind(&self) -> io::ErrorKind {
        match self {
            Self::Io { source, .. } => source.kind(),
            Self::Damaged { .. } | Self::VoteDamaged { .. } => io::ErrorKind::InvalidData,
            _ => io::ErrorKind::Other,
        }
    }
}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        io::Error::new(error.kind(), error)
    }
}

/// Names what was done to which file when it failed.
pub trait Context<T> {
    fn context(self, what: &'static str, path: &Path) -> Result<T, Error>;
}

impl<T> Context<T> for io::Result<T> {
    fn context(self, what: &'static str, path: &Path) -> Result<T, Error> {
        self.map_err(|source| Error::Io { what, path: path.to_owned(), source })
    }
}
