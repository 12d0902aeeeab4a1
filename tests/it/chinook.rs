//! A real database through every way in and every way out.

use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::content::Content;
use crate::node::Node;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/sqlite/chinook").join(name)
}

/// Pipes one line into the shell and expects this of it.
pub fn shell(node: &Node, line: &str, want: &str) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_rqlite"))
        .args(["-p", node.port()])
        .env("HOME", &node.data_dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(line.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && text.contains(want), "{line}: {text}");
}

fn curl(arguments: &[&str]) {
    let output = Command::new("curl").args(["--fail", "--silent", "--show-error"]).args(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn gunzip(from: &Path, to: &Path) {
    let mut bytes = Vec::new();
    flate2::read::GzDecoder::new(fs::File::open(from).unwrap()).read_to_end(&mut bytes).unwrap();
    fs::write(to, bytes).unwrap();
}

/// What came out, as a database.
fn content(path: &Path) -> Content {
    if fs::read(path).unwrap().starts_with(b"SQLite format 3\0") {
        return Content::of(path);
    }
    let database = path.with_extension("made");
    let _ = fs::remove_file(&database);
    let sql = fs::read_to_string(path).unwrap();
    rusqlite::Connection::open(&database).unwrap().execute_batch(&sql).unwrap();
    Content::of(&database)
}

#[test]
fn every_way_in_and_out_keeps_it() {
    let directory = tempfile::tempdir().unwrap();
    let original = Content::of(&fixture("chinook.sqlite"));
    let file = fixture("chinook.sqlite").to_str().unwrap().to_string();
    // What the stock shell makes of it.
    let stock = directory.path().join("stock.sql");
    let dumped = Command::new("sqlite3").arg(&file).arg(".dump").output().unwrap();
    fs::write(&stock, dumped.stdout).unwrap();
    let text = stock.to_str().unwrap();

    type Way<'a> = (&'a str, &'a dyn Fn(&Node));
    let load = |content_type: &str, path: &str, node: &Node| {
        curl(&["-XPOST", &node.url("/db/load"), "-H", content_type, "--data-binary", &format!("@{path}")]);
    };
    let ways: [Way; 5] = [
        ("file by curl", &|node| load("Content-type: application/octet-stream", &file, node)),
        ("SQL by curl", &|node| load("Content-type: text/plain", text, node)),
        ("file by .restore", &|node| shell(node, &format!(".restore {file}"), "Database restored successfully.")),
        ("SQL by .restore", &|node| shell(node, &format!(".restore {text}"), "Database restored successfully.")),
        ("file by .boot", &|node| shell(node, &format!(".boot {file}"), "Node booted successfully")),
    ];
    for (number, (way, bring_in)) in ways.iter().enumerate() {
        let home = directory.path().join(number.to_string());
        fs::create_dir(&home).unwrap();
        let mut node = Node::new(&home, &[]);
        node.start();
        bring_in(&node);
        let path = |name: &str| home.join(name);

        for (name, query) in [
            ("binary", ""),
            ("delete", "?fmt=delete"),
            ("sql", "?fmt=sql"),
            ("vacuumed", "?vacuum"),
            ("own", "?noleader"),
            ("compressed", "?compress"),
            ("compressed-delete", "?compress&fmt=delete"),
            ("compressed-sql", "?compress&fmt=sql"),
            ("compressed-vacuumed", "?compress&vacuum"),
        ] {
            curl(&["-o", path(name).to_str().unwrap(), &node.url(&format!("/db/backup{query}"))]);
            if name.starts_with("compressed") {
                gunzip(&path(name), &path("unzipped"));
                fs::rename(path("unzipped"), path(name)).unwrap();
            }
            assert_eq!(content(&path(name)), original, "in: {way}, out: {name}");
        }
        let backup = path("backup.sqlite");
        shell(&node, &format!(".backup {}", backup.display()), "backup file written successfully");
        assert_eq!(content(&backup), original, "in: {way}, out: .backup");
        let dump = path("dump.sql");
        shell(&node, &format!(".dump {}", dump.display()), "SQL text file written successfully");
        assert_eq!(content(&dump), original, "in: {way}, out: .dump");
    }
}
