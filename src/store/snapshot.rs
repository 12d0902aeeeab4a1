//! Snapshots that a client asks for: a checkpoint of this node.

use super::checkpoint::{self, Purge};
use super::{Error, Store};

impl Store {
    /// Brings the main file to what is applied, and keeps so many entries of the log behind it; `None`: as many as the
    /// trigger says. False: there was nothing new.
    pub async fn snapshot(&self, kept: Option<u64>) -> Result<bool, Error> {
        let states = || self.machine.call(|machine| (machine.applied().last_applied, machine.clean().last_applied));
        let (wanted, clean) = states().await;
        if clean == wanted {
            return Ok(false);
        }
        checkpoint::run(self, kept.map_or(Purge::Window, Purge::Keep)).await;
        let (_, clean) = states().await;
        if clean >= wanted { Ok(true) } else { Err(Error::TooBusy) }
    }
}
