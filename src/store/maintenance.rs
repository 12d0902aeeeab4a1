//! Periodic `PRAGMA optimize` and VACUUM: proposed by the leader as entries, so that every node does them at the same
//! point of the log (hazard H10).

use std::time::Duration;

use super::{Error, Store};
use crate::command::{Execute, Statement};

/// The reference's flags; zero: never.
#[derive(Clone, Debug)]
pub struct Options {
    /// `-auto-optimize-int`
    pub optimize: Duration,
    /// `-auto-vacuum-int`
    pub vacuum: Duration,
}

/// A VACUUM writes the database anew, into the WAL, and the checkpoint copies it.
const VACUUM_SPACE: f64 = 2.5;

/// Does what is due, for ever.
pub async fn watch(store: Store) {
    let Options { optimize, vacuum } = store.options.maintenance.clone();
    tokio::join!(every(&store, optimize, "PRAGMA optimize"), every(&store, vacuum, "VACUUM"));
}

async fn every(store: &Store, interval: Duration, sql: &'static str) {
    while !interval.is_zero() {
        tokio::time::sleep(interval).await;
        if !store.is_leader() {
            continue;
        }
        let counters = &store.metrics.store;
        let (done, failed) = match sql {
            "VACUUM" => (&counters.num_auto_vacuums, &counters.num_auto_vacuums_failed),
            _ => (&counters.num_auto_optimizes, &counters.num_auto_optimizes_failed),
        };
        match propose(store, sql).await {
            Ok(()) => done.increment(),
            Err(error) => {
                failed.increment();
                tracing::warn!(%error, "{sql} was not done");
            }
        }
    }
}

async fn propose(store: &Store, sql: &str) -> Result<(), Error> {
    if sql == "VACUUM" {
        let need = (store.free_space.used().unwrap_or(0) as f64 * VACUUM_SPACE) as u64;
        let free = store.free_space.bytes().unwrap_or(0);
        if free < need {
            return Err(Error::DiskSpace { need, free });
        }
    }
    let statement = Statement { sql: sql.into(), parameters: Vec::new() };
    let request = Execute { statements: vec![statement], transaction: false };
    store.execute(request, None).await.map(|_| ())
}
