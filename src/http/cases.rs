//! What the reference accepts and refuses, from its recorded exchanges: query strings and bodies.

use serde_json::Value;

use super::{body, error::Failure, params::Params};

#[test]
fn requests_are_refused_as_by_the_reference() {
    let mut refused = 0;
    for line in include_str!("../../fixtures/http/http-cases.jsonl").lines() {
        let case: Value = serde_json::from_str(line).unwrap();
        let response = &case["response"];
        let want = match response["status"].as_u64() {
            Some(400) => response["body"].as_str().and_then(|text| text.strip_suffix('\n')),
            _ => None,
        };

        let request = &case["request"];
        // OPTIONS is answered, and methods are refused, before anything is read.
        if request["method"] == "OPTIONS" || response["status"] == 405 {
            continue;
        }
        let got = read(request).err().map(|failure| failure.to_string());
        assert_eq!(got.as_deref(), want, "{line}");
        refused += usize::from(want.is_some());
    }
    assert_eq!(refused, 32, "all refusals of the file are looked at");
}

/// Reads a request as far as its parameters and its statements.
fn read(request: &Value) -> Result<(), Failure> {
    let (path, query) = request["path"].as_str().map(|url| url.split_once('?').unwrap_or((url, ""))).unwrap();
    let params = Params::parse(query)?;

    if request["method"] == "GET" {
        if path == "/db/sql" && params.q.is_none() {
            return Err(Failure::QueryNotSpecified);
        }
        return Ok(());
    }
    let content_type = request["headers"]["Content-Type"].as_str().unwrap_or("");
    let is_text = matches!(path, "/db/execute" | "/db/query") && body::is_text(content_type.as_bytes());
    // The reference's queue takes whatever comes; large bodies are described, not recorded.
    let is_json = ["/db/execute", "/db/query", "/db/request", "/db/sql"].iter().any(|data| path.starts_with(data));
    if is_text || !is_json || params.queue {
        return Ok(());
    }
    if let Some(text) = request["body"].as_str() {
        body::parse_json(text.as_bytes())?;
    }
    Ok(())
}
