//! Writes what machines can mend.

use crate::step::cargo;

pub fn run(_arguments: &[String]) -> anyhow::Result<()> {
    cargo(&["clippy", "--workspace", "--all-targets", "--fix", "--allow-dirty", "--allow-staged"])?;
    cargo(&["fmt", "--all"])
}
