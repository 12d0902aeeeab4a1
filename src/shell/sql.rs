//! SQL: what is typed, what stands in a file, and the questions about the schema.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use hyper::StatusCode;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::client::{Answer, Request, status_line};
use super::error::Error;
use super::results::Spool;
use super::session::Session;
use super::settings::Consistency;

const QUERY: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~').remove(b' ');

/// Runs one line, as one request, and shows the result of the last statement on it.
pub async fn run(session: &mut Session, sql: &str) -> Result<(), Error> {
    let settings = &session.settings;
    let endpoint = if settings.force_writes { "db/execute" } else { "db/request" };
    let query = parameters(session, None);
    let body = serde_json::to_string(&[sql]).expect("a list of a text is JSON");
    let separator = if query.is_empty() { "" } else { "?" };
    let answer = session.client.send(Request::post(format!("{endpoint}{separator}{query}")).body(body)).await?;
    show(session, answer).await
}

pub async fn tables(session: &mut Session, _argument: Option<&str>) -> Result<(), Error> {
    query(session, r#"SELECT name FROM sqlite_master WHERE type="table" ORDER BY name ASC"#).await
}

/// Quirk: shows statements, not names.
pub async fn indexes(session: &mut Session, _argument: Option<&str>) -> Result<(), Error> {
    query(session, r#"SELECT sql FROM sqlite_master WHERE type="index""#).await
}

pub async fn schema(session: &mut Session, _argument: Option<&str>) -> Result<(), Error> {
    query(session, "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY rowid ASC").await
}

/// Runs a file line by line; an error is shown, and the next line runs.
pub async fn read(session: &mut Session, argument: Option<&str>) -> Result<(), Error> {
    let name = argument.ok_or_else(|| Error::Usage("please specify an input file to read from".into()))?;
    let path = Path::new(name);
    let mut lines = BufReader::new(File::open(path).map_err(Error::file("open", path))?);
    let mut line = Vec::new();
    while lines.read_until(b'\n', &mut line).map_err(Error::file("read", path))? > 0 {
        let text = String::from_utf8_lossy(&line).trim().to_string();
        if !text.is_empty()
            && !text.starts_with("--")
            && let Err(error) = run(session, &text).await
        {
            session.report(error)?;
        }
        line.clear();
    }
    Ok(())
}

async fn query(session: &mut Session, sql: &str) -> Result<(), Error> {
    let query = parameters(session, Some(sql));
    let answer = session.client.send(Request::get(format!("db/query?{query}"))).await?;
    show(session, answer).await
}

async fn show(session: &mut Session, answer: Answer) -> Result<(), Error> {
    if answer.status != StatusCode::OK {
        let status = status_line(answer.status);
        let text = answer.error_text().await;
        let text = if text.is_empty() { text } else { format!(": {text}") };
        return Err(Error::Answer(format!("server responded with {status}{text}")));
    }
    let mut spool = Spool::take(answer).await?;
    session.show(&mut spool)
}

/// The query string that the settings ask for, in the order of the names. Weak is what the server does unasked.
fn parameters(session: &Session, sql: Option<&str>) -> String {
    let settings = &session.settings;
    let mut parameters = Vec::new();
    if settings.blob_array {
        parameters.push("blob_array=".to_string());
    }
    if settings.consistency != Consistency::Weak {
        parameters.push(format!("level={}", settings.consistency.name()));
    }
    if let Some(sql) = sql {
        parameters.push(format!("q={}", escape(sql)));
    }
    if settings.timer {
        parameters.push("timings=".to_string());
    }
    parameters.join("&")
}

/// Source: Go `url.QueryEscape`.
pub fn escape(text: &str) -> String {
    utf8_percent_encode(text, QUERY).to_string().replace(' ', "+")
}

#[cfg(test)]
mod tests {
    use super::escape;

    #[test]
    fn queries_are_escaped_as_go_does() {
        check("a b,c", "a+b%2Cc");
        check(r#"type="table""#, "type%3D%22table%22");
        check("-_.~+é", "-_.~%2B%C3%A9");

        #[track_caller]
        fn check(text: &str, want: &str) {
            assert_eq!(escape(text), want);
        }
    }
}
