//! Rules of Go's libraries that users of the reference can see: durations, times, quoting, `host:port`, sizes.
//!
//! Pure, and usable from every layer: the command line, query parameters and configuration files share them.

pub mod bytes;
pub mod duration;
pub mod expand;
pub mod host_port;
pub mod quote;
pub mod time;

pub use duration::Duration;
pub use expand::expand;
pub use host_port::split_host_port;
pub use quote::quote;
