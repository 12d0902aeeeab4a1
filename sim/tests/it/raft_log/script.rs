//! A script of steps, and the node that plays it: lanes that run only when they are told to, so that steps pile up in
//! the queue as they do under load.

use std::collections::VecDeque;
use std::path::Path;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use openraft::EntryPayload;
use openraft::storage::{IOFlushed, RaftLogReader, RaftLogStorage};
use openraft::type_config::TypeConfigExt;
use proptest::prelude::*;
use rqlite::raft::convert::log_id;
use rqlite::raft::log::{Log, Options};
use rqlite::raft::types::{Entry, LogId, Payload, TypeConfig, Vote};
use rqlite::world::lanes::{Job, Jobs, Lanes};
use rqlite::world::{World, os};
use sim::random::Random;
use sim::world::disk::SimDisk;
use sim::world::entropy::SimEntropy;

use super::model::{Found, Model, State};

/// One step. Numbers are taken modulo what there is.
#[derive(Clone, Debug)]
pub enum Step {
    /// So many entries, each with a payload of so many bytes, in a new term or not.
    Append {
        count: u64,
        bytes: usize,
        new_term: bool,
    },
    /// The lane works off its queue.
    Lane,
    Vote,
    Committed,
    /// Removes so many entries from the end.
    Truncate {
        count: u64,
    },
    /// Removes so many from the start; may go past the end.
    Purge {
        count: u64,
    },
}

pub fn steps() -> impl Strategy<Value = Vec<Step>> {
    let append = (1..6u64, prop::sample::select(vec![0usize, 20, 100, 700]), prop::bool::weighted(0.2));
    let step = prop_oneof![
        6 => append.prop_map(|(count, bytes, new_term)| Step::Append { count, bytes, new_term }),
        3 => Just(Step::Lane),
        2 => Just(Step::Vote),
        2 => Just(Step::Committed),
        2 => (0..9u64).prop_map(|count| Step::Truncate { count }),
        2 => (0..12u64).prop_map(|count| Step::Purge { count }),
    ];
    prop::collection::vec(step, 3..14)
}

/// Lanes that share one queue and run by hand.
#[derive(Clone, Default)]
struct Hand(Arc<Mutex<VecDeque<Job>>>);

impl Lanes for Hand {
    fn start(&self, _name: &str) -> Arc<dyn Jobs> {
        Arc::new(self.clone())
    }
}

impl Jobs for Hand {
    fn submit(&self, job: Job) {
        self.0.lock().unwrap().push_back(job);
    }
}

impl Hand {
    /// Runs the next job, if there is one.
    fn turn(&self) -> bool {
        let job = self.0.lock().unwrap().pop_front();
        job.map(|job| job()).is_some()
    }

    /// Waits for `future` while the lanes run.
    fn wait<F: Future>(&self, future: F) -> F::Output {
        let mut future = pin!(future);
        let mut context = Context::from_waker(Waker::noop());
        loop {
            if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
                return output;
            }
            assert!(self.turn(), "the log waits for nothing");
        }
    }
}

type Flushed = <TypeConfig as openraft::RaftTypeConfig>::AsyncRuntime;
type Receiver =
    <<Flushed as openraft::AsyncRuntime>::Oneshot as openraft::async_runtime::Oneshot>::Receiver<std::io::Result<()>>;

/// One life of the node.
pub struct Run {
    hand: Hand,
    /// `None` if it could not start because its disk failed.
    log: Option<Log>,
    fatal: Arc<Mutex<Option<String>>>,
    /// Appends that are not acknowledged yet, with the model's length when they were asked for.
    waiting: Vec<(usize, Receiver)>,
}

impl Run {
    /// Starts the node. Damage is never what a failing disk leaves.
    pub fn new(disk: &SimDisk, segment_bytes: u64) -> Self {
        let hand = Hand::default();
        let entropy = Arc::new(SimEntropy::new(Random::new(disk.changes())));
        let world = World { disk: Arc::new(disk.clone()), lanes: Arc::new(hand.clone()), entropy, ..os::world() };
        let options = Options { segment_bytes, cache_bytes: 300, chunk_bytes: 400 };
        let fatal = Arc::new(Mutex::new(None));
        let told = fatal.clone();
        let log = Log::open(&world, Path::new("/raft"), options, move |why| {
            assert!(told.lock().unwrap().replace(why).is_none(), "told twice");
        });
        let log = match log {
            Ok(log) => Some(log),
            Err(error @ rqlite::raft::log::Error::Io { .. }) => {
                *fatal.lock().unwrap() = Some(error.to_string());
                None
            }
            Err(error) => panic!("{error}"),
        };
        Self { hand, log, fatal, waiting: Vec::new() }
    }

    /// Why the log stopped, if it did.
    pub fn fatal(&self) -> Option<String> {
        self.fatal.lock().unwrap().clone()
    }

    /// Plays the script until its end or the log's.
    pub fn play(&mut self, script: &[Step], model: &mut Model) {
        for step in script {
            let Some(mut log) = self.log.clone() else { return };
            self.step(&mut log, step, model);
            self.collect(model);
            if self.fatal().is_some() {
                let vote = Vote::new(u64::MAX, "late".into());
                assert!(self.hand.wait(log.save_vote(&vote)).is_err(), "the log goes on after a failure");
                return;
            }
            let want: Vec<Entry> =
                model.now().entries[model.now().first() as usize..].iter().flatten().cloned().collect();
            match self.hand.wait(log.try_get_log_entries(..)) {
                Ok(got) => assert_eq!(got, want, "a reader sees something else"),
                Err(_) => assert!(self.fatal().is_some()),
            }
        }
    }

    fn step(&mut self, log: &mut Log, step: &Step, model: &mut Model) {
        let now = model.now().clone();
        match step {
            Step::Append { count, bytes, new_term } => {
                let term = now.term() + u64::from(*new_term);
                let entries: Vec<Entry> =
                    (0..*count).map(|at| entry(term, now.next() + at, *bytes, model.len() as u64)).collect();
                for entry in &entries {
                    model.step(|state| state.entries.push(Some(entry.clone())));
                }
                let (sender, receiver) = TypeConfig::oneshot();
                self.waiting.push((model.len(), receiver));
                // An error here means that the log has stopped: nothing was acknowledged.
                let _ = self.hand.wait(log.append(entries, IOFlushed::signal(sender)));
            }
            Step::Lane => while self.hand.turn() {},
            Step::Vote => {
                let term = now.vote.as_ref().map_or(0, |vote| vote.leader_id.term) + 1;
                let vote = Vote::new(term, "n".into());
                model.step(|state| state.vote = Some(vote.clone()));
                let done = self.hand.wait(log.save_vote(&vote));
                self.acknowledged(done, model);
            }
            Step::Committed => {
                if now.first() < now.next() && now.last() > now.committed {
                    model.step(|state| state.committed = now.last());
                    let _ = self.hand.wait(log.save_committed(now.last()));
                }
            }
            Step::Truncate { count } => {
                // What is committed is never cut.
                let committed = now.committed.map_or(0, |committed| committed.index + 1);
                let keep = now.next().saturating_sub(*count).max(now.first()).max(committed);
                let after = if keep == now.first() { now.purged } else { Some(now.log_id(keep - 1)) };
                model.step(|state| state.entries.truncate(keep as usize));
                let done = self.hand.wait(log.truncate_after(after));
                self.acknowledged(done, model);
            }
            Step::Purge { count } => {
                let upto = now.first() + count;
                let upto = if upto < now.next() { now.log_id(upto) } else { log_id(now.term(), upto) };
                model.step(|state| purge(state, upto));
                let done = self.hand.wait(log.purge(upto));
                self.acknowledged(done, model);
            }
        }
    }

    /// The lane answers in order, so an answer acknowledges everything before it.
    fn acknowledged(&mut self, done: std::io::Result<()>, model: &mut Model) {
        if done.is_ok() {
            self.collect(model);
            assert!(self.waiting.is_empty(), "something before it was not reported");
            model.acknowledge();
        }
    }

    /// Takes note of appends that were reported.
    fn collect(&mut self, model: &mut Model) {
        let mut context = Context::from_waker(Waker::noop());
        let mut acknowledged = None;
        self.waiting.retain_mut(|(len, receiver)| match std::pin::Pin::new(receiver).poll(&mut context) {
            Poll::Pending => true,
            Poll::Ready(Ok(Ok(()))) => {
                acknowledged = Some(*len);
                false
            }
            Poll::Ready(_) => false,
        });
        if let Some(acknowledged) = acknowledged {
            model.acknowledge_up_to(acknowledged);
            for (len, _) in &mut self.waiting {
                *len -= acknowledged - 1;
            }
        }
    }

    /// Works off what is queued.
    pub fn drain(&mut self, model: &mut Model) {
        while self.hand.turn() {}
        self.collect(model);
    }

    /// Lets everything become durable.
    pub fn settle(&mut self, model: &mut Model) {
        self.drain(model);
        assert!(self.waiting.is_empty(), "an append was never reported");
    }

    /// What the log holds must be in the model.
    pub fn found_in(&mut self, model: &mut Model) {
        let mut log = self.log.clone().expect("the disk is well again");
        let hand = self.hand.clone();
        let state = hand.wait(log.get_log_state()).unwrap();
        let found = Found {
            entries: hand.wait(log.try_get_log_entries(..)).unwrap(),
            vote: hand.wait(log.read_vote()).unwrap(),
            purged: state.last_purged_log_id,
            last: state.last_log_id,
            committed: log.saved_committed(),
        };
        model.restart(&found);
    }

    /// The process is gone: what waits in its lanes never runs.
    pub fn end(&mut self) {
        self.hand.0.lock().unwrap().clear();
        self.log = None;
    }
}

fn purge(state: &mut State, upto: LogId) {
    state.purged = Some(upto);
    state.purges.push(upto);
    while state.next() <= upto.index {
        state.entries.push(None);
    }
}

/// Each entry that was ever proposed is another.
fn entry(term: u64, index: u64, bytes: usize, salt: u64) -> Entry {
    let payload = match bytes {
        0 => EntryPayload::Blank,
        _ => EntryPayload::Normal(Payload(Bytes::from(format!("{salt:>bytes$}")))),
    };
    Entry { log_id: log_id(term, index), payload }
}
