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
mod debug;
mod execute;
mod leader;
mod licenses;
mod load;
mod nodes;
pub mod proxy;
mod query;
mod queue;
mod readyz;
mod remove;
mod request;
mod root;
mod snapshot;
mod sql;
mod status;

pub mod memory;
mod receive;
mod results;

pub mod error;
pub mod response;

pub mod date;
pub mod json;
pub mod render;

#[cfg(test)]
mod cases;
