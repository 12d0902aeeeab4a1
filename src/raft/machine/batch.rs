//! Entries that come together: their writes share a transaction where nothing shows it (hazard H4).
//!
//! ```text
//! entry, entry, … ─┬─ plain writes ──────────► one transaction ─► commit ─► the answers
//!                  ├─ anything else ─► commit ─► by itself
//!                  └─ an error, … ──► undo ───► all of them again, each by itself
//! ```
//!
//! Batches differ from node to node, so nobody hears of an entry before its transaction is committed.

use std::time::Duration;

use openraft::EntryPayload;
use prost::Message;
use tokio::time::Instant;

use super::{Machine, Response};
use crate::command::Command;
use crate::db::database::Fault;
use crate::db::execute::Executed;
use crate::raft::types::{Entry, LogId, StoredMembership};

/// Entries share a transaction, and their answers wait for it, for so long, and for so many bytes of rows.
const BATCH_TIME: Duration = Duration::from_millis(1);
const BATCH_BYTES: usize = 1 << 20;

/// Entries that are applied each by itself after a shared transaction was undone, so that a client whose writes fail does
/// not have all others' done twice.
const ALONE: usize = 256;

/// How an entry is applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// In one transaction with its neighbours.
    Shared,
    Alone,
    /// Alone, after the transaction that it had shared was undone.
    Again,
}

/// Entries on their way.
struct Batch {
    responses: Vec<Response>,
    last_command: Option<(LogId, Duration)>,
    /// Before the shared transaction: how many were answered, the last applied and the last that changed something.
    settled: (usize, Option<LogId>, Option<LogId>),
}

impl Machine {
    /// Applies one entry. `wants_rows`: somebody waits for the answer.
    pub fn apply(&mut self, entry: Entry, wants_rows: bool) -> Result<Response, Fault> {
        let mut responses = self.apply_some(&[(entry, wants_rows)])?;
        Ok(responses.pop().expect("one entry, one answer"))
    }

    /// Applies the first of `entries`, and as many more as fit in a short time, and answers each. Writes share a
    /// transaction where nothing shows it.
    pub fn apply_some(&mut self, entries: &[(Entry, bool)]) -> Result<Vec<Response>, Fault> {
        self.unless_faulty(|machine| {
            let began = Instant::now();
            if machine.world.chaos.here("apply: shares a transaction soon after one was undone") {
                machine.alone = 0;
            }
            let mut batch = Batch { responses: Vec::new(), last_command: None, settled: machine.settled(0) };
            let mut bytes = 0;
            for (n, (entry, wants_rows)) in entries.iter().enumerate() {
                let is_last = n + 1 == entries.len();
                let has_company = !is_last || machine.database.writer().is_sharing();
                let shares = has_company && machine.alone == 0;
                machine.alone = machine.alone.saturating_sub(1);
                let turn = if shares { Turn::Shared } else { Turn::Alone };
                match machine.apply_entry(entry, *wants_rows, turn, &mut batch)? {
                    Some(response) => {
                        if let Response::Executed(executed) = &response {
                            bytes += executed.rows_bytes;
                        }
                        batch.responses.push(response);
                    }
                    None => machine.apply_alone(&entries[..=n], &mut batch)?,
                }
                if !machine.database.writer().is_sharing() {
                    batch.settled = machine.settled(batch.responses.len());
                }
                if began.elapsed() > BATCH_TIME || bytes > BATCH_BYTES {
                    break;
                }
            }
            if !machine.database.writer().commit_shared()? {
                let applied = batch.responses.len();
                machine.apply_alone(&entries[..applied], &mut batch)?;
            }
            machine.observe(batch.last_command);
            Ok(batch.responses)
        })
    }

    /// Applies those of `entries` again, each by itself, whose shared transaction was undone.
    fn apply_alone(&mut self, entries: &[(Entry, bool)], batch: &mut Batch) -> Result<(), Fault> {
        self.alone = ALONE;
        let counted = batch.responses.len();
        let (settled, last_applied, last_change) = batch.settled;
        (self.applied.last_applied, self.applied.last_change) = (last_applied, last_change);
        batch.responses.truncate(settled);
        for (n, (entry, wants_rows)) in entries.iter().enumerate().skip(settled) {
            let turn = if n < counted { Turn::Again } else { Turn::Alone };
            let response = self.apply_entry(entry, *wants_rows, turn, batch)?;
            batch.responses.push(response.expect("nothing is shared"));
        }
        Ok(())
    }

    /// What of the state entries in a shared transaction change, after this many answers.
    fn settled(&self, answered: usize) -> (usize, Option<LogId>, Option<LogId>) {
        (answered, self.applied.last_applied, self.applied.last_change)
    }

    /// `None`: the transaction that it shared was undone.
    fn apply_entry(
        &mut self,
        entry: &Entry,
        wants_rows: bool,
        turn: Turn,
        batch: &mut Batch,
    ) -> Result<Option<Response>, Fault> {
        let log_id = entry.log_id;
        let at = |fault: Fault| Fault(format!("applying entry {}: {}", log_id.index, fault.0));
        let response = match &entry.payload {
            EntryPayload::Blank => Response::Done,
            EntryPayload::Membership(membership) => {
                self.applied.membership = StoredMembership::new(Some(log_id), membership.clone());
                Response::Done
            }
            EntryPayload::Normal(_) if log_id.index == self.skip_entry => {
                tracing::warn!(index = log_id.index, "entry skipped by the operator");
                let error = Some("entry skipped by the operator".into());
                Response::Executed(Executed { error, ..Executed::default() })
            }
            EntryPayload::Normal(payload) => {
                let began = Instant::now();
                let command = Command::decode(payload.0.clone())
                    .map_err(|error| at(Fault(format!("it can't be decoded ({error}); is this version too old?"))))?;
                let time = Duration::from_millis(command.time_ms);
                let Some(response) = self.command(log_id, command, wants_rows, turn).map_err(at)? else {
                    return Ok(None);
                };
                self.metrics.store.fsm_apply_duration_us.set(began.elapsed().as_micros() as i64);
                batch.last_command = Some((log_id, time));
                response
            }
        };
        self.applied.last_applied = Some(log_id);
        let chaos = self.world.chaos.clone();
        self.database.writer().connection().look(|connection| chaos.applied(log_id.index, connection));
        Ok(Some(response))
    }
}
