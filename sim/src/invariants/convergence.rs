//! When all is healed, every node comes to the same index, and with it, by `replay`, to the same state.
//!
//! Source: issue "The cluster", 7; faults.md I2, I16.

use std::collections::BTreeMap;

use crate::history::Index;

/// The applied index of each node, a long while after everything was healed.
pub fn check(applied: &BTreeMap<String, Option<Index>>) -> Result<(), String> {
    let highest = applied.values().max().copied().flatten();
    match applied.iter().find(|(_, index)| **index != highest || index.is_none()) {
        None => Ok(()),
        Some((node, index)) => {
            Err(format!("convergence: {node} has applied {index:?}, others {highest:?}, although all is healed"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_stays_behind_is_found() {
        let nodes = |indexes: &[Option<Index>]| {
            indexes.iter().enumerate().map(|(n, index)| (format!("n{n}"), *index)).collect::<BTreeMap<_, _>>()
        };
        assert!(check(&nodes(&[Some(7), Some(7)])).is_ok());
        assert!(check(&nodes(&[Some(7), Some(6)])).is_err());
        assert!(check(&nodes(&[Some(7), None])).is_err());
        assert!(check(&nodes(&[None])).is_err());
    }
}
