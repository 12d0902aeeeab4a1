//! The query string: read and checked before path, credentials or method are looked at.

use std::str::FromStr;

use crate::go;

/// What the query string of any request says. Parameters that an endpoint doesn't know are ignored there.
///
/// A flag is on when its key is there, whatever its value: `?pretty=false` is pretty. Quirk: kept from the reference.
#[derive(Clone, Debug, PartialEq)]
pub struct Params {
    /// The SQL of a GET. Never empty.
    pub q: Option<String>,
    pub pretty: bool,
    pub timings: bool,
    pub associative: bool,
    pub blob_array: bool,
    pub qualify_columns: bool,
    pub transaction: bool,
    pub raft_index: bool,

    pub level: Level,
    /// Zero: off.
    pub freshness: go::Duration,
    pub freshness_strict: bool,
    pub linearizable_timeout: go::Duration,

    /// Zero or less: none.
    pub db_timeout: go::Duration,
    /// Of node-to-node forwarding and of waiting for the queue. Bounds neither local SQL nor Raft.
    pub timeout: go::Duration,
    pub retries: i64,
    pub redirect: bool,

    pub queue: bool,
    pub wait: bool,
    pub noleader: bool,

    pub norwrandom: bool,
    pub norwtime: bool,
    pub noparse: bool,

    pub fmt: Format,
    pub vacuum: bool,
    pub compress: bool,
    /// Of an SQL dump; empty: all.
    pub tables: Vec<String>,

    /// `/status`: the part of the tree.
    pub key: Option<String>,
    /// `/nodes`: the version of the answer.
    pub ver: Option<String>,
    pub nonvoters: bool,
    pub sync: bool,
    pub trailing_logs: Option<i64>,
    pub bypass: bool,
}

/// Read consistency.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    None,
    Weak,
    Strong,
    Linearizable,
    Auto,
}

/// What a backup is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Binary,
    Sql,
    /// A binary file whose header says rollback journal.
    Delete,
}

/// Each is a plain 400.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("invalid URL escape {}", go::quote(.0))]
    Escape(String),
    #[error("invalid semicolon separator in query")]
    Semicolon,
    #[error("freshness_strict requires freshness")]
    StrictWithoutFreshness,
    #[error("{0} is not a valid duration")]
    Duration(&'static str),
    #[error("{0} is not a valid integer")]
    Integer(&'static str),
    #[error("query parameter not set")]
    EmptyQuery,
}

impl Params {
    /// Reads the part of the URL behind `?`, still escaped.
    ///
    /// Errors: the first that applies, in the order of [`Error`]'s variants; but a semicolon outdoes a bad escape.
    /// Source: rqlite `http/query_params.go` `NewQueryParams`, Go `net/url.ParseQuery`; v10, df4edc42.
    pub fn parse(query: &str) -> Result<Params, Error> {
        let pairs = Pairs::parse(query)?;

        if pairs.has("freshness_strict") && !pairs.has("freshness") {
            return Err(Error::StrictWithoutFreshness);
        }
        let timeout = pairs.duration("timeout")?.unwrap_or(go::Duration::from_secs(30));
        let freshness = pairs.duration("freshness")?.unwrap_or_default();
        let db_timeout = pairs.duration("db_timeout")?.unwrap_or_default();
        let linearizable_timeout = pairs.duration("linearizable_timeout")?.unwrap_or(go::Duration::from_secs(10));
        let retries = pairs.integer("retries")?.unwrap_or(0);
        let trailing_logs = pairs.integer("trailing_logs")?;
        if pairs.get("q") == Some("") {
            return Err(Error::EmptyQuery);
        }

        let text = |key| pairs.get(key).map(str::to_string);
        Ok(Params {
            q: text("q"),
            pretty: pairs.has("pretty"),
            timings: pairs.has("timings"),
            associative: pairs.has("associative"),
            blob_array: pairs.has("blob_array"),
            qualify_columns: pairs.has("qualify_columns"),
            transaction: pairs.has("transaction"),
            raft_index: pairs.has("raft_index"),
            level: pairs.get("level").map_or(Level::Weak, Level::parse),
            freshness,
            freshness_strict: pairs.has("freshness_strict"),
            linearizable_timeout,
            db_timeout,
            timeout,
            retries,
            redirect: pairs.has("redirect"),
            queue: pairs.has("queue"),
            wait: pairs.has("wait"),
            noleader: pairs.has("noleader"),
            norwrandom: pairs.has("norwrandom"),
            norwtime: pairs.has("norwtime"),
            noparse: pairs.has("noparse"),
            fmt: pairs.get("fmt").map_or(Format::Binary, Format::parse),
            vacuum: pairs.has("vacuum"),
            compress: pairs.has("compress"),
            tables: pairs.list("tables"),
            key: text("key"),
            ver: text("ver"),
            nonvoters: pairs.has("nonvoters"),
            sync: pairs.has("sync"),
            trailing_logs,
            bypass: pairs.has("bypass"),
        })
    }
}

impl Level {
    /// Anything unknown is weak.
    fn parse(text: &str) -> Level {
        match text.to_lowercase().as_str() {
            "none" => Level::None,
            "strong" => Level::Strong,
            "linearizable" => Level::Linearizable,
            "auto" => Level::Auto,
            _ => Level::Weak,
        }
    }
}

impl Format {
    /// Anything unknown is binary.
    fn parse(text: &str) -> Format {
        match text.to_lowercase().as_str() {
            "sql" => Format::Sql,
            "delete" => Format::Delete,
            _ => Format::Binary,
        }
    }
}

/// Unescaped keys and values, as they came. A handful: searched from the front, so that the first of equal keys wins.
struct Pairs(Vec<(String, String)>);

impl Pairs {
    fn parse(query: &str) -> Result<Pairs, Error> {
        if query.contains(';') {
            return Err(Error::Semicolon);
        }
        let mut pairs = Vec::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            pairs.push((unescape(key)?, unescape(value)?));
        }
        Ok(Pairs(pairs))
    }

    fn get(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }

    fn has(&self, key: &str) -> bool {
        self.get(key).is_some()
    }

    fn duration(&self, key: &'static str) -> Result<Option<go::Duration>, Error> {
        self.get(key).map(|text| go::Duration::parse(text).map_err(|_| Error::Duration(key))).transpose()
    }

    fn integer(&self, key: &'static str) -> Result<Option<i64>, Error> {
        self.get(key).map(|text| i64::from_str(text).map_err(|_| Error::Integer(key))).transpose()
    }

    fn list(&self, key: &str) -> Vec<String> {
        let items = self.get(key).unwrap_or("").split(',').map(str::trim);
        items.filter(|item| !item.is_empty()).map(str::to_string).collect()
    }
}

/// Percent escapes and `+` resolved; what isn't UTF-8 then becomes U+FFFD.
fn unescape(text: &str) -> Result<String, Error> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    loop {
        rest = match rest {
            [] => break,
            [b'+', rest @ ..] => {
                bytes.push(b' ');
                rest
            }
            [b'%', high, low, rest @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                bytes.push(hex(*high) << 4 | hex(*low));
                rest
            }
            [b'%', ..] => return Err(Error::Escape(String::from_utf8_lossy(&rest[..rest.len().min(3)]).into_owned())),
            [byte, rest @ ..] => {
                bytes.push(*byte);
                rest
            }
        };
    }
    Ok(String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
}

/// The value of a hexadecimal digit.
fn hex(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        _ => digit - b'A' + 10,
    }
}

#[cfg(test)]
mod tests {
    use super::{Format, Level, Params};
    use crate::go::Duration;

    #[test]
    fn faults_are_told_in_the_order_of_the_specification() {
        check("q=%zz", r#"invalid URL escape "%zz""#);
        check("q=%4", r#"invalid URL escape "%4""#);
        check("a%", r#"invalid URL escape "%""#);
        check("q=%\"1&timeout=x", r#"invalid URL escape "%\"1""#);
        check("a=1;b=2", "invalid semicolon separator in query");
        check("freshness_strict&timeout=x", "freshness_strict requires freshness");
        check("freshness_strict&freshness=0", "");
        check("timeout=5&freshness=5", "timeout is not a valid duration");
        check("freshness=5&db_timeout=", "freshness is not a valid duration");
        check("db_timeout=5d&linearizable_timeout=", "db_timeout is not a valid duration");
        check("linearizable_timeout&retries=x", "linearizable_timeout is not a valid duration");
        check("retries=1.5&trailing_logs=x", "retries is not a valid integer");
        check("trailing_logs=&q", "trailing_logs is not a valid integer");
        check("q", "query parameter not set");
        check("q=&q=1", "query parameter not set");
        check("retries=%2B5&trailing_logs=-1&timeout=-1m2.5s&q=x", "");
        check("", "");
        check("&&=&unknown=1", "");

        #[track_caller]
        fn check(query: &str, want: &str) {
            assert_eq!(Params::parse(query).err().map_or(String::new(), |error| error.to_string()), want, "{query}");
        }
    }

    #[test]
    fn flags_are_on_by_presence_and_the_first_value_wins() {
        let params = Params::parse("pretty=false&Timings&level=STRONG&level=none&retries=3&q=a+b%20c%2B").unwrap();
        assert!(params.pretty);
        assert!(!params.timings, "keys are case-sensitive");
        assert_eq!(params.level, Level::Strong);
        assert_eq!(params.retries, 3);
        assert_eq!(params.q.as_deref(), Some("a b c+"));
    }

    #[test]
    fn what_is_absent_has_its_default() {
        let params = Params::parse("level=&fmt=tar&tables=a,%20b%20,,").unwrap();
        assert_eq!(params.level, Level::Weak);
        assert_eq!(params.fmt, Format::Binary);
        assert_eq!(params.tables, ["a", "b"]);
        assert_eq!(params.timeout, Duration::from_secs(30));
        assert_eq!(params.linearizable_timeout, Duration::from_secs(10));
        assert_eq!((params.freshness, params.db_timeout), (Duration::ZERO, Duration::ZERO));
        assert_eq!((params.retries, params.trailing_logs, params.q), (0, None, None));
    }

    #[test]
    fn levels_and_formats_ignore_case() {
        check("none", Level::None);
        check("Weak", Level::Weak);
        check("LINEARIZABLE", Level::Linearizable);
        check("auto", Level::Auto);
        check("bogus", Level::Weak);
        assert_eq!(Params::parse("fmt=SQL").unwrap().fmt, Format::Sql);
        assert_eq!(Params::parse("fmt=Delete").unwrap().fmt, Format::Delete);

        #[track_caller]
        fn check(text: &str, want: Level) {
            assert_eq!(Params::parse(&format!("level={text}")).unwrap().level, want);
        }
    }
}
