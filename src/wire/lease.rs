//! What a replica of a chain asks its master, and what comes back (CH-L1).

use super::chain::{ChainConfig, ChainPosition};
use super::layout::Layout;
use super::{DecodeError, Reader, Writer};
use crate::types::ReplicaId;

/// The first byte of the master's command for a renewal.
pub const RENEW: u8 = 1;

/// A replica renews its lease, and says what it has. Spares do it, too: so the master knows whom it
/// can take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChainRenewal {
    /// Which chain; one master can serve several.
    pub chain: u32,
    /// Who.
    pub replica: ReplicaId,
    /// Which of its lives.
    pub incarnation: u64,
    /// The last entry that is durable here; after a start that is what the log had (CH-F6).
    pub last: ChainPosition,
    /// The number of the configuration in which who joins has all that this replica, the tail, has
    /// committed, and in which nothing more is committed without it (CH-F4); 0: none.
    pub paired: u64,
    /// Whether its disk stands in for a lost one, and it has not become a member since: then what
    /// it reports is not what it had (CH-F6).
    pub lost: bool,
}

impl Layout for ChainRenewal {
    const LEAST: usize = 4 + 1 + 8 + 16 + 8 + 1;

    fn put(&self, out: &mut Writer) {
        out.u32(self.chain).replica(self.replica).u64(self.incarnation);
        self.last.put(out);
        out.u64(self.paired).bool(self.lost);
    }

    fn get(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let (chain, replica) = (r.u32("chain")?, r.replica("replica that renews")?);
        let incarnation = r.u64("incarnation")?;
        let last = ChainPosition::get(r)?;
        let (paired, lost) = (r.u64("paired")?, r.bool("flag of a lost disk")?);
        Ok(Self { chain, replica, incarnation, last, paired, lost })
    }
}

impl ChainRenewal {
    /// The master's command.
    pub fn to_command(&self) -> Vec<u8> {
        let mut out = Writer::new();
        self.put(out.u8(RENEW));
        out.into_bytes()
    }
}

/// The master's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChainGrant {
    /// Whether there is a lease now: it runs from the moment when the renewal was *sent*.
    pub granted: bool,
    /// In how many microseconds the first lease of another member, or of who joins, is over if it
    /// is not renewed; 0: there is none, or who asks is no member. A member that asks then makes
    /// the master take it out (CH-L2).
    pub again: u64,
    /// The configuration as it is now.
    pub config: ChainConfig,
}

impl ChainGrant {
    /// The output's bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Writer::new();
        self.config.put(out.bool(self.granted).u64(self.again));
        out.into_bytes()
    }

    /// Reads an output.
    ///
    /// # Errors
    /// If the bytes are none.
    pub fn parse(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(bytes);
        let granted = r.bool("flag of a lease")?;
        let again = r.u64("when to ask again")?;
        let config = ChainConfig::get(&mut r)?;
        r.finish()?;
        Ok(Self { granted, again, config })
    }
}
