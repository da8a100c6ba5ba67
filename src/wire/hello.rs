//! The first message of each side on a link (docs/protocol.md §11).

use super::{DecodeError, Kind, Message, Reader, Writer};
use crate::types::{Digest, Epoch, GroupId, ReplicaId, Round};

/// The version of the wire protocol: refused unless equal.
pub const PROTOCOL_VERSION: u16 = 6;

/// Configuration fields in a hello at most.
pub const MAX_FIELDS: usize = 64;

const MAX_NAME: usize = 64;
const MAX_GROUPS: usize = 64;

/// A replica introduces itself: the acceptor first, then the dialler. A link counts as up only
/// when the other's hello was read and fits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// [`PROTOCOL_VERSION`].
    pub version: u16,
    /// Which cluster.
    pub cluster: Digest,
    /// Who speaks.
    pub replica: ReplicaId,
    /// Counts the starts of this replica's process on its disk, from 1.
    pub incarnation: u64,
    /// Whether it lost its state since it joined: it signs nothing and follows (§7).
    pub restarted: bool,
    /// The configuration digest, field by field, in a fixed order: (name, digest of the value).
    pub fields: Vec<(String, Digest)>,
    /// What it hosts and how far it is.
    pub groups: Vec<GroupState>,
}

/// How far a replica is in one group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupState {
    /// The group.
    pub group: GroupId,
    /// Highest epoch promised.
    pub promise: Epoch,
    /// The last round of which it holds a complete vector; 0 before the first.
    pub round: Round,
}

impl Message for Hello {
    const KIND: Kind = Kind::Hello;

    fn encode(&self, out: &mut Writer) {
        out.u16(self.version).digest(&self.cluster).replica(self.replica);
        out.u64(self.incarnation).bool(self.restarted).count(self.fields.len());
        for (name, digest) in &self.fields {
            out.var(name.as_bytes()).digest(digest);
        }
        out.count(self.groups.len());
        for g in &self.groups {
            out.u32(g.group.0).epoch(g.promise).round(g.round);
        }
    }

    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let version = r.u16("hello version")?;
        let cluster = r.digest("hello cluster")?;
        let replica = r.replica("hello replica")?;
        let incarnation = r.u64("hello incarnation")?;
        let restarted = r.bool("hello restarted")?;
        let mut fields = Vec::new();
        for _ in 0..r.count(MAX_FIELDS, 36, "hello fields")? {
            let name = r.text(MAX_NAME, "hello field name")?.to_owned();
            fields.push((name, r.digest("hello field digest")?));
        }
        let mut groups = Vec::new();
        for _ in 0..r.count(MAX_GROUPS, 24, "hello groups")? {
            let group = GroupId(r.u32("hello group")?);
            let promise = r.epoch("hello promise")?;
            groups.push(GroupState { group, promise, round: r.round("hello round")? });
        }
        Ok(Self { version, cluster, replica, incarnation, restarted, fields, groups })
    }
}

/// A client introduces itself after the replica's hello; who it is, the link's key says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Greeting {
    /// [`PROTOCOL_VERSION`].
    pub version: u16,
    /// Which cluster it means.
    pub cluster: Digest,
}

impl Message for Greeting {
    const KIND: Kind = Kind::Greeting;

    fn encode(&self, out: &mut Writer) {
        out.u16(self.version).digest(&self.cluster);
    }

    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let version = r.u16("greeting version")?;
        Ok(Self { version, cluster: r.digest("greeting cluster")? })
    }
}
