//! Joining a cluster that is there.
//!
//! Source: server.md §2.2.

use std::time::Duration;

use tokio::time::sleep;

use super::client::{Client, Error};
use super::proto::{Credentials, Join};

/// How long one attempt may take: a node that joins to vote first receives all that there is.
const PATIENCE: Duration = Duration::from_secs(600);

/// How this node joins.
#[derive(Clone, Debug)]
pub struct Joining {
    pub join: Join,
    pub credentials: Option<Credentials>,
    pub attempts: u64,
    pub interval: Duration,
}

/// No round of attempts was successful.
#[derive(Debug, thiserror::Error)]
#[error("failed to join cluster")]
pub struct Failed;

impl Joining {
    /// Tries the nodes at `addresses`, in rounds.
    pub async fn run(&self, client: &Client, addresses: &[String]) -> Result<(), Failed> {
        for attempt in 1..=self.attempts {
            if self.round(client, addresses).await {
                return Ok(());
            }
            if attempt < self.attempts {
                let interval = crate::go::Duration::from_millis(self.interval.as_millis() as i64);
                tracing::warn!("failed to join cluster at {addresses:?}, sleeping {interval} before retry");
                sleep(self.interval).await;
            }
        }
        tracing::error!("failed to join cluster at {addresses:?}, after {} attempt(s)", self.attempts);
        Err(Failed)
    }

    /// Tries each of `addresses` once; true if one took this node in.
    pub async fn round(&self, client: &Client, addresses: &[String]) -> bool {
        for address in addresses {
            match client.join(address, self.credentials.clone(), self.join.clone(), PATIENCE).await {
                Ok(_) => {
                    tracing::info!("successfully joined cluster at {address}");
                    return true;
                }
                Err(error) => self.complain(address, &error),
            }
        }
        false
    }

    fn complain(&self, address: &str, error: &Error) {
        let hint = if self.credentials.is_none() { " (did you forget to set -join-as?)" } else { "" };
        tracing::warn!("failed to join via node at {address}: {error}{hint}");
    }
}
