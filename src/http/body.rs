//! Request bodies: SQL statements with their parameters.
//!
//! JSON is read token by token, and the first offending token in reading order decides the error, as in the reference
//! (Go's `json.Decoder.Token`). So malformed text behind it is never looked at, nor is anything behind the array.
//! Numbers are judged by their text: `1` is an integer, `1.0` and `1e3` are not.

use std::{borrow::Cow, collections::BTreeMap};

use jiter::{Jiter, JiterError, Peek};

use crate::command::{Parameter, Statement, Value};

/// Each is a plain 400.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("invalid JSON body")]
    InvalidJson,
    #[error("invalid request")]
    InvalidRequest,
    #[error("no statements")]
    NoStatements,
    /// A number as it was written, or the Go type that stands for the JSON kind.
    #[error("unsupported type {0}")]
    UnsupportedType(String),
    #[error("invalid number {0}")]
    InvalidNumber(String),
}

/// Whether a body with this Content-Type is SQL text: where it is, the whole body is one statement. Case matters.
/// Only `/db/execute` (not queued) and `/db/query` ask; elsewhere every body is JSON.
pub fn is_text(content_type: &[u8]) -> bool {
    content_type.starts_with(b"text/plain")
}

/// The one statement of a text body. Bytes that aren't UTF-8 become U+FFFD.
pub fn parse_text(body: &[u8]) -> Vec<Statement> {
    vec![Statement { sql: valid_utf8(body).into_owned(), parameters: Vec::new() }]
}

/// The statements of a JSON body: `["SQL", ["SQL", 1, {"name": 2}]]`.
///
/// Shape:  one item per item of the array; statements that are `""` are among them (see [`without_empty`]).
/// Errors: what the first offending token gives.
/// Source: rqlite `http/request_parser.go` `ParseRequest`; v10, df4edc42.
pub fn parse_json(body: &[u8]) -> Result<Vec<Statement>, Error> {
    let text = valid_utf8(body);
    let text = paired_surrogates(&text);
    let mut json = Jiter::new(text.as_bytes());

    let first = json.peek()?;
    if first != Peek::Array {
        return Err(refused(&mut json, first, Error::InvalidRequest));
    }
    let mut statements = Vec::new();
    let mut next = json.known_array()?;
    while let Some(peek) = next {
        statements.push(statement(&mut json, peek)?);
        next = json.array_step()?;
    }
    if statements.is_empty() {
        return Err(Error::NoStatements);
    }
    Ok(statements)
}

/// Drops the statements that are exactly `""`: they yield no result. Blanks and comments stay, they yield `{}`.
pub fn without_empty(mut statements: Vec<Statement>) -> Vec<Statement> {
    statements.retain(|statement| !statement.sql.is_empty());
    statements
}

fn statement(json: &mut Jiter, peek: Peek) -> Result<Statement, Error> {
    match peek {
        Peek::String => return Ok(Statement { sql: json.known_str()?.to_string(), parameters: Vec::new() }),
        Peek::Array => {}
        other => return Err(refused(json, other, Error::InvalidRequest)),
    }

    let sql = match json.known_array()? {
        None => return Err(Error::InvalidRequest),
        Some(Peek::String) => json.known_str()?.to_string(),
        Some(other) => return Err(refused(json, other, Error::InvalidRequest)),
    };
    let mut parameters = Vec::new();
    while let Some(peek) = json.array_step()? {
        if peek == Peek::Object {
            parameters.extend(named_parameters(json)?);
        } else {
            parameters.push(Parameter { name: String::new(), value: value(json, peek)? });
        }
    }
    Ok(Statement { sql, parameters })
}

/// One parameter per key, by name; of equal keys the last wins. (The reference takes them in random order.)
fn named_parameters(json: &mut Jiter) -> Result<impl Iterator<Item = Parameter> + use<>, Error> {
    let mut named = BTreeMap::new();
    let mut key = json.known_object()?.map(str::to_string);
    while let Some(name) = key {
        let peek = json.peek()?;
        named.insert(name, value(json, peek)?);
        key = json.next_key()?.map(str::to_string);
    }
    Ok(named.into_iter().map(|(name, value)| Parameter { name, value }))
}

/// `None` is NULL.
fn value(json: &mut Jiter, peek: Peek) -> Result<Option<Value>, Error> {
    Ok(Some(match peek {
        Peek::Null => {
            json.known_null()?;
            return Ok(None);
        }
        Peek::True | Peek::False => Value::Integer(json.known_bool(peek)?.into()),
        Peek::String => string(json.known_str()?),
        Peek::Array => Value::Blob(bytes(json)?.into()),
        Peek::Object => return Err(Error::UnsupportedType(type_of(peek).to_string())),
        _ => number(digits(json, peek)?)?,
    }))
}

fn number(text: &str) -> Result<Value, Error> {
    if let Ok(integer) = text.parse() {
        return Ok(Value::Integer(integer));
    }
    match text.parse::<f64>() {
        Ok(real) if real.is_finite() => Ok(Value::Real(real)),
        _ => Err(Error::InvalidNumber(text.to_string())),
    }
}

/// Text, unless it looks like an SQL blob literal.
fn string(text: &str) -> Value {
    blob_literal(text.trim()).map_or_else(|| Value::Text(text.to_string()), |blob| Value::Blob(blob.into()))
}

fn blob_literal(text: &str) -> Option<Vec<u8>> {
    let digits = text.strip_prefix(['x', 'X'])?.strip_prefix('\'')?.strip_suffix('\'')?.as_bytes();
    if !digits.len().is_multiple_of(2) {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16);
    digits.chunks(2).map(|pair| Some((digit(pair[0])? << 4 | digit(pair[1])?) as u8)).collect()
}

/// The rest of an array that stands for a blob.
fn bytes(json: &mut Jiter) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    let mut next = json.known_array()?;
    while let Some(peek) = next {
        if !peek.is_num() {
            return Err(refused(json, peek, Error::UnsupportedType(type_of(peek).to_string())));
        }
        let text = digits(json, peek)?;
        // By way of i64, so that `-0` is a byte here, as it is there.
        let byte = text.parse::<i64>().ok().and_then(|integer| u8::try_from(integer).ok());
        bytes.push(byte.ok_or_else(|| Error::UnsupportedType(text.to_string()))?);
        next = json.array_step()?;
    }
    Ok(bytes)
}

/// The text of a number.
fn digits<'a>(json: &'a mut Jiter, peek: Peek) -> Result<&'a str, Error> {
    std::str::from_utf8(json.known_number_bytes(peek)?).map_err(|_| Error::InvalidJson)
}

/// The error for a token that has no business where it is: `error`, or that it isn't even JSON.
fn refused(json: &mut Jiter, peek: Peek, error: Error) -> Error {
    let token = match peek {
        Peek::Array | Peek::Object => return error,
        Peek::Null => json.known_null(),
        Peek::True | Peek::False => json.known_bool(peek).map(drop),
        Peek::String => json.known_str().map(drop),
        _ => json.known_number_bytes(peek).map(drop),
    };
    token.map_or(Error::InvalidJson, |()| error)
}

/// What Go calls the type that a JSON value is decoded into.
fn type_of(peek: Peek) -> &'static str {
    match peek {
        Peek::Null => "<nil>",
        Peek::True | Peek::False => "bool",
        Peek::String => "string",
        Peek::Array => "[]interface {}",
        _ => "map[string]interface {}",
    }
}

/// The body with every byte that isn't part of valid UTF-8 as U+FFFD: each byte one, where Rust's lossy conversion
/// makes one of a run.
fn valid_utf8(body: &[u8]) -> Cow<'_, str> {
    if let Ok(text) = std::str::from_utf8(body) {
        return text.into();
    }
    let mut text = String::with_capacity(body.len() + 16);
    for chunk in body.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|_| char::REPLACEMENT_CHARACTER));
    }
    text.into()
}

/// The text with escapes of surrogates that have no partner as `\ufffd`: Go reads them so, our parser refuses them.
fn paired_surrogates(text: &str) -> Cow<'_, str> {
    if !text.contains("\\ud") && !text.contains("\\uD") {
        return text.into();
    }
    let mut paired = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        paired.push_str(&rest[..at]);
        rest = &rest[at..];
        let (kept, length) = match (escaped_unit(rest), rest.get(6..).and_then(escaped_unit)) {
            (Some(0xd800..=0xdbff), Some(0xdc00..=0xdfff)) => (&rest[..12], 12),
            (Some(0xd800..=0xdfff), _) => ("\\ufffd", 6),
            // A backslash takes the character after it along, above all another backslash.
            _ => {
                let length = 1 + rest[1..].chars().next().map_or(0, char::len_utf8);
                (&rest[..length], length)
            }
        };
        paired.push_str(kept);
        rest = &rest[length..];
    }
    paired.push_str(rest);
    paired.into()
}

/// The UTF-16 unit of the `\uXXXX` at the start of the text.
fn escaped_unit(text: &str) -> Option<u16> {
    let digits = text.strip_prefix("\\u")?.get(..4)?;
    if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    u16::from_str_radix(digits, 16).ok()
}

impl From<JiterError> for Error {
    fn from(_: JiterError) -> Self {
        Error::InvalidJson
    }
}

impl From<jiter::JsonError> for Error {
    fn from(_: jiter::JsonError) -> Self {
        Error::InvalidJson
    }
}

#[cfg(test)]
mod tests {
    use super::{Error, parse_json, parse_text, without_empty};
    use crate::command::{Parameter, Statement, Value};

    #[test]
    fn statements_and_parameters_are_read() {
        check(r#"["SELECT 1","SELECT 2"]"#, "SELECT 1 | SELECT 2");
        check(
            r#"[["SELECT ?",1,1.0,1e3,-0,9223372036854775807,9223372036854775808]]"#,
            "SELECT ? 1 1.0 1000.0 0 9223372036854775807 9.223372036854776e18",
        );
        check(r#"[["a",true,false,null,"t"]]"#, r#"a 1 0 NULL "t""#);
        check(r#"[["a",{"n":1,"m":[1,2]},{"k":null}, 5]]"#, "a m=x'0102' n=1 k=NULL 5");
        check(r#"[["a",{"n":1,"n":2},{}]]"#, "a n=2");
        check(r#"[["a",{"":"e"}]]"#, r#"a "e""#);
        check(r#"[["a",[],[0,255,-0]]]"#, "a x'' x'00FF00'");
        check(r#"[["a","x'0aFF'"," X'' ","x'0g'","x'0'","x'","X'00"]]"#, r#"a x'0AFF' x'' "x'0g'" "x'0'" "x'" "X'00""#);
        check("\n  [\"a\" , [ \"b\" , 1 ] ]\n", "a | b 1");
        check(r#"["a"] trailing garbage"#, "a");
        check(r#"["",["",1]," "]"#, " |  1 |  ");
    }

    #[test]
    fn the_first_offending_token_decides() {
        check("", "invalid JSON body");
        check("hello", "invalid JSON body");
        check("\u{feff}[\"a\"]", "invalid JSON body");
        check(r#"{"sql":1}"#, "invalid request");
        check("{garbage", "invalid request");
        check("null", "invalid request");
        check("nul", "invalid JSON body");
        check("1", "invalid request");
        check(r#""a"#, "invalid JSON body");
        check("[]", "no statements");
        check("[", "invalid JSON body");
        check("[1]", "invalid request");
        check("[1 garbage", "invalid request");
        check("[01]", "invalid JSON body");
        check("[true]", "invalid request");
        check("[{}]", "invalid request");
        check("[[]]", "invalid request");
        check(r#"[[1,"a"]]"#, "invalid request");
        check(r#"[[["a"]]]"#, "invalid request");
        check("[NaN]", "invalid JSON body");
        check(r#"["a" "b"]"#, "invalid JSON body");
        check(r#"["a",]"#, "invalid JSON body");
        check(r#"["a""#, "invalid JSON body");
        check(r#"[["a",1"#, "invalid JSON body");
        check("[\"a\nb\"]", "invalid JSON body");
        check(r#"["\x"]"#, "invalid JSON body");
        check(r#"[["a",1e400]]"#, "invalid number 1e400");
        check(r#"[["a",Infinity]]"#, "invalid JSON body");
        check(r#"[["a",[1,256]]]"#, "unsupported type 256");
        check(r#"[["a",[-1]]]"#, "unsupported type -1");
        check(r#"[["a",[1.5]]]"#, "unsupported type 1.5");
        check(r#"[["a",[1e400]]]"#, "unsupported type 1e400");
        check(r#"[["a",["a" garbage"#, "unsupported type string");
        check(r#"[["a",[true]]]"#, "unsupported type bool");
        check(r#"[["a",[null]]]"#, "unsupported type <nil>");
        check(r#"[["a",[[1]]]]"#, "unsupported type []interface {}");
        check(r#"[["a",[{}]]]"#, "unsupported type map[string]interface {}");
        check(r#"[["a",{"n":{}}]]"#, "unsupported type map[string]interface {}");
        check(r#"[["a",{"n":}]]"#, "invalid JSON body");
        check(r#"[["a",{"n":1,}]]"#, "invalid JSON body");
    }

    #[test]
    fn what_is_no_unicode_becomes_the_replacement_character() {
        check(r#"["a\ud83db"]"#, "a\u{fffd}b");
        check(r#"["\ud83d\ude00"]"#, "\u{1f600}");
        check(r#"["\ud83d\ud83d\ude00"]"#, "\u{fffd}\u{1f600}");
        check(r#"["\ude00\n"]"#, "\u{fffd}\n");
        check(r#"["\\ud83d"]"#, "\\ud83d");
        check(r#"["\ud83d\\u"]"#, "\u{fffd}\\u");
        check(r#"["\ud83"]"#, "invalid JSON body");
        check(r#"["\ud83dé\"#, "invalid JSON body");
        assert_eq!(parse_json(b"[\"a\xe2\x82\"]").unwrap()[0].sql, "a\u{fffd}\u{fffd}");
        assert_eq!(parse_json(b"[\"\xff\\ud800\"]").unwrap()[0].sql, "\u{fffd}\u{fffd}");
        assert_eq!(parse_json(b"[\xff]"), Err(Error::InvalidJson));
    }

    #[test]
    fn a_text_body_is_one_statement() {
        assert_eq!(parse_text(b"[\"a\"]\xff"), [Statement { sql: "[\"a\"]\u{fffd}".into(), parameters: vec![] }]);
        assert_eq!(without_empty(parse_text(b"")), []);
        assert!(super::is_text(b"text/plain; charset=utf-8") && !super::is_text(b"Text/Plain"));
    }

    #[track_caller]
    fn check(body: &str, want: &str) {
        let statements = parse_json(body.as_bytes());
        assert_eq!(statements.map_or_else(|error| error.to_string(), |statements| print(&statements)), want, "{body}");
    }

    fn print(statements: &[Statement]) -> String {
        let print = |statement: &Statement| {
            statement
                .parameters
                .iter()
                .fold(statement.sql.clone(), |text, parameter| text + " " + &print_one(parameter))
        };
        statements.iter().map(print).collect::<Vec<_>>().join(" | ")
    }

    fn print_one(parameter: &Parameter) -> String {
        let value = match &parameter.value {
            None => "NULL".to_string(),
            Some(Value::Integer(integer)) => integer.to_string(),
            Some(Value::Real(real)) => format!("{real:?}"),
            Some(Value::Text(text)) => format!("{text:?}"),
            Some(Value::Blob(blob)) => {
                format!("x'{}'", blob.iter().map(|byte| format!("{byte:02X}")).collect::<String>())
            }
        };
        if parameter.name.is_empty() { value } else { format!("{}={value}", parameter.name) }
    }
}
