//! A store on a simulated disk and a paused clock, without network: what a node does beneath its API, call by call.

use std::collections::BTreeMap;
use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rqlite::command::{Execute, Statement};
use rqlite::data_dir::DataDir;
use rqlite::db::backup::Format;
use rqlite::db::query::Progress;
use rqlite::db::readers::{Bounds, Reading};
use rqlite::db::value::{Columns, RowSink, StatementResult, ValueRef};
use rqlite::store::backup::{self, Backup};
use rqlite::store::query::{Level, Query};
use rqlite::store::{self, Error, Store, checkpoint, leader, maintenance};
use rqlite::world::{Disk, World, os, runtime, spawn};
use sim::random::Random;
use sim::world::clock::SimClock;
use sim::world::disk::SimDisk;
use sim::world::entropy::SimEntropy;
use sim::world::lanes::SimLanes;
use sim::world::vfs::{self, Registered};

const DATA: &str = "/data";

/// See the module.
pub struct Served {
    pub disk: SimDisk,
    pub store: Store,
    _directory: DataDir,
    _vfs: Registered,
}

/// Runs `story` with a store of its own; afterwards nothing is left in `tmp/`.
pub fn serve<F: Future<Output = ()>>(spool_bytes: u64, story: impl FnOnce(Arc<Served>) -> F) {
    process(async {
        let served = Arc::new(Served::new(spool_bytes).await);
        story(served.clone()).await;
        served.wait_for("tmp/ to be empty", || served.temporary_files().is_empty()).await;
        served.store.close().await;
    });
}

/// Runs `life`; at its end all its tasks are gone.
pub fn process<T>(life: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    runtime.block_on(runtime::scope(1, life))
}

impl Served {
    /// A new node's: it leads itself, and there is a table `t`.
    pub async fn new(spool_bytes: u64) -> Self {
        let disk = SimDisk::new(1);
        disk.create_dir(Path::new(DATA)).unwrap();
        let served = Self::start(disk, spool_bytes).await;
        served.store.bootstrap(BTreeMap::from([served.store.node()])).await.unwrap();
        served.wait_for("a leader", || served.store.is_leader()).await;
        served.execute("CREATE TABLE t(id INTEGER PRIMARY KEY, b)").await;
        served
    }

    /// Of the node whose disk this is. Nobody leads yet.
    pub async fn start(disk: SimDisk, spool_bytes: u64) -> Self {
        let clock = Arc::new(SimClock::new(0, 0));
        let entropy = Arc::new(SimEntropy::new(Random::new(1)));
        let vfs = vfs::register(&disk, clock.clone(), entropy.clone(), &Path::new(DATA).join("tmp"));
        let lanes = Arc::new(SimLanes::new(Random::new(2), disk.clone(), 0));
        let world = World { clock, disk: Arc::new(disk.clone()), entropy, lanes, ..os::world() };
        let _directory = DataDir::open(&world, Path::new(DATA), "1").unwrap();
        let options = store::Options {
            data_dir: DATA.into(),
            node_id: "1".into(),
            node: Default::default(),
            foreign_keys: false,
            readers: Bounds { readers: 1000, spool_bytes, age: Duration::from_secs(300) },
            // Only when the test says so.
            checkpoint: checkpoint::Options { entries: 1 << 40, wal_bytes: 0, interval: Duration::from_secs(1 << 30) },
            maintenance: maintenance::Options { optimize: Duration::ZERO, vacuum: Duration::ZERO },
            leader_lease: Duration::from_millis(500),
            connect_timeout: Duration::from_secs(30),
            reap: Default::default(),
            skip_entry: 0,
            metrics: Default::default(),
        };
        let store = Store::open(&world, options).await.unwrap();
        spawn(leader::watch(store.clone()));
        Self { disk, store, _directory, _vfs: vfs }
    }

    pub async fn wait_for(&self, what: &str, is_there: impl Fn() -> bool) {
        for _ in 0..10_000 {
            if is_there() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        panic!("waited for {what}: {:?}", self.temporary_files());
    }

    /// One write; returns its index.
    pub async fn execute(&self, sql: &str) -> u64 {
        let statement = Statement { sql: sql.into(), parameters: Vec::new() };
        let request = Execute { statements: vec![statement], transaction: false };
        let (executed, index) = self.store.execute(request, None).await.unwrap();
        assert!(!executed.results.iter().any(|result| matches!(result, StatementResult::Error(_))), "{executed:?}");
        index
    }

    /// So many rows, of a kilobyte each.
    pub async fn insert(&self, rows: u64) -> u64 {
        self.execute(&format!(
            "INSERT INTO t(b) WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows}) \
             SELECT hex(randomblob(500)) FROM n"
        ))
        .await
    }

    /// A read of these statements that hasn't begun.
    pub async fn query(&self, sqls: &[&str]) -> Result<Reading, Error> {
        let statements = sqls.iter().map(|sql| Statement { sql: (*sql).into(), parameters: Vec::new() }).collect();
        let query = Query {
            statements,
            level: Level::None,
            transaction: false,
            db_timeout: None,
            linearizable_timeout: Duration::from_secs(1),
        };
        self.store.query(query).await.map(|(reading, _)| reading)
    }

    /// Everything that a read yields.
    pub async fn read(&self, sql: &str) -> Rows {
        rest(self.query(&[sql]).await.unwrap(), Rows::default()).await
    }

    pub async fn backup(&self, format: Format) -> Backup {
        self.try_backup(format).await.unwrap()
    }

    pub async fn try_backup(&self, format: Format) -> Result<Backup, Error> {
        let options = backup::Options { format, compress: false, noleader: false, timeout: Duration::from_secs(30) };
        self.store.backup(options).await
    }

    pub async fn load(&self, file: Vec<u8>) {
        let body = futures::stream::iter([Ok::<_, ()>(Bytes::from(file))]);
        self.store.load(body, None).await.unwrap();
    }

    /// A checkpoint, as the triggers start it; returns the index of the state in the main file.
    pub async fn checkpoint(&self) -> u64 {
        checkpoint::run(&self.store, checkpoint::Purge::Window).await;
        self.store.status().await["raft"]["last_snapshot_index"].as_u64().unwrap()
    }

    pub fn temporary_files(&self) -> Vec<String> {
        self.disk.undisturbed(|| self.disk.list(&Path::new(DATA).join("tmp")).unwrap())
    }
}

/// A client: counts the rows of an answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rows {
    pub rows: usize,
    /// The first column of the first row.
    pub first: Option<i64>,
    pub ended: usize,
    pub errors: Vec<String>,
    taken: usize,
}

impl RowSink for Rows {
    fn begin(&mut self, _: &Columns) {}
    fn row(&mut self, row: &[ValueRef<'_>]) -> Result<(), String> {
        self.rows += 1;
        if let (None, Some(ValueRef::Integer(first))) = (self.first, row.first()) {
            self.first = Some(*first);
        }
        Ok(())
    }
    fn end(&mut self, _: Duration) {
        self.ended += 1;
    }
    fn error(&mut self, text: &str) {
        self.errors.push(text.into());
    }
    /// A row is a byte.
    fn buffered(&self) -> usize {
        self.rows - self.taken
    }
}

/// Takes so many rows of an answer, and no more.
pub async fn take(reading: &Reading, rows: usize) -> Rows {
    let (mut taken, progress) = reading.next(Rows::default(), rows).await;
    assert_eq!(progress, Progress::Paused);
    taken.taken = taken.rows;
    taken
}

/// Takes all the rest, in pieces.
pub async fn rest(reading: Reading, mut rows: Rows) -> Rows {
    loop {
        let (more, progress) = reading.next(rows, 7).await;
        rows = more;
        rows.taken = rows.rows;
        if progress == Progress::Finished {
            return rows;
        }
    }
}

/// All the bytes of a backup.
pub async fn all(mut backup: Backup) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    while let Some(more) = backup.next().await? {
        bytes.extend(more);
    }
    Ok(bytes)
}
