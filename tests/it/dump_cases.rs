//! Each recorded dump case: loaded, dumped, and restored by our own load and by the stock sqlite3 shell.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::content::Content;
use crate::node::Node;

fn cases() -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/dumps");
    let mut paths: Vec<_> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| !path.to_str().unwrap().ends_with("-dump.sql"));
    paths.sort();
    assert_eq!(paths.len(), 28);
    paths
}

fn database(path: &Path, sql: &str) {
    let _ = fs::remove_file(path);
    let connection = rusqlite::Connection::open(path).unwrap();
    connection.execute_batch(sql).unwrap();
    // A database without a first page is no file to load.
    if fs::metadata(path).unwrap().len() == 0 {
        connection.execute_batch("PRAGMA user_version=0; VACUUM").unwrap();
    }
}

/// Before 3.43 the shell reads some numbers one place off.
fn reads_numbers_exactly() -> bool {
    let output = Command::new("sqlite3").arg("--version").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let mut parts = text.split(['.', ' ']).map(|part| part.parse::<u32>().unwrap_or(0));
    (parts.next(), parts.next()) >= (Some(3), Some(43))
}

#[test]
fn every_case_comes_back() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let mut node = Node::new(directory.path(), &[]);
    node.start();
    database(&path("empty"), "");
    let get = |node: &Node, url: &str, to: &str| {
        fs::write(path(to), node.request("GET", url, &[], vec![]).body()).unwrap();
    };
    for case in cases() {
        let name = case.file_stem().unwrap().to_str().unwrap();
        database(&path("original"), &fs::read_to_string(&case).unwrap());
        let original = Content::of(&path("original"));
        let loaded = node.post("/db/load", fs::read(path("original")).unwrap());
        assert_eq!(loaded.text(), r#"{"results":[]}"#, "{name}");
        get(&node, "/db/backup?fmt=delete", "backup");
        assert_eq!(Content::of(&path("backup")), original, "{name}");
        get(&node, "/db/backup?fmt=sql", "dump.sql");

        assert_eq!(node.post("/db/load", fs::read(path("empty")).unwrap()).text(), r#"{"results":[]}"#);
        let loaded = node.post("/db/load", fs::read(path("dump.sql")).unwrap());
        assert!(loaded.is_success(), "{name}: {}", loaded.text());
        get(&node, "/db/backup?fmt=delete", "restored");
        assert_eq!(Content::of(&path("restored")), original, "{name}");

        let _ = fs::remove_file(path("stock"));
        let dump = File::open(path("dump.sql")).unwrap();
        let output = Command::new("sqlite3").arg("-bail").arg(path("stock")).stdin(dump).output().unwrap();
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
        if name.starts_with("04") && !reads_numbers_exactly() {
            original.assert_almost(&Content::of(&path("stock")), name);
        } else {
            assert_eq!(Content::of(&path("stock")), original, "{name}, by sqlite3");
        }
    }
}
