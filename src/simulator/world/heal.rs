//! The end of all faults.

use super::super::Node;
use super::{Event, World};

impl<N: Node> World<N> {
    /// Ends all faults, for ever: links are whole and quick, what was held back arrives, paused
    /// nodes go on, clocks run right, crashed nodes are due to start. What [`super::Fault::Stop`]
    /// has stopped stays so, and a wall clock keeps the reading that it was set to.
    pub fn heal(&mut self) {
        self.healed = true;
        let (pairs, most) = self.network.heal(self.now);
        let soon = self.now + most.max(1);
        for ((at, sequence), event) in std::mem::take(&mut self.queue) {
            let at = match event {
                Event::Fault(_) | Event::GiveUp { .. } => continue,
                Event::Boot(_) => self.now + 1,
                // The sequence keeps the order of a stream.
                Event::Deliver { .. } | Event::Learn { .. } | Event::Fade { .. } => at.min(soon),
                Event::Synced { .. } => at.min(soon),
                _ => at,
            };
            self.queue.insert((at, sequence), event);
        }
        let now = self.now;
        for seat in self.seats.values_mut() {
            seat.clock.set_rate(now, 0);
            seat.clock.set_drift(now, 0);
            seat.disk.heal(now + most);
            (seat.trap, seat.paused_until) = (None, 0);
        }
        for ends in pairs {
            self.push(now, Event::Connect(ends));
        }
        for id in self.seats.keys().copied().collect::<Vec<_>>() {
            self.poke(id);
            self.arm(id);
        }
    }
}
