//! What can be asked of the master, and what it answers.

use crate::types::ReplicaId;
use crate::wire::{
    ChainConfig, ChainPosition, ChainRenewal, DecodeError, Layout, MAX_CHAIN, RENEW, Reader,
    Writer, get_list, put_list,
};

/// Replicas of one chain at most, spares among them.
pub const MAX_REPLICAS: usize = MAX_CHAIN;

const CREATE: u8 = 2;
const SHOW: u8 = 3;
const REORDER: u8 = 4;
const REMOVE: u8 = 5;
const ADD: u8 = 6;

/// One command.
///
/// The layout: one byte for the command, then its fields in the order in which they stand here;
/// numbers are little-endian, lists are preceded by their count as four bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// From a replica. Answers a [`crate::wire::ChainGrant`].
    Renew(ChainRenewal),
    /// Makes a chain. It begins when all its members have asked for their leases.
    Create {
        /// Its number.
        chain: u32,
        /// How many members it should have.
        wanted: u8,
        /// The first ones, from head to tail.
        members: Vec<ReplicaId>,
        /// Others who may take their places.
        spares: Vec<ReplicaId>,
    },
    /// Answers [`Answer::Chain`]; goes as a query, too.
    Show {
        /// Which chain.
        chain: u32,
    },
    /// Gives the members another order. Answers the chain.
    Reorder {
        /// Which chain.
        chain: u32,
        /// The number of the configuration that this is about; refused in any other.
        number: u64,
        /// All its members, from head to tail.
        order: Vec<ReplicaId>,
    },
    /// Takes a replica out, and lets it in no more. A member that lives goes when its lease ends.
    /// In a chain of which nobody lives: it is lost, and not waited for (CH-F6). Answers the chain.
    Remove {
        /// Which chain.
        chain: u32,
        /// Whom.
        replica: ReplicaId,
    },
    /// Makes a replica a spare, again or for the first time. Answers the chain.
    Add {
        /// Which chain.
        chain: u32,
        /// Whom.
        replica: ReplicaId,
    },
}

impl Command {
    /// Which chain it is about.
    pub fn chain(&self) -> u32 {
        match self {
            Self::Renew(renewal) => renewal.chain,
            Self::Create { chain, .. }
            | Self::Show { chain }
            | Self::Reorder { chain, .. }
            | Self::Remove { chain, .. }
            | Self::Add { chain, .. } => *chain,
        }
    }

    /// The command's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Writer::new();
        match self {
            Self::Renew(renewal) => return renewal.to_command(),
            Self::Create { chain, wanted, members, spares } => {
                out.u8(CREATE).u32(*chain).u8(*wanted);
                put_replicas(members, &mut out);
                put_replicas(spares, &mut out);
            }
            Self::Show { chain } => {
                out.u8(SHOW).u32(*chain);
            }
            Self::Reorder { chain, number, order } => {
                out.u8(REORDER).u32(*chain).u64(*number);
                put_replicas(order, &mut out);
            }
            Self::Remove { chain, replica } => {
                out.u8(REMOVE).u32(*chain).replica(*replica);
            }
            Self::Add { chain, replica } => {
                out.u8(ADD).u32(*chain).replica(*replica);
            }
        }
        out.into_bytes()
    }

    /// Reads a command.
    ///
    /// # Errors
    /// If the bytes are none, or a limit is passed.
    pub fn parse(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(bytes);
        let kind = r.u8("a command cannot be empty")?;
        if kind == RENEW {
            let renewal = ChainRenewal::get(&mut r)?;
            r.finish()?;
            return Ok(Self::Renew(renewal));
        }
        let chain = r.u32("number of a chain")?;
        let command = match kind {
            CREATE => {
                let wanted = r.u8("length of a chain")?;
                let members = replicas(&mut r)?;
                Self::Create { chain, wanted, members, spares: replicas(&mut r)? }
            }
            SHOW => Self::Show { chain },
            REORDER => {
                let number = r.u64("number of a configuration")?;
                Self::Reorder { chain, number, order: replicas(&mut r)? }
            }
            REMOVE => Self::Remove { chain, replica: r.replica("replica to remove")? },
            ADD => Self::Add { chain, replica: r.replica("replica to add")? },
            _ => return Err(DecodeError { what: "no command of the chain's master", at: 0 }),
        };
        r.finish()?;
        Ok(command)
    }
}

fn put_replicas(replicas: &[ReplicaId], out: &mut Writer) {
    out.count(replicas.len());
    replicas.iter().for_each(|replica| {
        out.replica(*replica);
    });
}

fn replicas(r: &mut Reader<'_>) -> Result<Vec<ReplicaId>, DecodeError> {
    let n = r.count(MAX_REPLICAS, 1, "replicas of a chain")?;
    (0..n).map(|_| r.replica("replica of a chain")).collect()
}

/// What an operator is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The chain as it is now.
    Chain {
        /// The configuration.
        config: ChainConfig,
        /// How many members it should have.
        wanted: u8,
        /// Whether none of its members lives: it stands until all have reported (CH-F6).
        down: bool,
        /// All replicas that the master knows of, by their numbers.
        replicas: Vec<Member>,
    },
    /// It was not done, for this reason.
    Refused(String),
}

/// A replica as the master knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// Who.
    pub replica: crate::types::ReplicaId,
    /// In which of its lives it was heard last; 0: never.
    pub incarnation: u64,
    /// When its lease ends, in microseconds of agreed time; 0: it has none.
    pub expires: u64,
    /// The last entry on its disk, as it said.
    pub last: ChainPosition,
    /// Whether an operator keeps it out, or has it leave.
    pub barred: bool,
    /// Whether it says that what it had is lost: a chain of which nobody lives waits until an
    /// operator has struck it out (CH-F6).
    pub lost: bool,
}

impl Layout for Member {
    const LEAST: usize = 1 + 8 + 8 + 16 + 1 + 1;

    fn put(&self, out: &mut Writer) {
        out.replica(self.replica).u64(self.incarnation).u64(self.expires);
        self.last.put(out);
        out.bool(self.barred).bool(self.lost);
    }

    fn get(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let replica = r.replica("replica of a chain")?;
        let (incarnation, expires) = (r.u64("incarnation")?, r.u64("end of a lease")?);
        let last = ChainPosition::get(r)?;
        let (barred, lost) = (r.bool("flag of a replica")?, r.bool("flag of a lost disk")?);
        Ok(Self { replica, incarnation, expires, last, barred, lost })
    }
}

impl Answer {
    /// The output's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Writer::new();
        match self {
            Self::Chain { config, wanted, down, replicas } => {
                config.put(out.u8(0));
                out.u8(*wanted).bool(*down);
                put_list(replicas, &mut out);
            }
            Self::Refused(why) => {
                out.u8(1).var(why.as_bytes());
            }
        }
        out.into_bytes()
    }

    /// Reads an output.
    ///
    /// # Errors
    /// If the bytes are none.
    pub fn parse(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(bytes);
        let answer = match r.u8("answer of a master")? {
            0 => {
                let config = ChainConfig::get(&mut r)?;
                let wanted = r.u8("length of a chain")?;
                let down = r.bool("flag of a chain")?;
                let replicas = get_list(&mut r, MAX_REPLICAS, "replicas of a chain")?;
                Self::Chain { config, wanted, down, replicas }
            }
            1 => Self::Refused(r.text(4096, "reason")?.to_owned()),
            _ => return Err(r.error("answer of a master")),
        };
        r.finish()?;
        Ok(answer)
    }
}
