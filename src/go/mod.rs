//! Rules of Go's standard library that users of the reference can see: durations, quoting, `host:port`.
//!
//! Pure, and usable from every layer: the command line, query parameters and configuration files share them.

pub mod duration;
pub mod host_port;
pub mod quote;

pub use duration::Duration;
pub use host_port::split_host_port;
pub use quote::quote;
