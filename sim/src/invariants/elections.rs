//! A term has one leader, in all processes of all nodes.
//!
//! Source: Ongaro, "Consensus: bridging theory and practice", figure 3.2, Election Safety; faults.md I3.

use std::collections::BTreeMap;

/// The leader of each term, so far.
pub type Leaders = BTreeMap<u64, String>;

/// `node` leads in `term`.
pub fn check(term: u64, node: &str, leaders: &mut Leaders) -> Result<(), String> {
    match leaders.get(&term) {
        Some(other) if other != node => Err(format!("elections: {node} leads in term {term}, as {other} does")),
        Some(_) => Ok(()),
        None => {
            leaders.insert(term, node.into());
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_leaders_of_a_term_are_found() {
        let mut leaders = Leaders::new();
        assert!(check(1, "a", &mut leaders).is_ok());
        assert!(check(2, "b", &mut leaders).is_ok());
        assert!(check(2, "b", &mut leaders).is_ok(), "it leads on after a restart");
        assert!(check(2, "a", &mut leaders).is_err());
    }
}
