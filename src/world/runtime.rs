//! Tasks. openraft draws its randomness from a seed that travels with the task, so every task of a node starts here.

use std::future::Future;

use openraft_rt::AsyncRuntime;
use openraft_rt::deterministic_rng::DeterministicRng;
use openraft_rt_tokio::TokioRuntime;
use tokio::task::JoinHandle;

/// openraft's runtime, in production and in the simulation alike.
pub type Runtime = DeterministicRng<TokioRuntime>;

/// Starts a task that inherits the seed of the task it is called from.
pub fn spawn<F>(future: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    Runtime::spawn(future)
}

/// Runs `future` as the root of a node's tasks.
pub async fn scope<F: Future>(seed: u64, future: F) -> F::Output {
    Runtime::scope(seed, future).await
}

/// Gives hyper our [`spawn`].
#[derive(Clone, Copy, Debug)]
pub struct Executor;

impl<F> hyper::rt::Executor<F> for Executor
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, future: F) {
        spawn(future);
    }
}
