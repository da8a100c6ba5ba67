//! What goes wrong, and how it is well again.

use super::disk::Disk;
use super::options::ChainOptions;
use super::site::Site;
use super::world::{CHAIN, Event, World, micros};
use crate::chain::{Found, Input, MakeService, Setup};
use crate::crypto::{Context, Domain, hash};
use crate::master::{Answer, Command as MasterCommand};
use crate::service::Service;
use crate::service::kv::Kv;
use crate::simulator::Dice;
use crate::types::{ClientId, GroupId, OrderLimits, ReplicaId};
use crate::wire::ChainMember;
use std::collections::VecDeque;
use std::sync::Arc;

/// A fault with how long it lasts, in microseconds.
pub(super) enum Fault {
    /// A replica stops, and starts again.
    Crash(usize, u64),
    /// All stop at once, and start again one by one within this time.
    Outage(u64),
    /// A replica stands still.
    Pause(usize, u64),
    /// A link is gone.
    Break(usize, usize, u64),
    /// The master does not hear a replica.
    Cut(usize, u64),
    /// The master hears nobody.
    MasterStops(u64),
    /// An operator gives the chain another order.
    Reorder,
    /// A replica stops, alone or with all others, and starts again on an empty disk.
    Lose(usize, u64),
    /// A wall clock shows something else.
    Jump(usize, u64),
    /// A replica stops, and something on its disk rots meanwhile.
    Rot(usize, u64),
    /// The writes of a replica take long.
    Slow(usize, u64),
    /// A link carries few bytes in a second, from the first to the second.
    Narrow(usize, usize, u64),
}

/// All pairs of sites, the lower one first.
pub(super) fn pairs(sites: usize) -> Vec<(usize, usize)> {
    (0..sites).flat_map(|a| (a + 1..sites).map(move |b| (a, b))).collect()
}

/// What a replica of such runs is told when it starts: in no life yet.
pub fn setup(index: u8, options: &ChainOptions) -> Setup {
    let make: Arc<dyn Fn() -> Box<dyn Service> + Send + Sync> = Arc::new(|| Box::new(Kv::new()));
    Setup {
        lost: false,
        unsure: options.unsure,
        trace: true,
        me: ReplicaId::from_index(usize::from(index)),
        incarnation: 0,
        chain: CHAIN,
        context: Context { cluster: hash(Domain::Cluster, b"chain"), group: GroupId(CHAIN) },
        lease: options.lease,
        margin: options.margin,
        durable: true,
        reads_any: options.reads_any,
        order: OrderLimits::default(),
        limits: options.limits,
        inherited: None,
        service: MakeService(make),
    }
}

/// A replica that never ran.
pub(super) fn site(index: u8, options: &ChainOptions, dice: &mut Dice) -> Site {
    let drift = i64::try_from(dice.below(2 * options.drift + 1)).expect("small");
    Site {
        setup: setup(index, options),
        chain: None,
        disk: Disk::default(),
        begun: false,
        gone: false,
        life: 0,
        paused_until: 0,
        inbox: VecDeque::new(),
        cut_until: 0,
        slow_until: 0,
        looked_at: (0, 0),
        drift: drift - i64::try_from(options.drift).expect("small"),
        skew: dice.below(1_000_000),
        wake: 0,
        undrained: false,
    }
}

impl World<'_> {
    /// Decides what goes wrong when. A seed's faults do not depend on what else happens.
    pub(super) fn plan(&mut self, seed: u64) {
        let mut dice = Dice::new(seed, 1);
        let (o, lease) = (self.options, micros(self.options.lease));
        let sites = self.sites.len() as u64;
        let one = |dice: &mut Dice| usize::try_from(dice.below(sites)).expect("few");
        let mut faults = Vec::new();
        for _ in 0..o.crashes {
            faults.push(Fault::Crash(one(&mut dice), dice.between(1000, 3 * lease)));
        }
        (0..o.outages).for_each(|_| faults.push(Fault::Outage(dice.between(1000, 2 * lease))));
        for _ in 0..o.pauses {
            faults.push(Fault::Pause(one(&mut dice), dice.between(5000, 3 * lease)));
        }
        for _ in 0..o.breaks {
            let (a, b, lasts) = (one(&mut dice), one(&mut dice), dice.between(1000, lease));
            if a != b {
                faults.push(Fault::Break(a.min(b), a.max(b), lasts));
            }
        }
        for _ in 0..o.cuts {
            faults.push(Fault::Cut(one(&mut dice), dice.between(lease / 2, 3 * lease)));
        }
        for _ in 0..o.master_stops {
            faults.push(Fault::MasterStops(dice.between(lease / 4, 2 * lease)));
        }
        (0..o.reorders).for_each(|_| faults.push(Fault::Reorder));
        let within = micros(o.within);
        for fault in faults {
            let at = dice.between(lease / 2, within);
            self.after(at, Event::Fault(fault));
        }
        let mut dice = Dice::new(seed, 2);
        for _ in 0..o.losses {
            let (site, down) = (one(&mut dice), dice.between(1000, 3 * lease));
            let at = dice.between(lease / 2, within);
            self.after(at, Event::Fault(Fault::Lose(site, down)));
        }
        for _ in 0..o.jumps {
            let (site, skew) = (one(&mut dice), dice.below(2_000_000_000));
            let at = dice.between(lease / 2, within);
            self.after(at, Event::Fault(Fault::Jump(site, skew)));
        }
        for _ in 0..o.rots {
            let (site, down) = (one(&mut dice), dice.between(1000, 3 * lease));
            let at = dice.between(lease / 2, within);
            self.after(at, Event::Fault(Fault::Rot(site, down)));
        }
        for _ in 0..o.slows {
            let (site, lasts) = (one(&mut dice), dice.between(lease / 2, 3 * lease));
            let at = dice.between(lease / 2, within);
            self.after(at, Event::Fault(Fault::Slow(site, lasts)));
        }
        for _ in 0..o.narrows {
            let (from, to) = (one(&mut dice), one(&mut dice));
            let (lasts, at) = (dice.between(lease, 4 * lease), dice.between(0, within));
            if from != to {
                self.after(at, Event::Fault(Fault::Narrow(from, to, lasts)));
            }
        }
    }

    pub(super) fn fault(&mut self, fault: Fault) -> Result<(), String> {
        match fault {
            Fault::Crash(site, down) => self.crash(site, down),
            Fault::Outage(within) => {
                for site in 0..self.sites.len() {
                    let down = self.dice.between(1000, within);
                    self.crash(site, down)?;
                }
                Ok(())
            }
            Fault::Pause(site, lasts) => {
                let until = self.time + lasts;
                let paused = &mut self.sites[site];
                if paused.chain.is_none() {
                    return Ok(());
                }
                paused.paused_until = paused.paused_until.max(until);
                let life = paused.life;
                self.after(lasts, Event::Wake { site, life });
                Ok(())
            }
            Fault::Break(a, b, lasts) => {
                self.after(lasts, Event::LinkUp { a, b });
                self.link_down(a, b)
            }
            Fault::Cut(site, lasts) => {
                self.sites[site].cut_until = self.time + lasts;
                Ok(())
            }
            Fault::MasterStops(lasts) => {
                self.master_stops = self.time + lasts;
                Ok(())
            }
            Fault::Reorder => {
                self.reorder();
                Ok(())
            }
            Fault::Lose(site, down) => self.lose(site, down),
            Fault::Rot(site, down) => self.rot(site, down),
            Fault::Slow(site, lasts) => {
                self.sites[site].slow_until = self.time + lasts;
                Ok(())
            }
            Fault::Narrow(from, to, lasts) => {
                self.wires.entry((from, to)).or_default().narrow_until = self.time + lasts;
                Ok(())
            }
            Fault::Jump(site, skew) => {
                self.sites[site].skew = skew;
                Ok(())
            }
        }
    }

    /// Whether what this disk has may be lost: the chain has its length, all of it lives, and no
    /// other disk is lost.
    fn may_lose(&self, site: usize) -> bool {
        let config = self.config();
        let lives = |m: &ChainMember| {
            let chain = self.sites[m.replica.index()].chain.as_ref();
            chain.is_some_and(|c| c.member() == *m)
        };
        let is_whole = config.members.len() == usize::from(self.options.length)
            && config.members.iter().all(lives);
        is_whole && self.sites[site].chain.is_some() && !self.sites.iter().any(Site::is_lost)
    }

    fn rot(&mut self, site: usize, down: u64) -> Result<(), String> {
        if !self.may_lose(site) {
            return Ok(());
        }
        self.crash(site, down)?;
        if self.sites[site].disk.rot(&mut self.dice) {
            self.report.rots += 1;
        }
        self.after(down, Event::Operator);
        Ok(())
    }

    fn lose(&mut self, site: usize, down: u64) -> Result<(), String> {
        if !self.may_lose(site) {
            return Ok(());
        }
        self.report.losses += 1;
        if down.is_multiple_of(2) {
            self.crash(site, down)?;
        } else {
            // So long that the master knows that nobody lives before anybody starts again.
            let silence = 2 * micros(self.options.lease + self.options.margin);
            for other in 0..self.sites.len() {
                let more = self.dice.below(down);
                self.crash(other, silence + more)?;
            }
        }
        self.sites[site].lose_disk();
        self.after(down, Event::Operator);
        Ok(())
    }

    /// Looks whether the chain waits for what is lost, and says that it is; again and again while
    /// a disk is lost.
    pub(super) fn operate(&mut self) {
        let lease = micros(self.options.lease);
        if !self.sites.iter().any(Site::is_lost) {
            return;
        }
        self.after(lease, Event::Operator);
        let Answer::Chain { config, down: true, replicas, .. } = self.show() else { return };
        let lost = replicas.iter().find(|m| m.lost && config.has(m.replica));
        let Some(replica) = lost.map(|m| m.replica) else { return };
        self.report.struck += 1;
        self.order(&MasterCommand::Remove { chain: CHAIN, replica }.encode());
        self.order(&MasterCommand::Add { chain: CHAIN, replica }.encode());
    }

    fn reorder(&mut self) {
        let config = self.config();
        let mut order: Vec<ReplicaId> = config.members.iter().map(|m| m.replica).collect();
        for i in (1..order.len()).rev() {
            order.swap(i, usize::try_from(self.dice.below(i as u64 + 1)).expect("few"));
        }
        let command = MasterCommand::Reorder { chain: CHAIN, number: config.number, order };
        self.order(&command.encode());
    }

    fn crash(&mut self, site: usize, down: u64) -> Result<(), String> {
        let Some(chain) = &self.sites[site].chain else { return Ok(()) };
        self.report.stats += chain.stats();
        let mut dice = self.dice.clone();
        self.dice.any();
        self.sites[site].stop(&mut dice);
        for (a, b) in pairs(self.sites.len()) {
            if a == site || b == site {
                self.link_down(a, b)?;
            }
        }
        self.caller_links(site, false);
        self.after(down, Event::Restart { site });
        Ok(())
    }

    /// A replica starts, in a new life.
    pub(super) fn restart(&mut self, site: usize) -> Result<(), String> {
        let found = match self.sites[site].disk.recover() {
            Ok((found, is_older)) => {
                self.report.older += u64::from(is_older);
                found
            }
            Err(_) => {
                // An operator starts it with `--replace-disk`.
                self.report.replaced += 1;
                self.sites[site].lose_disk();
                Found::default()
            }
        };
        self.sites[site].start(found)?;
        self.caller_links(site, true);
        for (a, b) in pairs(self.sites.len()) {
            if a == site || b == site {
                let delay = self.dice.between(500, 20_000);
                self.after(delay, Event::LinkUp { a, b });
            }
        }
        let life = self.sites[site].life;
        self.after(1, Event::Wake { site, life });
        Ok(())
    }

    fn link_down(&mut self, a: usize, b: usize) -> Result<(), String> {
        let link = self.links.get_mut(&(a, b)).expect("all pairs have one");
        if !std::mem::replace(&mut link.1, false) {
            return Ok(());
        }
        self.arrive(a, Input::PeerDown { peer: ReplicaId::from_index(b) })?;
        self.arrive(b, Input::PeerDown { peer: ReplicaId::from_index(a) })
    }

    pub(super) fn link_up(&mut self, a: usize, b: usize) -> Result<(), String> {
        let both = [a, b].iter().all(|s| self.sites[*s].chain.is_some());
        let link = self.links.get_mut(&(a, b)).expect("all pairs have one");
        if !both || link.1 {
            return Ok(());
        }
        *link = (link.0 + 1, true);
        self.arrive(a, Input::PeerUp { peer: ReplicaId::from_index(b) })?;
        self.arrive(b, Input::PeerUp { peer: ReplicaId::from_index(a) })
    }

    /// An operator's command.
    pub(super) fn order(&mut self, command: &[u8]) {
        let time = self.agreed();
        crate::service::Service::execute(&mut self.master, time, &ClientId([0; 32]), command);
    }
}
