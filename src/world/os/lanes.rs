//! A thread for each lane; a few for all strands.

use std::sync::{Arc, mpsc};
use std::thread;

use super::strands::Pool;
use crate::world::lanes::{Job, Jobs, Lanes};

/// Threads.
pub struct Threads {
    strands: Arc<Pool>,
}

struct Thread(mpsc::Sender<Job>);

impl Threads {
    /// Strands leave half of the cores to everything else.
    pub fn new() -> Self {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        Self { strands: Pool::new(cores.div_ceil(2)) }
    }
}

impl Lanes for Threads {
    fn start(&self, name: &str) -> Arc<dyn Jobs> {
        let (sender, receiver) = mpsc::channel::<Job>();
        thread::Builder::new()
            .name(name.into())
            .spawn(move || {
                for job in receiver {
                    job();
                }
            })
            .expect("the system has no more threads");
        Arc::new(Thread(sender))
    }

    fn strand(&self, _name: &str) -> Arc<dyn Jobs> {
        self.strands.strand()
    }
}

impl Jobs for Thread {
    fn submit(&self, job: Job) {
        self.0.send(job).expect("a lane's job panicked");
    }
}
