//! The shell as a process: against `rqlited`, and against recorded answers where `rqlited` can't give them yet.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

mod process;
mod stub;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::mpsc;

use process::{Node, Ran, finish, free_address, run, shell};
use stub::{Reply, Stub, held};

#[test]
fn backups_and_restores_with_a_node() {
    let node = Node::start();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let database = rusqlite::Connection::open(path.join("mydb.sqlite")).unwrap();
    database
        .execute_batch(
            "CREATE TABLE foo(id INTEGER PRIMARY KEY, name TEXT); INSERT INTO foo VALUES(1,'fiona'),(2,NULL)",
        )
        .unwrap();
    drop(database);
    fs::write(path.join("small.gz"), [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3]).unwrap();
    let mut big = vec![7; 50_000_000];
    big[..2].copy_from_slice(&[0x1f, 0x8b]);
    fs::write(path.join("big.gz"), big).unwrap();
    fs::write(path.join("garbage"), [b"SQLite format 3\0".as_slice(), &[0xff; 5000]].concat()).unwrap();
    fs::write(path.join("empty"), "").unwrap();
    // Longer than the backup will be.
    fs::write(path.join("bak.sqlite"), [b'X'; 100_000]).unwrap();

    let lines = [
        ".schema",
        ".restore mydb.sqlite",
        ".schema",
        ".backup bak.sqlite",
        ".restore small.gz",
        ".restore big.gz",
        ".restore garbage",
        ".restore empty",
        ".restore /nonexistent/y",
        ".restore .",
        ".backup /nonexistent/x",
        ".boot small.gz",
        ".boot nosuch",
        ".tables",
        ".forcewrites on",
        "INSERT INTO foo(name) VALUES('it''s'), ('日本語')",
        "UPDATE foo SET name = 'x' WHERE id = 4 RETURNING *",
        "SELEC",
        ".status build",
        ".ready",
        ".bogus",
        ".EXIT",
        ".tables",
    ];
    let ran = run(path, node.address, &[], &lines.join("\n"));
    let stdout = ran.stdout.replace(&format!(" commit: {}", rqlite::version::COMMIT), " commit: COMMIT");
    insta::assert_snapshot!(stdout);
    assert_eq!((ran.code, ran.stderr.as_str()), (1, ""), "a line failed");

    let backup = rusqlite::Connection::open(path.join("bak.sqlite")).unwrap();
    let rows: i64 = backup.query_row("SELECT count(*) FROM foo", [], |row| row.get(0)).unwrap();
    assert_eq!(rows, 2);
    let history = fs::read_to_string(path.join(".rqlite_history")).unwrap();
    assert!(history.starts_with(".schema\n.restore mydb.sqlite\n"), "{history}");
    assert_eq!(leftovers(path), Vec::<String>::new());
}

#[test]
fn the_references_transcript_with_a_node() {
    let node = Node::start();
    let directory = tempfile::tempdir().unwrap();
    let input = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/shell/s1.txt")).unwrap();
    let ran = run(directory.path(), node.address, &[], &input);
    insta::assert_snapshot!(without_what_varies(&ran.stdout));
}

/// Without addresses, times and versions.
fn without_what_varies(stdout: &str) -> String {
    let patterns = [
        (r"127\.0\.0\.1:[0-9]+", "ADDRESS"),
        (r"(time|time_s|commit): \S+", "$1: HIDDEN"),
        (r"(Run Time:|affected \() ?[0-9.]+ sec", "$1 HIDDEN sec"),
        (r"(_duration_ms): [0-9]+", "$1: HIDDEN"),
    ];
    let stdout = stdout.replace("127.0.0.1:PORT", "ADDRESS");
    patterns.iter().fold(stdout, |text, (pattern, hidden)| {
        regex_lite::Regex::new(pattern).unwrap().replace_all(&text, *hidden).into_owned()
    })
}

#[test]
fn a_session_that_succeeds_exits_with_0() {
    let stub = Stub::start(|_| Reply::ok(r#"{"results":[{"rows_affected":1}]}"#));
    let directory = tempfile::tempdir().unwrap();
    let ran = run(directory.path(), stub.address, &[], "\n   \nINSERT INTO t VALUES(1)\n");
    insta::assert_snapshot!(show(&ran), @r#"
    Welcome to the rqlite CLI.
    Enter ".help" for usage hints.
    Connected to http://127.0.0.1:PORT running version 10
    127.0.0.1:PORT> 127.0.0.1:PORT> 127.0.0.1:PORT> 1 row affected
    127.0.0.1:PORT> bye~
    code 0
    "#);
}

#[test]
fn settings_reach_every_request() {
    let stub = Stub::start(|request| {
        Reply::ok(match request.target.split('?').next().unwrap() {
            "/db/execute" => r#"{"results":[{"last_insert_id":6,"rows_affected":2,"time":0.000065}]}"#,
            _ => r#"{"results":[{"columns":["data"],"types":["blob"],"values":[[[0,255,65]]],"time":0.00003}]}"#,
        })
    });
    let directory = tempfile::tempdir().unwrap();
    let lines = [
        "SELECT data FROM foo",
        ".tables",
        ".consistency strong",
        ".blobarray on",
        ".timer on",
        ".changes on",
        "SELECT 'a\"b'",
        ".tables",
        ".mode csv",
        ".indexes",
        ".mode json",
        ".schema",
        ".mode line",
        "SELECT 1",
        ".forcewrites on",
        "INSERT INTO foo(name) VALUES('ch'), ('x')",
        ".output out.txt",
        "DELETE FROM foo",
        ".show",
        ".output",
        ".show",
        ".consistency",
        ".timer",
        ".mode",
        ".timer bad",
        ".consistency foo",
        ".mode  json",
        ".output /nonexistent/z",
        ".read nosuch",
        ".read in.sql",
    ];
    fs::write(directory.path().join("in.sql"), "-- comment\n\n  INSERT 1\n.tables\n").unwrap();
    let ran = run(directory.path(), stub.address, &[], &lines.join("\n"));
    insta::assert_snapshot!(format!("{}\n{}", show(&ran), stub.requests()));
    let out = fs::read_to_string(directory.path().join("out.txt")).unwrap();
    assert_eq!(out, "2 rows affected (0.000065 sec)\nlast insert ID: 6\n");
}

#[test]
fn what_only_recorded_answers_show() {
    let node = r#"{"id":"n5","api_addr":"http://ADDRESS","addr":"127.0.0.1:21242","version":"10","voter":true,
        "reachable":true,"leader":true,"time":0.000045258,"time_s":"45.395µs"}"#;
    let stub = Stub::start(move |request| match request.target.as_str() {
        "/nodes" | "/nodes?nonvoters" => Reply::ok(format!(r#"{{"n5":{}}}"#, node.replace("ADDRESS", "127.0.0.1:1"))),
        "/db/backup?fmt=sql" => Reply::ok("PRAGMA foreign_keys=OFF;\nBEGIN TRANSACTION;\nCOMMIT;\n"),
        "/db/backup?fmt=sql&tables=a%2Cb+c%2Cd" => Reply::ok("some tables"),
        "/db/load" if request.body.starts_with(b"BAD") => {
            Reply::ok(r#"{"results":[{"error":"near \"BAD\": syntax error"}]}"#)
        }
        "/db/load" if request.body.starts_with(b"SQLite format") => Reply::ok(r#"{"results":[]}"#),
        "/db/load" => Reply::ok(r#"{"results":[{"last_insert_id":2,"rows_affected":2}]}"#),
        "/boot" if request.body.len() > 100 => Reply::status("503 Service Unavailable", "not single-node\n"),
        "/boot" => Reply::ok(""),
        "/snapshot?trailing_logs=0" => Reply::status("204 No Content", ""),
        "/reap" => Reply::ok("{\"snapshots_reaped\":1,\"wals_checkpointed\":2}\n"),
        "/leader?wait=true" => Reply::status("500 Internal Server Error", "stepdown: no\n"),
        "/status?key=extensions" => Reply::ok(r#"{"dir":"/x","names":["rot13.so","json1.so"]}"#),
        "/debug/vars" => Reply::ok(r#"{"cmdline":["rqlited"],"db":{"queries":36,"executions":2}}"#),
        "/readyz" => Reply::status("503 Service Unavailable", "[+]node ok\n[+]leader does not exist"),
        "/db/backup" => Reply::status("503 Service Unavailable", "leader not found\n"),
        _ => Reply::ok("{}"),
    });
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    // Neither ends in a semicolon: nothing may be appended.
    fs::write(path.join("good.sql"), "CREATE TABLE lt(a);\nINSERT INTO lt VALUES(1),(2) -- end").unwrap();
    fs::write(path.join("bad.sql"), "BAD").unwrap();
    fs::write(path.join("small.sqlite"), "SQLite format 3\0").unwrap();
    fs::write(path.join("large.sqlite"), format!("SQLite format 3\0{}", "x".repeat(200_000))).unwrap();
    let lines = [
        ".dump bak.sql",
        ".dump tbl.sql a, b c,d",
        ".backup bak.sqlite",
        ".restore good.sql",
        ".restore bad.sql",
        ".restore small.sqlite",
        ".restore large.sqlite",
        ".boot good.sql",
        ".boot small.sqlite",
        ".boot large.sqlite",
        ".nodes",
        ".nodes all",
        ".leader",
        ".snapshot",
        ".snapshot abc",
        ".snapshot 7",
        ".reap",
        ".remove",
        ".remove n2",
        ".stepdown",
        ".stepdown n3",
        ".extensions",
        ".expvar db",
        ".status nosuch",
        ".ready",
        ".sysdump sys.txt",
        ".backup",
        ".dump",
        ".restore",
        ".boot",
        ".read",
        ".sysdump",
    ];
    let ran = run(path, stub.address, &["-u", "a:b"], &lines.join("\n"));
    insta::assert_snapshot!(format!("{}\n{}", show(&ran), stub.requests()));
    assert_eq!(fs::read_to_string(path.join("tbl.sql")).unwrap(), "some tables");
    assert!(!path.join("bak.sqlite").exists(), "a refused backup leaves no file");
    let sysdump = fs::read_to_string(path.join("sys.txt")).unwrap();
    assert!(sysdump.starts_with("Error sysdumping http://127.0.0.1:1: Unable to connect"), "{sysdump}");
    assert_eq!(leftovers(path), Vec::<String>::new());
}

#[test]
fn unauthorized() {
    let stub = Stub::start(|_| Reply::status("401 Unauthorized", ""));
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("f"), "SQLite format 3\0").unwrap();
    let commands = [
        "SELECT 1",
        ".backup x",
        ".dump x",
        ".restore f",
        ".boot f",
        ".status",
        ".nodes",
        ".leader",
        ".expvar",
        ".reap",
        ".snapshot",
        ".stepdown",
        ".remove n",
        ".extensions",
        ".ready",
    ];
    let ran = run(directory.path(), stub.address, &["-u", "bob:sec:ret"], &commands.join("\n"));
    insta::assert_snapshot!(show(&ran));
    // bob:sec:ret
    assert!(stub.requests().starts_with("GET /status AUTH=Basic Ym9iOnNlYzpyZXQ= body=\"\"\n"));
    assert_eq!(leftovers(directory.path()), Vec::<String>::new());
}

#[test]
fn a_backup_that_breaks_off_changes_nothing() {
    let stub = Stub::start(|request| Reply { missing: usize::from(request.target != "/status"), ..Reply::ok("SQLi") });
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("old"), "old").unwrap();
    let ran = run(directory.path(), stub.address, &[], ".backup old\n.backup new\n.dump new\nSELECT 1\n");
    insta::assert_snapshot!(show(&ran));
    assert_eq!(fs::read_to_string(directory.path().join("old")).unwrap(), "old");
    assert!(!directory.path().join("new").exists());
    assert_eq!(leftovers(directory.path()), Vec::<String>::new());
}

#[test]
fn a_signal_during_a_backup_leaves_nothing() {
    let (reply, release) = held(Reply { missing: 1, ..Reply::ok("SQLi") });
    let (asked, was_asked) = mpsc::channel();
    let mut reply = Some(reply);
    let stub = Stub::start(move |request| match request.target.as_str() {
        "/db/backup" => {
            asked.send(()).unwrap();
            reply.take().unwrap()
        }
        _ => Reply::ok("{}"),
    });
    let directory = tempfile::tempdir().unwrap();
    let mut child = shell(directory.path(), &["-p", &stub.address.port().to_string()]).spawn().unwrap();
    use std::io::Write;
    child.stdin.as_mut().unwrap().write_all(b".backup new\n").unwrap();
    was_asked.recv().unwrap();
    assert_eq!(leftovers(directory.path()).len(), 1);
    assert!(Command::new("kill").arg(child.id().to_string()).status().unwrap().success());
    let ran = finish(child, "");
    assert_eq!(ran.code, 128 + 15);
    assert_eq!(leftovers(directory.path()), Vec::<String>::new());
    drop(release);
}

#[test]
fn another_host_takes_over() {
    let stub = Stub::start(|_| Reply::ok(r#"{"results":[{"columns":["2"],"types":[""],"values":[[2]]}]}"#));
    let (directory, dead) = (tempfile::tempdir().unwrap(), free_address());
    let (stub_address, dead_address) = (stub.address.to_string(), dead.to_string());
    let hide = |text: &str| text.replace(&stub_address, "LIVE").replace(&dead_address, "DEAD");
    let child = shell(directory.path(), &["-p", &dead.port().to_string(), "-a", &stub_address]).spawn().unwrap();
    let ran = finish(child, "SELECT 2");
    insta::assert_snapshot!(hide(&ran.stdout), @r#"
    Welcome to the rqlite CLI.
    Enter ".help" for usage hints.
    Connected to http://LIVE running version 10
    LIVE> +---+
    | 2 |
    +---+
    | 2 |
    +---+
    LIVE> bye~
    "#);
    let (date, log) = (&ran.stderr[..28], hide(&ran.stderr[29..]));
    assert!(date.starts_with("[client] 20"), "{date}");
    assert_eq!(log, "host 'DEAD' is unavailable, retrying with the next available host\n");
    assert_eq!(ran.code, 0);

    let child = shell(directory.path(), &["-p", &dead.port().to_string()]).spawn().unwrap();
    let ran = finish(child, "SELECT 2");
    assert_eq!(hide(&ran.stdout), "ERR! Unable to connect to rqlited at http://DEAD - is it running?\n");
    assert_eq!(ran.code, 1);
    let child = shell(directory.path(), &["-p", &dead.port().to_string(), "-a", &dead_address]).spawn().unwrap();
    let ran = finish(child, "SELECT 2");
    assert_eq!((ran.stdout.as_str(), ran.code), ("ERR! no host available to perform the request\n", 1));
}

#[test]
fn a_result_beyond_memory_is_shown_whole() {
    let rows: Vec<String> = (0..600_000).map(|row| format!(r#"[{row},"some text"]"#)).collect();
    let json = format!(r#"{{"results":[{{"columns":["n","t"],"types":["",""],"values":[{}]}}]}}"#, rows.join(","));
    assert!(json.len() > 8 << 20);
    let stub = Stub::start(move |_| Reply::ok(json.clone()));
    let directory = tempfile::tempdir().unwrap();
    let ran = run(directory.path(), stub.address, &[], "SELECT 1");
    assert_eq!(ran.stdout.lines().count(), 3 + 3 + 2 * 600_000 + 1);
    assert!(ran.stdout.contains("\n| 599999 | some text |\n+--------+-----------+\n"));
    assert_eq!(ran.code, 0);
}

#[test]
fn the_command_line() {
    let directory = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| finish(shell(directory.path(), arguments).spawn().unwrap(), "");
    let version = run(&["-v"]);
    assert_eq!((version.code, version.stderr.as_str()), (0, ""));
    assert!(version.stdout.starts_with("Version 10, commit "));
    assert_eq!(run(&["-h"]).code, 0);
    let wrong = run(&["--bogus"]);
    assert_eq!((wrong.code, wrong.stdout.as_str(), wrong.stderr.as_str()), (1, "", "ERR! undefined option --bogus\n"));
    let later = run(&["-i"]);
    assert_eq!((later.code, later.stderr.as_str()), (1, "ERR! not supported yet: -i\n"));
}

fn show(ran: &Ran) -> String {
    format!("{}{}code {}", ran.stdout, ran.stderr, ran.code)
}

/// Temporary files that weren't removed.
fn leftovers(directory: &Path) -> Vec<String> {
    let names = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.contains(".partial") || name.starts_with(".rqlite_history.")).collect()
}
