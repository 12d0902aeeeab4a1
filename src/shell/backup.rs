//! `.backup` and `.dump`: the node's stream to a file.

use std::path::Path;

use hyper::StatusCode;
use serde_json::Value;

use super::client::{Answer, Request, status_line};
use super::error::Error;
use super::progress::Progress;
use super::session::Session;
use super::sql::escape;
use super::target_file::TargetFile;

pub async fn backup(session: &mut Session, argument: Option<&str>) -> Result<(), Error> {
    let name = argument.ok_or_else(|| Error::Usage("please specify an output file for the backup".into()))?;
    let file = TargetFile::create(Path::new(name))?;
    let guess = if session.manner.shows_progress { database_size(session).await } else { None };
    save(session, "db/backup", file, guess).await?;
    session.print("backup file written successfully\n")
}

/// The file's name ends at the first space; tables stand behind it.
pub async fn dump(session: &mut Session, argument: Option<&str>) -> Result<(), Error> {
    let argument = argument.ok_or_else(|| Error::Usage("please specify an output file for the SQL text".into()))?;
    let (name, tables) = argument.split_once(' ').unwrap_or((argument, ""));
    let file = TargetFile::create(Path::new(name))?;
    save(session, &dump_path(tables), file, None).await?;
    session.print("SQL text file written successfully\n")
}

async fn save(session: &mut Session, path: &str, mut file: TargetFile, guess: Option<u64>) -> Result<(), Error> {
    let mut answer = refused(session.client.send(Request::get(path)).await?).await?;
    let mut progress = Progress::new(session.manner.shows_progress, answer.length.or(guess));
    let mut done = 0;
    while let Some(chunk) = answer.chunk().await? {
        file.write(&chunk)?;
        done += chunk.len() as u64;
        progress.at(done);
    }
    file.finish()
}

/// The answer, if it isn't an error. Its text is shown behind the reference's words.
async fn refused(answer: Answer) -> Result<Answer, Error> {
    match answer.status {
        StatusCode::OK => Ok(answer),
        StatusCode::UNAUTHORIZED => Err(Error::Unauthorized),
        status => {
            let text = answer.error_text().await;
            let text = if text.is_empty() { text } else { format!(", {text}") };
            Err(Error::Answer(format!("server responded with: {}{text}", status_line(status))))
        }
    }
}

fn dump_path(tables: &str) -> String {
    let tables: Vec<&str> = tables.split(',').map(str::trim).filter(|table| !table.is_empty()).collect();
    match tables.as_slice() {
        [] => "db/backup?fmt=sql".to_string(),
        tables => format!("db/backup?fmt=sql&tables={}", escape(&tables.join(","))),
    }
}

/// A backup doesn't announce its length; the node's /status tells about how much it will be.
async fn database_size(session: &mut Session) -> Option<u64> {
    let body = session.client.fetch(Request::get("status?key=store")).await.ok()?.ok()?;
    let status: Value = serde_json::from_slice(&body).ok()?;
    let of_store = |status: &Value| status.pointer("/sqlite3/db_size")?.as_u64();
    of_store(&status).or_else(|| of_store(status.get("store")?))
}

#[cfg(test)]
mod tests {
    use super::dump_path;

    #[test]
    fn tables_are_named() {
        check("", "db/backup?fmt=sql");
        check("a, b c,d", "db/backup?fmt=sql&tables=a%2Cb+c%2Cd");
        check(" ,", "db/backup?fmt=sql");

        #[track_caller]
        fn check(tables: &str, want: &str) {
            assert_eq!(dump_path(tables), want, "{tables}");
        }
    }
}
