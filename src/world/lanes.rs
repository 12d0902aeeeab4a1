//! Lanes: where synchronous work (SQLite, files) runs, one job at a time and in order.
//!
//! Production gives each lane a thread; the simulation runs a job inline after a service time drawn from the seed.
//! A job that was submitted runs, whether or not its caller still waits.

use std::sync::{Arc, Mutex};

use tokio::sync::oneshot;

/// One piece of synchronous work.
pub type Job = Box<dyn FnOnce() + Send>;

/// A running lane.
pub trait Jobs: Send + Sync {
    /// Queues `job` behind the others.
    fn submit(&self, job: Job);
}

/// Starts lanes.
pub trait Lanes: Send + Sync {
    /// A new lane called `name`; it ends when the last handle is dropped and its queue is empty.
    fn start(&self, name: &str) -> Arc<dyn Jobs>;

    /// A new lane for short jobs, one of many such lanes: it need not have a thread of its own.
    fn strand(&self, name: &str) -> Arc<dyn Jobs> {
        self.start(name)
    }
}

/// A lane that owns a state (a connection, a file): only its jobs touch it.
pub struct Lane<S> {
    jobs: Arc<dyn Jobs>,
    state: Arc<Mutex<S>>,
}

impl<S> Clone for Lane<S> {
    fn clone(&self) -> Self {
        Self { jobs: self.jobs.clone(), state: self.state.clone() }
    }
}

impl<S: Send + 'static> Lane<S> {
    /// Starts a lane around `state`.
    pub fn start(lanes: &dyn Lanes, name: &str, state: S) -> Self {
        Self { jobs: lanes.start(name), state: Arc::new(Mutex::new(state)) }
    }

    /// Starts a lane for short jobs around `state` (see [`Lanes::strand`]).
    pub fn strand(lanes: &dyn Lanes, name: &str, state: S) -> Self {
        Self { jobs: lanes.strand(name), state: Arc::new(Mutex::new(state)) }
    }

    /// Queues `job` and returns at once.
    pub fn submit(&self, job: impl FnOnce(&mut S) + Send + 'static) {
        let state = self.state.clone();
        self.jobs.submit(Box::new(move || job(&mut state.lock().expect("a lane's job panicked"))));
    }

    /// Queues `job` and returns at once; its result comes through the answer.
    pub fn begin<R: Send + 'static>(&self, job: impl FnOnce(&mut S) -> R + Send + 'static) -> oneshot::Receiver<R> {
        let (sender, receiver) = oneshot::channel();
        self.submit(move |state| {
            // A caller that has gone away doesn't want the result.
            let _ = sender.send(job(state));
        });
        receiver
    }

    /// Queues `job` and waits for its result. If the caller gives up, the job still runs.
    pub async fn call<R: Send + 'static>(&self, job: impl FnOnce(&mut S) -> R + Send + 'static) -> R {
        self.begin(job).await.expect("a lane's job panicked")
    }
}
