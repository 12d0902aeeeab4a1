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
    /// Changes when the log begins anew (boot), or its members are others (recovery).
    pub incarnation: String,
    /// The last entry that changed the database.
    pub last_change: Option<LogId>,
    /// The log up to here is no history of this database, which was replaced beside the log: nobody may be sent it
    /// (hazard H12).
    pub void: Option<LogId>,
    /// What the log says up to here about members is void: a recovery set them beside the log, on this node.
    pub recovered: Option<LogId>,
    /// Names the recovery that is being made on this node; empty: none.
    pub recovering: String,
}

impl Applied {
    /// For db.state.
    pub fn encode(&self) -> Vec<u8> {
        proto::Applied::from(self).encode_to_vec()
    }

    /// From db.state; nothing: nothing was applied.
    pub fn decode(bytes: &[u8]) -> Result<Self, convert::Error> {
        proto::Applied::decode(bytes)?.try_into()
    }
}

impl From<&Applied> for proto::Applied {
    fn from(applied: &Applied) -> Self {
        Self {
            last_applied: applied.last_applied.as_ref().map(Into::into),
            membership: Some((&applied.membership).into()),
            foreign_keys: applied.foreign_keys,
            foreign_keys_default: applied.foreign_keys_default,
            engine: applied.engine.clone(),
            cluster_id: applied.cluster_id.clone(),
            incarnation: applied.incarnation.clone(),
            last_change: applied.last_change.as_ref().map(Into::into),
            void: applied.void.as_ref().map(Into::into),
            recovered: applied.recovered.as_ref().map(Into::into),
            recovering: applied.recovering.clone(),
        }
    }
}

impl TryFrom<proto::Applied> for Applied {
    type Error = convert::Error;

    fn try_from(message: proto::Applied) -> Result<Self, convert::Error> {
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
            recovered: message.recovered.as_ref().map(Into::into),
            recovering: message.recovering,
        })
    }
}
