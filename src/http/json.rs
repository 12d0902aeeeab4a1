//! Writes JSON as Go's encoder does, piece by piece into a buffer that can be taken from at any time.

use std::fmt::Write;

use base64::{display::Base64Display, engine::general_purpose::STANDARD};
use bytes::{BufMut, Bytes, BytesMut};
use serde_json::Value;

/// Commas, line breaks and indentation follow from the calls; their order is the caller's.
pub struct Json {
    buffer: BytesMut,
    /// Bytes that were taken.
    taken: usize,
    pretty: bool,
    place: Place,
}

/// Where in the document the next byte goes.
#[derive(Clone, Copy)]
struct Place {
    depth: usize,
    /// The innermost array or object has no items yet.
    empty: bool,
}

/// A position to come back to.
#[derive(Clone, Copy)]
pub struct Mark {
    position: usize,
    place: Place,
}

impl Json {
    pub fn new(pretty: bool) -> Json {
        Json { buffer: BytesMut::new(), taken: 0, pretty, place: Place { depth: 0, empty: true } }
    }

    pub fn open(&mut self, bracket: u8) {
        self.buffer.put_u8(bracket);
        self.place = Place { depth: self.place.depth + 1, empty: true };
    }

    pub fn close(&mut self, bracket: u8) {
        let was_empty = self.place.empty;
        self.place = Place { depth: self.place.depth - 1, empty: false };
        if !was_empty {
            self.break_line();
        }
        self.buffer.put_u8(bracket);
    }

    /// Before each item of an array.
    pub fn item(&mut self) {
        if !self.place.empty {
            self.buffer.put_u8(b',');
        }
        self.place.empty = false;
        self.break_line();
    }

    /// Before each value of an object.
    pub fn key(&mut self, key: &str) {
        self.item();
        self.string(key.as_bytes());
        self.buffer.put_slice(if self.pretty { b": " } else { b":" });
    }

    /// A literal: `null`, `true`, `false`.
    pub fn literal(&mut self, text: &str) {
        self.buffer.put_slice(text.as_bytes());
    }

    pub fn integer(&mut self, integer: i64) {
        self.buffer.put_slice(itoa::Buffer::new().format(integer).as_bytes());
    }

    pub fn unsigned(&mut self, integer: u64) {
        self.buffer.put_slice(itoa::Buffer::new().format(integer).as_bytes());
    }

    /// A finite number: shortest digits that read back the same, plain from 1e-6 up to 1e21, without `.0`.
    ///
    /// Source: Go `encoding/json` `floatEncoder`.
    pub fn real(&mut self, real: f64) {
        debug_assert!(real.is_finite(), "JSON has no infinities");
        let plain = real == 0.0 || (1e-6..1e21).contains(&real.abs());
        // Writing to a BytesMut can't fail: it grows.
        let _ = if plain {
            write!(self.buffer, "{real}")
        } else {
            let text = format!("{real:e}");
            let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
            let sign = if exponent.starts_with('-') { "" } else { "+" };
            write!(self.buffer, "{digits}e{sign}{exponent}")
        };
    }

    /// A string: what HTML or JavaScript could take for markup is escaped, what isn't UTF-8 becomes `\ufffd`.
    ///
    /// Source: Go `encoding/json` `appendString`.
    pub fn string(&mut self, text: &[u8]) {
        self.buffer.put_u8(b'"');
        if let Ok(valid) = std::str::from_utf8(text) {
            escape(&mut self.buffer, valid);
        } else {
            for chunk in text.utf8_chunks() {
                escape(&mut self.buffer, chunk.valid());
                chunk.invalid().iter().for_each(|_| self.buffer.put_slice(b"\\ufffd"));
            }
        }
        self.buffer.put_u8(b'"');
    }

    /// A string of base64, padded.
    pub fn base64(&mut self, bytes: &[u8]) {
        let _ = write!(self.buffer, "\"{}\"", Base64Display::new(bytes, &STANDARD));
    }

    pub fn byte_array(&mut self, bytes: &[u8]) {
        self.open(b'[');
        for byte in bytes {
            self.item();
            self.integer((*byte).into());
        }
        self.close(b']');
    }

    /// Any JSON.
    pub fn value(&mut self, value: &Value) {
        match value {
            Value::Null => self.literal("null"),
            Value::Bool(is) => self.literal(if *is { "true" } else { "false" }),
            Value::String(text) => self.string(text.as_bytes()),
            Value::Number(number) => match (number.as_i64(), number.as_f64()) {
                (Some(integer), _) => self.integer(integer),
                (None, Some(real)) if number.is_f64() => self.real(real),
                _ => self.literal(&number.to_string()),
            },
            Value::Array(items) => {
                self.open(b'[');
                for item in items {
                    self.item();
                    self.value(item);
                }
                self.close(b']');
            }
            Value::Object(fields) => {
                self.open(b'{');
                for (key, value) in fields {
                    self.key(key);
                    self.value(value);
                }
                self.close(b'}');
            }
        }
    }

    pub fn buffered(&self) -> usize {
        self.buffer.len()
    }

    /// Hands over what is written so far.
    pub fn take(&mut self) -> Bytes {
        self.taken += self.buffer.len();
        self.buffer.split().freeze()
    }

    /// Whether anything was handed over.
    pub fn is_taken(&self) -> bool {
        self.taken > 0
    }

    pub fn mark(&self) -> Mark {
        Mark { position: self.taken + self.buffer.len(), place: self.place }
    }

    /// Forgets what was written since; `false` if some of it was already taken.
    pub fn rewind(&mut self, mark: Mark) -> bool {
        let Some(length) = mark.position.checked_sub(self.taken) else { return false };
        self.buffer.truncate(length);
        self.place = mark.place;
        true
    }

    fn break_line(&mut self) {
        if self.pretty {
            self.buffer.put_u8(b'\n');
            self.buffer.put_bytes(b' ', 4 * self.place.depth);
        }
    }
}

/// Bytes that escaping has to look at; most texts have none.
const SPECIAL: [bool; 256] = {
    let mut special = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        special[byte] = byte < 0x20 || matches!(byte as u8, b'"' | b'\\' | b'<' | b'>' | b'&' | 0xe2);
        byte += 1;
    }
    special
};

fn escape(buffer: &mut BytesMut, text: &str) {
    let bytes = text.as_bytes();
    let (mut start, mut next) = (0, 0);
    while let Some(plain) = bytes[next..].iter().position(|byte| SPECIAL[usize::from(*byte)]) {
        let at = next + plain;
        next = at + 1;
        let (escaped, length): (&[u8], usize) = match bytes[at] {
            b'"' => (b"\\\"", 1),
            b'\\' => (b"\\\\", 1),
            b'\n' => (b"\\n", 1),
            b'\r' => (b"\\r", 1),
            b'\t' => (b"\\t", 1),
            0x08 => (b"\\b", 1),
            0x0c => (b"\\f", 1),
            b'<' => (b"\\u003c", 1),
            b'>' => (b"\\u003e", 1),
            b'&' => (b"\\u0026", 1),
            byte @ 0..0x20 => {
                buffer.put_slice(&bytes[start..at]);
                let _ = write!(buffer, "\\u{byte:04x}");
                start = at + 1;
                continue;
            }
            0xe2 if bytes[at..].starts_with("\u{2028}".as_bytes()) => (b"\\u2028", 3),
            0xe2 if bytes[at..].starts_with("\u{2029}".as_bytes()) => (b"\\u2029", 3),
            _ => continue,
        };
        buffer.put_slice(&bytes[start..at]);
        buffer.put_slice(escaped);
        start = at + length;
    }
    buffer.put_slice(&bytes[start..]);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Json;

    #[test]
    fn reals_are_written_as_go_does() {
        check(0.0, "0");
        check(-0.0, "-0");
        check(2.0, "2");
        check(-1.5, "-1.5");
        check(0.1, "0.1");
        check(1e20, "100000000000000000000");
        check(1e21, "1e+21");
        check(-1e21, "-1e+21");
        check(1e-6, "0.000001");
        check(9.99e-7, "9.99e-7");
        check(1e-7, "1e-7");
        check(5e-324, "5e-324");
        check(f64::MAX, "1.7976931348623157e+308");
        check(9223372036854775808.0, "9223372036854776000");
        check(1.0 / 3.0, "0.3333333333333333");

        #[track_caller]
        fn check(real: f64, want: &str) {
            assert_eq!(written(|json| json.real(real)), want);
        }
    }

    #[test]
    fn strings_are_escaped_as_go_does() {
        check("a\"b\\c/d".as_bytes(), r#""a\"b\\c/d""#);
        check(b"\n\r\t\x08\x0c\x01\x1f\x00", r#""\n\r\t\b\f\u0001\u001f\u0000""#);
        check("<a>&'\u{7f}é😀".as_bytes(), "\"\\u003ca\\u003e\\u0026'\u{7f}é😀\"");
        check("\u{2028}\u{2029}\u{2030}".as_bytes(), "\"\\u2028\\u2029\u{2030}\"");
        check(b"\xff<\xe2\x82\"", r#""\ufffd\u003c\ufffd\ufffd\"""#);

        #[track_caller]
        fn check(text: &[u8], want: &str) {
            assert_eq!(written(|json| json.string(text)), want);
        }
    }

    proptest! {
        #[test]
        fn strings_and_reals_read_back(text: String, real in proptest::num::f64::NORMAL | proptest::num::f64::SUBNORMAL) {
            prop_assert_eq!(serde_json::from_str::<String>(&written(|json| json.string(text.as_bytes()))).unwrap(), text);
            prop_assert_eq!(written(|json| json.real(real)).parse::<f64>().unwrap(), real);
        }
    }

    #[test]
    fn a_mark_is_reachable_until_something_behind_it_is_taken() {
        let mut json = Json::new(false);
        json.open(b'[');
        let start = json.mark();
        json.item();
        json.integer(1);
        assert!(json.rewind(start));
        json.item();
        json.integer(2);
        assert_eq!(&json.take()[..], b"[2");
        assert!(!json.rewind(start));
        let behind = json.mark();
        json.item();
        assert!(json.rewind(behind));
        json.close(b']');
        assert_eq!(&json.take()[..], b"]");
    }

    fn written(write: impl FnOnce(&mut Json)) -> String {
        let mut json = Json::new(false);
        write(&mut json);
        String::from_utf8(json.take().to_vec()).unwrap()
    }
}
