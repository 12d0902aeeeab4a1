//! `~/.rqlite_history`: plain lines, the newest last, as the reference keeps them.
//!
//! Read again when it is written, so that two shells don't lose each other's lines; written as a whole new file. Only
//! its owner may read it: lines hold data. The reference ignores `RQLITE_HISTFILESIZE` unless it is 0 or less, and
//! writes over the old text without cutting it off.

use std::fs::Permissions;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

/// Lines that are kept if the environment doesn't say: as many as the reference really keeps.
const LINES: usize = 1000;

pub struct History {
    /// `None` without a home.
    path: Option<PathBuf>,
    limit: usize,
    /// Of this session.
    lines: Vec<String>,
}

impl History {
    pub fn of_environment() -> History {
        let home = std::env::var_os("HOME").filter(|home| !home.is_empty());
        let limit = std::env::var("RQLITE_HISTFILESIZE").ok();
        History {
            path: home.map(|home| PathBuf::from(home).join(".rqlite_history")),
            limit: limit_of(limit.as_deref()),
            lines: Vec::new(),
        }
    }

    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Of earlier sessions; none if they can't be read.
    pub fn load(&self) -> Vec<String> {
        let text = self.path.as_ref().and_then(|path| std::fs::read(path).ok()).unwrap_or_default();
        String::from_utf8_lossy(&text).lines().map(str::to_string).collect()
    }

    pub fn add(&mut self, line: &str) {
        self.lines.push(line.to_string());
    }

    /// With a limit of 0 there is no file at all.
    pub fn save(&self) -> io::Result<()> {
        let Some(path) = &self.path else { return Ok(()) };
        if self.limit == 0 {
            return std::fs::remove_file(path);
        }
        let text = kept(self.load().iter().chain(&self.lines).map(String::as_str), self.limit);
        let directory = path.parent().expect("it was joined to a directory");
        let mut file = tempfile::Builder::new()
            .prefix(".rqlite_history.")
            .permissions(Permissions::from_mode(0o600))
            .tempfile_in(directory)?;
        file.write_all(text.as_bytes())?;
        file.persist(path)?;
        Ok(())
    }
}

fn limit_of(text: Option<&str>) -> usize {
    let number = text.and_then(|text| text.trim().parse::<i64>().ok());
    number.map_or(LINES, |number| usize::try_from(number).unwrap_or(0))
}

/// The last `limit` lines; of equal ones in a row, one.
fn kept<'a>(lines: impl Iterator<Item = &'a str>, limit: usize) -> String {
    let mut kept: Vec<&str> = lines.filter(|line| !line.is_empty()).collect();
    kept.dedup();
    let lines = &kept[kept.len().saturating_sub(limit)..];
    lines.iter().flat_map(|line| [line, "\n"]).collect()
}

#[cfg(test)]
mod tests {
    use super::{kept, limit_of};

    #[test]
    fn the_newest_lines_are_kept() {
        check(&[], 3, "");
        check(&["a", "b"], 3, "a\nb\n");
        check(&["a", "b", "c", "d"], 3, "b\nc\nd\n");
        check(&["a", "a", "", "b", "a"], 3, "a\nb\na\n");

        #[track_caller]
        fn check(lines: &[&str], limit: usize, want: &str) {
            assert_eq!(kept(lines.iter().copied(), limit), want, "{lines:?}");
        }
    }

    #[test]
    fn the_limit_is_the_environments() {
        check(None, 1000);
        check(Some("x"), 1000);
        check(Some("100"), 100);
        check(Some("0"), 0);
        check(Some("-5"), 0);

        #[track_caller]
        fn check(text: Option<&str>, want: usize) {
            assert_eq!(limit_of(text), want, "{text:?}");
        }
    }
}
