//! Runs seeds of the simulation in child processes, and reports.
//!
//! With `--every-operation` a short run of one seed is repeated with its 1st, 2nd, … change on the disk failing, in
//! each of three ways, until there is no such operation.
//!
//! What the runs reached is added up; a long sweep that never reached something has failed.
//!
//! Two simulations never share a process: SQLite's list of VFSs and tokio's task numbers are the process's. With
//! `--twice` each seed runs in two processes that must write the same trace, byte for byte; if they don't, both traces
//! are written to `target/sim/` and the first different line is shown.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};

/// A trace shorter than this compares nothing.
const TRACE_LINES_MIN: u64 = 10_000;
/// A sweep of so many seeds reaches everything that `sim/src/reached.rs` lists.
const SWEEP_MIN: u64 = 200;
/// A child that takes longer hangs.
const LONGEST: Duration = Duration::from_secs(300);

struct Options {
    what: What,
    seeds: Range<u64>,
    /// Stops after so long, whatever the seeds.
    time: Option<Duration>,
    is_twice: bool,
}

/// What is counted up.
#[derive(Clone, Copy, PartialEq, Eq)]
enum What {
    Seeds,
    /// The operation that fails, of this seed.
    Operations(u64),
}

/// How the operation fails: names that the simulation knows.
const ERRORS: [&str; 3] = ["power", "io", "space"];

/// Runs what the arguments ask for; false if a seed failed.
pub fn run(arguments: &[String]) -> anyhow::Result<bool> {
    let mut options = parse(arguments)?;
    let binary = build()?;
    if let What::Operations(seed) = options.what {
        // A run whose operation is far behind its end tells how many there are.
        let far = ["--fail-at", "1000000"].map(String::from);
        let ran = run_once(&binary, seed, &far, None)?;
        let changes = ran.changes.context("the simulation tells how often it changed the disk")?;
        println!("{changes} operations, {} runs", changes * ERRORS.len() as u64);
        options.seeds = 0..changes * ERRORS.len() as u64;
    }
    let arguments_of = |number: u64| match options.what {
        What::Seeds => (number, Vec::new()),
        What::Operations(seed) => {
            let nth = (number / ERRORS.len() as u64).to_string();
            let error = ERRORS[number as usize % ERRORS.len()].to_string();
            (seed, vec!["--fail-at".to_string(), nth, "--error".to_string(), error])
        }
    };
    let started = Instant::now();
    let next = AtomicU64::new(options.seeds.start);
    let passed = AtomicU64::new(0);
    let failed = Mutex::new(Vec::new());
    let reached = Mutex::new(BTreeMap::<String, u64>::new());
    let cores = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let is_over = options.time.is_some_and(|time| started.elapsed() > time);
                    if number >= options.seeds.end || is_over {
                        return;
                    }
                    let (seed, extra) = arguments_of(number);
                    let result = match options.is_twice {
                        true => run_twice(&binary, seed),
                        false => run_once(&binary, seed, &extra, None),
                    };
                    match result {
                        Ok(ran) => {
                            if options.what == What::Seeds {
                                println!("{}", ran.verdict);
                            }
                            let mut reached = reached.lock().expect("no thread panics");
                            for (what, times) in ran.reached {
                                *reached.entry(what).or_default() += times;
                            }
                            passed.fetch_add(1, Ordering::Relaxed);
                        }
                        Err(why) => {
                            println!("{why:#}");
                            let replay = format!("--seed {seed} {}", extra.join(" "));
                            failed.lock().expect("no thread panics").push(replay);
                        }
                    }
                }
            });
        }
    });
    let mut failed = failed.into_inner().expect("no thread panics");
    failed.sort_unstable();
    let seconds = started.elapsed().as_secs_f64();
    println!("{} runs passed, {} failed, {seconds:.0} s", passed.load(Ordering::Relaxed), failed.len());
    for replay in &failed {
        println!("replay: {} {replay} --trace FILE", binary.display());
    }
    let reached = reached.into_inner().expect("no thread panics");
    for (what, times) in &reached {
        println!("{times:>9} {what}");
    }
    let is_sweep = options.what == What::Seeds && passed.load(Ordering::Relaxed) >= SWEEP_MIN;
    let missed: Vec<_> = reached.iter().filter(|(_, times)| **times == 0).map(|(what, _)| what.as_str()).collect();
    if is_sweep && !missed.is_empty() {
        println!("never reached: {}", missed.join(", "));
        return Ok(false);
    }
    Ok(failed.is_empty())
}

fn parse(arguments: &[String]) -> anyhow::Result<Options> {
    let mut options = Options { what: What::Seeds, seeds: 0..u64::MAX, time: None, is_twice: false };
    let mut is_bounded = false;
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        if argument == "--twice" {
            options.is_twice = true;
            continue;
        }
        let value = rest.next().with_context(|| format!("{argument} needs a value"))?;
        match argument.as_str() {
            "--seed" => {
                let seed = value.parse()?;
                options.seeds = seed..seed + 1;
            }
            "--every-operation" => options.what = What::Operations(value.parse()?),
            "--seeds" => {
                let (start, end) = value.split_once("..").context("--seeds A..B")?;
                options.seeds = start.parse()?..end.parse()?;
            }
            "--minutes" => {
                options.time = Some(Duration::from_secs_f64(value.parse::<f64>()? * 60.0));
                // Others than yesterday's: without --seeds the clock chooses where to begin.
                if !is_bounded {
                    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
                    options.seeds = now.as_secs()..u64::MAX;
                }
            }
            other => bail!("{other} is not known"),
        }
        is_bounded = true;
    }
    ensure!(is_bounded, "one of --seed N, --seeds A..B, --minutes M, --every-operation N is needed");
    Ok(options)
}

/// Builds the simulation and returns its binary.
fn build() -> anyhow::Result<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask has a parent")?;
    let status = Command::new(env!("CARGO")).args(["build", "--quiet", "-p", "sim"]).current_dir(root).status()?;
    ensure!(status.success(), "the simulation doesn't build");
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    Ok(target.join("debug/sim"))
}

/// What a child printed at its end.
struct Ran {
    /// The line with the hash of the trace.
    digest: String,
    verdict: String,
    /// Changes of the disk.
    changes: Option<u64>,
    /// How often it reached what.
    reached: Vec<(String, u64)>,
}

fn run_once(binary: &Path, seed: u64, extra: &[String], trace: Option<&Path>) -> anyhow::Result<Ran> {
    let mut command = Command::new(binary);
    command.env("RUST_BACKTRACE", "0");
    command.arg("--seed").arg(seed.to_string()).args(extra).stdout(Stdio::piped()).stderr(Stdio::piped());
    if let Some(trace) = trace {
        command.arg("--trace").arg(trace);
    }
    let mut child = command.spawn().with_context(|| format!("{} can't be started", binary.display()))?;
    // Both pipes are read while the child runs, else it would wait for a reader for ever.
    let stdout = last_lines(child.stdout.take().context("piped")?);
    let stderr = last_lines(child.stderr.take().context("piped")?);
    let started = Instant::now();
    let status = loop {
        match child.try_wait()? {
            Some(status) => break status,
            None if started.elapsed() > LONGEST => {
                child.kill()?;
                child.wait()?;
                bail!("seed {seed} FAILED: no end after {LONGEST:?}");
            }
            None => thread::sleep(Duration::from_millis(5)),
        }
    };
    let lines = stdout.join().expect("reading lines doesn't panic");
    let verdict = lines.last().cloned().unwrap_or_default();
    if !status.success() {
        let errors = stderr.join().expect("reading lines doesn't panic").join("\n  ");
        let verdict = if verdict.contains("FAILED") { verdict } else { format!("seed {seed} FAILED: {status}") };
        bail!("{}", format!("{verdict}\n  {errors}").trim_end());
    }
    let find = |start: &str| lines.iter().rev().find_map(|line| line.strip_prefix(start)).map(str::to_string);
    let changes = find("changes ").and_then(|changes| changes.parse().ok());
    let reached = lines.iter().filter_map(|line| line.strip_prefix("reached ")?.split_once(' '));
    let reached = reached.map(|(times, what)| Ok((what.to_string(), times.parse()?)));
    let reached = reached.collect::<anyhow::Result<_>>()?;
    Ok(Ran { digest: find("trace ").unwrap_or_default(), verdict, changes, reached })
}

/// The last lines of a child's output, once it has ended.
fn last_lines(output: impl std::io::Read + Send + 'static) -> thread::JoinHandle<Vec<String>> {
    thread::spawn(move || {
        let mut lines = std::collections::VecDeque::new();
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            lines.push_back(line);
            if lines.len() > 100 {
                lines.pop_front();
            }
        }
        lines.into()
    })
}

fn run_twice(binary: &Path, seed: u64) -> anyhow::Result<Ran> {
    let (first, second) = (run_once(binary, seed, &[], None)?, run_once(binary, seed, &[], None)?);
    if first.digest != second.digest {
        bail!(
            "seed {seed} FAILED: two runs differ: {}, {}\n{}",
            first.digest,
            second.digest,
            difference(binary, seed)?
        );
    }
    let lines: u64 = first.digest.split(' ').nth(1).and_then(|lines| lines.parse().ok()).unwrap_or_default();
    ensure!(lines >= TRACE_LINES_MIN, "seed {seed} FAILED: only {lines} lines of trace were compared");
    Ok(Ran { verdict: format!("{} twice: trace {}", first.verdict, first.digest), ..first })
}

/// Writes both traces, and shows the first line in which they differ.
fn difference(binary: &Path, seed: u64) -> anyhow::Result<String> {
    let directory = binary.parent().context("a binary has a directory")?.join("../sim");
    std::fs::create_dir_all(&directory)?;
    let paths = ["a", "b"].map(|name| directory.join(format!("seed-{seed}-{name}.trace")));
    for path in &paths {
        run_once(binary, seed, &[], Some(path))?;
    }
    let [a, b] = [BufReader::new(File::open(&paths[0])?), BufReader::new(File::open(&paths[1])?)];
    for (number, (a, b)) in a.lines().zip(b.lines()).enumerate() {
        let (a, b) = (a?, b?);
        if a != b {
            let [path_a, path_b] = paths.map(|path| path.display().to_string());
            return Ok(format!("line {}:\n  {a}\n  {b}\nin {path_a}, {path_b}", number + 1));
        }
    }
    Ok("the traces, written, are the same as far as the shorter goes".into())
}
