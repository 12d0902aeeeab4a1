//! A node as a process: started on a directory, asked over HTTP, killed.

use std::fs::{self, File};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use ureq::Agent;
use ureq::http::{Request, Response};

/// How long anything may take before a test gives up on it. Generous: the machine is shared.
const PATIENCE: Duration = Duration::from_secs(60);

/// A node that can be started again and again. Killed when it goes out of scope.
pub struct Node {
    pub data_dir: PathBuf,
    /// Standard error of all its runs.
    log: PathBuf,
    http: String,
    raft: String,
    flags: Vec<String>,
    environment: Vec<(String, String)>,
    process: Option<Child>,
}

/// A status and the whole body.
pub struct Answer {
    pub status: u16,
    pub body: Vec<u8>,
}

impl Node {
    /// Not started yet.
    pub fn new(directory: &Path, flags: &[&str]) -> Node {
        Node {
            data_dir: directory.join("data"),
            log: directory.join("log"),
            http: free_address(),
            raft: free_address(),
            flags: flags.iter().map(|flag| flag.to_string()).collect(),
            environment: Vec::new(),
            process: None,
        }
    }

    /// Where other nodes find it.
    pub fn raft(&self) -> String {
        self.raft.clone()
    }

    /// From its next start on it is elsewhere, for clients and nodes.
    pub fn relocate(&mut self) {
        (self.http, self.raft) = (free_address(), free_address());
    }

    /// From its next start on.
    pub fn set_env(&mut self, name: &str, value: &str) {
        self.environment.push((name.into(), value.into()));
    }

    /// As it was made: without what was added since.
    pub fn set_flags(&mut self, flags: &[&str]) {
        self.flags = flags.iter().map(|flag| flag.to_string()).collect();
    }

    /// From its next start on; the last of equal flags counts.
    pub fn add_flags(&mut self, flags: &[&str]) {
        self.flags.extend(flags.iter().map(|flag| flag.to_string()));
    }

    /// Starts it and waits until it serves.
    #[track_caller]
    pub fn start(&mut self) {
        self.spawn();
        self.wait_until_ready();
    }

    #[track_caller]
    pub fn spawn(&mut self) {
        assert!(self.process.is_none(), "the node runs already");
        let log = File::options().create(true).append(true).open(&self.log).unwrap();
        self.process = Some(self.command().stdout(Stdio::null()).stderr(log).spawn().unwrap());
    }

    /// What starts it.
    pub fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rqlited"));
        command.args(["-node-id", "1", "-http-addr", &self.http, "-raft-addr", &self.raft]);
        command.args(&self.flags).arg(&self.data_dir).envs(self.environment.iter().cloned());
        command
    }

    /// Asks again and again, but not for ever.
    #[track_caller]
    pub fn wait_until(&self, is_so: impl Fn(&Node) -> bool) {
        let started = Instant::now();
        while !is_so(self) {
            assert!(started.elapsed() < PATIENCE, "it doesn't come to that\n{}", self.log());
            thread::sleep(Duration::from_millis(5));
        }
    }

    #[track_caller]
    pub fn wait_until_ready(&mut self) {
        let agent = self.agent();
        let started = Instant::now();
        loop {
            if let Ok(answer) = try_get(&agent, &self.url("/readyz"))
                && answer.status == 200
            {
                return;
            }
            if let Some(status) = self.process.as_mut().unwrap().try_wait().unwrap() {
                panic!("the node ended: {status}\n{}", self.log());
            }
            assert!(started.elapsed() < PATIENCE, "the node isn't ready\n{}", self.log());
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.signal(libc::SIGKILL);
        self.wait();
    }

    /// Sends a signal, whoever is using the node meanwhile.
    pub fn signal(&self, signal: libc::c_int) {
        let process = self.process.as_ref().expect("the node runs");
        // SAFETY: the child wasn't waited for yet, so the id is still its own.
        let sent = unsafe { libc::kill(process.id() as libc::pid_t, signal) };
        assert_eq!(sent, 0, "no process to signal");
    }

    /// Waits for its end, but not for ever.
    #[track_caller]
    pub fn wait(&mut self) -> ExitStatus {
        let mut process = self.process.take().expect("the node runs");
        let started = Instant::now();
        loop {
            if let Some(status) = process.try_wait().unwrap() {
                return status;
            }
            if started.elapsed() > PATIENCE {
                let _ = process.kill();
                panic!("the node doesn't end\n{}", self.log());
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// The most memory that its process had since it began or [`Node::forget_peak_memory`], in bytes.
    #[cfg(target_os = "linux")]
    pub fn peak_memory(&self) -> u64 {
        let id = self.process.as_ref().expect("the node runs").id();
        let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("the kernel tells");
        peak.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
    }

    #[cfg(target_os = "linux")]
    pub fn forget_peak_memory(&self) {
        let id = self.process.as_ref().expect("the node runs").id();
        // 5: the peak becomes what it has now. See proc(5).
        fs::write(format!("/proc/{id}/clear_refs"), "5").unwrap();
    }

    /// A connection of one's own, to do with as a bad client does.
    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.http).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Of its API.
    pub fn port(&self) -> &str {
        self.http.rsplit(':').next().expect("an address has a port")
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.http)
    }

    /// Keeps its connections.
    pub fn agent(&self) -> Agent {
        Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .timeout_global(Some(PATIENCE))
            .build()
            .into()
    }

    #[track_caller]
    pub fn post(&self, path: &str, body: impl AsRef<[u8]>) -> Answer {
        try_post(&self.agent(), &self.url(path), body.as_ref())
            .unwrap_or_else(|error| panic!("POST {path}: {error}\n{}", self.log()))
    }

    /// Any request; GET, HEAD and OPTIONS go without a body.
    #[track_caller]
    pub fn request(&self, method: &str, path: &str, headers: &[(&str, &str)], body: Vec<u8>) -> Response<Vec<u8>> {
        let mut request = Request::builder().method(method).uri(self.url(path));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = match method {
            "GET" | "HEAD" | "OPTIONS" => self.agent().run(request.body(()).unwrap()),
            _ => self.agent().run(request.body(body).unwrap()),
        };
        let response = response.and_then(|response| {
            let (parts, mut body) = response.into_parts();
            Ok(Response::from_parts(parts, body.with_config().limit(u64::MAX).read_to_vec()?))
        });
        response.unwrap_or_else(|error| panic!("{method} {path}: {error}\n{}", self.log()))
    }

    /// A text with names in place of the addresses, which vary.
    pub fn hide_addresses(&self, text: &str) -> String {
        text.replace(&self.http, "${HTTP}").replace(&self.raft, "${RAFT}")
    }

    /// Runs one write, and fails the test if it fails.
    #[track_caller]
    pub fn execute(&self, sql: &str) {
        let answer = self.post("/db/execute", serde_json::json!([sql]).to_string());
        assert!(answer.is_success(), "{sql}: {}", answer.text());
    }

    /// The rows of a query, as JSON arrays.
    #[track_caller]
    pub fn query(&self, sql: &str) -> Vec<Value> {
        let answer = self.post("/db/query?level=strong", serde_json::json!([sql]).to_string());
        assert!(answer.is_success(), "{sql}: {}", answer.text());
        answer.json()["results"][0]["values"].as_array().cloned().unwrap_or_default()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            // It may have ended by itself.
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

impl Answer {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    /// Neither the request nor one of its statements failed.
    pub fn is_success(&self) -> bool {
        let Ok(body) = serde_json::from_slice::<Value>(&self.body) else { return false };
        let results = body["results"].as_array().map_or(&[][..], Vec::as_slice);
        self.status == 200 && body["error"].is_null() && results.iter().all(|result| result["error"].is_null())
    }
}

/// An error where no whole answer came.
pub fn try_get(agent: &Agent, url: &str) -> Result<Answer, ureq::Error> {
    answer(agent.get(url).call()?)
}

/// As [`try_get`].
pub fn try_post(agent: &Agent, url: &str, body: &[u8]) -> Result<Answer, ureq::Error> {
    answer(agent.post(url).content_type("application/json").send(body)?)
}

fn answer(mut response: Response<ureq::Body>) -> Result<Answer, ureq::Error> {
    let body = response.body_mut().with_config().limit(u64::MAX).read_to_vec()?;
    Ok(Answer { status: response.status().as_u16(), body })
}

/// An address to listen on. Below the ports that the system gives to outgoing connections: polling one of those while
/// nobody listens can connect to itself, and then the node can't listen there.
fn free_address() -> String {
    static TRIED: AtomicU16 = AtomicU16::new(0);
    let first = 10_000 + (std::process::id() % 1_000) as u16 * 20;
    loop {
        let port = first + TRIED.fetch_add(1, Ordering::Relaxed);
        assert!(port < 32_000, "no port is free");
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return format!("127.0.0.1:{port}");
        }
    }
}
