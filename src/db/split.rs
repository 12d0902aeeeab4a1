//! Cuts SQL text into statements as it streams by.
//!
//! The rule is `sqlite3_complete`'s: a statement ends at a semicolon outside of literals, names and comments, but a
//! `CREATE TRIGGER` ends at `;END;`. That function looks at a whole text each time; this keeps its state between
//! pieces.
//!
//! Source: SQLite 3.54.1 `src/complete.c`, states and table.

/// See the module.
#[derive(Default)]
pub struct Splitter {
    buffer: Vec<u8>,
    /// Where the statement begins: what stands before was handed out.
    start: usize,
    /// Up to here it was looked at.
    seen: usize,
    state: State,
}

#[derive(Clone, Copy, Default, PartialEq)]
enum State {
    /// Nothing but blanks since the last statement.
    #[default]
    Invalid,
    Normal,
    Explain,
    Create,
    Trigger,
    Semi,
    End,
}

#[derive(Clone, Copy)]
enum Token {
    Semi,
    White,
    Other,
    Explain,
    Create,
    Temp,
    Trigger,
    End,
}

impl Splitter {
    /// Appends text.
    pub fn push(&mut self, text: &[u8]) {
        self.buffer.drain(..self.start);
        self.seen -= self.start;
        self.start = 0;
        self.buffer.extend_from_slice(text);
    }

    /// Bytes that wait for the end of their statement.
    pub fn pending(&self) -> usize {
        self.buffer.len() - self.start
    }

    /// The next complete statement with its semicolon. `None`: more text is needed.
    pub fn next_statement(&mut self) -> Option<&[u8]> {
        let from = self.start;
        loop {
            // A token at the very end may go on in the next piece.
            let (token, length) = token(&self.buffer[self.seen..], false)?;
            self.seen += length;
            if self.advance(token) {
                self.state = State::Invalid;
                self.start = self.seen;
                return Some(&self.buffer[from..self.seen]);
            }
        }
    }

    /// What is left when the text has ended; blanks and comments are nothing.
    pub fn finish(&mut self) -> Option<&[u8]> {
        while let Some((token, length)) = token(&self.buffer[self.seen..], true) {
            self.seen += length;
            self.advance(token);
        }
        (self.state != State::Invalid).then_some(&self.buffer[self.start..])
    }

    /// Moves on; true at the end of a statement.
    fn advance(&mut self, token: Token) -> bool {
        use State as S;
        use Token as T;
        let next = match (self.state, token) {
            (state, T::White) => state,
            (S::Trigger, T::Semi) => S::Semi,
            (S::Semi, T::Semi) => S::Semi,
            (S::Semi, T::End) => S::End,
            (S::End, T::Semi) => return true,
            (S::Trigger | S::Semi | S::End, _) => S::Trigger,
            (_, T::Semi) => return true,
            (S::Invalid, T::Explain) => S::Explain,
            (S::Invalid, T::Create) => S::Create,
            (S::Explain, T::Create) => S::Create,
            (S::Explain, T::Other) => S::Explain,
            (S::Create, T::Temp) => S::Create,
            (S::Create, T::Trigger) => S::Trigger,
            _ => S::Normal,
        };
        self.state = next;
        false
    }
}

/// The token that `text` begins with, and its length. `None`: there is none, or it may not be complete.
fn token(text: &[u8], is_end: bool) -> Option<(Token, usize)> {
    let complete = |token, length: Option<usize>| match length {
        Some(length) => Some((token, length)),
        None if is_end => Some((token, text.len())),
        None => None,
    };
    let find = |needle: u8, from: usize| Some(from + memchr::memchr(needle, text.get(from..)?)? + 1);
    let first = *text.first()?;
    let second = text.get(1);
    match first {
        b';' => Some((Token::Semi, 1)),
        b' ' | b'\r' | b'\t' | b'\n' | 0x0c => Some((Token::White, 1)),
        b'/' | b'-' if second.is_none() && !is_end => None,
        b'/' if second == Some(&b'*') => {
            complete(Token::White, memchr::memmem::find(&text[2..], b"*/").map(|at| at + 4))
        }
        b'-' if second == Some(&b'-') => complete(Token::White, find(b'\n', 2)),
        b'[' => complete(Token::Other, find(b']', 1)),
        b'`' | b'"' | b'\'' => complete(Token::Other, find(first, 1)),
        _ if is_name(first) => {
            let length = text.iter().position(|&byte| !is_name(byte));
            let length = if is_end { Some(length.unwrap_or(text.len())) } else { length }?;
            Some((keyword(&text[..length]), length))
        }
        _ => Some((Token::Other, 1)),
    }
}

fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'$' || byte >= 0x80
}

fn keyword(word: &[u8]) -> Token {
    match word.to_ascii_lowercase().as_slice() {
        b"create" => Token::Create,
        b"trigger" => Token::Trigger,
        b"temp" | b"temporary" => Token::Temp,
        b"end" => Token::End,
        b"explain" => Token::Explain,
        _ => Token::Other,
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::CString;

    use proptest::prelude::*;

    use super::*;

    /// Cuts `text` given in pieces of `size` bytes.
    fn cut(text: &str, size: usize) -> Vec<String> {
        let mut splitter = Splitter::default();
        let mut statements = Vec::new();
        for piece in text.as_bytes().chunks(size) {
            splitter.push(piece);
            while let Some(statement) = splitter.next_statement() {
                statements.push(statement.to_vec());
            }
        }
        statements.extend(splitter.finish().map(<[u8]>::to_vec));
        statements.into_iter().map(|statement| String::from_utf8(statement).unwrap()).collect()
    }

    #[test]
    fn statements() {
        check("", &[]);
        check(" \n-- comment", &[]);
        check("a;b", &["a;", "b"]);
        check(";;", &[";", ";"]);
        check("a 'x;y' \"p;q\" [r;s] `t;u`;b;", &["a 'x;y' \"p;q\" [r;s] `t;u`;", "b;"]);
        check("a -- x;y\n;b /* ; */ ;", &["a -- x;y\n;", "b /* ; */ ;"]);
        check("insert into t values('it''s;');x;", &["insert into t values('it''s;');", "x;"]);
        let trigger =
            "create temp trigger t after insert on a begin delete from b; select case 1 when 1 then 2 end; end;";
        check(&format!("{trigger}next;"), &[trigger, "next;"]);
        let explained = "explain query plan create trigger t after insert on a begin x; end;";
        check(&format!("{explained} y;"), &[explained, " y;"]);
        check("create table trigger_log(a);b;", &["create table trigger_log(a);", "b;"]);

        #[track_caller]
        fn check(text: &str, want: &[&str]) {
            for size in [1, 2, 3, 1000] {
                assert_eq!(cut(text, size), want, "in pieces of {size}");
            }
        }
    }

    proptest! {
        /// Each cut is the first place where sqlite3_complete says so, whatever the pieces.
        #[test]
        fn cuts_are_where_sqlite_says(
            words in prop::collection::vec(
                prop::sample::select(vec![
                    "create ", "temp ", "trigger ", "end", "explain ", ";", "'", "\"", "[", "]", "`", "--", "\n", "/*",
                    "*/", "x", " ", "-", "/", "é",
                ]),
                0..20,
            ),
            size in 1usize..9,
        ) {
            let text = words.concat();
            let is_complete = |text: &str| {
                let text = CString::new(text).unwrap();
                // SAFETY: a string that ends in NUL.
                unsafe { rusqlite::ffi::sqlite3_complete(text.as_ptr()) != 0 }
            };
            let mut want = Vec::new();
            let mut rest = text.as_str();
            while let Some(end) = rest.match_indices(';').map(|(at, _)| at + 1).find(|&end| is_complete(&rest[..end])) {
                want.push(rest[..end].to_owned());
                rest = &rest[end..];
            }
            let got = cut(&text, size);
            prop_assert_eq!(&got[..want.len()], &want[..]);
            prop_assert!(got.len() <= want.len() + 1);
        }
    }
}
