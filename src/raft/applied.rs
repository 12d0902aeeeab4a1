//! The replicated state beside the database itself. It is in db.state with each checkpoint.

use prost::Message;

use super::convert;
use super::types::{LogId, StoredMembership, proto};

/// See the module; each field is what the log's prefix up to `last_applied` says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Applied {
    pub last_applied: Option<LogId>,
    pub membership: StoredMembership,
    /// Whether foreign keys are enforced now, and after a load.
    pub foreign_keys: bool,
    pub foreign_keys_default: bool,
    /// [`crate::db::engine::fingerprint`] of the engine that the cluster agreed on.
    pub engine: String,
    pub cluster_id: String,
    /// Changes when the log begins anew (boot, recovery).
    pub incarnation: String,
    /// The last entry that changed the database.
    pub last_change: Option<LogId>,
    /// The log up to here is no history of this database, which was replaced beside the log: nobody may be sent it
    /// (hazard H12).
    pub void: Option<LogId>,
}

impl Applied {
    /// For db.state.
    pub fn encode(&self) -> Vec<u8> {
        let message = proto::Applied {
            last_applied: self.last_applied.as_ref().map(Into::into),
            membership: Some((&self.membership).into()),
            foreign_keys: self.foreign_keys,
            foreign_keys_default: self.foreign_keys_default,
            engine: self.engine.clone(),
            cluster_id: self.cluster_id.clone(),
            incarnation: self.incarnation.clone(),
            last_change: self.last_change.as_ref().map(Into::into),
            void: self.void.as_ref().map(Into::into),
        };
        message.encode_to_vec()
    }

    /// From db.state; nothing: nothing was applied.
    pub fn decode(bytes: &[u8]) -> Result<Self, convert::Error> {
        let message = proto::Applied::decode(bytes)?;
        Ok(Self {
            last_applied: message.last_applied.as_ref().map(Into::into),
            membership: message.membership.unwrap_or_default().try_into()?,
            foreign_keys: message.foreign_keys,
            foreign_keys_default: message.foreign_keys_default,
            engine: message.engine,
            cluster_id: message.cluster_id,
            incarnation: message.incarnation,
            last_change: message.last_change.as_ref().map(Into::into),
            void: message.void.as_ref().map(Into::into),
        })
    }
}
