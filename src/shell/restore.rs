//! `.restore` and `.boot`: a file to the node.
//!
//! The file goes as it is. (The reference appends `PRAGMA foreign_keys=..` to SQL text, right behind its last byte, which
//! breaks a text that doesn't end in a semicolon and turns enforcement off.) The node checks it before anything is
//! replaced, so what it refuses does no harm.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use hyper::StatusCode;
use serde::Deserialize;

use super::client::{Answer, Content, Patience, Pause, Request, status_line};
use super::error::Error;
use super::progress::Progress;
use super::session::Session;

/// How a database file begins.
const MAGIC: &[u8; 13] = b"SQLite format";

pub async fn restore(session: &mut Session, argument: Option<&str>) -> Result<(), Error> {
    let name = argument.ok_or_else(|| Error::Usage("please specify an input file to restore from".into()))?;
    let source = Source::open(Path::new(name))?;
    if source.length == 0 {
        return Err(Error::Usage(format!("{name} is empty: nothing to restore")));
    }
    let content_type = if source.is_database { "application/octet-stream" } else { "text/plain" };
    let answer = source.send(session, "db/load", Some(content_type)).await?;
    match answer.status {
        StatusCode::OK => {}
        StatusCode::UNAUTHORIZED => return Err(Error::Unauthorized),
        status => {
            let text = answer.error_text().await;
            let bare = || format!("server responded with: {}", status_line(status));
            return Err(Error::Answer(if text.is_empty() { bare() } else { text }));
        }
    }
    let body = answer.collect().await?;
    let loaded: Loaded = serde_json::from_slice(&body).map_err(|error| Error::Unexpected(error.to_string()))?;
    let text = loaded.text()?;
    session.print(&text)
}

pub async fn boot(session: &mut Session, argument: Option<&str>) -> Result<(), Error> {
    let name = argument.ok_or_else(|| Error::Usage("please specify an input file to boot with".into()))?;
    let source = Source::open(Path::new(name)).ok().filter(|source| source.is_database);
    let source = source.ok_or_else(|| Error::Usage(format!("{name} is not a valid SQLite file")))?;
    let answer = source.send(session, "boot", None).await?;
    match answer.status {
        StatusCode::OK => session.print("Node booted successfully.\n"),
        StatusCode::UNAUTHORIZED => Err(Error::Unauthorized),
        status => {
            let status = status_line(status);
            let text = answer.error_text().await;
            let text = if text.is_empty() { text } else { format!(", {text}") };
            Err(Error::Answer(format!("boot failed, status code: {status}{text}")))
        }
    }
}

/// A file that is to be sent.
struct Source {
    file: File,
    length: u64,
    is_database: bool,
}

impl Source {
    fn open(path: &Path) -> Result<Source, Error> {
        let file = File::open(path).map_err(Error::file("open", path))?;
        let metadata = file.metadata().map_err(Error::file("stat", path))?;
        if !metadata.is_file() {
            return Err(Error::Usage(format!("{} is not a regular file", path.display())));
        }
        let length = metadata.len();
        let mut head = [0; MAGIC.len()];
        let is_database = length > MAGIC.len() as u64 && {
            file.read_exact_at(&mut head, 0).map_err(Error::file("read", path))?;
            head == *MAGIC
        };
        Ok(Source { file, length, is_database })
    }

    async fn send(
        self,
        session: &mut Session,
        path: &str,
        content_type: Option<&'static str>,
    ) -> Result<Answer, Error> {
        let sent = Arc::new(AtomicU64::new(0));
        let content = Content::File {
            file: Arc::new(self.file),
            length: self.length,
            position: 0,
            sent: sent.clone(),
            pause: Pause::default(),
        };
        let request = Request { content_type, content, patience: Patience::Endless, ..Request::post(path) };
        let progress = Progress::new(session.manner.shows_progress, Some(self.length));
        progress.during(&sent, session.client.send(request)).await
    }
}

/// The answer to a load: of a file no results, of text one.
#[derive(Deserialize)]
struct Loaded {
    #[serde(default)]
    results: Vec<Written>,
    error: Option<String>,
}

#[derive(Deserialize)]
struct Written {
    #[serde(default)]
    last_insert_id: i64,
    #[serde(default)]
    rows_affected: i64,
    error: Option<String>,
}

impl Loaded {
    fn text(self) -> Result<String, Error> {
        let errors = self.results.iter().filter_map(|written| written.error.clone());
        if let Some(error) = errors.chain(self.error).next() {
            return Err(Error::Sql(error));
        }
        let mut text = String::new();
        for written in self.results {
            if written.last_insert_id != 0 {
                text.push_str(&format!("last inserted ID: {}\n", written.last_insert_id));
            }
            if written.rows_affected != 0 {
                text.push_str(&format!("rows affected: {}\n", written.rows_affected));
            }
        }
        text.push_str("Database restored successfully.\n");
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::Loaded;

    #[test]
    fn answers_to_a_load() {
        check(r#"{"results":[]}"#, "Database restored successfully.\n");
        check(r#"{"results":[{}]}"#, "Database restored successfully.\n");
        check(
            r#"{"results":[{"last_insert_id":2,"rows_affected":2}]}"#,
            "last inserted ID: 2\nrows affected: 2\nDatabase restored successfully.\n",
        );
        check(r#"{"results":[{"error":"table lt already exists"}]}"#, "table lt already exists");
        check(r#"{"results":[],"error":"not leader"}"#, "not leader");

        #[track_caller]
        fn check(json: &str, want: &str) {
            let loaded: Loaded = serde_json::from_str(json).unwrap();
            assert_eq!(loaded.text().unwrap_or_else(|error| error.to_string()), want);
        }
    }
}
