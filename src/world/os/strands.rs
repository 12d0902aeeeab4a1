//! Strands: lanes that share a few threads, for the short jobs of many lanes.
//!
//! ```text
//!   submit ─► the strand's queue ─► strands that are ready ─► a thread runs what is queued there
//!                                          ▲
//!                    watch: a thread that a job keeps for long is replaced by another meanwhile
//! ```
//!
//! With a thread for each of 64 readers, each read wakes one, and on two cores that costs more than the read. A few
//! threads are mostly awake when there is much to do.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use crate::world::lanes::{Job, Jobs};

/// A thread that runs one strand for longer is not counted until it is done. Also how often the watch looks.
const LONG: Duration = Duration::from_millis(5);

/// What nobody has needed for so long ends: a thread, the watch.
const UNUSED: Duration = Duration::from_secs(5);

const UNDER: &str = "no job runs under this lock";

/// The threads of all strands.
pub struct Pool {
    /// Threads that run at once, but for those that were replaced.
    most: usize,
    state: Mutex<State>,
    /// For threads that have nothing to do.
    work: Condvar,
}

#[derive(Default)]
struct State {
    /// Strands with jobs that no thread runs yet.
    ready: VecDeque<Arc<Mutex<Queue>>>,
    /// The runs that count, each with its number and its beginning.
    counted: Vec<(u64, Instant)>,
    /// Threads that wait; threads that were called and haven't come yet.
    idle: usize,
    called: usize,
    /// Runs ever begun.
    runs: u64,
    is_watched: bool,
}

/// One lane.
struct Strand {
    pool: Arc<Pool>,
    queue: Arc<Mutex<Queue>>,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    /// It is among the ready ones, or a thread runs it.
    is_ready: bool,
}

impl Pool {
    /// No thread runs yet.
    pub fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { most, state: Mutex::default(), work: Condvar::new() })
    }

    /// A new lane.
    pub fn strand(self: &Arc<Self>) -> Arc<dyn Jobs> {
        Arc::new(Strand { pool: self.clone(), queue: Arc::default() })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect(UNDER)
    }

    /// Calls a thread if a ready strand may have one more.
    fn call(self: &Arc<Self>, mut state: MutexGuard<'_, State>) {
        if state.ready.len() <= state.called || state.counted.len() + state.called >= self.most {
            return;
        }
        // Of those that wait, so many have been called before.
        let waits = state.idle > state.called;
        state.called += 1;
        let is_watched = std::mem::replace(&mut state.is_watched, true);
        // Whoever wakes up needs it at once.
        drop(state);
        match waits {
            true => self.work.notify_one(),
            false => self.spawn("reader", Self::run),
        }
        if !is_watched {
            self.spawn("reader-watch", Self::watch);
        }
    }

    fn spawn(self: &Arc<Self>, name: &str, body: fn(&Arc<Self>)) {
        let pool = self.clone();
        let spawned = thread::Builder::new().name(name.into()).spawn(move || body(&pool));
        spawned.expect("the system has no more threads");
    }

    /// A thread's life. Whoever comes first takes a call.
    fn run(self: &Arc<Self>) {
        let mut state = self.state();
        loop {
            state.idle += 1;
            let waited = self.work.wait_timeout_while(state, UNUSED, |state| state.called == 0);
            state = waited.expect(UNDER).0;
            state.idle -= 1;
            if state.called == 0 {
                return;
            }
            state.called -= 1;
            while state.counted.len() + state.called < self.most
                && let Some(strand) = state.ready.pop_front()
            {
                state.runs += 1;
                let run = state.runs;
                state.counted.push((run, Instant::now()));
                drop(state);
                run_all(&strand);
                state = self.state();
                state.counted.retain(|(other, _)| *other != run);
            }
        }
    }

    /// Replaces threads, until there have been no runs for a while.
    fn watch(self: &Arc<Self>) {
        let (mut runs, mut since) = (0, Instant::now());
        loop {
            thread::sleep(LONG);
            let mut state = self.state();
            state.counted.retain(|(_, began)| began.elapsed() < LONG);
            if state.runs != runs || !state.counted.is_empty() {
                (runs, since) = (state.runs, Instant::now());
            }
            let is_over = since.elapsed() > UNUSED;
            state.is_watched = !is_over;
            self.call(state);
            if is_over {
                return;
            }
        }
    }
}

/// Runs the jobs of a strand until none is queued.
fn run_all(strand: &Mutex<Queue>) {
    loop {
        let mut queue = strand.lock().expect(UNDER);
        let Some(job) = queue.jobs.pop_front() else {
            queue.is_ready = false;
            return;
        };
        drop(queue);
        job();
    }
}

impl Jobs for Strand {
    fn submit(&self, job: Job) {
        let mut queue = self.queue.lock().expect(UNDER);
        queue.jobs.push_back(job);
        if std::mem::replace(&mut queue.is_ready, true) {
            return;
        }
        drop(queue);
        let mut state = self.pool.state();
        state.ready.push_back(self.queue.clone());
        self.pool.call(state);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn jobs_of_a_strand_run_in_order() {
        let pool = Pool::new(2);
        let (done, all_done) = mpsc::channel();
        let strands: Vec<_> = (0..8).map(|_| pool.strand()).collect();
        for number in 0..1000 {
            for (name, strand) in strands.iter().enumerate() {
                let done = done.clone();
                strand.submit(Box::new(move || done.send((name, number)).unwrap()));
            }
        }
        let mut next = [0; 8];
        for (name, number) in all_done.into_iter().take(8000) {
            assert_eq!(number, next[name]);
            next[name] += 1;
        }
        assert!(pool.state().idle <= 3, "threads for jobs that take no time");
    }

    #[test]
    fn long_jobs_dont_keep_the_others_waiting() {
        let pool = Pool::new(1);
        let (release, released) = mpsc::channel::<()>();
        let released = Arc::new(Mutex::new(released));
        let long: Vec<_> = (0..4).map(|_| pool.strand()).collect();
        for strand in &long {
            let released = released.clone();
            strand.submit(Box::new(move || released.lock().unwrap().recv().unwrap_or_default()));
        }
        let (done, is_done) = mpsc::channel();
        pool.strand().submit(Box::new(move || done.send(()).unwrap()));
        // All threads are held by long jobs, until this one has run.
        is_done.recv().unwrap();
        drop(release);
    }
}
