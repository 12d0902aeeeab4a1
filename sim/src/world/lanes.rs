//! Lanes as tasks: a job waits its service time in the lane's queue and then runs inline.
//!
//! Fault model: service times come from the seed, so that jobs of different lanes interleave in ever new ways; a slow
//! disk (`SimDisk::set_slowness`) is slow for every job. At a crash, jobs that wait are lost.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use rqlite::world::lanes::{Job, Jobs, Lanes};
use tokio::sync::mpsc;

use super::disk::SimDisk;
use crate::random::Random;

/// Starts lanes on the tasks of a node.
pub struct SimLanes {
    random: Mutex<Random>,
    disk: SimDisk,
    longest_ms: u64,
}

struct Task(mpsc::UnboundedSender<Job>);

impl SimLanes {
    /// Most jobs take no time, some up to 2 ms, a few up to `longest_ms`.
    pub fn new(random: Random, disk: SimDisk, longest_ms: u64) -> Self {
        Self { random: Mutex::new(random), disk, longest_ms }
    }
}

impl Lanes for SimLanes {
    fn start(&self, name: &str) -> Arc<dyn Jobs> {
        let (sender, mut receiver) = mpsc::unbounded_channel::<Job>();
        let mut random = Random::new(self.random.lock().expect("drawing doesn't panic").next()).fork(name);
        let (disk, longest_ms) = (self.disk.clone(), self.longest_ms);
        rqlite::world::spawn(async move {
            while let Some(job) = receiver.recv().await {
                let drawn_ms = match random.below(16) {
                    0..12 => 0,
                    12..15 => random.below(3),
                    _ => random.below(longest_ms + 1),
                };
                let service = disk.slowness() + Duration::from_millis(drawn_ms);
                match service.is_zero() {
                    true => tokio::task::yield_now().await,
                    false => tokio::time::sleep(service).await,
                }
                job();
            }
        });
        Arc::new(Task(sender))
    }
}

impl Jobs for Task {
    fn submit(&self, job: Job) {
        // The task is gone when the node has crashed: its destructors may still submit, and nothing runs.
        let _ = self.0.send(job);
    }
}
