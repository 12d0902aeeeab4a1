//! Do the tests bite? Each `sim/mutants/NN-name.patch` puts one known bug into a scratch copy of the tree, and the
//! checks that the patch names must fail there.
//!
//! ```text
//! what the bug is, in a line or more        (ignored)
//! check: test FILTER                        these tests of sim's `it` binary: one must fail
//! check: seeds N                            one of the first N seeds of the simulation must fail
//! --- a/src/...                             the bug
//! ```
//!
//! `cargo xtask mutants [--no-seeds] [NAME...]`: all, or those whose name contains one of the words. The copy and its
//! build, which all mutants share, are under `target/mutants/`. A mutant costs a build of the workspace's own crates
//! and the time until it is caught, together half an hour or more: not for CI, but for whoever changes the tests, the
//! simulation, or what a patch touches. A patch that no longer applies is made anew, by hand; a test finds it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Instant;

use anyhow::{Context, bail, ensure};

struct Mutant {
    name: String,
    patch: PathBuf,
    checks: Vec<Check>,
}

enum Check {
    Test(String),
    Seeds(u64),
}

/// A copy of the tree, as it is in the working directory.
struct Scratch {
    tree: PathBuf,
    target: PathBuf,
}

pub fn run(arguments: &[String]) -> anyhow::Result<()> {
    let (options, words): (Vec<_>, Vec<_>) = arguments.iter().partition(|argument| argument.starts_with("--"));
    let with_seeds = match options.as_slice() {
        [] => true,
        [option] if *option == "--no-seeds" => false,
        _ => bail!("mutants [--no-seeds] [NAME...]"),
    };
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask has a parent")?;
    let mut mutants = read(&root.join("sim/mutants"))?;
    mutants.retain(|mutant| words.is_empty() || words.iter().any(|word| mutant.name.contains(word.as_str())));
    ensure!(!mutants.is_empty(), "no such mutant");

    let scratch = Scratch { tree: root.join("target/mutants/tree"), target: root.join("target/mutants/target") };
    let mut rows = Vec::new();
    let mut survivors = 0;
    for mutant in &mutants {
        scratch.renew(root)?;
        scratch.apply(&mutant.patch)?;
        for check in &mutant.checks {
            if matches!(check, Check::Seeds(_)) && !with_seeds {
                continue;
            }
            let started = Instant::now();
            let caught = scratch.check(check).with_context(|| mutant.name.clone())?;
            survivors += usize::from(caught.is_none());
            let (name, check, seconds) = (&mutant.name, check.text(), started.elapsed().as_secs());
            let caught = caught.unwrap_or_else(|| "SURVIVED".into());
            let row = format!("{name:<38} {check:<28} {seconds:>4} s  {caught}");
            eprintln!("{row}");
            rows.push(row);
        }
    }
    scratch.renew(root)?;
    println!("\n{:<38} {:<28} {:>6}  caught by", "mutant", "check", "time");
    println!("{}", rows.join("\n"));
    ensure!(survivors == 0, "{survivors} checks passed with a bug in the tree");
    Ok(())
}

fn read(directory: &Path) -> anyhow::Result<Vec<Mutant>> {
    let mut mutants = Vec::new();
    for entry in fs::read_dir(directory)? {
        let patch = entry?.path();
        let text = fs::read_to_string(&patch)?;
        let checks: anyhow::Result<Vec<Check>> = text
            .lines()
            .take_while(|line| !line.starts_with("--- "))
            .filter_map(|line| line.strip_prefix("check: "))
            .map(|line| match line.split_once(' ') {
                Some(("test", filter)) => Ok(Check::Test(filter.into())),
                Some(("seeds", count)) => Ok(Check::Seeds(count.parse()?)),
                _ => bail!("check: {line}"),
            })
            .collect();
        let checks = checks.with_context(|| patch.display().to_string())?;
        ensure!(!checks.is_empty(), "{}: no check", patch.display());
        let name = patch.file_stem().context("a patch has a name")?.to_string_lossy().into_owned();
        mutants.push(Mutant { name, patch, checks });
    }
    mutants.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(mutants)
}

impl Check {
    fn text(&self) -> String {
        match self {
            Self::Test(filter) => format!("test {filter}"),
            Self::Seeds(count) => format!("seeds {count}"),
        }
    }
}

impl Scratch {
    /// Makes the copy equal to `root`. Files that are equal already keep their time, so that cargo leaves them alone.
    fn renew(&self, root: &Path) -> anyhow::Result<()> {
        let listed = git(root, &["ls-files", "-z", "--cached", "--others", "--exclude-standard"])?;
        let mut wanted = BTreeSet::new();
        for name in listed.split('\0').filter(|name| !name.is_empty()) {
            // The root's settings hold below it, and a second copy would add its flags again: another build of all.
            if name.starts_with(".cargo/") {
                continue;
            }
            // One that was deleted and not committed is still listed.
            let Ok(content) = fs::read(root.join(name)) else { continue };
            wanted.insert(PathBuf::from(name));
            let copy = self.tree.join(name);
            if fs::read(&copy).is_ok_and(|old| old == content) {
                continue;
            }
            fs::create_dir_all(copy.parent().context("a file has a directory")?)?;
            fs::write(&copy, content)?;
        }
        let mut directories = vec![PathBuf::new()];
        while let Some(directory) = directories.pop() {
            for entry in fs::read_dir(self.tree.join(&directory))? {
                let entry = entry?;
                let name = directory.join(entry.file_name());
                match entry.file_type()?.is_dir() {
                    true => directories.push(name),
                    false if !wanted.contains(&name) => fs::remove_file(entry.path())?,
                    false => {}
                }
            }
        }
        Ok(())
    }

    fn apply(&self, patch: &Path) -> anyhow::Result<()> {
        // Not git: the copy lies within the repository, and git would take the paths as those of its root.
        let output = Command::new("patch")
            .args(["-p1", "--batch", "--no-backup-if-mismatch", "--input"])
            .arg(patch)
            .current_dir(&self.tree)
            .output()?;
        ensure!(output.status.success(), "{} doesn't apply:\n{}", patch.display(), text(&output));
        Ok(())
    }

    /// What failed; `None` if nothing did.
    fn check(&self, check: &Check) -> anyhow::Result<Option<String>> {
        match check {
            Check::Test(filter) => {
                // A mutant that doesn't compile isn't caught.
                let built = self.cargo(&["test", "--quiet", "-p", "sim", "--test", "it", "--no-run"])?;
                ensure!(built.status.success(), "it doesn't build:\n{}", text(&built));
                let ran = self.cargo(&["test", "--quiet", "-p", "sim", "--test", "it", "--", filter])?;
                Ok((!ran.status.success()).then(|| failures(&text(&ran))))
            }
            Check::Seeds(count) => {
                let built = self.cargo(&["build", "--quiet", "-p", "sim"])?;
                ensure!(built.status.success(), "it doesn't build:\n{}", text(&built));
                for seed in 0..*count {
                    let binary = self.target.join("debug/sim");
                    let ran = Command::new(binary).args(["--seed", &seed.to_string()]).output()?;
                    if !ran.status.success() {
                        let text = text(&ran);
                        let verdict = text.lines().rfind(|line| !line.trim().is_empty());
                        let verdict: String = verdict.unwrap_or_default().chars().take(120).collect();
                        return Ok(Some(format!("{} seeds: {verdict}", seed + 1)));
                    }
                }
                Ok(None)
            }
        }
    }

    fn cargo(&self, arguments: &[&str]) -> anyhow::Result<Output> {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut command = Command::new(cargo);
        command.args(arguments).current_dir(&self.tree).env("CARGO_TARGET_DIR", &self.target);
        Ok(command.env("RUST_BACKTRACE", "0").output()?)
    }
}

/// The tests that failed, and at which case the first of them did.
fn failures(output: &str) -> String {
    let tests: BTreeSet<&str> = output
        .lines()
        .filter_map(|line| line.strip_prefix("---- ").and_then(|line| line.strip_suffix(" stdout ----")))
        .map(|name| name.rsplit("::").next().unwrap_or(name))
        .collect();
    let case = output.lines().find(|line| line.starts_with("── ") || line.contains("minimal failing input"));
    let names: Vec<&str> = tests.into_iter().collect();
    match case {
        Some(case) => format!("{} ({})", names.join(", "), case.trim_start_matches("── ")),
        None => names.join(", "),
    }
}

fn git(root: &Path, arguments: &[&str]) -> anyhow::Result<String> {
    let output = Command::new("git").args(arguments).current_dir(root).output()?;
    ensure!(output.status.success(), "git: {}", text(&output));
    Ok(String::from_utf8(output.stdout)?)
}

fn text(output: &Output) -> String {
    format!("{}\n{}", String::from_utf8_lossy(&output.stderr), String::from_utf8_lossy(&output.stdout))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mutant_still_fits_the_tree() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let mutants = read(&root.join("sim/mutants")).unwrap();
        // Below another repository's root git would check nothing.
        let top = git(root, &["rev-parse", "--show-toplevel"]).unwrap();
        assert_eq!(Path::new(top.trim()).canonicalize().unwrap(), root.canonicalize().unwrap());
        assert!(mutants.len() > 20);
        for mutant in mutants {
            let patch = mutant.patch.to_str().unwrap();
            git(root, &["apply", "--check", patch]).unwrap_or_else(|error| panic!("{}: {error}", mutant.name));
        }
    }
}
