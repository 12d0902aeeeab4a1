//! The floor: what this machine can do with the same libraries and no Raft. axum, one thread that writes a log and
//! syncs it once for all that is queued, one thread that applies to SQLite, one that reads. Not durable in any other
//! way, no checks, no errors.

use std::collections::HashMap;
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{RawQuery, State};
use axum::routing::{get, post};
use axum::serve::ListenerExt;
use rusqlite::{Connection, OpenFlags, Statement};
use tokio::sync::oneshot;

/// Bytes of the log; a run that writes more ends.
const LOG_BYTES: u64 = 1 << 30;

struct Change {
    statements: Vec<String>,
    answer: oneshot::Sender<String>,
}

struct Read {
    sql: String,
    answer: oneshot::Sender<String>,
}

#[derive(Clone)]
struct Lanes {
    log: Sender<Change>,
    read: Sender<Read>,
}

/// Serves for ever on an address that it prints.
pub fn serve(directory: &Path) {
    let (log, logged) = channel();
    let (apply, applied) = channel();
    let (read, reads) = channel();
    let writer = Connection::open(database(directory)).unwrap();
    writer
        .execute_batch(
            "PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF; PRAGMA wal_autocheckpoint=0; \
             CREATE TABLE foo(id INTEGER NOT NULL PRIMARY KEY, name TEXT)",
        )
        .unwrap();
    let file = File::create(directory.join("log")).unwrap();
    // Preallocated, as ours.
    file.set_len(LOG_BYTES).unwrap();
    file.sync_all().unwrap();
    thread::spawn(move || log_lane(&file, &logged, &apply));
    thread::spawn(move || apply_lane(&writer, &applied));
    let path = database(directory);
    thread::spawn(move || read_lane(&path, &reads));

    let router = Router::new()
        .route("/hello", get(|| async { "{}" }))
        .route("/db/execute", post(execute))
        .route("/db/query", get(query))
        .with_state(Lanes { log, read });
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        println!("{}", listener.local_addr().unwrap());
        let listener = listener.tap_io(|stream| stream.set_nodelay(true).unwrap());
        axum::serve(listener, router).await.unwrap();
    });
}

fn database(directory: &Path) -> PathBuf {
    directory.join("db.sqlite")
}

async fn execute(State(lanes): State<Lanes>, body: Bytes) -> String {
    let statements = serde_json::from_slice(&body).unwrap();
    let (answer, answered) = oneshot::channel();
    lanes.log.send(Change { statements, answer }).unwrap();
    answered.await.unwrap()
}

async fn query(State(lanes): State<Lanes>, RawQuery(query): RawQuery) -> String {
    let query = query.unwrap();
    let sql = query.split('&').find_map(|parameter| parameter.strip_prefix("q=")).unwrap();
    let sql = percent_encoding::percent_decode_str(sql).decode_utf8().unwrap().into_owned();
    let (answer, answered) = oneshot::channel();
    lanes.read.send(Read { sql, answer }).unwrap();
    answered.await.unwrap()
}

/// All that is queued.
fn drain<T>(queue: &Receiver<T>) -> Option<Vec<T>> {
    let mut all = vec![queue.recv().ok()?];
    all.extend(queue.try_iter());
    Some(all)
}

fn prepared<'a, 'c>(
    connection: &'c Connection,
    known: &'a mut HashMap<String, Statement<'c>>,
    sql: &str,
) -> &'a mut Statement<'c> {
    if !known.contains_key(sql) {
        known.insert(sql.to_owned(), connection.prepare(sql).unwrap());
    }
    known.get_mut(sql).unwrap()
}

fn log_lane(file: &File, queue: &Receiver<Change>, apply: &Sender<Vec<Change>>) {
    let (mut offset, mut bytes) = (0, Vec::new());
    while let Some(writes) = drain(queue) {
        bytes.clear();
        for sql in writes.iter().flat_map(|write| &write.statements) {
            bytes.write_all(&(sql.len() as u32).to_le_bytes()).unwrap();
            bytes.write_all(sql.as_bytes()).unwrap();
        }
        file.write_at(&bytes, offset).unwrap();
        offset += bytes.len() as u64;
        file.sync_data().unwrap();
        apply.send(writes).unwrap();
    }
}

fn apply_lane(connection: &Connection, queue: &Receiver<Vec<Change>>) {
    let mut known = HashMap::new();
    while let Some(batches) = drain(queue) {
        connection.execute_batch("BEGIN").unwrap();
        let mut answers = Vec::new();
        for Change { statements, answer } in batches.into_iter().flatten() {
            let results: Vec<_> = statements
                .iter()
                .map(|sql| {
                    let rows = prepared(connection, &mut known, sql).execute([]).unwrap();
                    format!(r#"{{"last_insert_id":{},"rows_affected":{rows}}}"#, connection.last_insert_rowid())
                })
                .collect();
            answers.push((format!(r#"{{"results":[{}]}}"#, results.join(",")), answer));
        }
        connection.execute_batch("COMMIT").unwrap();
        for (text, answer) in answers {
            // A client that is gone.
            let _ = answer.send(text);
        }
    }
}

fn read_lane(path: &Path, queue: &Receiver<Read>) {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).unwrap();
    let mut known = HashMap::new();
    while let Ok(Read { sql, answer }) = queue.recv() {
        let statement = prepared(&connection, &mut known, &sql);
        let rows = statement.query_map([], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?))).unwrap();
        let values: Vec<_> = rows
            .map(|row| row.unwrap())
            .map(|(id, name)| format!("[{id},{}]", serde_json::to_string(&name).unwrap()))
            .collect();
        let values = values.join(",");
        let head = r#"{"results":[{"columns":["id","name"],"types":["integer","text"],"values":["#;
        // A client that is gone.
        let _ = answer.send(format!("{head}{values}]}}]}}"));
    }
}
