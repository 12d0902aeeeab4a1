//! Where lines come from: a person at a terminal, or a pipe.

use std::io::{self, BufRead, Write};

use rustyline::config::Configurer;
use rustyline::error::ReadlineError;
use rustyline::history::MemHistory;
use rustyline::{Config, Editor};
use tokio::sync::mpsc;

use super::error::Error;
use super::history::History;

pub struct Input {
    source: Source,
    history: History,
}

enum Source {
    Terminal(Box<Editor<(), MemHistory>>),
    /// Lines as they come, with the trailing line break, from a thread of their own: waiting for one can be given up.
    Pipe(mpsc::Receiver<io::Result<Vec<u8>>>),
}

pub enum Next {
    /// Trimmed, not empty.
    Line(String),
    /// Empty, or given up with Ctrl-C.
    Dropped,
    End,
}

impl Input {
    pub fn open(is_typed: bool) -> Input {
        let history = History::of_environment();
        let source = if is_typed { terminal(&history) } else { None };
        Input { source: source.unwrap_or_else(|| Source::Pipe(pipe())), history }
    }

    /// The next line. The prompt is printed for a pipe too, as the reference does.
    pub async fn next(&mut self, prompt: &str) -> Result<Next, Error> {
        let line = match &mut self.source {
            Source::Terminal(editor) => match editor.readline(prompt) {
                Ok(line) => line,
                Err(ReadlineError::Interrupted) => return Ok(Next::Dropped),
                Err(ReadlineError::Eof) => return Ok(Next::End),
                Err(ReadlineError::Io(error)) => return Err(Error::Output(error)),
                Err(error) => return Err(Error::Output(io::Error::other(error))),
            },
            Source::Pipe(lines) => {
                let mut out = io::stdout().lock();
                out.write_all(prompt.as_bytes())?;
                out.flush()?;
                drop(out);
                match lines.recv().await {
                    Some(line) => String::from_utf8_lossy(&line?).into_owned(),
                    None => return Ok(Next::End),
                }
            }
        };
        let line = line.trim();
        if line.is_empty() {
            return Ok(Next::Dropped);
        }
        self.history.add(line);
        if let Source::Terminal(editor) = &mut self.source {
            // It only fails for lack of a history, and then the line was run all the same.
            let _ = editor.add_history_entry(line);
        }
        Ok(Next::Line(line.to_string()))
    }

    /// Keeps the history. That it can't be kept is no reason to fail.
    pub fn close(self) {
        let _ = self.history.save();
    }
}

fn terminal(history: &History) -> Option<Source> {
    // Pasted lines run one by one, as if they were typed.
    let config = Config::builder().bracketed_paste(false).build();
    let mut editor = Editor::with_history(config, MemHistory::new()).ok()?;
    editor.set_max_history_size(history.limit().max(1)).ok()?;
    for line in history.load() {
        editor.add_history_entry(line).ok()?;
    }
    Some(Source::Terminal(Box::new(editor)))
}

fn pipe() -> mpsc::Receiver<io::Result<Vec<u8>>> {
    let (sender, lines) = mpsc::channel(1);
    std::thread::spawn(move || {
        let mut stdin = io::stdin().lock();
        loop {
            let mut line = Vec::new();
            let sent = match stdin.read_until(b'\n', &mut line) {
                Ok(0) => break,
                Ok(_) => sender.blocking_send(Ok(line)),
                Err(error) => {
                    let _ = sender.blocking_send(Err(error));
                    break;
                }
            };
            if sent.is_err() {
                break;
            }
        }
    });
    lines
}
