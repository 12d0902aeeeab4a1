//! Writes: through the log.

use std::sync::LazyLock;
use std::time::Duration;

use prost::Message;
use regex_lite::Regex;

use super::{Error, Store};
use crate::command::{Execute, Kind, Limits, Statement};
use crate::db::budget::{STATEMENT_STEPS, STEPS_PER_MS};
use crate::db::execute::Executed;
use crate::raft::machine::Response;

/// Bytes of a request from which on the free space is looked at for it alone.
const LARGE: usize = 1 << 20;

impl Store {
    /// Runs a request's statements on every node; returns what they gave and the index of their entry.
    ///
    /// Errors: [`Error::DisallowedPragma`], nothing runs; [`Error::LeadershipLost`], the outcome is unknown.
    pub async fn execute(&self, request: Execute, db_timeout: Option<Duration>) -> Result<(Executed, u64), Error> {
        check_pragmas(&request.statements)?;
        self.run(request, Kind::Execute, db_timeout).await
    }

    /// Writes a request to the log, as one entry of this kind.
    pub(super) async fn run(
        &self,
        request: Execute,
        kind: fn(Execute) -> Kind,
        db_timeout: Option<Duration>,
    ) -> Result<(Executed, u64), Error> {
        let request_steps = db_timeout.map_or(0, |timeout| (timeout.as_millis() as u64).max(1) * STEPS_PER_MS);
        let max_bytes = self.free_space.max_bytes()?;
        let size: usize = request.statements.iter().map(|statement| statement.encoded_len()).sum();
        if size > LARGE {
            self.free_space.admit(size as u64).map_err(|_| Error::DiskLow)?;
        }
        let limits = Limits { request_steps, statement_steps: STATEMENT_STEPS, max_bytes };
        let proposed = self.propose(kind(request), limits).await?;
        match proposed.response {
            Response::Executed(executed) => Ok((executed, proposed.index)),
            other => unreachable!("an execute answers with results, not {other:?}"),
        }
    }
}

/// Refuses requests with a pragma that would break the node, before anything runs.
pub fn check_pragmas(statements: &[Statement]) -> Result<(), Error> {
    statements.iter().try_for_each(|statement| check_pragma(&statement.sql))
}

/// Refuses a text that begins with such a pragma, as the reference does. The authorizer refuses what these patterns
/// miss.
///
/// Source: rqlite `db/db_common.go` `BreakingPragmas`; http-data.md §9.6.
pub(super) fn check_pragma(sql: &str) -> Result<(), Error> {
    static PATTERNS: LazyLock<Vec<Regex>> = LazyLock::new(|| {
        [
            r"(?i)^\s*PRAGMA\s+(\w+\.)?journal_mode\s*=",
            r"(?i)^\s*PRAGMA\s+wal_autocheckpoint\s*=",
            r"(?i)^\s*PRAGMA\s+(\w+\.)?wal_checkpoint",
            r"(?i)^\s*PRAGMA\s+(\w+\.)?synchronous\s*=",
            r"(?i)^\s*PRAGMA\s+(\w+\.)?query_only\s*=",
        ]
        .map(|pattern| Regex::new(pattern).expect("the pattern is valid"))
        .into()
    });
    // Most texts are none, and a batch has many.
    let is_pragma = sql.trim_start().get(..6).is_some_and(|start| start.eq_ignore_ascii_case("pragma"));
    if is_pragma && PATTERNS.iter().any(|pattern| pattern.is_match(sql)) {
        Err(Error::DisallowedPragma)
    } else {
        Ok(())
    }
}
