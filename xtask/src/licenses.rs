//! What `GET /licenses` shows: the crates that are linked into the programs, with their terms.

use std::collections::BTreeSet;
use std::process::Command;
use std::{env, fs};

use anyhow::{Context, ensure};

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../src/http/licenses.txt");

const HEAD: &str = "rqlite, in Rust: MIT\nSQLite: public domain, https://sqlite.org/copyright.html\n";

/// Writes the list.
pub fn run(_arguments: &[String]) -> anyhow::Result<()> {
    fs::write(FILE, list()?).context(FILE)
}

fn list() -> anyhow::Result<String> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    let format = "{p}: {l}, {r}";
    let arguments = ["tree", "--package=rqlite", "--edges=normal", "--target=all", "--prefix=none", "--format", format];
    let output = Command::new(cargo).args(arguments).current_dir(root).output().context("cargo tree didn't start")?;
    ensure!(output.status.success(), "cargo tree: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout)?;
    // `(*)` marks what was shown before; packages of ours show where they are on this disk.
    let is_foreign = |line: &&str| !line.is_empty() && !line.contains(" (/");
    let lines = text.lines().map(|line| line.trim_end_matches(" (*)")).filter(is_foreign);
    Ok(lines.collect::<BTreeSet<_>>().into_iter().fold(HEAD.to_string(), |list, line| list + line + "\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_that_of_the_dependencies_as_they_are() {
        let is_same = fs::read_to_string(FILE).unwrap() == list().unwrap();
        assert!(is_same, "src/http/licenses.txt is old: cargo xtask licenses writes it");
    }
}
