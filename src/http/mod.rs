//! The HTTP API.
//!
//! ```text
//!   query string ─► params     body ─► body ─► statements ─► store ─► rows ─► render ─► bytes
//!        routes ─► one file per endpoint                       └─ failure ─► error ─► status, text
//! ```

pub mod serve;

pub mod routes;

pub mod params;

pub mod body;

mod backup;
mod boot;
mod execute;
mod load;
mod query;
mod readyz;
mod status;

pub mod error;
pub mod response;

pub mod date;
pub mod json;
pub mod render;

#[cfg(test)]
mod cases;
