//! A name for everything that has happened in a world.

use super::super::{Arrival, NodeId};
use crate::types::Digest;

/// A running hash over arrivals. It tells runs apart that went differently by chance or mistake;
/// nobody has a reason to forge one, so it is quick and not cryptographic.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Trace([u64; 2]);

/// Odd numbers without a pattern.
const MIX: [u64; 2] = [0x9e37_79b9_7f4a_7c15, 0xd6e8_feb8_6659_fd93];

impl Trace {
    /// Adds what has come to a node, and when, nanoseconds.
    pub(super) fn record(&mut self, time: u64, id: NodeId, arrival: &Arrival) {
        let number = |node: NodeId| match node {
            NodeId::Replica(r) => u64::from(r.number()),
            NodeId::Client(c) => 1000 + u64::from(c),
        };
        let (tag, peer, detail) = match arrival {
            Arrival::Up { peer, connection, .. } => (1, number(*peer), *connection),
            Arrival::Down { peer, connection } => (2, number(*peer), *connection),
            Arrival::Frames { peer, frames, .. } => (3, number(*peer), frames.len() as u64),
            Arrival::Tick => (4, 0, 0),
            Arrival::Drained => (5, 0, 0),
            Arrival::Synced { sequence } => (6, 0, *sequence),
            Arrival::Encoded { number, .. } => (7, 0, *number),
        };
        [time, number(id), tag, peer, detail].into_iter().for_each(|n| self.put(n));
        if let Arrival::Frames { frames, .. } = arrival {
            for frame in frames {
                self.put(frame.kind as u64);
                self.put_bytes(&frame.body);
            }
        }
    }

    /// The name so far.
    pub(super) fn digest(self) -> Digest {
        let mut out = self;
        (0..4).for_each(|n| out.put(n));
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&out.0[0].to_le_bytes());
        bytes[8..16].copy_from_slice(&out.0[1].to_le_bytes());
        Digest(bytes)
    }

    fn put_bytes(&mut self, bytes: &[u8]) {
        self.put(bytes.len() as u64);
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.put(u64::from_le_bytes(word));
        }
    }

    fn put(&mut self, word: u64) {
        let [a, b] = self.0;
        self.0 = [
            (a ^ word).wrapping_mul(MIX[0]).wrapping_add(MIX[1]).rotate_left(29) ^ b,
            (b.rotate_left(17) ^ word.rotate_left(32)).wrapping_mul(MIX[1]).wrapping_add(a),
        ];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bit_and_the_order_of_words_count() {
        let of = |words: &[u64]| {
            let mut trace = Trace::default();
            words.iter().for_each(|w| trace.put(*w));
            trace.digest()
        };
        let whole = of(&[1, 2, 3]);
        assert_eq!(whole, of(&[1, 2, 3]));
        assert_ne!(whole, of(&[1, 3, 2]));
        assert_ne!(of(&[0]), of(&[0, 0]));
        for place in 0..3 {
            for bit in 0..64 {
                let mut words = [1, 2, 3];
                words[place] ^= 1 << bit;
                assert_ne!(whole, of(&words), "bit {bit} of word {place}");
            }
        }
    }
}
