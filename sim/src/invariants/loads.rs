//! A load replaces everything by exactly the file.
//!
//! Source: faults.md I8, I11, S50; design §7.

use crate::history::{Index, OpId};

/// The load `op`, of a file with content `file`, was applied at `index` and the database is `applied` now.
pub fn check(op: OpId, index: Index, file: u64, applied: u64) -> Result<(), String> {
    if file == applied {
        return Ok(());
    }
    Err(format!("loads: operation {op} at {index} loaded {file:016x}, the database is {applied:016x}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_load_that_mixes_is_found() {
        assert!(check(1, 7, 5, 5).is_ok());
        assert!(check(1, 7, 5, 6).is_err());
    }
}
