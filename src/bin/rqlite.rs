//! The shell is not there yet: this knows its version, and says so otherwise.

use std::process::ExitCode;

use rqlite::version;

fn main() -> ExitCode {
    match std::env::args().nth(1).as_deref() {
        Some("-v" | "-version" | "--version") => {
            println!("Version {}, commit {}, built on unknown", version::RQLITE_VERSION, version::COMMIT);
            ExitCode::SUCCESS
        }
        _ => {
            eprintln!("rqlite: the shell isn't there yet; use the HTTP API, for example with curl");
            ExitCode::FAILURE
        }
    }
}
