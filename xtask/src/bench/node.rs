//! A release build of rqlited on loopback.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};

/// How long a start may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Bytes of a read from an answer.
const PIECE: usize = 256 << 10;

/// A node on an empty directory; killed when it is dropped.
pub struct Node {
    process: Child,
    pub http: String,
    /// Resident when it had just become ready, KiB.
    idle_kib: u64,
}

impl Node {
    /// Starts one in `data`, which is kept if it is there.
    pub fn start(data: &Path, flags: &[&str]) -> anyhow::Result<Self> {
        let (http, raft) = (free_address()?, free_address()?);
        let process = Command::new(binary("rqlited"))
            .args(["-node-id", "1", "-http-addr", &http, "-raft-addr", &raft])
            .args(flags)
            .arg(data)
            .stdout(Stdio::null())
            .stderr(File::create(data.with_extension("log"))?)
            .spawn()?;
        let mut node = Self { process, http, idle_kib: 0 };
        let started = Instant::now();
        while node.get("/readyz", &mut std::io::sink()).is_err() {
            if let Some(status) = node.process.try_wait()? {
                bail!("rqlited ended: {status}");
            }
            ensure!(started.elapsed() < PATIENCE, "rqlited isn't ready");
            thread::sleep(Duration::from_millis(2));
        }
        node.idle_kib = node.memory("VmRSS")?;
        Ok(node)
    }

    /// Streams an answer of 200 into `out`; the bytes it had.
    pub fn get(&self, path: &str, out: &mut dyn Write) -> anyhow::Result<u64> {
        let mut answer = ureq::get(format!("http://{}{path}", self.http)).call()?;
        let mut body = answer.body_mut().as_reader();
        let (mut piece, mut length) = (vec![0; PIECE], 0);
        loop {
            match body.read(&mut piece)? {
                0 => return Ok(length),
                count => {
                    out.write_all(&piece[..count])?;
                    length += count as u64;
                }
            }
        }
    }

    /// Sends a file as the body of a POST; its answer.
    pub fn post_file(&self, path: &str, file: &Path) -> anyhow::Result<String> {
        let answer = ureq::post(format!("http://{}{path}", self.http)).send(File::open(file)?)?;
        Ok(answer.into_body().read_to_string()?)
    }

    /// How far its resident memory has risen above what it was when the node had just started, at most, KiB.
    pub fn peak_over_idle_kib(&self) -> anyhow::Result<u64> {
        Ok(self.memory("VmHWM")?.saturating_sub(self.idle_kib))
    }

    fn memory(&self, key: &str) -> anyhow::Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
        let number = line.and_then(|line| line.split_whitespace().next()).with_context(|| key.to_owned())?;
        Ok(number.parse()?)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A program of the release build.
pub fn binary(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/release").join(name)
}

fn free_address() -> anyhow::Result<String> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string())
}
