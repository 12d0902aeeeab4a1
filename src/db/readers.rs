//! The pool of readers: read-only connections, each on a lane of its own.
//!
//! ```text
//! open() ─► permit ─► idle reader (or a new one) ─► Reading ─► next(sink), next(sink), … ─► back to the pool
//! ```

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rusqlite::InterruptHandle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::SqlError;
use super::authorizer::Role;
use super::connection::Connection;
use super::database::Paths;
use super::query::{Class, Cursor, Progress, QueryOptions, classify};
use super::value::RowSink;
use crate::command::Statement;
use crate::world::{Lane, World};

/// What readers open, as the writer sets it.
pub struct Current {
    generation: AtomicU64,
    foreign_keys: AtomicBool,
}

impl Current {
    /// Generation `generation`, without foreign keys.
    pub fn new(generation: u64) -> Self {
        Self { generation: AtomicU64::new(generation), foreign_keys: AtomicBool::new(false) }
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
    cursor: Option<Cursor>,
    cursor_generation: u64,
}

/// A request's reads under way. Dropping it ends them.
pub struct Reading {
    /// Ends a statement that runs while nobody wants it any more.
    interrupt: InterruptHandle,
    lane: Lane<Reader>,
    idle: Arc<Mutex<Vec<Lane<Reader>>>>,
    permit: Option<OwnedSemaphorePermit>,
}

impl Readers {
    /// At most `most` at once.
    pub fn new(world: &World, paths: &Paths, current: Arc<Current>, most: usize) -> Self {
        Self {
            world: world.clone(),
            paths: paths.clone(),
            current,
            most,
            permits: Arc::new(Semaphore::new(most)),
            idle: Arc::default(),
        }
    }

    /// Starts to read `statements`; `None` if all readers stay busy.
    pub async fn open(&self, statements: Vec<Statement>, options: QueryOptions) -> Option<Result<Reading, SqlError>> {
        let permit = self.permit().await?;
        let lane = self.take_idle();
        let started = lane.call(move |reader| reader.start(statements, options)).await;
        Some(started.map(|interrupt| Reading { interrupt, lane, idle: self.idle.clone(), permit: Some(permit) }))
    }

    /// Asks SQLite what each statement's text is, as the schema is now; `None` if all readers stay busy. The statements
    /// come back.
    pub async fn classify(&self, statements: Vec<Statement>) -> Option<(Vec<Statement>, Classes)> {
        let permit = self.permit().await?;
        let lane = self.take_idle();
        let classified = lane
            .call(move |reader| {
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

    /// How many there are, and what one of them sees.
    pub async fn pool(&self) -> Pool {
        let idle = self.idle.lock().expect("no panic holds this lock").len();
        let in_use = self.most.saturating_sub(self.permits.available_permits());
        // One more than the most, perhaps: an operator looks when all are busy.
        let lane = self.take_idle();
        let pages = lane.call(Reader::pages).await;
        self.idle.lock().expect("no panic holds this lock").push(lane);
        Pool { most: self.most, in_use, idle, pages }
    }

    /// A reader that has just answered is still being put back.
    async fn permit(&self) -> Option<OwnedSemaphorePermit> {
        timeout(PATIENCE, self.permits.clone().acquire_owned()).await.ok()?.ok()
    }

    fn take_idle(&self) -> Lane<Reader> {
        let idle = self.idle.lock().expect("no panic holds this lock").pop();
        idle.unwrap_or_else(|| {
            let (world, paths, current) = (self.world.clone(), self.paths.clone(), self.current.clone());
            let reader = Reader { world, paths, current, connection: None, cursor: None, cursor_generation: 0 };
            Lane::start(&*self.world.lanes, "reader", reader)
        })
    }

    /// Closes idle connections to a generation that was replaced: its file takes up space until then.
    pub fn close_stale(&self) {
        for lane in self.idle.lock().expect("no panic holds this lock").iter() {
            lane.submit(Reader::close_if_stale);
        }
    }
}

impl Reading {
    /// Runs on until `sink` holds `enough` bytes or all is done.
    pub async fn next<S: RowSink + 'static>(&self, mut sink: S, enough: usize) -> (S, Progress) {
        self.lane
            .call(move |reader| {
                let progress = reader.advance(&mut sink, enough);
                (sink, progress)
            })
            .await
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        let (idle, permit, lane) = (self.idle.clone(), self.permit.take(), self.lane.clone());
        // Without effect if nothing runs.
        self.interrupt.interrupt();
        // Behind whatever still runs there.
        self.lane.submit(move |reader| {
            reader.finish();
            idle.lock().expect("no panic holds this lock").push(lane);
            drop(permit);
        });
    }
}

impl Reader {
    fn start(&mut self, statements: Vec<Statement>, mut options: QueryOptions) -> Result<InterruptHandle, SqlError> {
        options.foreign_keys = self.current.foreign_keys();
        let (generation, connection) = self.connect()?;
        let interrupt = connection.interrupt_handle();
        self.cursor_generation = generation;
        self.cursor = Some(Cursor::new(connection, statements, options));
        Ok(interrupt)
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
        let cursor = self.cursor.as_mut().expect("a reading has a cursor");
        let progress = cursor.advance(sink, enough);
        if progress == Progress::Finished {
            self.finish();
        }
        progress
    }

    /// Ends the read transaction; the connection stays for the next request.
    fn finish(&mut self) {
        if let Some(cursor) = self.cursor.take()
            && let Ok(connection) = cursor.into_connection()
        {
            self.connection = Some((self.cursor_generation, connection));
        }
    }
}
