//! One answer for all who asked before the work for it began.
//!
//! ```text
//!   wait ─► the next round, which begins when the one that runs has ended ─► its answer, to all who wait for it
//! ```
//!
//! Reads on many connections then cost one confirmation of leadership at a time, not one each.

use std::sync::{Arc, Mutex};

use futures::FutureExt;
use futures::future::{BoxFuture, WeakShared};

type Round<T> = WeakShared<BoxFuture<'static, T>>;

/// See the module. Cloning is cheap.
#[derive(Clone)]
pub struct Joint<T: Clone>(Arc<State<T>>);

struct State<T: Clone> {
    /// Not begun yet. Those who wait for it own it.
    next: Mutex<Option<Round<T>>>,
    running: tokio::sync::Mutex<()>,
}

impl<T: Clone> Default for Joint<T> {
    fn default() -> Self {
        Self(Arc::new(State { next: Mutex::default(), running: Default::default() }))
    }
}

impl<T: Clone + Send + Sync + 'static> Joint<T> {
    /// What `work` answers that begins from now on. Whoever waits does the work too: a round that nobody waits for any
    /// more ends.
    pub async fn wait<F>(&self, work: impl FnOnce() -> F) -> T
    where
        F: Future<Output = T> + Send + 'static,
    {
        let round = {
            let mut next = self.0.next.lock().expect("no panic holds this lock");
            match next.as_ref().and_then(WeakShared::upgrade) {
                Some(round) => round,
                None => {
                    let (state, work) = (self.0.clone(), work());
                    let round = async move {
                        let _running = state.running.lock().await;
                        // Who comes from here on has the next one.
                        state.next.lock().expect("no panic holds this lock").take();
                        work.await
                    };
                    let round = round.boxed().shared();
                    *next = round.downgrade();
                    round
                }
            }
        };
        round.await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use futures::poll;
    use tokio::sync::Semaphore;

    use super::*;

    #[tokio::test]
    async fn an_answer_is_of_work_that_began_after_the_question() {
        let (joint, begun, go) = (Joint::default(), Arc::new(AtomicU64::new(0)), Arc::new(Semaphore::new(0)));
        let wait = || {
            let (begun, go) = (begun.clone(), go.clone());
            let work = move || async move {
                let number = begun.fetch_add(1, Ordering::Relaxed);
                go.acquire().await.unwrap().forget();
                number
            };
            let joint = joint.clone();
            Box::pin(async move { joint.wait(work).await })
        };
        let mut first = wait();
        assert!(poll!(&mut first).is_pending());
        // The first has begun: these two need another, and share it.
        let (mut second, mut third) = (wait(), wait());
        assert!(poll!(&mut second).is_pending());
        assert!(poll!(&mut third).is_pending());
        go.add_permits(1);
        assert_eq!(first.await, 0);
        // One who goes away holds nobody up.
        assert!(poll!(&mut second).is_pending());
        drop(second);
        go.add_permits(1);
        assert_eq!(third.await, 1);
        go.add_permits(1);
        assert_eq!(wait().await, 2);
        assert_eq!(begun.load(Ordering::Relaxed), 3);
    }

    #[tokio::test]
    async fn a_round_that_nobody_waits_for_ends() {
        let joint = Joint::<u8>::default();
        let mut given_up = Box::pin(joint.wait(std::future::pending));
        assert!(poll!(&mut given_up).is_pending());
        drop(given_up);
        assert_eq!(joint.wait(|| async { 7 }).await, 7);
    }
}
