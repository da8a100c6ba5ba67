//! Signed words that accuse or give up (docs/protocol.md §5): blames, restarts, stalled roots.

use super::layout::{Framed, Layout, bytes_of};
use super::{DecodeError, Kind, Reader, Writer};
use crate::crypto::{Domain, Signable};
use crate::types::{Epoch, Members, ReplicaId, Root, Round};

/// What somebody is blamed for not sending.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum BlameStep {
    /// Its proposal of this round.
    Round(Round),
    /// Its report in the report step, or something that this names.
    Report,
}

/// A replica blames another for what it lacks of it (E1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blame {
    /// The epoch; for the report step the number of the call.
    pub epoch: Epoch,
    /// The epoch's members.
    pub members: Members,
    /// The step.
    pub step: BlameStep,
    /// Who is blamed.
    pub accused: ReplicaId,
    /// Who blames.
    pub by: ReplicaId,
}

impl Layout for Blame {
    const LEAST: usize = 12 + 4 + 1 + 1 + 1;

    fn put(&self, out: &mut Writer) {
        out.epoch(self.epoch).u32(self.members.bits());
        match self.step {
            BlameStep::Round(round) => out.u8(0).round(round),
            BlameStep::Report => out.u8(1),
        };
        out.replica(self.accused).replica(self.by);
    }

    fn get(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let epoch = r.epoch("blame epoch")?;
        let members = r.members("blame members")?;
        let step = match r.u8("blame step")? {
            0 => BlameStep::Round(r.round("blamed round")?),
            1 => BlameStep::Report,
            _ => return Err(r.error("unknown step")),
        };
        let accused = r.replica("blamed replica")?;
        Ok(Self { epoch, members, step, accused, by: r.replica("blaming replica")? })
    }
}

impl Framed for Blame {
    const KIND: Kind = Kind::Blame;
}

impl Signable for Blame {
    const DOMAIN: Domain = Domain::Blame;

    fn signer(&self) -> ReplicaId {
        self.by
    }

    fn epoch(&self) -> Epoch {
        self.epoch
    }

    fn members(&self) -> Members {
        self.members
    }

    fn body(&self) -> Vec<u8> {
        bytes_of(self)
    }
}

/// A replica says that it restarted in an epoch that it had entered, and signs nothing in it any
/// more (§7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Restarted {
    /// The epoch.
    pub epoch: Epoch,
    /// The epoch's members.
    pub members: Members,
    /// Who restarted.
    pub replica: ReplicaId,
    /// Starts of its process on its disk so far, from 1.
    pub incarnation: u64,
}

impl Layout for Restarted {
    const LEAST: usize = 12 + 4 + 1 + 8;

    fn put(&self, out: &mut Writer) {
        out.epoch(self.epoch).u32(self.members.bits()).replica(self.replica);
        out.u64(self.incarnation);
    }

    fn get(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let epoch = r.epoch("restart epoch")?;
        let members = r.members("restart members")?;
        let replica = r.replica("restarted replica")?;
        Ok(Self { epoch, members, replica, incarnation: r.u64("restart incarnation")? })
    }
}

impl Framed for Restarted {
    const KIND: Kind = Kind::Restarted;
}

impl Signable for Restarted {
    const DOMAIN: Domain = Domain::Restarted;

    fn signer(&self) -> ReplicaId {
        self.replica
    }

    fn epoch(&self) -> Epoch {
        self.epoch
    }

    fn members(&self) -> Members {
        self.members
    }

    fn body(&self) -> Vec<u8> {
        bytes_of(self)
    }
}

/// A replica says that it cannot get on in a root (E8); `t + 1` of these reset it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stalled {
    /// The root.
    pub root: Root,
    /// Who cannot get on.
    pub replica: ReplicaId,
}

impl Layout for Stalled {
    const LEAST: usize = 8 + 1;

    fn put(&self, out: &mut Writer) {
        out.root(self.root).replica(self.replica);
    }

    fn get(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let root = r.root("stalled root")?;
        Ok(Self { root, replica: r.replica("stalled replica")? })
    }
}

impl Framed for Stalled {
    const KIND: Kind = Kind::Stalled;
}

/// It is about a root and not about an epoch: the statement names the root's first epoch, and no
/// members.
impl Signable for Stalled {
    const DOMAIN: Domain = Domain::Stalled;

    fn signer(&self) -> ReplicaId {
        self.replica
    }

    fn epoch(&self) -> Epoch {
        let Root { generation, resets } = self.root;
        Epoch { generation, resets, accused: 0 }
    }

    fn members(&self) -> Members {
        Members::NONE
    }

    fn body(&self) -> Vec<u8> {
        bytes_of(self)
    }
}
