//! `%q`: text in double quotes, as Go prints it in messages.

use std::fmt::Write;

/// `text` in double quotes with Go's escapes.
///
/// Source: Go `strconv.Quote`.
pub fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for char in text.chars() {
        match char {
            '"' | '\\' => quoted.extend(['\\', char]),
            '\x07' => quoted.push_str("\\a"),
            '\x08' => quoted.push_str("\\b"),
            '\x0c' => quoted.push_str("\\f"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '\x0b' => quoted.push_str("\\v"),
            _ if is_printed(char) => quoted.push(char),
            // Writing to a String can't fail.
            ..='\x7f' => drop(write!(quoted, "\\x{:02x}", char as u32)),
            ..='\u{ffff}' => drop(write!(quoted, "\\u{:04x}", char as u32)),
            _ => drop(write!(quoted, "\\U{:08x}", char as u32)),
        }
    }
    quoted.push('"');
    quoted
}

/// Rust's debug form escapes what isn't graphic by the same Unicode classes that Go asks.
fn is_printed(char: char) -> bool {
    matches!(char, ' '..='~') || (char > '\x7f' && char.escape_debug().len() == 1)
}

#[cfg(test)]
mod tests {
    use super::quote;

    #[test]
    fn texts_are_quoted_as_go_does() {
        check("abc", r#""abc""#);
        check("", r#""""#);
        check(r#"a"b\c"#, r#""a\"b\\c""#);
        check("a\tb\n\u{1}\u{7f}", r#""a\tb\n\x01\x7f""#);
        check("é'π", r#""é'π""#);
        check("\u{a0}\u{e000}", r#""\u00a0\ue000""#);

        #[track_caller]
        fn check(text: &str, want: &str) {
            assert_eq!(quote(text), want);
        }
    }
}
