//! The pool of readers: read-only connections, each on a lane of its own; and the gate, behind which new reads wait
//! while a checkpoint needs all the others gone.
//!
//! ```text
//! open() ─► permit ─► gate ─► idle reader (or a new one) ─► Reading ─► next(sink), next(sink), … ─► back to the pool
//!                      ▲                                       │
//!             close() ─┘   what clients haven't taken ─► tmp/ ─┘
//! ```
//!
//! A read transaction that is older than the WAL's end keeps a checkpoint from its end. So one slow client, or short
//! reads that overlap for ever, could starve it (hazard H15): a due checkpoint has the rest of the results written to
//! `tmp/` at the disk's speed, and keeps new reads waiting for the moment that it takes.

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::time::Duration;

use rusqlite::InterruptHandle;
use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, OwnedSemaphorePermit, RwLock, Semaphore};
use tokio::time::{Instant, timeout};

use super::SqlError;
use super::authorizer::Role;
use super::connection::Connection;
use super::database::Paths;
use super::query::{Class, Cursor, Progress, QueryOptions, classify};
use super::spool::{Space, Spool};
use super::value::RowSink;
use crate::command::Statement;
use crate::world::{Lane, World};

/// A read that waits longer than this at the gate is refused.
const WAIT_MAX: Duration = Duration::from_secs(10);

/// What the pool may use.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Reads at once.
    pub readers: usize,
    /// Bytes in `tmp/` for what clients haven't taken yet.
    pub spool_bytes: u64,
    /// A read that has run for so long is ended when it is in the way of a checkpoint: the WAL can't grow for ever.
    pub age: Duration,
}

/// What readers open, as the writer sets it.
pub struct Current {
    generation: AtomicU64,
    foreign_keys: AtomicBool,
    is_faulty: AtomicBool,
}

impl Current {
    /// Generation `generation`, without foreign keys.
    pub fn new(generation: u64) -> Self {
        Self {
            generation: AtomicU64::new(generation),
            foreign_keys: AtomicBool::new(false),
            is_faulty: AtomicBool::new(false),
        }
    }

    /// The writer met a fault in the middle of an entry: what it left is no state at any index, and nobody may see it.
    pub fn set_faulty(&self) {
        self.is_faulty.store(true, Ordering::Release);
    }

    /// Readers from here on open this generation.
    pub fn set_generation(&self, generation: u64) {
        self.generation.store(generation, Ordering::Release);
    }

    /// The current generation.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// What `PRAGMA foreign_keys` answers.
    pub fn set_foreign_keys(&self, on: bool) {
        self.foreign_keys.store(on, Ordering::Release);
    }

    /// What `PRAGMA foreign_keys` answers.
    pub fn foreign_keys(&self) -> bool {
        self.foreign_keys.load(Ordering::Acquire)
    }
}

/// How long a request waits for a reader, before it is refused.
const PATIENCE: Duration = Duration::from_secs(1);

/// What each of some texts is (see [`query::classify`]); the outer error is of the database.
pub type Classes = Result<Vec<Result<Class, SqlError>>, SqlError>;

/// See the module. Cloning is cheap.
#[derive(Clone)]
pub struct Readers {
    world: World,
    paths: Paths,
    current: Arc<Current>,
    most: usize,
    permits: Arc<Semaphore>,
    idle: Arc<Mutex<Vec<Lane<Reader>>>>,
    gate: Arc<RwLock<()>>,
    /// The reads that are through the gate.
    inside: Arc<Mutex<Vec<Inside>>>,
    space: Arc<Space>,
    spools: Arc<AtomicU64>,
    age_max: Duration,
}

/// A read that is through the gate, as long as its pass lives.
struct Inside {
    pass: Weak<Pass>,
    lane: Lane<Reader>,
}

/// The right to a read transaction.
struct Pass {
    began: Instant,
    /// Ends the statement that runs; nothing is there before the first one.
    interrupt: OnceLock<InterruptHandle>,
    _gate: OwnedRwLockReadGuard<()>,
}

/// While this lives, no read transaction begins.
pub struct Closed {
    _gate: OwnedRwLockWriteGuard<()>,
}

/// What /status tells of the readers.
pub struct Pool {
    pub most: usize,
    pub in_use: usize,
    pub idle: usize,
    /// SQLite's own numbers: the names are those of pragmas. Empty if the database can't be opened now.
    pub pages: Vec<(&'static str, i64)>,
}

/// See [`Pool::pages`].
const PAGES: [&str; 7] =
    ["cache_size", "freelist_count", "hard_heap_limit", "max_page_count", "page_count", "page_size", "soft_heap_limit"];

/// What a reader's lane owns.
struct Reader {
    world: World,
    paths: Paths,
    current: Arc<Current>,
    /// With its generation.
    connection: Option<(u64, Connection)>,
    work: Work,
}

/// What a reader is about.
enum Work {
    Idle,
    /// With the generation of its connection.
    Reads(u64, Box<Cursor>, Arc<Pass>),
    /// The transaction is over; the rest of the result is in `tmp/`.
    Spooled(Box<Spool>),
    /// Why there are no results, or no more.
    Lost(String),
}

/// A request's reads under way. Dropping it ends them.
pub struct Reading {
    pass: Weak<Pass>,
    lane: Lane<Reader>,
    idle: Arc<Mutex<Vec<Lane<Reader>>>>,
    permit: Option<OwnedSemaphorePermit>,
    is_finished: AtomicBool,
}

impl Readers {
    /// No read is under way.
    pub fn new(world: &World, paths: &Paths, current: Arc<Current>, bounds: Bounds) -> Self {
        Self {
            world: world.clone(),
            paths: paths.clone(),
            current,
            most: bounds.readers,
            permits: Arc::new(Semaphore::new(bounds.readers)),
            idle: Arc::default(),
            gate: Arc::default(),
            inside: Arc::default(),
            space: Arc::new(Space::new(bounds.spool_bytes)),
            spools: Arc::default(),
            age_max: bounds.age,
        }
    }

    /// Starts to read `statements`; `None` if all readers stay busy, or the gate closed. What keeps it from starting is the
    /// error of its first result.
    pub async fn open(&self, statements: Vec<Statement>, options: QueryOptions) -> Option<Reading> {
        let permit = self.permit().await?;
        let gate = self.pass_gate().await?;
        let pass = Arc::new(Pass { began: Instant::now(), interrupt: OnceLock::new(), _gate: gate });
        let lane = self.take_idle();
        self.enter(&pass, &lane);
        // Now already: a caller may be gone before its read has begun.
        let (idle, reader) = (self.idle.clone(), lane.clone());
        let reading = Reading {
            pass: Arc::downgrade(&pass),
            lane,
            idle,
            permit: Some(permit),
            is_finished: AtomicBool::new(false),
        };
        // Not waited for: it is done before the first rows are asked for.
        reader.submit(move |reader| reader.start(statements, options, pass));
        Some(reading)
    }

    /// Asks SQLite what each statement's text is, as the schema is now; `None` if all readers stay busy, or the gate
    /// closed. The statements come back.
    pub async fn classify(&self, statements: Vec<Statement>) -> Option<(Vec<Statement>, Classes)> {
        let permit = self.permit().await?;
        let gate = self.pass_gate().await?;
        let lane = self.take_idle();
        let classified = lane
            .call(move |reader| {
                // Here: a caller that is gone must not open the gate before the schema is read.
                let _gate = gate;
                let classes = reader.connect().map(|(generation, connection)| {
                    let classes = statements.iter().map(|statement| classify(&connection, &statement.sql)).collect();
                    reader.connection = Some((generation, connection));
                    classes
                });
                (statements, classes)
            })
            .await;
        self.idle.lock().expect("no panic holds this lock").push(lane);
        drop(permit);
        Some(classified)
    }

    /// Closes the gate, with nobody inside, for as long as the answer lives. What clients haven't taken yet goes to
    /// `tmp/`. `None`: somebody was still inside after `longest`; the gate is open.
    pub async fn close(&self, longest: Duration) -> Option<Closed> {
        // Before anybody has to wait: a read that takes long by itself would make all others wait for nothing.
        if timeout(longest, self.spool()).await.is_err() {
            self.end_the_old();
            return None;
        }
        let mut closing = std::pin::pin!(self.gate.clone().write_owned());
        if let std::task::Poll::Ready(gate) = futures::poll!(closing.as_mut()) {
            return Some(Closed { _gate: gate });
        }
        // From here on nobody enters. Who came in meanwhile leaves as well.
        let leave = async {
            self.spool().await;
            closing.await
        };
        timeout(longest, leave).await.ok().map(|gate| Closed { _gate: gate })
    }

    /// How many there are, and what one of them sees.
    pub async fn pool(&self) -> Pool {
        let idle = self.idle.lock().expect("no panic holds this lock").len();
        let in_use = self.most.saturating_sub(self.permits.available_permits());
        let mut pages = Vec::new();
        if let Some(gate) = self.pass_gate().await {
            // One more than the most, perhaps: an operator looks when all are busy.
            let lane = self.take_idle();
            pages = lane
                .call(move |reader| {
                    let _gate = gate;
                    reader.pages()
                })
                .await;
            self.idle.lock().expect("no panic holds this lock").push(lane);
        }
        Pool { most: self.most, in_use, idle, pages }
    }

    /// A reader that has just answered is still being put back.
    async fn permit(&self) -> Option<OwnedSemaphorePermit> {
        timeout(PATIENCE, self.permits.clone().acquire_owned()).await.ok()?.ok()
    }

    async fn pass_gate(&self) -> Option<OwnedRwLockReadGuard<()>> {
        timeout(WAIT_MAX, self.gate.clone().read_owned()).await.ok()
    }

    fn take_idle(&self) -> Lane<Reader> {
        let idle = self.idle.lock().expect("no panic holds this lock").pop();
        idle.unwrap_or_else(|| {
            let (world, paths, current) = (self.world.clone(), self.paths.clone(), self.current.clone());
            let reader = Reader { world, paths, current, connection: None, work: Work::Idle };
            Lane::strand(&*self.world.lanes, "reader", reader)
        })
    }

    /// Closes idle connections to a generation that was replaced: its file takes up space until then.
    pub fn close_stale(&self) {
        for lane in self.idle.lock().expect("no panic holds this lock").iter() {
            lane.submit(Reader::close_if_stale);
        }
    }

    fn enter(&self, pass: &Arc<Pass>, lane: &Lane<Reader>) {
        let mut inside = self.inside.lock().expect("no panic holds this lock");
        inside.retain(|read| read.pass.strong_count() > 0);
        inside.push(Inside { pass: Arc::downgrade(pass), lane: lane.clone() });
    }

    /// Makes every read finish into `tmp/`; returns when they have.
    async fn spool(&self) {
        let lanes: Vec<_> = {
            let mut inside = self.inside.lock().expect("no panic holds this lock");
            inside.retain(|read| read.pass.strong_count() > 0);
            inside.iter().map(|read| read.lane.clone()).collect()
        };
        // Queued on all lanes at once.
        let spooled = lanes.into_iter().map(|lane| {
            let number = self.spools.fetch_add(1, Ordering::Relaxed);
            let path = self.paths.temporary().join(format!("result-{number}"));
            let space = self.space.clone();
            async move { lane.call(move |reader| reader.spool(path, &space)).await }
        });
        futures::future::join_all(spooled).await;
    }

    /// Interrupts the reads that have run for too long.
    fn end_the_old(&self) {
        for read in self.inside.lock().expect("no panic holds this lock").iter() {
            if let Some(pass) = read.pass.upgrade()
                && pass.began.elapsed() > self.age_max
            {
                tracing::warn!("a read that is in the way of a checkpoint after {:?} is ended", self.age_max);
                pass.interrupt();
            }
        }
    }
}

impl Pass {
    fn interrupt(&self) {
        if let Some(interrupt) = self.interrupt.get() {
            interrupt.interrupt();
        }
    }
}

impl Reading {
    /// Runs on until `sink` holds `enough` bytes or all is done.
    pub async fn next<S: RowSink + 'static>(&self, mut sink: S, enough: usize) -> (S, Progress) {
        let next = self.lane.call(move |reader| {
            let progress = reader.advance(&mut sink, enough);
            (sink, progress)
        });
        let (sink, progress) = next.await;
        self.is_finished.store(progress == Progress::Finished, Ordering::Relaxed);
        (sink, progress)
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        let (idle, permit, lane) = (self.idle.clone(), self.permit.take(), self.lane.clone());
        if *self.is_finished.get_mut() {
            idle.lock().expect("no panic holds this lock").push(lane);
            return;
        }
        // Nobody wants any more what may be running.
        if let Some(pass) = self.pass.upgrade() {
            pass.interrupt();
        }
        // Behind whatever still runs there.
        self.lane.submit(move |reader| {
            reader.finish();
            idle.lock().expect("no panic holds this lock").push(lane);
            drop(permit);
        });
    }
}

impl Reader {
    fn start(&mut self, statements: Vec<Statement>, mut options: QueryOptions, pass: Arc<Pass>) {
        options.foreign_keys = self.current.foreign_keys();
        self.work = match self.connect() {
            Ok((generation, connection)) => {
                // Only set here.
                let _ = pass.interrupt.set(connection.interrupt_handle());
                Work::Reads(generation, Box::new(Cursor::new(connection, statements, options)), pass)
            }
            Err(error) => Work::Lost(error.message),
        };
    }

    fn connect(&mut self) -> Result<(u64, Connection), SqlError> {
        loop {
            let generation = self.current.generation();
            match self.connection.take() {
                Some((opened, connection)) if opened == generation => return Ok((opened, connection)),
                _ => {}
            }
            let path = self.paths.main(generation);
            match Connection::open(&path, self.world.disk.sqlite_vfs(), Role::Reader) {
                Ok(connection) => return Ok((generation, connection)),
                // A load replaced the file between the look and the opening.
                Err(_) if self.current.generation() != generation => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn pages(&mut self) -> Vec<(&'static str, i64)> {
        let Ok((generation, connection)) = self.connect() else { return Vec::new() };
        let value = |name: &'static str| Some((name, *connection.pragma(name).ok()?.first()?));
        let pages = PAGES.into_iter().filter_map(value).collect();
        self.connection = Some((generation, connection));
        pages
    }

    fn close_if_stale(&mut self) {
        let current = self.current.generation();
        self.connection.take_if(|(opened, _)| *opened != current);
    }

    fn advance(&mut self, sink: &mut dyn RowSink, enough: usize) -> Progress {
        let advanced = match &mut self.work {
            Work::Reads(..) if self.current.is_faulty.load(Ordering::Acquire) => Err("the node is stopping".into()),
            Work::Reads(_, cursor, _) => Ok(cursor.advance(sink, enough)),
            Work::Spooled(spool) => spool.advance(sink, enough).map_err(|error| lost(&error)),
            Work::Lost(why) => Err(why.clone()),
            Work::Idle => unreachable!("a reading has work until it is finished"),
        };
        let progress = advanced.unwrap_or_else(|why| {
            sink.error(&why);
            Progress::Finished
        });
        if progress == Progress::Finished {
            self.finish();
        }
        progress
    }

    /// Ends the read transaction; what it would still yield goes to `path`.
    fn spool(&mut self, path: PathBuf, space: &Arc<Space>) {
        let Work::Reads(_, cursor, _) = &mut self.work else {
            return;
        };
        let filled = Spool::fill(&self.world.disk, path, space, |sink, enough| cursor.advance(sink, enough));
        self.finish();
        self.work = match filled {
            Ok(spool) => Work::Spooled(Box::new(spool)),
            Err(error) => {
                tracing::warn!(%error, "a result that its client is slow to take could not be kept");
                Work::Lost(lost(&error))
            }
        };
    }

    /// Ends the read transaction and removes what was kept; the connection stays for the next request.
    fn finish(&mut self) {
        if let Work::Reads(generation, cursor, _pass) = std::mem::replace(&mut self.work, Work::Idle)
            && let Ok(connection) = cursor.into_connection()
        {
            self.connection = Some((generation, connection));
        }
    }
}

fn lost(error: &io::Error) -> String {
    format!("the rest of the result could not be kept: {error}")
}
