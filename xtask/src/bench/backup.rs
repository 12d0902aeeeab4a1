//! Backups and loads beside cp, sync and the sqlite3 shell.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};

use super::Options;
use super::node::Node;
use super::table::{Comparison, timed};

/// Resident memory that an operation may need beyond an idle node's, KiB.
const MEMORY_MAX_KIB: u64 = 64 << 10;

/// Bytes of a row of the bench's table, about.
const ROW: u64 = 320;

/// What was measured of memory.
#[derive(Default)]
struct Memory(Vec<(&'static str, u64)>);

pub fn run(options: &Options) -> anyhow::Result<()> {
    let directory = &options.directory;
    let _ = fs::remove_dir_all(directory);
    fs::create_dir_all(directory)?;
    let measured = measure(options, directory);
    let _ = fs::remove_dir_all(directory);
    measured
}

fn measure(options: &Options, directory: &Path) -> anyhow::Result<()> {
    let path = |name: &str| directory.join(name);
    let (source, dump) = (path("source.sqlite"), path("dump.sql"));
    make(&source, options.size)?;
    println!("  database of {} MiB", fs::metadata(&source)?.len() >> 20);

    let mut backup = Comparison::new("binary backup", "cp", 1.5);
    let mut load = Comparison::new("load", "cp, sync", 6.0);
    let mut sql_dump = Comparison::new("SQL dump", "sqlite3 .dump", 2.0);
    let mut sql_load = Comparison::new("SQL load", "sqlite3 < dump", 2.0);
    let mut memory = Memory::default();
    for _ in 0..options.rounds {
        let data = path("node");
        let node = Node::start(&data, &[])?;
        let theirs = timed(|| {
            shell("cp", &[&source, &path("copy")])?;
            run_quietly(Command::new("sync").arg(path("copy")))
        })?;
        let ours = timed(|| {
            let answer = node.post_file("/db/load", &source)?;
            ensure!(answer == r#"{"results":[]}"#, "load: {answer}");
            Ok(())
        })?;
        load.pairs.push((ours, theirs));
        memory.note("load", &node)?;
        drop(node);

        let node = Node::start(&data, &[])?;
        let theirs = timed(|| shell("cp", &[&source, &path("copy")]))?;
        let ours = timed(|| node.get("/db/backup", &mut File::create(path("backup"))?))?;
        backup.pairs.push((ours, theirs));
        memory.note("binary backup", &node)?;
        drop(node);

        let node = Node::start(&data, &[])?;
        let theirs = timed(|| {
            let out = File::create(&dump)?;
            run_quietly(Command::new("sqlite3").arg(&source).arg(".dump").stdout(out))
        })?;
        let ours = timed(|| node.get("/db/backup?fmt=sql", &mut File::create(path("ours.sql"))?))?;
        sql_dump.pairs.push((ours, theirs));
        memory.note("SQL dump", &node)?;
        drop(node);
        fs::remove_dir_all(&data)?;

        let node = Node::start(&data, &[])?;
        let _ = fs::remove_file(path("theirs"));
        let theirs = timed(|| {
            let script = File::open(path("ours.sql"))?;
            run_quietly(Command::new("sqlite3").arg(path("theirs")).stdin(script))
        })?;
        let ours = timed(|| {
            let answer = node.post_file("/db/load", &path("ours.sql"))?;
            ensure!(answer.starts_with(r#"{"results":["#) && !answer.contains("error"), "SQL load: {answer}");
            Ok(())
        })?;
        sql_load.pairs.push((ours, theirs));
        memory.note("SQL load", &node)?;
        node.get("/db/backup?fmt=delete", &mut File::create(path("backup"))?)?;
        equal(&source, &path("backup"))?;
        drop(node);
        fs::remove_dir_all(&data)?;
    }
    for comparison in [backup, load, sql_dump, sql_load] {
        comparison.print();
    }
    memory.print();
    Ok(())
}

/// A table with an index; of about `size` bytes.
fn make(path: &Path, size: u64) -> anyhow::Result<()> {
    let rows = size / ROW;
    let sql = format!(
        "PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF; \
         CREATE TABLE item(id INTEGER PRIMARY KEY, name TEXT, price REAL, body TEXT, picture BLOB); \
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows}) \
         INSERT INTO item SELECT i, 'item ' || i, i / 7.0, hex(randomblob(90)), randomblob(60) FROM n; \
         CREATE INDEX item_name ON item(name);"
    );
    // It answers with the journal mode.
    run_quietly(Command::new("sqlite3").arg(path).arg(sql).stdout(Stdio::null()))
}

/// Fails unless both databases hold the same rows.
fn equal(one: &Path, other: &Path) -> anyhow::Result<()> {
    let sum = |path: &Path| -> anyhow::Result<String> {
        let sql = "SELECT count(*), sum(length(body)), sum(price), max(name), min(hex(picture)) FROM item";
        let output = Command::new("sqlite3").arg(path).arg(sql).output()?;
        ensure!(output.status.success(), "sqlite3: {}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8(output.stdout)?)
    };
    let (one, other) = (sum(one)?, sum(other)?);
    ensure!(one == other, "the content differs: {one} and {other}");
    Ok(())
}

fn shell(program: &str, paths: &[&Path]) -> anyhow::Result<()> {
    run_quietly(Command::new(program).args(paths))
}

fn run_quietly(command: &mut Command) -> anyhow::Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    let status = command.status().with_context(|| program.clone())?;
    ensure!(status.success(), "{program}: {status}");
    Ok(())
}

impl Memory {
    fn note(&mut self, what: &'static str, node: &Node) -> anyhow::Result<()> {
        let peak = node.peak_over_idle_kib()?;
        match self.0.iter_mut().find(|(known, _)| *known == what) {
            Some((_, most)) => *most = peak.max(*most),
            None => self.0.push((what, peak)),
        }
        Ok(())
    }

    fn print(&self) {
        for (what, peak) in &self.0 {
            let mark = if *peak <= MEMORY_MAX_KIB { "ok" } else { "OVER" };
            let (peak, most) = (*peak as f64 / 1024.0, MEMORY_MAX_KIB >> 10);
            println!("  {what:<24} {peak:>6.1} MiB over idle at its peak, at most {most}  {mark}");
        }
    }
}
