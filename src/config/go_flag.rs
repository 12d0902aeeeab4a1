//! The grammar of Go's `flag` package, which is neither getopt's nor clap's.
//!
//! One or two dashes, `-name value` or `-name=value`; a boolean never takes the next argument; the first argument that
//! is no flag ends the flags; of a repeated flag the last one counts.

use crate::go::{self, quote};

/// What a flag takes, with the value that it has when it isn't given.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Default {
    Bool(bool),
    Int(i64),
    Uint64(u64),
    Duration(go::Duration),
    Text(&'static str),
}

#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Bool(bool),
    Int(i64),
    Uint64(u64),
    Duration(go::Duration),
    Text(String),
}

/// A command line taken apart.
#[derive(Clone, Debug, PartialEq)]
pub struct Parsed {
    /// As they came.
    flags: Vec<(&'static str, Value)>,
    /// What stands behind the flags.
    pub positionals: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// `-h` or `-help` where no such flag is defined.
    #[error("help requested")]
    Help,
    #[error("bad flag syntax: {0}")]
    Syntax(String),
    #[error("flag provided but not defined: -{0}")]
    NotDefined(String),
    #[error("flag needs an argument: -{0}")]
    NeedsArgument(&'static str),
    #[error("invalid boolean value {} for -{name}: parse error", quote(.text))]
    InvalidBoolean { name: &'static str, text: String },
    #[error("invalid value {} for flag -{name}: {why}", quote(.text))]
    Invalid { name: &'static str, text: String, why: Why },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Why {
    #[error("parse error")]
    Syntax,
    #[error("value out of range")]
    Range,
}

/// Takes apart the arguments behind the program's name.
///
/// Source: Go `flag.FlagSet.parseOne`.
pub fn parse(defined: &[(&'static str, Default)], arguments: &[String]) -> Result<Parsed, Error> {
    let mut flags = Vec::new();
    let mut rest = arguments;

    while let [argument, after @ ..] = rest {
        let Some(named) = argument.strip_prefix('-').filter(|named| !named.is_empty()) else { break };
        rest = after;
        if named == "-" {
            break;
        }
        let named = named.strip_prefix('-').unwrap_or(named);
        if named.starts_with(['-', '=']) {
            return Err(Error::Syntax(argument.clone()));
        }

        let (name, text) = match named.split_once('=') {
            Some((name, text)) => (name, Some(text)),
            None => (named, None),
        };
        let Some((name, default)) = defined.iter().find(|(defined, _)| *defined == name) else {
            let help = matches!(name, "h" | "help");
            return Err(if help { Error::Help } else { Error::NotDefined(name.to_string()) });
        };

        let text = match (text, default) {
            (Some(text), _) => text,
            (None, Default::Bool(_)) => "true",
            (None, _) => match rest {
                [text, after @ ..] => {
                    rest = after;
                    text
                }
                [] => return Err(Error::NeedsArgument(name)),
            },
        };
        flags.push((*name, value(name, default, text)?));
    }
    Ok(Parsed { flags, positionals: rest.to_vec() })
}

impl Parsed {
    /// The value that was given for a flag; the last one counts.
    pub fn given(&self, name: &str) -> Option<&Value> {
        self.flags.iter().rev().find(|(given, _)| *given == name).map(|(_, value)| value)
    }
}

impl Default {
    pub fn value(&self) -> Value {
        match self {
            Default::Bool(bool) => Value::Bool(*bool),
            Default::Int(int) => Value::Int(*int),
            Default::Uint64(uint) => Value::Uint64(*uint),
            Default::Duration(duration) => Value::Duration(*duration),
            Default::Text(text) => Value::Text(text.to_string()),
        }
    }
}

fn value(name: &'static str, default: &Default, text: &str) -> Result<Value, Error> {
    let invalid = |why| Error::Invalid { name, text: text.to_string(), why };
    match default {
        Default::Bool(_) => match text {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(Value::Bool(true)),
            "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(Value::Bool(false)),
            _ => Err(Error::InvalidBoolean { name, text: text.to_string() }),
        },
        Default::Int(_) => int(text).map(Value::Int).map_err(invalid),
        Default::Uint64(_) => uint(text).map(Value::Uint64).map_err(invalid),
        Default::Duration(_) => go::Duration::parse(text).map(Value::Duration).map_err(|_| invalid(Why::Syntax)),
        Default::Text(_) => Ok(Value::Text(text.to_string())),
    }
}

/// Source: Go `strconv.ParseInt` with base 0.
fn int(text: &str) -> Result<i64, Why> {
    let magnitude = uint(text.strip_prefix(['+', '-']).unwrap_or(text))?;
    let signed = if text.starts_with('-') { 0i64.checked_sub_unsigned(magnitude) } else { magnitude.try_into().ok() };
    signed.ok_or(Why::Range)
}

/// Source: Go `strconv.ParseUint` with base 0: `0x`, `0b`, `0o` or `0` tells the base, `_` may stand between digits.
fn uint(text: &str) -> Result<u64, Why> {
    let (radix, digits) = match text.as_bytes() {
        [b'0', b'x' | b'X', _, ..] => (16, &text[2..]),
        [b'0', b'b' | b'B', _, ..] => (2, &text[2..]),
        [b'0', b'o' | b'O', _, ..] => (8, &text[2..]),
        [b'0', _, ..] => (8, &text[1..]),
        _ => (10, text),
    };
    // A prefix counts as a digit: `0x_1` is fine.
    let digits = if digits.len() < text.len() { digits.strip_prefix('_').unwrap_or(digits) } else { digits };

    let is_number = |group: &str| !group.is_empty() && group.chars().all(|digit| digit.is_digit(radix));
    if !digits.split('_').all(is_number) {
        return Err(Why::Syntax);
    }
    u64::from_str_radix(&digits.replace('_', ""), radix).map_err(|_| Why::Range)
}

#[cfg(test)]
mod tests {
    use super::{Default, Parsed, parse};
    use crate::go::Duration;

    const DEFINED: [(&str, Default); 5] = [
        ("fk", Default::Bool(false)),
        ("join-attempts", Default::Int(5)),
        ("raft-snap", Default::Uint64(8192)),
        ("join-interval", Default::Duration(Duration::from_secs(3))),
        ("node-id", Default::Text("")),
    ];

    #[test]
    fn command_lines_are_taken_apart_as_go_does() {
        check("", "");
        check(
            "-node-id a --node-id=b --node-id c -node-id=d=e DIR",
            r#"node-id="a" node-id="b" node-id="c" node-id="d=e" | DIR"#,
        );
        check("-fk DIR", "fk=true | DIR");
        check("-fk=false -fk=T -fk=0", "fk=false fk=true fk=false");
        check("-fk false DIR", "fk=true | false DIR");
        check("DIR -fk", " | DIR -fk");
        check("-fk -- -fk", "fk=true | -fk");
        check("-fk - -fk", "fk=true | - -fk");
        check("-node-id -fk", r#"node-id="-fk""#);
        check("-node-id=", r#"node-id="""#);

        check("---x", "bad flag syntax: ---x");
        check("-=x", "bad flag syntax: -=x");
        check("--=x", "bad flag syntax: --=x");
        check("-nosuch=1", "flag provided but not defined: -nosuch");
        check("-f", "flag provided but not defined: -f");
        check("-h", "help requested");
        check("--help=1", "help requested");
        check("-join-interval", "flag needs an argument: -join-interval");
        check("-fk=maybe", r#"invalid boolean value "maybe" for -fk: parse error"#);
        check("-fk=", r#"invalid boolean value "" for -fk: parse error"#);
        check("-join-attempts abc", r#"invalid value "abc" for flag -join-attempts: parse error"#);
        check("-join-interval 5", r#"invalid value "5" for flag -join-interval: parse error"#);
        check("-raft-snap -1", r#"invalid value "-1" for flag -raft-snap: parse error"#);
        check(
            "-raft-snap 18446744073709551616",
            r#"invalid value "18446744073709551616" for flag -raft-snap: value out of range"#,
        );
    }

    #[test]
    fn numbers_are_read_as_go_does() {
        int("0", "0");
        int("-0", "0");
        int("+5", "5");
        int("010", "8");
        int("0x1F", "31");
        int("-0b101", "-5");
        int("0o17", "15");
        int("1_000", "1000");
        int("0x_f", "15");
        int("0_7", "7");
        int("-9223372036854775808", "-9223372036854775808");
        for text in ["", "-", "0x", "08", "1__0", "_1", "1_", "0x_", "0_", "1.0", "--1", "+-1", "0b2", "é"] {
            int(text, "parse error");
        }
        int("9223372036854775808", "value out of range");
        int("-9223372036854775809", "value out of range");

        #[track_caller]
        fn int(text: &str, want: &str) {
            assert_eq!(super::int(text).map_or_else(|why| why.to_string(), |int| int.to_string()), want, "{text}");
        }
    }

    #[test]
    fn the_last_of_equal_flags_counts() {
        let parsed = parse(&DEFINED, &words("-join-attempts 1 -join-attempts 2")).unwrap();
        assert_eq!(parsed.given("join-attempts"), Some(&super::Value::Int(2)));
        assert_eq!(parsed.given("fk"), None);
    }

    #[track_caller]
    fn check(line: &str, want: &str) {
        assert_eq!(parse(&DEFINED, &words(line)).map_or_else(|error| error.to_string(), print), want, "{line}");
    }

    fn words(line: &str) -> Vec<String> {
        line.split_whitespace().map(str::to_string).collect()
    }

    fn print(parsed: Parsed) -> String {
        let flags = parsed.flags.iter().map(|(name, value)| match value {
            super::Value::Bool(bool) => format!("{name}={bool}"),
            super::Value::Text(text) => format!("{name}={text:?}"),
            other => format!("{name}={other:?}"),
        });
        let flags = flags.collect::<Vec<_>>().join(" ");
        if parsed.positionals.is_empty() { flags } else { format!("{flags} | {}", parsed.positionals.join(" ")) }
    }
}
