//! What peers said last, so that what they say again is not decoded and checked again.
//!
//! Everything of §5 is said again after `patience` until it has done its work, byte for byte. A
//! statement that was checked once stays what it is for as long as the keyring does, so a repeat
//! costs its sender no signature of its allowance (§10) and us no more than a comparison.

use crate::ordering::Input;
use crate::types::ReplicaId;
use crate::wire::Kind;
use bytes::Bytes;
use std::collections::{BTreeMap, VecDeque};

/// Frames remembered of a peer. In a change of the epoch one says at once a call, a Report, and a
/// Blame for each other replica.
const FRAMES: usize = 8;
/// Bytes of frames remembered of a peer, at most.
const BYTES: usize = 256 * 1024;

/// The last frames of §5 of each peer, with what they came to.
#[derive(Debug, Default)]
pub(super) struct Heard {
    peers: BTreeMap<ReplicaId, VecDeque<Saying>>,
}

#[derive(Debug)]
struct Saying {
    kind: Kind,
    body: Bytes,
    inputs: Vec<Input>,
}

impl Heard {
    /// What this very frame of this peer came to, if it is remembered.
    pub(super) fn again(&self, peer: ReplicaId, kind: Kind, body: &[u8]) -> Option<Vec<Input>> {
        let sayings = self.peers.get(&peer)?;
        let same = sayings.iter().find(|s| s.kind == kind && s.body == body)?;
        Some(same.inputs.clone())
    }

    /// Remembers what a frame came to, in place of the oldest ones of this peer.
    pub(super) fn keep(&mut self, peer: ReplicaId, kind: Kind, body: &[u8], inputs: Vec<Input>) {
        if body.len() > BYTES {
            return;
        }
        let sayings = self.peers.entry(peer).or_default();
        let held = |sayings: &VecDeque<Saying>| sayings.iter().map(|s| s.body.len()).sum::<usize>();
        while sayings.len() >= FRAMES || held(sayings) + body.len() > BYTES {
            sayings.pop_front();
        }
        // A copy: the frame is part of a larger buffer.
        sayings.push_back(Saying { kind, body: Bytes::copy_from_slice(body), inputs });
    }

    /// Forgets everything: other keys count from now on (M3).
    pub(super) fn forget(&mut self) {
        self.peers.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peers() -> (ReplicaId, ReplicaId) {
        (ReplicaId::from_index(0), ReplicaId::from_index(1))
    }

    #[test]
    fn a_repeat_comes_to_the_same_for_this_peer_and_kind_only() {
        let (one, two) = peers();
        let mut heard = Heard::default();
        heard.keep(one, Kind::Blame, b"a", vec![Input::Gone { from: one }]);
        let again = |heard: &Heard, peer, kind, body: &[u8]| {
            heard.again(peer, kind, body).map(|inputs| inputs.len())
        };
        assert_eq!(again(&heard, one, Kind::Blame, b"a"), Some(1));
        assert_eq!(again(&heard, two, Kind::Blame, b"a"), None);
        assert_eq!(again(&heard, one, Kind::Call, b"a"), None);
        assert_eq!(again(&heard, one, Kind::Blame, b"ab"), None);
        heard.forget();
        assert_eq!(again(&heard, one, Kind::Blame, b"a"), None);
    }

    /// §10: bounded stores per signer.
    #[test]
    fn a_peer_holds_so_many_frames_and_bytes_and_no_other_peers_place() {
        let (one, two) = peers();
        let mut heard = Heard::default();
        heard.keep(two, Kind::Blame, b"kept", Vec::new());
        for n in 0..100u8 {
            heard.keep(one, Kind::Blame, &[n], Vec::new());
        }
        assert_eq!(heard.peers[&one].len(), FRAMES);
        assert!(heard.again(one, Kind::Blame, &[99]).is_some());
        assert!(heard.again(one, Kind::Blame, &[0]).is_none());
        heard.keep(one, Kind::Report, &vec![1; BYTES - 3], Vec::new());
        assert_eq!(heard.peers[&one].len(), 4, "three of one byte fit beside it");
        heard.keep(one, Kind::Report, &vec![1; BYTES + 1], Vec::new());
        assert_eq!(heard.peers[&one].len(), 4, "what is larger than all is not kept");
        assert!(heard.again(two, Kind::Blame, b"kept").is_some());
    }
}
