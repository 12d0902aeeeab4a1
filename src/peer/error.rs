//! What goes wrong between two nodes.

use std::io;

/// The first two say for certain that the request did not arrive; of the others nothing is known.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("dial tcp {address}: {}", go_text(source))]
    Dial { address: String, source: io::Error },
    /// One of both sides doesn't want to talk to the other.
    #[error("{address}: {reason}")]
    Refused { address: String, reason: String },
    #[error("{}", go_text(.0))]
    Broken(#[from] io::Error),
    #[error("i/o timeout")]
    Timeout,
    /// The other side answered something that makes no sense.
    #[error("protocol error: {0}")]
    Protocol(&'static str),
    /// The other side says that it could not do it.
    #[error("{0}")]
    Remote(String),
}

impl Error {
    /// Whether the request certainly did not arrive.
    pub fn is_unsent(&self) -> bool {
        matches!(self, Self::Dial { .. } | Self::Refused { .. })
    }
}

/// The text that clients know from the reference, where a call to another node fails.
fn go_text(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connect: connection refused".into(),
        io::ErrorKind::ConnectionReset => "read: connection reset by peer".into(),
        io::ErrorKind::HostUnreachable => "connect: no route to host".into(),
        io::ErrorKind::NetworkUnreachable => "connect: network is unreachable".into(),
        io::ErrorKind::TimedOut => "i/o timeout".into(),
        io::ErrorKind::UnexpectedEof => "EOF".into(),
        _ => error.to_string(),
    }
}
