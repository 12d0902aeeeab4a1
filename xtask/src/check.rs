//! Run it before a commit: everything that CI looks at, quicker. Writes nothing but build output.

use crate::step::cargo;

pub fn run(_arguments: &[String]) -> anyhow::Result<()> {
    cargo(&["fmt", "--all", "--check"])?;
    cargo(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"])?;
    cargo(&["test", "--workspace"])?;
    cargo(&["xtask", "sim", "--seeds", "0..4"])
}
