//! Temporary files are gone after any outcome: of what was answered, refused, broken off, or left by its client.
//!
//! Source: faults.md I23.

/// Nobody calls any more, and `tmp/` holds these files.
pub fn check(left: &[String]) -> Result<(), String> {
    if left.is_empty() { Ok(()) } else { Err(format!("temporary: these files stay: {left:?}")) }
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_file_that_stays_is_found() {
        assert!(super::check(&[]).is_ok());
        assert!(super::check(&["upload-1".into()]).is_err());
    }
}
