//! Links between replicas: frames keep their order, and some links are narrow for a while.

use super::world::{Event, World};
use crate::wire::{ChainEntry, ChainMessage};
use bytes::Bytes;

/// Microseconds that a byte takes on a narrow link: 5 kB in a second.
const NARROW: u64 = 200;

/// What there is of updates in a frame, or on the way.
#[derive(Clone, Copy, Default)]
pub(super) struct Load {
    updates: u64,
    bytes: usize,
    /// Which time that the receiver said from where on they are to be sent.
    turn: u64,
}

impl Load {
    pub(super) fn of(message: &ChainMessage) -> Self {
        let ChainMessage::Forward { entries, .. } = message else { return Self::default() };
        let bytes = |e: &ChainEntry| e.request.body.len() + ChainEntry::OVERHEAD;
        let (updates, bytes) = (entries.len() as u64, entries.iter().map(bytes).sum());
        Self { updates, bytes, turn: 0 }
    }
}

/// One direction of a link.
#[derive(Default)]
pub(super) struct Wire {
    /// When the last frame arrives ...
    arrives: u64,
    /// ... and when its last byte has left.
    left: u64,
    pub(super) narrow_until: u64,
    /// Which link it is of, and what is on its way over it since the receiver last said where to
    /// go on.
    link: u64,
    load: Load,
}

impl World<'_> {
    /// A frame leaves, with such a load; if the link is down it is lost.
    ///
    /// # Errors
    /// If more is on its way then than a window.
    pub(super) fn send(
        &mut self,
        (from, to): (usize, usize),
        mut load: Load,
        bytes: Bytes,
    ) -> Result<(), String> {
        let (link, up) = self.links[&(from.min(to), from.max(to))];
        if !up {
            return Ok(());
        }
        let (time, delay) = (self.time, self.delay());
        let wire = self.wires.entry((from, to)).or_default();
        if wire.link != link {
            *wire = Wire { link, narrow_until: wire.narrow_until, ..Wire::default() };
        }
        let mut leaves = time;
        if self.options.narrow || time < wire.narrow_until {
            self.report.held_up += u64::from(wire.left > time);
            leaves = wire.left.max(time) + bytes.len() as u64 * NARROW;
            wire.left = leaves;
        }
        wire.arrives = (leaves + delay).max(wire.arrives + 1);
        load.turn = wire.load.turn;
        wire.load.updates += load.updates;
        wire.load.bytes += load.bytes;
        let (delay, all) = (wire.arrives - time, wire.load);
        self.after(delay, Event::Frame { from, to, link, load, bytes });
        self.report.on_the_way = self.report.on_the_way.max(all.updates);
        self.report.bytes_on_the_way = self.report.bytes_on_the_way.max(all.bytes);
        let limits = &self.options.limits;
        // No update here is longer than a message may be.
        let most = limits.window_bytes + limits.batch_bytes;
        if all.updates > limits.window as u64 || all.bytes > most {
            let (updates, bytes) = (all.updates, all.bytes);
            return Err(format!("{updates} updates of {bytes} bytes are on their way to a site"));
        }
        Ok(())
    }

    /// A frame with such a load has come, or its link is gone.
    pub(super) fn passed(&mut self, ends: (usize, usize), link: u64, load: Load) {
        let counts = |wire: &&mut Wire| wire.link == link && wire.load.turn == load.turn;
        if let Some(wire) = self.wires.get_mut(&ends).filter(counts) {
            wire.load.updates -= load.updates;
            wire.load.bytes -= load.bytes;
        }
    }

    /// A frame is handled by which its sender is sent everything anew.
    pub(super) fn resumes(&mut self, from: usize, to: usize) {
        if let Some(wire) = self.wires.get_mut(&(to, from)) {
            wire.load = Load { turn: wire.load.turn + 1, ..Load::default() };
        }
    }
}
