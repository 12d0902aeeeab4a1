//! The real binaries.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};

pub struct Ran {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

/// The shell in `directory`, which is its home too.
pub fn shell(directory: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rqlite"));
    command
        .args(arguments)
        .current_dir(directory)
        .env("HOME", directory)
        .env_remove("RQLITE_HOST")
        .env_remove("RQLITE_HISTFILESIZE")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// Pipes `input` into a shell that is connected to `address`. The port is hidden from what it prints.
pub fn run(directory: &Path, address: SocketAddr, arguments: &[&str], input: &str) -> Ran {
    let port = address.port().to_string();
    let arguments = [&["-p", &port], arguments].concat();
    let ran = finish(shell(directory, &arguments).spawn().unwrap(), input);
    let hide = |text: String| text.replace(&format!(":{port}"), ":PORT");
    Ran { stdout: hide(ran.stdout), stderr: hide(ran.stderr), ..ran }
}

pub fn finish(mut child: Child, input: &str) -> Ran {
    // A shell that ends early doesn't read it.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    Ran {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// A server with an empty database; stopped when dropped.
pub struct Node {
    pub address: SocketAddr,
    child: Child,
    _directory: tempfile::TempDir,
}

impl Node {
    pub fn start() -> Node {
        let directory = tempfile::tempdir().unwrap();
        let (http, raft) = (free_address(), free_address());
        let mut child = Command::new(env!("CARGO_BIN_EXE_rqlited"))
            .args(["-http-addr", &http.to_string(), "-raft-addr", &raft.to_string()])
            .arg(directory.path().join("data"))
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
        assert!(lines.any(|line| line.contains("HTTP API available")), "the node's log ended: it didn't start");
        // Drained, so that the node never waits for a reader.
        std::thread::spawn(move || lines.for_each(drop));
        let node = Node { address: http, child, _directory: directory };
        node.wait_until_ready();
        node
    }

    /// Each turn is a process that asks once, so this is no busy loop.
    fn wait_until_ready(&self) {
        let directory = tempfile::tempdir().unwrap();
        let is_ready = |_: &u32| !run(directory.path(), self.address, &[], ".ready").stdout.contains("not ready");
        assert!((0..1000).any(|turn| is_ready(&turn)), "the node never got ready");
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An address that nobody listens on, for now.
pub fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}
