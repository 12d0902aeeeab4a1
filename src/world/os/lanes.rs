//! A thread for each lane.

use std::sync::{Arc, mpsc};
use std::thread;

use crate::world::lanes::{Job, Jobs, Lanes};

pub struct Threads;

struct Thread(mpsc::Sender<Job>);

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
}

impl Jobs for Thread {
    fn submit(&self, job: Job) {
        self.0.send(job).expect("a lane's job panicked");
    }
}
