//! Processes that are measured, all on loopback; killed when they are dropped.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::client::{self, Ask};

/// How long one measurement takes.
pub const TIME: Duration = Duration::from_secs(2);

/// Microseconds of what Linux counts CPU time in: a hundredth of a second.
const TICK: f64 = 10_000.0;

pub struct Server {
    process: Child,
    /// Where it serves HTTP, and Raft if it does.
    pub address: String,
    pub raft: String,
    directory: PathBuf,
    flags: Vec<String>,
}

impl Server {
    /// The floor, on an empty database.
    pub fn floor(directory: &Path) -> Self {
        fs::create_dir_all(directory).unwrap();
        let program = std::env::current_exe().unwrap();
        let mut process = Command::new(program).arg("--floor").arg(directory).stdout(Stdio::piped()).spawn().unwrap();
        let mut address = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut address).unwrap();
        let (address, raft) = (address.trim().into(), String::new());
        Self { process, address, raft, directory: directory.into(), flags: Vec::new() }
    }

    /// A node, just started.
    pub fn node(directory: &Path, id: &str, flags: &[&str]) -> Self {
        let (address, raft) = (Self::free_address(), Self::free_address());
        let mut all = vec!["-node-id", id, "-http-addr", &address, "-raft-addr", &raft];
        all.extend(flags);
        let flags: Vec<String> = all.into_iter().map(String::from).collect();
        let process = spawn(&flags, directory);
        Self { process, address, raft, directory: directory.into(), flags }
    }

    /// Where nobody listens yet.
    pub fn free_address() -> String {
        TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }

    /// A node that was killed, on what it left.
    pub fn start(&mut self) {
        self.process = spawn(&self.flags, &self.directory);
    }

    /// Waits until a node is ready.
    pub async fn ready(&self) {
        while client::try_once(&self.address, &Ask::get("/readyz")).await.is_none() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Answers a second; also notes the server's CPU time for each, in microseconds.
    pub async fn measure(&self, connections: usize, ask: &Ask, cpu: &mut Vec<f64>) -> f64 {
        let (before, began) = (self.cpu_us(), Instant::now());
        let rate = client::rate(&self.address, connections, ask, TIME).await;
        cpu.push((self.cpu_us() - before) / (rate * began.elapsed().as_secs_f64()));
        rate
    }

    /// What its threads have run, by their names, in microseconds.
    pub fn threads_us(&self) -> BTreeMap<String, f64> {
        let mut threads = BTreeMap::new();
        for task in fs::read_dir(format!("/proc/{}/task", self.process.id())).unwrap() {
            // A thread may end in between.
            if let Ok(stat) = fs::read_to_string(task.unwrap().path().join("stat")) {
                let (name, cpu_us) = of_stat(&stat);
                *threads.entry(name.to_owned()).or_default() += cpu_us;
            }
        }
        threads
    }

    /// `VmRSS` or `VmHWM`, MiB.
    pub fn memory(&self, key: &str) -> f64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':')).unwrap();
        line.split_whitespace().next().unwrap().parse::<f64>().unwrap() / 1024.0
    }

    fn cpu_us(&self) -> f64 {
        of_stat(&fs::read_to_string(format!("/proc/{}/stat", self.process.id())).unwrap()).1
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

fn spawn(flags: &[String], directory: &Path) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rqlited"));
    let log = fs::File::options().create(true).append(true).open(directory.with_extension("log")).unwrap();
    command.args(flags).arg(directory).stderr(log).spawn().unwrap()
}

/// A name, and the time that was run, in microseconds: fields 2, 14 and 15 of proc(5).
fn of_stat(stat: &str) -> (&str, f64) {
    // The name may hold anything.
    let (start, fields) = stat.rsplit_once(')').unwrap();
    let ticks: u64 = fields.split_whitespace().skip(11).take(2).map(|field| field.parse::<u64>().unwrap()).sum();
    (start.split_once('(').unwrap().1, ticks as f64 * TICK)
}
