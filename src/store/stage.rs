//! Whether a load can be committed: enough of the voters have it, and none that can be asked has a reason against it.

use openraft::async_runtime::WatchReceiver;

use super::{Error, Store};
use crate::raft::stage;
use crate::raft::types::NodeId;

impl Store {
    /// Asks the other voters about the load `load_id`, whose last chunk is at `index`; this node can take it.
    ///
    /// Errors: [`Error::Raft`] with the reason of one of them; [`Error::LeaderNotFound`]: too few can be asked.
    pub(super) async fn staged_elsewhere(&self, load_id: u64, index: u64) -> Result<(), Error> {
        let others: Vec<(NodeId, String)> = {
            let metrics = self.raft_metrics.borrow_watched();
            let membership = metrics.membership_config.membership();
            let others = membership.voter_ids().filter(|voter| voter.as_str() != self.options.node_id);
            others.filter_map(|id| Some((id.clone(), membership.get_node(&id)?.raft_addr.clone()))).collect()
        };
        let voters = others.len() + 1;
        let staged = stage::ask(&self.client, others, load_id, index).await;
        match staged.refusal {
            Some(refusal) => Err(Error::Raft(refusal)),
            None if (staged.ready + 1) * 2 <= voters => Err(Error::LeaderNotFound),
            None => Ok(()),
        }
    }
}
