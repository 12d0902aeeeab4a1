//! A node stops only for a reason that it names, and starts when nothing is in its way.
//!
//! Source: design §3 "a failed sync is fatal to the node", §4 "a node fault stops the node with the index in the
//! message"; issue 3 "Bad input, faults".

/// A node stopped, or didn't start, saying `reason`. `is_disturbed`: its disk has failed it since it began.
pub fn check(reason: &str, is_disturbed: bool) -> Result<(), String> {
    if reason.trim().is_empty() {
        return Err("stops: the node stopped and gave no reason".into());
    }
    if !is_disturbed {
        return Err(format!("stops: the node stopped although nothing was in its way: {reason}"));
    }
    Ok(())
}

/// All faults were healed, and the node is not ready after a long while.
pub fn check_ready(is_ready: bool, last: &str) -> Result<(), String> {
    if is_ready { Ok(()) } else { Err(format!("stops: the node is not ready although all is healed: {last}")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stop_without_a_reason_or_a_fault_is_found() {
        assert!(check(" ", true).is_err());
        assert!(check("sync of the log failed", false).is_err());
        assert!(check("sync of the log failed", true).is_ok());
        assert!(check_ready(false, "503").is_err());
    }
}
