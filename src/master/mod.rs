//! The master of fail-stop chains, as a [`Service`] for a voting group.
//!
//! A chain needs somebody who never fails to say who is in it. Here that is a service that a group
//! of the voting mode runs, so it is as reliable as `2t + 1` replicas of which `t` may lie. It uses
//! the agreed time that comes with each command, never a clock (CH-L2). Rules are those of
//! docs/chain.md.
//!
//! - Replicas, spares too, renew a lease with every command [`Command::Renew`] (CH-L1).
//! - When a member asks for its lease, others whose lease is over are taken out, and those that
//!   have started again in a new life (CH-L2).
//! - A chain that is shorter than wanted gets a spare that joins behind the tail; it is a member
//!   when the tail has said that it has everything (CH-F4).
//! - When no member is left that lives, nobody is taken out any more. The chain is built again once
//!   all of its last members have reported what their disks have, or the operator has struck them
//!   out: who has most first (CH-F6).
//!
//! Leases are in microseconds of agreed time, so the group's clock must be one that follows real
//! time. The margin covers clocks that run unlike, and how far the wall clocks of the group's
//! replicas are apart, since agreed time can jump by that when the group's members change.

mod chain;
mod command;

pub use command::{Answer, Command, MAX_REPLICAS, Member};

use crate::crypto::{Domain, hash};
use crate::service::{RestoreError, Service};
use crate::types::{AgreedTime, ClientId, Digest, ReplicaId};
use crate::wire::{ChainGrant, ChainMember, DecodeError, Layout, Reader, Writer};
use chain::Managed;
use std::collections::BTreeMap;

/// Chains that one master serves at most.
pub const MAX_CHAINS: usize = 1024;

const MAGIC: &[u8; 8] = b"quoma/1\n";

/// How long leases last: the same as at the chains' replicas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// A lease, in microseconds of agreed time.
    pub lease: u64,
    /// How much later than that the master takes a member out, in the same.
    pub margin: u64,
}

/// The service.
#[derive(Clone, Debug)]
pub struct Master {
    terms: Terms,
    chains: BTreeMap<u32, Managed>,
}

impl Master {
    /// The service's name in configurations.
    pub const NAME: &'static str = "chain-master";

    /// A master of no chain.
    pub fn new(terms: Terms) -> Self {
        Self { terms, chains: BTreeMap::new() }
    }

    /// The same with one chain more, as [`Command::Create`] makes one.
    ///
    /// # Errors
    /// As the command is refused.
    pub fn with_chain(
        mut self,
        chain: u32,
        wanted: u8,
        members: Vec<ReplicaId>,
        spares: Vec<ReplicaId>,
    ) -> Result<Self, String> {
        match self.create(0, chain, wanted, members, spares) {
            Answer::Chain { .. } => Ok(self),
            Answer::Refused(why) => Err(why),
        }
    }

    fn run(&mut self, time: u64, command: Command) -> Vec<u8> {
        if let Command::Create { chain, wanted, members, spares } = command {
            return self.create(time, chain, wanted, members, spares).encode();
        }
        let terms = self.terms;
        let Some(managed) = self.chains.get_mut(&command.chain()) else {
            return match command {
                Command::Renew(_) => {
                    ChainGrant { granted: false, again: 0, config: Default::default() }.to_bytes()
                }
                _ => Answer::Refused("there is no chain of this number".into()).encode(),
            };
        };
        managed.begin(time, terms);
        let said = match command {
            Command::Renew(renewal) => {
                let granted = managed.renew(time, terms, &renewal);
                let (replica, incarnation) = (renewal.replica, renewal.incarnation);
                let this = ChainMember { replica, incarnation };
                managed.tend(time, terms, Some(this));
                let again = managed.again(time, terms, this);
                return ChainGrant { granted, again, config: managed.config().clone() }.to_bytes();
            }
            Command::Create { .. } | Command::Show { .. } => Ok(()),
            Command::Reorder { number, order, .. } => managed.reorder(number, &order),
            Command::Remove { replica, .. } => managed.remove(time, terms, replica),
            Command::Add { replica, .. } => managed.add(replica),
        };
        managed.tend(time, terms, None);
        match said {
            Ok(()) => managed.show(time, terms).encode(),
            Err(why) => Answer::Refused(why.into()).encode(),
        }
    }

    fn create(
        &mut self,
        time: u64,
        chain: u32,
        wanted: u8,
        members: Vec<ReplicaId>,
        spares: Vec<ReplicaId>,
    ) -> Answer {
        if self.chains.contains_key(&chain) {
            return Answer::Refused("there is a chain of this number already".into());
        }
        if self.chains.len() >= MAX_CHAINS {
            return Answer::Refused("this master serves as many chains as it can".into());
        }
        match Managed::new(wanted, &members, &spares) {
            Ok(managed) => {
                let shown = managed.show(time, self.terms);
                self.chains.insert(chain, managed);
                shown
            }
            Err(why) => Answer::Refused(why.into()),
        }
    }

    fn read(&mut self, snapshot: &[u8]) -> Result<(), DecodeError> {
        let mut r = Reader::new(snapshot);
        if r.raw(MAGIC.len(), "magic")? != MAGIC {
            return Err(DecodeError { what: "not a master's state of this version", at: 0 });
        }
        let n = r.count(MAX_CHAINS, 4 + Managed::LEAST, "chains")?;
        let mut before = None;
        for _ in 0..n {
            let number = r.u32("number of a chain")?;
            if before >= Some(number) {
                return Err(r.error("chains not in order"));
            }
            before = Some(number);
            self.chains.insert(number, Managed::get(&mut r)?);
        }
        r.finish()
    }
}

impl Service for Master {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn execute(&mut self, time: AgreedTime, _: &ClientId, command: &[u8]) -> Vec<u8> {
        match Command::parse(command) {
            Ok(command) => self.run(time.0, command),
            Err(e) => Answer::Refused(e.to_string()).encode(),
        }
    }

    fn query(&self, time: AgreedTime, _: &ClientId, command: &[u8]) -> Vec<u8> {
        let answer = match Command::parse(command) {
            Ok(Command::Show { chain }) => match self.chains.get(&chain) {
                Some(managed) => managed.show(time.0, self.terms),
                None => Answer::Refused("there is no chain of this number".into()),
            },
            Ok(_) => Answer::Refused("a query cannot write; send it as a command".into()),
            Err(e) => Answer::Refused(e.to_string()),
        };
        answer.encode()
    }

    fn snapshot(&self) -> Vec<u8> {
        let mut out = Writer::new();
        out.raw(MAGIC).count(self.chains.len());
        for (number, managed) in &self.chains {
            managed.put(out.u32(*number));
        }
        out.into_bytes()
    }

    fn restore(&mut self, snapshot: &[u8]) -> Result<(), RestoreError> {
        let mut fresh = Self::new(self.terms);
        fresh.read(snapshot).map_err(|e| RestoreError(e.to_string()))?;
        *self = fresh;
        Ok(())
    }

    fn digest(&mut self) -> Digest {
        hash(Domain::Entry, &self.snapshot())
    }
}

#[cfg(test)]
mod tests;
