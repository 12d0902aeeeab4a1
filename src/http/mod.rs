//! The HTTP API at its edges: what a request says, and how answers are written.
//!
//! ```text
//!   query string ─► params     body ─► body ─► statements ─► (store) ─► rows ─► render ─► bytes
//!                                                               └─ failure ─► error ─► status, text
//! ```

pub mod params;

pub mod body;

pub mod error;

pub mod date;
pub mod json;
pub mod render;

#[cfg(test)]
mod cases;
