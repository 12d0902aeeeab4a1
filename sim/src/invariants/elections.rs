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

/// A redirect to `location` names a node that leads, or has led. Returns it.
///
/// Source: design §11 "a redirect names a node that was leader".
pub fn check_redirect(location: &str, leaders: &Leaders) -> Result<String, String> {
    let node = location.strip_prefix("http://").and_then(|rest| rest.split_once(':')).map(|(node, _)| node);
    match node.and_then(|node| leaders.values().find(|leader| *leader == node)) {
        Some(node) => Ok(node.clone()),
        None => Err(format!("elections: a redirect to {location:?}, where no leader is or was: {leaders:?}")),
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

    #[test]
    fn a_redirect_to_whoever_never_led_is_found() {
        let leaders = Leaders::from([(1, "a".into()), (2, "b".into())]);
        assert_eq!(check_redirect("http://a:4001/db/execute?redirect", &leaders), Ok("a".into()));
        assert!(check_redirect("http://c:4001/db/execute?redirect", &leaders).is_err());
        assert!(check_redirect("/db/execute", &leaders).is_err());
    }
}
