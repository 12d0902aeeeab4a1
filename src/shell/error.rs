//! What can go wrong behind the prompt, and how it is said.

use std::io;
use std::path::{Path, PathBuf};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database's own message: printed as `Error: ..` where results go; all others as `ERR! ..`.
    #[error("{0}")]
    Sql(String),
    #[error("unauthorized")]
    Unauthorized,
    /// An answer whose text says what is wrong.
    #[error("{0}")]
    Answer(String),
    /// What the command was given makes no sense.
    #[error("{0}")]
    Usage(String),
    #[error("Unable to connect to rqlited at {0} - is it running?")]
    Unreachable(String),
    #[error("no host available to perform the request")]
    NoHost,
    #[error("{0}")]
    Transport(String),
    #[error("no answer within {}", crate::go::Duration::from_millis(.0.as_millis() as i64))]
    Timeout(std::time::Duration),
    #[error("unexpected answer: {0}")]
    Unexpected(String),
    #[error("interrupted")]
    Interrupted,
    #[error("{operation} {}: {}", path.display(), reason(source))]
    File { operation: &'static str, path: PathBuf, source: io::Error },
    /// Where results or messages go can't be written to.
    #[error("write output: {}", reason(.0))]
    Output(#[from] io::Error),
}

impl Error {
    pub fn file(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
        let path = path.to_path_buf();
        move |source| Error::File { operation, path, source }
    }
}

/// The system's words as Go has them: `no such file or directory`.
pub fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    let Some((words, _)) = text.split_once(" (os error ") else {
        return text;
    };
    let mut letters = words.chars();
    letters.next().map_or_else(String::new, |first| first.to_lowercase().chain(letters).collect())
}
