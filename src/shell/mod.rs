//! The shell `rqlite`: a line in, HTTP out, text back.
//!
//! It speaks HTTP and imports nothing of the server. It never holds a whole database or result in memory, and never
//! leaves half a file under the name that it was asked for.
//!
//! ```text
//!   input ─► command ─┬► sql ────────► client ⇒ server
//!   (terminal, pipe)  ├► backup, restore ► client ⇒ server   (streamed, with progress)
//!                     └► settings          │
//!                 results ◄────────────────┘ ─► render ─► standard output, or .output's file
//! ```
//!
//! Source: shell.md.
// The shell is no part of a node: it touches clocks, files and sockets itself.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

mod args;
mod backup;
mod client;
mod cluster;
mod command;
mod error;
mod history;
mod input;
mod interrupt;
mod progress;
mod render;
mod restore;
mod results;
mod session;
mod settings;
mod sql;
mod sysdump;
mod target_file;
mod tree;

use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::sync::Arc;

use args::Outcome;
use client::{Client, Request};
use error::Error;
use input::{Input, Next};
use interrupt::Interrupts;
use session::{Manner, Session};

/// The program: `arguments` are those behind its name.
///
/// Code 1 if the command line or the connection failed, or, unless a person was typing, if any line did; 128 and the
/// signal's number if one ended it.
pub fn main(arguments: &[String]) -> ExitCode {
    let rqlite_host = std::env::var("RQLITE_HOST").ok();
    let options = match args::parse(arguments, rqlite_host.as_deref()) {
        Ok(Outcome::Run(options)) => options,
        Ok(Outcome::Print(text)) => {
            let printed = std::io::stdout().write_all(text.as_bytes());
            return if printed.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
        }
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
    // Two threads: signals and idle connections are looked after while this one renders, or waits for a key.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("ERR! {error}");
            return ExitCode::FAILURE;
        }
    };
    let code = runtime.block_on(run(&options));
    // Nothing that is still under way is worth waiting for.
    runtime.shutdown_background();
    match code {
        Ok(code) => code,
        // Nobody reads on, as in `rqlite | head`: there is nowhere to say it.
        Err(_) => ExitCode::FAILURE,
    }
}

async fn run(options: &args::Options) -> Result<ExitCode, Error> {
    let is_terminal = std::io::stdout().is_terminal();
    let is_typed = is_terminal && std::io::stdin().is_terminal();
    let interrupts = Arc::new(Interrupts::default());
    interrupt::listen(&interrupts, is_typed)?;
    let manner = Manner { is_red: is_terminal, shows_progress: std::io::stderr().is_terminal() };
    let mut session = Session::new(Client::new(options), interrupts.clone(), manner);

    let greeted = tokio::select! {
        biased;
        code = interrupts.wait() => return Ok(ExitCode::from(code)),
        greeted = greet(&mut session) => greeted,
    };
    if let Err(error) = greeted {
        session.report(error)?;
        return Ok(ExitCode::FAILURE);
    }

    let mut input = Input::open(is_typed);
    loop {
        let prompt = format!("{}> ", session.client.host());
        let line = tokio::select! {
            biased;
            code = interrupts.wait(), if !is_typed => return Ok(ExitCode::from(code)),
            next = input.next(&prompt) => next?,
        };
        let line = match line {
            Next::Line(line) => line,
            Next::Dropped => continue,
            Next::End => break,
        };
        interrupts.clear();
        let is_over = tokio::select! {
            biased;
            code = interrupts.wait() => {
                if !is_typed {
                    return Ok(ExitCode::from(code));
                }
                session.report(Error::Interrupted)?;
                false
            }
            ran = session.run(&line) => ran?,
        };
        if is_over {
            break;
        }
    }
    session.print("bye~\n")?;
    input.close();
    let failed = session.has_failed() && !is_typed;
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Whatever answers is connected to, also if it refuses this user to see /status.
async fn greet(session: &mut Session) -> Result<(), Error> {
    let answer = session.client.send(Request::get("status")).await?;
    let version = answer.version.clone().unwrap_or_else(|| "unknown".to_string());
    // Read to its end, so that the connection can be used again.
    answer.collect().await?;
    let host = session.client.host().to_string();
    session.print(&format!(
        "Welcome to the rqlite CLI.\nEnter \".help\" for usage hints.\nConnected to http://{host} running version {version}\n"
    ))
}
