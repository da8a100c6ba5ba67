//! One chain as its master sees it.

use super::{Answer, MAX_REPLICAS, Member, Terms};
use crate::types::ReplicaId;
use crate::types::plant::planted;
use crate::wire::{
    ChainConfig, ChainMember, ChainPosition, ChainRenewal, DecodeError, Layout, Reader, Writer,
    get_list, put_list,
};
use std::collections::BTreeMap;

#[derive(Clone, Debug)]
pub(super) struct Managed {
    wanted: u8,
    config: ChainConfig,
    /// All replicas that may be in it.
    known: BTreeMap<ReplicaId, Member>,
    /// Agreed time of the last command.
    time: u64,
    /// Who was chosen last to join; the next one comes after it.
    chosen: u8,
}

impl Managed {
    /// A chain that begins when its members have reported: as after an outage of all, with empty
    /// disks.
    pub(super) fn new(
        wanted: u8,
        members: &[ReplicaId],
        spares: &[ReplicaId],
    ) -> Result<Self, &'static str> {
        let all = members.len() + spares.len();
        if members.is_empty() || wanted == 0 || usize::from(wanted) > MAX_REPLICAS {
            return Err("a chain has at least one member, and at most 31");
        }
        let unheard = |replica: &ReplicaId| {
            let (replica, last) = (*replica, ChainPosition::default());
            let (incarnation, expires, barred, lost) = (0, 0, false, false);
            (replica, Member { replica, incarnation, expires, last, barred, lost })
        };
        let known: BTreeMap<_, _> = members.iter().chain(spares).map(unheard).collect();
        if known.len() != all || all > MAX_REPLICAS {
            return Err("a replica is named twice, or there are more than 31");
        }
        let first = |replica: &ReplicaId| ChainMember { replica: *replica, incarnation: 0 };
        let members = members.iter().map(first).collect();
        let config = ChainConfig { number: 0, members, joining: None };
        Ok(Self { wanted, config, known, time: 0, chosen: 0 })
    }

    pub(super) fn config(&self) -> &ChainConfig {
        &self.config
    }

    pub(super) fn show(&self, time: u64, terms: Terms) -> Answer {
        Answer::Chain {
            config: self.config.clone(),
            wanted: self.wanted,
            down: self.is_down(time, terms),
            replicas: self.known.values().copied().collect(),
        }
    }

    /// Before each command. If the group itself stood still for long, nobody could renew: no lease
    /// ends because of that, if it had not ended before. Who lives asks again within an eighth of
    /// a lease, so a quarter is enough; a whole one would make the stop of a member longer by that,
    /// whenever the group stands still because the same replica is one of its members, too.
    pub(super) fn begin(&mut self, time: u64, terms: Terms) {
        let gap = time.saturating_sub(self.time);
        if gap > terms.lease / 2 {
            let lived = |m: &&mut Member| {
                m.expires > 0 && m.expires.saturating_add(terms.margin) >= self.time
            };
            for member in self.known.values_mut().filter(lived) {
                member.expires = member.expires.max(time.saturating_add(terms.lease / 4));
            }
        }
        self.time = time;
    }

    /// After each command: takes out whom it must, and sees to the chain's length. `speaks` is who
    /// has just asked for a lease.
    pub(super) fn tend(&mut self, time: u64, terms: Terms, speaks: Option<ChainMember>) {
        self.take_out(time, terms, speaks);
        if self.is_down(time, terms) {
            self.rebuild(time, terms);
        } else {
            self.extend(time, terms);
        }
    }

    /// CH-L1. Gives whether there is a lease.
    pub(super) fn renew(&mut self, time: u64, terms: Terms, renewal: &ChainRenewal) -> bool {
        let tail = self.config.tail();
        let Some(member) = self.known.get_mut(&renewal.replica) else { return false };
        if renewal.incarnation == 0 || renewal.incarnation < member.incarnation {
            return false;
        }
        if renewal.incarnation > member.incarnation {
            // It has started again: what it held as a lease it holds no more.
            (member.incarnation, member.expires) = (renewal.incarnation, 0);
        }
        let this = ChainMember { replica: renewal.replica, incarnation: renewal.incarnation };
        // A member has all that was committed, though it may not know yet that it is one: an
        // operator who struck it out of a chain that is down would lose that.
        let is_lost = renewal.lost && !self.config.members.contains(&this);
        (member.last, member.lost) = (renewal.last, is_lost);
        // Who is to leave is let go when its lease is over.
        if member.barred {
            return false;
        }
        member.expires = time.saturating_add(terms.lease);
        if tail == Some(this) && renewal.paired == self.config.number && renewal.paired > 0 {
            self.append(time, terms);
        }
        true
    }

    /// CH-F4: the tail has said that who joins has everything.
    fn append(&mut self, time: u64, terms: Terms) {
        let Some(joining) = self.config.joining else { return };
        if self.lives(&joining, time, terms) {
            self.known.entry(joining.replica).and_modify(|m| m.lost = false);
            let mut members = self.config.members.clone();
            members.push(joining);
            self.configure(members, None);
        }
    }

    pub(super) fn reorder(&mut self, number: u64, order: &[ReplicaId]) -> Result<(), &'static str> {
        if number != self.config.number {
            return Err("the chain has another configuration now; look at it again");
        }
        let of = |replica: &ReplicaId| {
            self.config.members.iter().find(|m| m.replica == *replica).copied()
        };
        let members: Vec<ChainMember> = order.iter().filter_map(of).collect();
        let mut sorted: Vec<ReplicaId> = order.to_vec();
        sorted.sort_unstable();
        sorted.dedup();
        if number == 0 || members.len() != self.config.members.len() || sorted.len() != order.len()
        {
            return Err("an order names every member of a chain that has begun, once");
        }
        if members != self.config.members {
            self.configure(members, self.config.joining);
        }
        Ok(())
    }

    pub(super) fn remove(
        &mut self,
        time: u64,
        terms: Terms,
        replica: ReplicaId,
    ) -> Result<(), &'static str> {
        if !self.known.contains_key(&replica) {
            return Err("the chain has no such replica");
        }
        let down = self.is_down(time, terms);
        let others = |m: &ChainMember| {
            m.replica != replica && !self.known.get(&m.replica).is_some_and(|k| k.barred)
        };
        let stays = self.config.members.iter().any(others);
        if self.config.has(replica) && !stays {
            return Err("it is the last member: nobody else has the updates; add another first");
        }
        self.known.entry(replica).and_modify(|m| m.barred = true);
        if down && self.config.has(replica) {
            // It is lost: the others need not wait for what it would say (CH-F6).
            let rest = self.config.members.iter().copied().filter(|m| m.replica != replica);
            self.configure(rest.collect(), None);
        }
        if self.config.joining.is_some_and(|m| m.replica == replica) {
            self.configure(self.config.members.clone(), None);
        }
        Ok(())
    }

    pub(super) fn add(&mut self, replica: ReplicaId) -> Result<(), &'static str> {
        if !self.known.contains_key(&replica) && self.known.len() >= MAX_REPLICAS {
            return Err("the chain has as many replicas as it can");
        }
        let (last, barred, lost) = (ChainPosition::default(), false, false);
        let new = Member { replica, incarnation: 0, expires: 0, last, barred, lost };
        self.known.entry(replica).or_insert(new).barred = false;
        Ok(())
    }

    // --- who lives -----------------------------------------------------------------------------

    /// Whether a member is in the life in which it became one, and its lease can still hold.
    fn lives(&self, member: &ChainMember, time: u64, terms: Terms) -> bool {
        let ends = |m: &Member| match planted("ch-master-takes-early") {
            true => m.expires.saturating_sub(terms.lease / 2),
            false => m.expires.saturating_add(terms.margin),
        };
        self.known.get(&member.replica).is_some_and(|m| {
            m.incarnation == member.incarnation && m.expires > 0 && time <= ends(m)
        })
    }

    /// [`crate::wire::ChainGrant::again`] for who asks for its lease.
    pub(super) fn again(&self, time: u64, terms: Terms, speaks: ChainMember) -> u64 {
        if !self.config.members.contains(&speaks) {
            return 0;
        }
        let others = self.config.members.iter().chain(&self.config.joining);
        let others = others.filter(|m| **m != speaks && self.lives(m, time, terms));
        let known = others.filter_map(|m| self.known.get(&m.replica));
        let over = |m: &Member| m.expires.saturating_add(terms.margin) + 1 - time;
        known.map(over).min().unwrap_or(0)
    }

    fn is_down(&self, time: u64, terms: Terms) -> bool {
        !self.config.members.iter().any(|m| self.lives(m, time, terms))
    }

    fn configure(&mut self, members: Vec<ChainMember>, joining: Option<ChainMember>) {
        let number = self.config.number + 1;
        self.config = ChainConfig { number, members, joining };
    }

    /// CH-L2. Somebody is taken out only while a member that stays speaks. A lease that has not
    /// ended yet does not show that its holder lives: if it is dead and its disk lost, who is taken
    /// out would be the only one that has everything, and nobody would know. So if nobody lives,
    /// nobody is taken out, and all are waited for (CH-F6).
    fn take_out(&mut self, time: u64, terms: Terms, speaks: Option<ChainMember>) {
        let lives = |m: &ChainMember| self.lives(m, time, terms);
        let members: Vec<ChainMember> = self.config.members.iter().copied().filter(lives).collect();
        let joining = self.config.joining.filter(lives);
        let same = members.len() == self.config.members.len() && joining == self.config.joining;
        let is_witnessed = speaks.is_some_and(|s| members.contains(&s))
            || members == self.config.members
            || planted("master-takes-unwitnessed");
        if !members.is_empty() && !same && is_witnessed {
            self.configure(members, joining);
        }
    }

    /// CH-F6. A report is a renewal in a life that is not the one in which its replica became a
    /// member: until then it may only have been cut off, and comes back as it was.
    fn rebuild(&mut self, time: u64, terms: Terms) {
        let report = |m: &ChainMember| {
            let known = self.known.get(&m.replica)?;
            let speaks = time <= known.expires.saturating_add(terms.margin);
            let reported = known.incarnation > m.incarnation && known.expires > 0 && speaks;
            let counts = reported && (!known.lost || planted("master-lost-reports"));
            counts.then_some(*known)
        };
        let reports: Option<Vec<Member>> = self.config.members.iter().map(report).collect();
        let Some(mut reports) = reports.filter(|r| !r.is_empty()) else { return };
        // Stable: of equals the one that was nearer to the head stays so.
        reports.sort_by_key(|m| std::cmp::Reverse(m.last));
        let member = |m: &Member| ChainMember { replica: m.replica, incarnation: m.incarnation };
        self.configure(reports.iter().map(member).collect(), None);
    }

    /// Brings the chain back to its length (CH-F4).
    fn extend(&mut self, time: u64, terms: Terms) {
        let length = self.config.members.len();
        if self.config.joining.is_some() || length >= usize::from(self.wanted) {
            return;
        }
        let can = |m: &&Member| {
            let member = ChainMember { replica: m.replica, incarnation: m.incarnation };
            !m.barred && !self.config.has(m.replica) && self.lives(&member, time, terms)
        };
        let after = |m: &&Member| m.replica.number() > self.chosen;
        let mut spares = self.known.values().filter(can);
        let chosen = spares.clone().find(after).or_else(|| spares.next()).copied();
        if let Some(Member { replica, incarnation, .. }) = chosen {
            self.chosen = replica.number();
            let joining = ChainMember { replica, incarnation };
            self.configure(self.config.members.clone(), Some(joining));
        }
    }
}

impl Layout for Managed {
    const LEAST: usize = 1 + ChainConfig::LEAST + 4 + 8 + 1;

    fn put(&self, out: &mut Writer) {
        self.config.put(out.u8(self.wanted));
        let known: Vec<Member> = self.known.values().copied().collect();
        put_list(&known, out);
        out.u64(self.time).u8(self.chosen);
    }

    fn get(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let wanted = r.u8("length of a chain")?;
        let config = ChainConfig::get(r)?;
        let list: Vec<Member> = get_list(r, MAX_REPLICAS, "replicas of a chain")?;
        if !list.windows(2).all(|w| w[0].replica < w[1].replica) {
            return Err(r.error("replicas of a chain not in order"));
        }
        let known = list.into_iter().map(|m| (m.replica, m)).collect();
        let time = r.u64("time of a chain")?;
        Ok(Self { wanted, config, known, time, chosen: r.u8("who was chosen")? })
    }
}
