//! What happens next in a friendly world, and what else may happen.

use super::ghost::Violation;
use super::liar;
use super::moves::{Move, Msg};
use super::world::{DELTA, World, request};
use crate::ordering::Input;
use crate::types::{Members, ReplicaId};
use crate::wire::Record;
use std::sync::Arc;

type Done = Result<(), Violation>;

impl World {
    /// What happens in a world in which nothing more goes wrong; `None` if nothing ever will.
    pub fn next(&self) -> Option<Move> {
        self.arrival()
            .or_else(|| liar::habitual(self))
            .or_else(|| self.due_timers().next().map(Move::Tick))
            .or_else(|| self.other_work())
            .or_else(|| self.later().map(|_| Move::Advance))
    }

    /// A message that arrives at once, or must by now.
    fn arrival(&self) -> Option<Move> {
        for to in self.up().iter() {
            for from in self.honest().iter() {
                let link = self.link(from, to);
                let Some(head) = link.packets.front() else { continue };
                if !link.slow || head.deadline <= self.now {
                    return Some(Move::Deliver { from, to });
                }
            }
        }
        None
    }

    fn due_timers(&self) -> impl Iterator<Item = ReplicaId> {
        let due = |at: &ReplicaId| {
            let node = &self.nodes[at.index()];
            let wake = node.core.as_ref().and_then(|core| core.next_wake());
            !node.ticked && wake.is_some_and(|w| w.0 <= self.now) && !self.must_arrive(*at)
        };
        self.up().iter().filter(move |at| due(at))
    }

    fn other_work(&self) -> Option<Move> {
        self.up().iter().find_map(|at| {
            let node = &self.nodes[at.index()];
            let written =
                !node.writing.is_empty() && (!node.slow_disk || node.sync_due <= self.now);
            if written {
                return Some(Move::Sync(at));
            }
            (node.behind && self.state_for(at).is_some()).then_some(Move::Transfer(at))
        })
    }

    /// When something is due next, after now.
    fn later(&self) -> Option<u64> {
        let up = self.up();
        let nodes = up.iter().map(|at| &self.nodes[at.index()]);
        let wakes = nodes.clone().filter_map(|n| n.core.as_ref()?.next_wake()).map(|w| w.0);
        let disks = nodes.filter(|n| !n.writing.is_empty()).map(|n| n.sync_due);
        let arrive = self.links.iter().flat_map(|l| &l.packets).map(|p| p.deadline);
        let arrive = arrive.filter(|at| *at < u64::MAX);
        let all = wakes.chain(disks).chain(arrive).chain(self.next_request());
        all.filter(|at| *at > self.now).min()
    }

    /// Everything that may go wrong next.
    pub fn deviations(&self) -> Vec<Move> {
        let mut out = Vec::new();
        self.network_deviations(&mut out);
        for at in self.up().iter() {
            let node = &self.nodes[at.index()];
            if self.options.slow_disks {
                out.push(Move::SlowDisk(at, !node.slow_disk));
            }
            if node.slow_disk && !node.writing.is_empty() {
                out.push(Move::Sync(at));
            }
            if self.crashes_left > 0 {
                out.push(Move::Crash(at));
            }
            if self.options.leaves {
                out.push(Move::Leave(at));
            }
        }
        let down = self.honest().minus(self.up());
        out.extend(down.iter().map(Move::Restart));
        liar::deviations(self, &mut out);
        out
    }

    fn network_deviations(&self, out: &mut Vec<Move>) {
        for to in self.up().iter() {
            for from in self.honest().iter().filter(|from| *from != to) {
                let link = self.link(from, to);
                out.push(Move::Slow { from, to, on: !link.slow });
                if link.slow && !link.packets.is_empty() {
                    out.push(Move::Deliver { from, to });
                }
                if !self.options.liars.is_empty() {
                    let behind = 1..link.packets.len().min(4);
                    out.extend(behind.map(|nth| Move::Relay { from, to, nth }));
                }
            }
        }
        // Timers may go off before a message that comes at the same instant.
        if matches!(self.arrival(), Some(Move::Deliver { .. })) {
            out.extend(self.due_timers().map(Move::Tick));
        }
    }

    /// Makes one move.
    pub fn apply(&mut self, step: &Move) -> Done {
        Arc::make_mut(&mut self.ghost).said.clear();
        match step {
            Move::Deliver { from, to } => {
                let Some(packet) = self.link_mut(*from, *to).packets.pop_front() else {
                    return Ok(());
                };
                self.arrive(*from, *to, &packet.msg)?;
                self.go_on(*to)
            }
            Move::Relay { from, to, nth } => {
                let Some(packet) = self.link(*from, *to).packets.get(*nth).cloned() else {
                    return Ok(());
                };
                // Only what is signed can be passed on.
                if matches!(*packet.msg, Msg::Proposal(_) | Msg::Report(_) | Msg::Evidence(_)) {
                    self.arrive(*from, *to, &packet.msg)?;
                }
                self.go_on(*to)
            }
            Move::Tick(at) => {
                self.nodes[at.index()].ticked = true;
                self.feed(*at, Input::Tick)?;
                self.drain(*at)
            }
            Move::Sync(at) => {
                for input in self.written(*at) {
                    self.feed(*at, input)?;
                }
                self.go_on(*at)
            }
            Move::Transfer(at) => self.transfer(*at),
            Move::Advance => self.advance(),
            Move::Slow { from, to, on } => {
                self.link_mut(*from, *to).slow = *on;
                Ok(())
            }
            Move::SlowDisk(at, on) => {
                self.nodes[at.index()].slow_disk = *on;
                Ok(())
            }
            Move::Crash(at) => self.crash(*at),
            Move::Restart(at) => self.restart(*at),
            Move::Leave(at) => {
                // Who is no member is no good one (§1).
                Arc::make_mut(&mut self.ghost).gone.insert(*at);
                self.feed(*at, Input::Leave)?;
                self.go_on(*at)
            }
            Move::Withhold { liar, to, on } => {
                put(&mut self.habits[liar.index()].withholds, *to, *on);
                Ok(())
            }
            Move::Mute { liar, to, on } => {
                put(&mut self.habits[liar.index()].mute, *to, *on);
                Ok(())
            }
            Move::Calm => self.calm(),
            Move::Say(say) => {
                liar::remember(self, say);
                self.arrive(say.liar, say.to, &say.msg)?;
                self.go_on(say.to)
            }
        }
    }

    fn go_on(&mut self, at: ReplicaId) -> Done {
        self.nodes[at.index()].ticked = false;
        self.drain(at)
    }

    fn advance(&mut self) -> Done {
        let Some(at) = self.later() else { return Ok(()) };
        for id in self.up().iter() {
            let node = &self.nodes[id.index()];
            let wake = node.core.as_ref().and_then(|core| core.next_wake());
            if node.ticked && wake.is_some_and(|w| w.0 <= self.now) {
                let how = format!("{id} does nothing when it wanted to be woken");
                return Err(Violation { what: "timers do something", how });
            }
        }
        self.now = at;
        self.nodes.iter_mut().for_each(|n| n.ticked = false);
        self.give_requests()
    }

    fn crash(&mut self, at: ReplicaId) -> Done {
        self.crashes_left = self.crashes_left.saturating_sub(1);
        Arc::make_mut(&mut self.ghost).crash(at);
        let node = &mut self.nodes[at.index()];
        node.core = None;
        node.writing.clear();
        node.behind = false;
        for other in self.honest().iter() {
            self.link_mut(other, at).packets.clear();
        }
        Ok(())
    }

    fn restart(&mut self, at: ReplicaId) -> Done {
        let node = &mut self.nodes[at.index()];
        node.incarnation += 1;
        let (incarnation, disk) = (node.incarnation, node.disk.clone());
        let records = disk.iter().map(|r| Record::parse(r).expect("a core wrote it")).collect();
        let core = self.core(at, incarnation, records);
        self.nodes[at.index()].core = Some(Arc::new(core));
        for other in self.up().iter().filter(|o| *o != at) {
            let complete = |id| self.core_of(id).map(|c| c.complete()).unwrap_or_default();
            let (here, there) = (complete(at), complete(other));
            self.send(other, at, Arc::new(Msg::Up(there)));
            self.send(at, other, Arc::new(Msg::Up(here)));
        }
        self.go_on(at)
    }

    /// From here on nothing goes wrong any more, liars are silent, and there is a new request.
    fn calm(&mut self) -> Done {
        let all = self.ensemble().all();
        for habit in &mut self.habits {
            (habit.withholds, habit.mute) = (all, all);
        }
        for link in &mut self.links {
            link.slow = false;
            for packet in &mut link.packets {
                packet.deadline = packet.deadline.min(self.now + DELTA);
            }
        }
        self.nodes.iter_mut().for_each(|n| n.slow_disk = false);
        let options = Arc::make_mut(&mut self.options);
        options.within_delta = true;
        self.last_request = Some(request(1000 + self.requests_given));
        for at in self.up().iter() {
            self.see_all(at)?;
            self.drain(at)?;
        }
        Ok(())
    }
}

fn put(set: &mut Members, who: ReplicaId, on: bool) {
    if on { set.insert(who) } else { set.remove(who) }
}
